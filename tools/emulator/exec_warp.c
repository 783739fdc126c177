// Votes, shuffles, warp barriers. Branches, returns and CTA barriers are the machine's (machine.c).
#include <string.h>

#include "exec.h"

EMU_EXECUTE(nothing) {
    (void)warp;
    (void)instruction;
    (void)mask;
}

EMU_EXECUTE(branch) {
    emu_execute_nothing(warp, instruction, mask);
}

EMU_EXECUTE(barrier) {
    emu_execute_nothing(warp, instruction, mask);
}

// The lanes named by a membermask must be here together (the machine keeps converged lanes together).
static bool members_are_here(struct emu_warp *warp, uint32_t mask, uint32_t members) {
    uint32_t wanted = members & warp->alive;
    if ((wanted & ~mask) == 0) return true;
    emu_warp_finding(warp, __builtin_ctz(mask), EMU_OUTCOME_LAUNCH_FAILED,
                     "the membermask names lanes 0x%08x, of which 0x%08x are elsewhere", members, wanted & ~mask);
    return false;
}

static uint32_t first_lane_value(const uint32_t *lanes, uint32_t mask) {
    return lanes[__builtin_ctz(mask)];
}

EMU_EXECUTE(vote_ballot) {
    uint32_t members = first_lane_value(EMU_U32(2), mask), votes = EMU_PREDICATE(1) & mask & members;
    uint32_t *d = EMU_U32(0);
    if (!members_are_here(warp, mask, members)) return;
    EMU_EACH_LANE(d[lane] = votes);
}

static void vote(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask, bool all) {
    uint32_t members = first_lane_value(EMU_U32(2), mask), votes = EMU_PREDICATE(1) & mask & members;
    uint32_t *d = &EMU_PREDICATE(0);
    if (!members_are_here(warp, mask, members)) return;
    bool outcome = all ? votes == (members & mask) : votes != 0;
    *d = outcome ? *d | mask : *d & ~mask;
}

EMU_EXECUTE(vote_any) {
    vote(warp, instruction, mask, false);
}

EMU_EXECUTE(vote_all) {
    vote(warp, instruction, mask, true);
}

EMU_EXECUTE(warp_barrier) {
    members_are_here(warp, mask, first_lane_value(EMU_U32(0), mask));
}

enum shuffle { SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE_BFLY, SHUFFLE_IDX };

// Operands: d, the optional predicate (absent: operand 1 is a constant), a, b, c, membermask (PTX ISA "shfl.sync").
static void shuffle(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                    enum shuffle mode) {
    uint32_t old[EMU_LANES], *d = EMU_U32(0), in_range = 0, *predicate = &EMU_PREDICATE(1);
    const uint32_t *b = EMU_U32(3), *c = EMU_U32(4);
    memcpy(old, EMU_U32(2), sizeof(old));
    if (!members_are_here(warp, mask, first_lane_value(EMU_U32(5), mask))) return;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        uint32_t distance = b[lane] & 31, clamp = c[lane] & 31, segment = c[lane] >> 8 & 31;
        uint32_t last = (lane & segment) | (clamp & ~segment), first = lane & segment, source = lane;
        bool inside = true;
        switch (mode) {
        case SHUFFLE_UP:
            source = lane - distance;
            inside = (int32_t)source >= (int32_t)last;
            break;
        case SHUFFLE_DOWN:
            source = lane + distance;
            inside = source <= last;
            break;
        case SHUFFLE_BFLY:
            source = lane ^ distance;
            inside = source <= last;
            break;
        case SHUFFLE_IDX:
            source = first | (distance & ~segment);
            inside = source <= last;
            break;
        }
        if (!inside) source = lane;
        if ((mask >> source & 1) == 0) {
            emu_warp_finding(warp, (int)lane, EMU_OUTCOME_LAUNCH_FAILED, "shfl reads lane %u, which does not take part",
                             source);
            return;
        }
        d[lane] = old[source];
        in_range |= (uint32_t)inside << lane;
    }
    if (!instruction->operands[1].constant) *predicate = (*predicate & ~mask) | in_range;
}

EMU_EXECUTE(shuffle_up) {
    shuffle(warp, instruction, mask, SHUFFLE_UP);
}

EMU_EXECUTE(shuffle_down) {
    shuffle(warp, instruction, mask, SHUFFLE_DOWN);
}

EMU_EXECUTE(shuffle_bfly) {
    shuffle(warp, instruction, mask, SHUFFLE_BFLY);
}

EMU_EXECUTE(shuffle_idx) {
    shuffle(warp, instruction, mask, SHUFFLE_IDX);
}
