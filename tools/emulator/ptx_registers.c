// Liveness over the kernel's flow graph: the most registers that hold a value which is still to be read.
#include "ptx_registers.h"

#include <stdlib.h>
#include <string.h>

#include "ptx_table.h"

#define SLOT_BYTES 128 // 32 lanes of 32 bits
#define SPARE 8        // for addresses and what a scheduler needs

struct block {
    uint32_t first, last; // instructions [first, last)
    uint64_t *in;         // live where it begins
};

struct analysis {
    const struct emu_kernel *kernel;
    uint32_t num_slots, words, num_blocks;
    uint32_t *block_of; // of each instruction
    struct block *blocks;
    uint64_t *sets, *live;
};

// Destinations come first; how many operands they are.
static uint32_t num_destinations(const struct emu_instruction *instruction) {
    const char *at = instruction->row->operands;
    uint32_t count = 0;
    if (*at == '{') return instruction->num_operands - 1u; // mov {a, b}, c
    if (strstr(at, "{parts}") != NULL) return 0;           // mov c, {a, b}: its destination is last
    while (*at == 'd' || *at == '|') {
        const char *end = at + strcspn(at, " "), *star = memchr(at, '*', (size_t)(end - at));
        uint32_t more = 1;
        if (star != NULL) more = star[1] == 'v' ? instruction->form.count : (uint32_t)strtoul(star + 1, NULL, 10);
        count += more;
        at = end + strspn(end, " ");
    }
    return count < instruction->num_operands ? count : instruction->num_operands;
}

static void mark(const struct analysis *analysis, uint64_t *live, uint32_t operand, bool on) {
    if ((operand & EMU_OPERAND_CONSTANT) != 0 || operand % SLOT_BYTES != 0) return; // predicates lie between
    uint32_t slot = operand / SLOT_BYTES;
    if (slot >= analysis->num_slots) return;
    if (on) {
        live[slot / 64] |= (uint64_t)1 << slot % 64;
    } else {
        live[slot / 64] &= ~((uint64_t)1 << slot % 64);
    }
}

// Backward over one instruction. A guarded write may leave the old value.
static void step(const struct analysis *analysis, const struct emu_instruction *instruction, uint64_t *live) {
    uint32_t destinations = num_destinations(instruction), count = instruction->num_operands;
    bool packs = strncmp(instruction->row->operands, "d0 {", 4) == 0;
    bool kills = instruction->guard == EMU_OPERAND_ABSENT;
    if (packs && kills) mark(analysis, live, instruction->operands[count - 1], false);
    for (uint32_t i = 0; i < destinations && kills; i++) mark(analysis, live, instruction->operands[i], false);
    for (uint32_t i = destinations; i < (packs ? count - 1 : count); i++)
        mark(analysis, live, instruction->operands[i], true);
}

static bool ends_block(const struct emu_instruction *instruction) {
    return instruction->flow == EMU_FLOW_BRANCH || instruction->flow == EMU_FLOW_TABLE ||
           instruction->flow == EMU_FLOW_EXIT;
}

static bool find_blocks(struct analysis *analysis) {
    const struct emu_kernel *kernel = analysis->kernel;
    uint32_t count = kernel->num_instructions, *starts = analysis->block_of;
    for (uint32_t i = 0; i < count; i++) {
        const struct emu_instruction *instruction = &kernel->code[i];
        if (i == 0) starts[i] = 1;
        if (!ends_block(instruction)) continue;
        if (i + 1 < count) starts[i + 1] = 1;
        if (instruction->flow == EMU_FLOW_BRANCH && instruction->target < count) starts[instruction->target] = 1;
        for (uint32_t t = 0; instruction->flow == EMU_FLOW_TABLE && t < instruction->num_targets; t++) {
            if (kernel->targets[instruction->target + t] < count) starts[kernel->targets[instruction->target + t]] = 1;
        }
    }
    for (uint32_t i = 0; i < count; i++) analysis->num_blocks += starts[i];
    analysis->blocks = calloc(analysis->num_blocks, sizeof(*analysis->blocks));
    analysis->sets = calloc((size_t)analysis->num_blocks * analysis->words, sizeof(uint64_t));
    if (analysis->blocks == NULL || analysis->sets == NULL) return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (starts[i] != 0) {
            analysis->blocks[at].first = i;
            analysis->blocks[at].in = analysis->sets + (size_t)at * analysis->words;
            at++;
        }
        starts[i] = at - 1;
        analysis->blocks[at - 1].last = i + 1;
    }
    return true;
}

