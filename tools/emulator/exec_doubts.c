// Reads of registers that nobody set. A copy hands on what it copies (compilers copy what they know nobody needs); all
// else that reads such a register is a finding.
#include "warp.h"

static uint32_t *lanes_of(struct emu_warp *warp, uint32_t operand) {
    const struct emu_kernel *kernel = warp->cta->kernel;
    if ((operand & EMU_OPERAND_CONSTANT) != 0 || kernel->doubts[operand / 4] == 0) return NULL;
    return &warp->set[kernel->doubts[operand / 4]];
}

static bool check(struct emu_warp *warp, uint32_t operand, uint32_t mask) {
    const uint32_t *set = lanes_of(warp, operand);
    if (set == NULL || (mask & ~*set) == 0) return true;
    char name[80];
    const struct emu_kernel *kernel = warp->cta->kernel;
    uint32_t declared = kernel->doubt_operands[kernel->doubts[operand / 4]];
    emu_kernel_register_name(kernel, declared, warp->current->line, name, sizeof(name));
    emu_warp_finding(warp, (uint32_t)__builtin_ctz(mask & ~*set), EMU_OUTCOME_LAUNCH_FAILED,
                     "read of register %s, which the thread has not set", name);
    return false;
}

static bool is_written(const struct emu_instruction *instruction, uint32_t i) {
    return i >= instruction->first_written && i < instruction->end_written;
}

// Lanes for which some source is set: one half of a pair may well not be.
static uint32_t copied(struct emu_warp *warp, const struct emu_instruction *instruction) {
    uint32_t some = 0;
    for (uint32_t i = 0; i < instruction->num_operands; i++) {
        if (is_written(instruction, i)) continue;
        const uint32_t *set = lanes_of(warp, instruction->operands[i]);
        some |= set != NULL ? *set : EMU_FULL_MASK;
    }
    return some;
}

// What is modified is not read where the predicate after it and the factors (scale-d of wgmma) says no.
static bool reads_modified(const struct emu_warp *warp, const struct emu_instruction *instruction) {
    uint32_t at = instruction->num_operands;
    for (const char *word = instruction->row->operands; (word = strstr(word, " i32")) != NULL; word++) at--;
    uint32_t scale = EMU_PREDICATE(at - 1);
    return ((instruction->negated != 0 ? ~scale : scale) & warp->alive) != 0;
}

bool emu_doubts_observe(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t lanes,
                        uint32_t mask) {
    if (instruction->guard != EMU_OPERAND_ABSENT && !check(warp, instruction->guard, lanes)) return false;
    uint32_t set = instruction->copies ? copied(warp, instruction) : EMU_FULL_MASK;
    bool modifies = instruction->num_modified > 0 && mask != 0 && reads_modified(warp, instruction);
    for (uint32_t i = 0; i < instruction->num_operands && !instruction->copies && mask != 0; i++) {
        bool reads = !is_written(instruction, i) || (modifies && i < instruction->num_modified);
        if (reads && !check(warp, instruction->operands[i], mask)) return false;
    }
    for (uint32_t i = instruction->first_written; i < instruction->end_written; i++) {
        uint32_t *written = lanes_of(warp, instruction->operands[i]);
        if (written != NULL) *written = (*written & ~mask) | (mask & set);
    }
    return true;
}
