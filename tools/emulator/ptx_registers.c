// Liveness over the kernel's flow graph: which registers hold a value that is still to be read.
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

struct emu_liveness {
    const struct emu_kernel *kernel;
    uint32_t *numbers;  // of the variable at each operand, a register or a predicate, by operand / 4; 0: none
    uint8_t *weights;   // of each variable: 32-bit registers
    uint32_t *operands; // of each variable
    uint32_t num_variables, words, num_blocks;
    uint32_t *block_of; // of each instruction
    struct block *blocks;
    uint64_t *sets, *live;
};

static uint32_t number_of(const struct emu_liveness *liveness, uint32_t operand) {
    return (operand & EMU_OPERAND_CONSTANT) != 0 ? 0 : liveness->numbers[operand / 4];
}

static void give_number(struct emu_liveness *liveness, uint32_t operand) {
    if ((operand & EMU_OPERAND_CONSTANT) != 0 || liveness->numbers[operand / 4] != 0) return;
    uint32_t number = ++liveness->num_variables;
    liveness->numbers[operand / 4] = number;
    liveness->operands[number] = operand;
    if (operand % SLOT_BYTES == 0) liveness->weights[number] = liveness->kernel->slot_weights[operand / SLOT_BYTES];
}

static bool number_variables(struct emu_liveness *liveness) {
    const struct emu_kernel *kernel = liveness->kernel;
    liveness->numbers = calloc(kernel->register_bytes / 4 + 1, sizeof(*liveness->numbers));
    liveness->weights = calloc(kernel->register_bytes / 4 + 2, sizeof(*liveness->weights));
    liveness->operands = calloc(kernel->register_bytes / 4 + 2, sizeof(*liveness->operands));
    if (liveness->numbers == NULL || liveness->weights == NULL || liveness->operands == NULL) return false;
    for (uint32_t i = 0; i < kernel->num_instructions; i++) {
        const struct emu_instruction *instruction = &kernel->code[i];
        give_number(liveness, instruction->guard);
        for (uint32_t k = 0; k < instruction->num_operands; k++) give_number(liveness, instruction->operands[k]);
    }
    liveness->words = liveness->num_variables / 64 + 1;
    return true;
}

static void mark(const struct emu_liveness *liveness, uint64_t *live, uint32_t operand, bool on) {
    uint32_t number = number_of(liveness, operand);
    if (number == 0) return;
    if (on) {
        live[number / 64] |= (uint64_t)1 << number % 64;
    } else {
        live[number / 64] &= ~((uint64_t)1 << number % 64);
    }
}

// Backward over one instruction. A guarded write may leave the old value.
static void step(const struct emu_liveness *liveness, const struct emu_instruction *instruction, uint64_t *live) {
    uint32_t first = instruction->first_written, end = instruction->end_written;
    bool kills = instruction->guard == EMU_OPERAND_ABSENT;
    for (uint32_t i = first; i < end && kills; i++) mark(liveness, live, instruction->operands[i], false);
    for (uint32_t i = 0; i < instruction->num_operands; i++) {
        if (i < first || i >= end || i < instruction->num_modified)
            mark(liveness, live, instruction->operands[i], true);
    }
    mark(liveness, live, instruction->guard, true);
}

static bool ends_block(const struct emu_instruction *instruction) {
    return instruction->flow == EMU_FLOW_BRANCH || instruction->flow == EMU_FLOW_TABLE ||
           instruction->flow == EMU_FLOW_EXIT;
}

static bool find_blocks(struct emu_liveness *liveness) {
    const struct emu_kernel *kernel = liveness->kernel;
    uint32_t count = kernel->num_instructions, *starts = liveness->block_of;
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
    for (uint32_t i = 0; i < count; i++) liveness->num_blocks += starts[i];
    liveness->blocks = calloc(liveness->num_blocks, sizeof(*liveness->blocks));
    liveness->sets = calloc((size_t)liveness->num_blocks * liveness->words, sizeof(uint64_t));
    if (liveness->blocks == NULL || liveness->sets == NULL) return false;
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (starts[i] != 0) {
            liveness->blocks[at].first = i;
            liveness->blocks[at].in = liveness->sets + (size_t)at * liveness->words;
            at++;
        }
        starts[i] = at - 1;
        liveness->blocks[at - 1].last = i + 1;
    }
    return true;
}

static void join(const struct emu_liveness *liveness, uint32_t place) {
    if (place >= liveness->kernel->num_instructions) return;
    const uint64_t *in = liveness->blocks[liveness->block_of[place]].in;
    for (uint32_t w = 0; w < liveness->words; w++) liveness->live[w] |= in[w];
}