static void join(const struct analysis *analysis, uint32_t place) {
    if (place >= analysis->kernel->num_instructions) return;
    const uint64_t *in = analysis->blocks[analysis->block_of[place]].in;
    for (uint32_t w = 0; w < analysis->words; w++) analysis->live[w] |= in[w];
}

// What is live where the block ends.
static void live_out(const struct analysis *analysis, const struct block *block) {
    const struct emu_instruction *last = &analysis->kernel->code[block->last - 1];
    memset(analysis->live, 0, analysis->words * sizeof(uint64_t));
    bool falls = last->flow != EMU_FLOW_EXIT && last->flow != EMU_FLOW_BRANCH && last->flow != EMU_FLOW_TABLE;
    if (falls || last->guard != EMU_OPERAND_ABSENT) join(analysis, block->last);
    if (last->flow == EMU_FLOW_BRANCH) join(analysis, last->target);
    for (uint32_t t = 0; last->flow == EMU_FLOW_TABLE && t < last->num_targets; t++) {
        join(analysis, analysis->kernel->targets[last->target + t]);
    }
}

static void settle(const struct analysis *analysis) {
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t b = analysis->num_blocks; b-- > 0;) {
            struct block *block = &analysis->blocks[b];
            live_out(analysis, block);
            for (uint32_t i = block->last; i-- > block->first;)
                step(analysis, &analysis->kernel->code[i], analysis->live);
            if (memcmp(block->in, analysis->live, analysis->words * sizeof(uint64_t)) == 0) continue;
            memcpy(block->in, analysis->live, analysis->words * sizeof(uint64_t));
            changed = true;
        }
    }
}

static int weight(const struct analysis *analysis) {
    int sum = 0;
    for (uint32_t w = 0; w < analysis->words; w++) {
        for (uint64_t bits = analysis->live[w]; bits != 0; bits &= bits - 1) {
            sum += analysis->kernel->slot_weights[w * 64 + (uint32_t)__builtin_ctzll(bits)];
        }
    }
    return sum;
}

static int most_live(const struct analysis *analysis) {
    int most = 0;
    for (uint32_t b = 0; b < analysis->num_blocks; b++) {
        const struct block *block = &analysis->blocks[b];
        live_out(analysis, block);
        for (uint32_t i = block->last; i-- > block->first;) {
            step(analysis, &analysis->kernel->code[i], analysis->live);
            int now = weight(analysis);
            most = now > most ? now : most;
        }
    }
    return most;
}

int emu_registers_estimate(const struct emu_kernel *kernel) {
    struct analysis analysis = {.kernel = kernel, .num_slots = kernel->register_bytes / SLOT_BYTES};
    analysis.words = analysis.num_slots / 64 + 1;
    analysis.block_of = calloc(kernel->num_instructions, sizeof(*analysis.block_of));
    analysis.live = calloc(analysis.words, sizeof(*analysis.live));
    int estimate = 255;
    if (analysis.block_of != NULL && analysis.live != NULL && find_blocks(&analysis)) {
        settle(&analysis);
        estimate = (most_live(&analysis) + SPARE + 7) / 8 * 8;
    }
    free(analysis.block_of);
    free(analysis.live);
    free(analysis.blocks);
    free(analysis.sets);
    return estimate < 16 ? 16 : estimate > 255 ? 255 : estimate;
}
