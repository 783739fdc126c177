// Registers that may be read before they are set: those that are live where the kernel begins, and what is copied from
// them. Only these are followed while the kernel runs (exec_doubts.c); in compiled code they are few.
#include <stdio.h>

#include "ptx_registers.h"

static bool is_thread_register(const struct emu_kernel *kernel, uint32_t operand) {
    return (operand & EMU_OPERAND_CONSTANT) == 0 && operand >= kernel->first_register;
}

static bool is_doubtful(const struct emu_kernel *kernel, uint32_t operand) {
    return is_thread_register(kernel, operand) && kernel->doubts[operand / 4] != 0;
}

static bool doubt(struct emu_kernel *kernel, uint32_t operand) {
    if (!is_thread_register(kernel, operand) || kernel->doubts[operand / 4] != 0) return false;
    kernel->doubts[operand / 4] = ++kernel->num_doubts;
    kernel->doubt_operands[kernel->num_doubts] = operand;
    return true;
}

static bool touches_doubt(const struct emu_kernel *kernel, const struct emu_instruction *instruction) {
    bool touches = is_doubtful(kernel, instruction->guard);
    for (uint32_t i = 0; i < instruction->num_operands; i++) {
        touches = touches || is_doubtful(kernel, instruction->operands[i]);
    }
    return touches;
}

// A copy of what may not be set.
static bool spread(struct emu_kernel *kernel, const struct emu_instruction *instruction) {
    bool more = false;
    if (!instruction->copies || !touches_doubt(kernel, instruction)) return false;
    for (uint32_t i = instruction->first_written; i < instruction->end_written; i++) {
        more = doubt(kernel, instruction->operands[i]) || more;
    }
    return more;
}

static void find_entering(struct emu_kernel *kernel, const struct emu_liveness *liveness) {
    for (uint32_t i = 0; i < kernel->num_instructions; i++) {
        const struct emu_instruction *instruction = &kernel->code[i];
        if (emu_liveness_enters(liveness, instruction->guard)) doubt(kernel, instruction->guard);
        for (uint32_t k = 0; k < instruction->num_operands; k++) {
            if (emu_liveness_enters(liveness, instruction->operands[k])) doubt(kernel, instruction->operands[k]);
        }
    }
}

bool emu_doubts_find(struct emu_kernel *kernel, const struct emu_liveness *liveness, struct emu_arena *arena) {
    if (liveness == NULL) return false;
    kernel->doubts = emu_arena_allocate(arena, (kernel->register_bytes / 4 + 1) * sizeof(*kernel->doubts));
    kernel->doubt_operands = emu_arena_allocate(arena, (kernel->register_bytes / 4 + 2) * sizeof(uint32_t));
    if (kernel->doubts == NULL || kernel->doubt_operands == NULL) return false;
    find_entering(kernel, liveness);
    for (bool more = kernel->num_doubts > 0; more;) {
        more = false;
        for (uint32_t i = 0; i < kernel->num_instructions; i++) more = spread(kernel, &kernel->code[i]) || more;
    }
    for (uint32_t i = 0; i < kernel->num_instructions && kernel->num_doubts > 0; i++) {
        kernel->code[i].doubtful = touches_doubt(kernel, &kernel->code[i]);
    }
    return true;
}

void emu_kernel_register_name(const struct emu_kernel *kernel, uint32_t operand, int line, char *text, size_t bytes) {
    snprintf(text, bytes, "a register");
    for (size_t i = kernel->num_names; i-- > 0;) { // the innermost declaration comes last
        const struct emu_register_name *name = &kernel->names[i];
        uint32_t size = name->bits == 1 ? 4 : name->bits <= 32 ? 128 : name->bits * 4;
        uint32_t count = name->count > 0 ? name->count : 1, index = (operand - name->offset) / size;
        if (name->line > line || operand < name->offset || index >= count) continue;
        if (name->count > 0) {
            snprintf(text, bytes, "%s%u", name->text, index);
        } else {
            snprintf(text, bytes, "%s", name->text);
        }
        return;
    }
}