// What is live where the block ends.
static void live_out(const struct emu_liveness *liveness, const struct block *block) {
    const struct emu_instruction *last = &liveness->kernel->code[block->last - 1];
    memset(liveness->live, 0, liveness->words * sizeof(uint64_t));
    bool falls = last->flow != EMU_FLOW_EXIT && last->flow != EMU_FLOW_BRANCH && last->flow != EMU_FLOW_TABLE;
    if (falls || last->guard != EMU_OPERAND_ABSENT) join(liveness, block->last);
    if (last->flow == EMU_FLOW_BRANCH) join(liveness, last->target);
    for (uint32_t t = 0; last->flow == EMU_FLOW_TABLE && t < last->num_targets; t++) {
        join(liveness, liveness->kernel->targets[last->target + t]);
    }
}

static void settle(const struct emu_liveness *liveness) {
    bool changed = true;
    while (changed) {
        changed = false;
        for (uint32_t b = liveness->num_blocks; b-- > 0;) {
            struct block *block = &liveness->blocks[b];
            live_out(liveness, block);
            for (uint32_t i = block->last; i-- > block->first;)
                step(liveness, &liveness->kernel->code[i], liveness->live);
            if (memcmp(block->in, liveness->live, liveness->words * sizeof(uint64_t)) == 0) continue;
            memcpy(block->in, liveness->live, liveness->words * sizeof(uint64_t));
            changed = true;
        }
    }
}

static int weight(const struct emu_liveness *liveness) {
    int sum = 0;
    for (uint32_t w = 0; w < liveness->words; w++) {
        for (uint64_t bits = liveness->live[w]; bits != 0; bits &= bits - 1) {
            sum += liveness->weights[w * 64 + (uint32_t)__builtin_ctzll(bits)];
        }
    }
    return sum;
}

int emu_liveness_registers(const struct emu_liveness *liveness) {
    int most = 0;
    for (uint32_t b = 0; liveness != NULL && b < liveness->num_blocks; b++) {
        const struct block *block = &liveness->blocks[b];
        live_out(liveness, block);
        for (uint32_t i = block->last; i-- > block->first;) {
            step(liveness, &liveness->kernel->code[i], liveness->live);
            int now = weight(liveness);
            most = now > most ? now : most;
        }
    }
    int estimate = liveness != NULL ? (most + SPARE + 7) / 8 * 8 : 255;
    return estimate < 16 ? 16 : estimate > 255 ? 255 : estimate;
}

bool emu_liveness_enters(const struct emu_liveness *liveness, uint32_t operand) {
    uint32_t number = number_of(liveness, operand);
    return number != 0 && (liveness->blocks[0].in[number / 64] >> number % 64 & 1) != 0;
}

static void extend(struct emu_span *spans, uint32_t operand, uint32_t place) {
    struct emu_span *span = &spans[operand / 4];
    if (place < span->first) span->first = place;
    if (place + 1 > span->end) span->end = place + 1;
}

static void extend_all(const struct emu_liveness *liveness, const uint64_t *live, uint32_t place,
                       struct emu_span *spans) {
    for (uint32_t w = 0; w < liveness->words; w++) {
        for (uint64_t bits = live[w]; bits != 0; bits &= bits - 1) {
            extend(spans, liveness->operands[w * 64 + (uint32_t)__builtin_ctzll(bits)], place);
        }
    }
}

void emu_liveness_spans(const struct emu_liveness *liveness, struct emu_span *spans) {
    const struct emu_kernel *kernel = liveness->kernel;
    for (uint32_t i = 0; i <= kernel->register_bytes / 4; i++) spans[i] = (struct emu_span){UINT32_MAX, 0};
    for (uint32_t b = 0; b < liveness->num_blocks; b++) {
        const struct block *block = &liveness->blocks[b];
        extend_all(liveness, block->in, block->first, spans);
        live_out(liveness, block);
        extend_all(liveness, liveness->live, block->last - 1, spans);
        for (uint32_t i = block->first; i < block->last; i++) {
            const struct emu_instruction *instruction = &kernel->code[i];
            if (number_of(liveness, instruction->guard) != 0) extend(spans, instruction->guard, i);
            for (uint32_t k = 0; k < instruction->num_operands; k++) {
                uint32_t operand = instruction->operands[k];
                if (number_of(liveness, operand) != 0) extend(spans, operand, i);
            }
        }
    }
}

void emu_liveness_destroy(struct emu_liveness *liveness) {
    if (liveness == NULL) return;
    free(liveness->numbers);
    free(liveness->weights);
    free(liveness->operands);
    free(liveness->block_of);
    free(liveness->live);
    free(liveness->blocks);
    free(liveness->sets);
    free(liveness);
}

struct emu_liveness *emu_liveness_create(const struct emu_kernel *kernel) {
    struct emu_liveness *liveness = calloc(1, sizeof(*liveness));
    if (liveness == NULL) return NULL;
    liveness->kernel = kernel;
    bool good = number_variables(liveness);
    liveness->block_of = calloc(kernel->num_instructions, sizeof(*liveness->block_of));
    liveness->live = calloc(liveness->words + 1, sizeof(*liveness->live));
    if (!good || liveness->block_of == NULL || liveness->live == NULL || !find_blocks(liveness)) {
        emu_liveness_destroy(liveness);
        return NULL;
    }
    settle(liveness);
    return liveness;
}
