// What wgmma.mma_async may touch before it is waited for, and others may not (PTX ISA, "wgmma.fence",
// "wgmma.wait_group"): registers of the warp and shared memory. The multiplication itself has long been done.
#include <stdlib.h>

#include "exec_wgmma.h"

#define SLOT_BYTES 128 // 32 lanes of 32 bits

struct emu_wgmma {
    uint32_t fences, committed, completed, issued; // the first group has number 1
    // Of each register: the last group that adds to it, the last that takes factors from it, and how many fences there
    // were, and one, when something else touched it.
    uint32_t *adds, *takes, *touched;
    uint32_t num_slots;
};

void emu_wgmma_clear(struct emu_warp *warp) {
    if (warp->wgmma == NULL) return;
    free(warp->wgmma->adds);
    free(warp->wgmma);
    warp->wgmma = NULL;
}

static struct emu_wgmma *tracking_of(struct emu_warp *warp) {
    if (warp->wgmma != NULL) return warp->wgmma;
    uint32_t num_slots = warp->cta->kernel->register_bytes / SLOT_BYTES + 1;
    struct emu_wgmma *tracking = calloc(1, sizeof(*tracking));
    uint32_t *slots = calloc(3 * (size_t)num_slots, sizeof(*slots));
    if (tracking == NULL || slots == NULL) {
        free(tracking);
        free(slots);
        emu_warp_finding(warp, 0, EMU_OUTCOME_OUT_OF_RESOURCES, "the host has no memory to follow wgmma");
        return NULL;
    }
    tracking->num_slots = num_slots;
    tracking->adds = slots;
    tracking->takes = slots + num_slots;
    tracking->touched = slots + 2 * (size_t)num_slots;
    return warp->wgmma = tracking;
}

static uint32_t slot_of(const struct emu_wgmma *tracking, uint32_t operand) {
    uint32_t slot = operand / SLOT_BYTES;
    bool is_register = (operand & EMU_OPERAND_CONSTANT) == 0 && slot < tracking->num_slots;
    return is_register ? slot : tracking->num_slots - 1; // one that no register has
}

// ---- Registers

static bool is_register_move(const struct emu_instruction *instruction) {
    return instruction->copies && instruction->num_operands == 2 &&
           (instruction->operands[1] & EMU_OPERAND_CONSTANT) == 0;
}

static bool is_wgmma(const struct emu_instruction *instruction) {
    return instruction->instruction_class == EMU_CLASS_TENSOR && strcmp(instruction->row->name, "wgmma") == 0;
}

// ptxas drops a compiler's copies from register to register: what holds for one holds for the other.
static void observe_move(struct emu_wgmma *tracking, const struct emu_instruction *instruction) {
    uint32_t to = slot_of(tracking, instruction->operands[0]), from = slot_of(tracking, instruction->operands[1]);
    tracking->adds[to] = tracking->adds[from];
    tracking->takes[to] = tracking->takes[from];
    tracking->touched[to] = tracking->touched[from];
}

bool emu_wgmma_observe(struct emu_warp *warp, const struct emu_instruction *instruction) {
    struct emu_wgmma *tracking = warp->wgmma;
    if (is_wgmma(instruction)) return true;
    if (is_register_move(instruction)) {
        observe_move(tracking, instruction);
        return true;
    }
    for (uint32_t i = 0; i < instruction->num_operands; i++) {
        uint32_t slot = slot_of(tracking, instruction->operands[i]);
        if (tracking->adds[slot] > tracking->completed || tracking->takes[slot] > tracking->completed) {
            emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                             "operand %u is %s of a wgmma.mma_async that no wgmma.wait_group has waited for", i + 1,
                             tracking->adds[slot] > tracking->completed ? "an accumulator" : "a factor");
            return false;
        }
        tracking->touched[slot] = tracking->fences + 1;
    }
    tracking->touched[tracking->num_slots - 1] = 0;
    return true;
}

static bool check_fenced(struct emu_warp *warp, uint32_t slot, const char *what, uint32_t number) {
    if (warp->wgmma->touched[slot] != warp->wgmma->fences + 1) return true;
    emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                     "register %u of the %s was accessed, and no wgmma.fence lies between", number + 1, what);
    return false;
}

bool emu_wgmma_issue(struct emu_warp *warp, const struct emu_wgmma_registers *registers) {
    struct emu_wgmma *tracking = tracking_of(warp);
    if (tracking == NULL) return false;
    uint32_t group = tracking->committed + 1;
    tracking->issued++;
    if (!warp->cta->checks) return true;
    if (tracking->fences == 0) {
        emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                         "the first wgmma.mma_async of the warp comes before any wgmma.fence");
        return false;
    }
    for (uint32_t i = 0; i < registers->num_accumulators; i++) {
        uint32_t slot = slot_of(tracking, registers->accumulators[i]);
        if (!check_fenced(warp, slot, "accumulator", i)) return false;
        if (tracking->takes[slot] > tracking->completed) {
            emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                             "accumulator %u is a factor of a wgmma.mma_async that was not waited for", i + 1);
            return false;
        }
        tracking->adds[slot] = group;
    }
    for (uint32_t i = 0; i < registers->num_factors; i++) {
        uint32_t slot = slot_of(tracking, registers->factors[i]);
        if (!check_fenced(warp, slot, "factor A", i)) return false;
        if (tracking->adds[slot] > tracking->completed) {
            emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                             "factor %u is an accumulator of a wgmma.mma_async that was not waited for", i + 1);
            return false;
        }
        tracking->takes[slot] = group;
    }
    tracking->adds[tracking->num_slots - 1] = tracking->takes[tracking->num_slots - 1] = 0;
    return true;
}

void emu_wgmma_fence(struct emu_warp *warp) {
    struct emu_wgmma *tracking = tracking_of(warp);
    if (tracking != NULL) tracking->fences++;
}

void emu_wgmma_commit(struct emu_warp *warp) {
    struct emu_wgmma *tracking = tracking_of(warp);
    if (tracking == NULL) return;
    tracking->committed++;
    warp->cta->run->progress++; // the warpgroup's other warps may wait for it
}

// ---- Shared memory, and the end of a group

bool emu_wgmma_reads(struct emu_warp *warp, const struct emu_matrix *matrix) {
    uint32_t group = warp->wgmma->committed + 1;
    if (!warp->cta->checks) return true;
    for (uint32_t chunk = 0; chunk < 2 * matrix->count; chunk++) {
        uint32_t offset = emu_matrix_chunk(matrix, chunk) - EMU_SHARED_BASE;
        if (!emu_race_matrix_read(warp, offset, EMU_CHUNK_BYTES, group)) return false;
    }
    return true;
}

// A group is the warpgroup's: it is complete when all four warps have issued it, and then for all of them.
static bool all_issued(struct emu_warp *warp, uint32_t group) {
    struct emu_warp *warps = &warp->cta->warps[warp->index / 4 * 4];
    if (warp->index / 4 * 4 + 4 > warp->cta->num_warps) return true; // nothing was issued
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t committed = warps[i].wgmma != NULL ? warps[i].wgmma->committed : 0;
        if (committed >= group) continue;
        if (warps[i].alive == 0) {
            emu_warp_finding(
                warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                "warp %u waits for group %u of wgmma.mma_async, and warp %u exited before it: all four of a "
                "warpgroup must take part in each",
                warp->index, group, warps[i].index);
        } else {
            warp->retry = true;
        }
        return false;
    }
    return true;
}

void emu_wgmma_wait(struct emu_warp *warp, uint32_t pending) {
    struct emu_wgmma *tracking = tracking_of(warp);
    if (tracking == NULL || tracking->committed <= pending) return;
    uint32_t group = tracking->committed - pending;
    if (group <= tracking->completed || !all_issued(warp, group)) return;
    tracking->completed = group;
    emu_race_matrix_done(warp, group);
    emu_race_warp_sync(warp);
}

// ---- The end of a CTA

void emu_wgmma_check_end(struct emu_warp *warp) {
    const struct emu_cta *cta = warp->cta;
    for (uint32_t w = 0; w + 3 < cta->num_warps; w += 4) {
        for (uint32_t i = 0; i < 4; i++) {
            const struct emu_wgmma *first = cta->warps[w].wgmma, *other = cta->warps[w + i].wgmma;
            uint32_t wanted = first != NULL ? first->issued : 0, issued = other != NULL ? other->issued : 0;
            if (wanted == issued) continue;
            emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
                             "warps %u and %u of a warpgroup executed %u and %u wgmma.mma_async: all four must take "
                             "part in each",
                             w, w + i, wanted, issued);
            return;
        }
    }
}
