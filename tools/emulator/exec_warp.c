// What lanes of a warp do together: votes, shuffles, matches, reductions, elections (PTX ISA, "vote.sync", "shfl.sync",
// "match.sync", "redux.sync", "elect.sync"). The machine has brought all named lanes here before one of these runs.
#include "arithmetic.h"
#include "exec_types.h"

EMU_EXECUTE(vote_predicate) { // p, a, members
    uint32_t a = EMU_PREDICATE(1), result;
    if (instruction->negated) a = ~a;
    a &= mask;
    switch (EMU_WORD_OF(MODE)) {
    case EMU_W_ALL: result = a == mask; break;
    case EMU_W_ANY: result = a != 0; break;
    default: result = a == mask || a == 0; break; // uni
    }
    emu_set_predicate(&EMU_PREDICATE(0), mask, result != 0 ? EMU_FULL_MASK : 0);
}

EMU_EXECUTE(vote_ballot) {
    uint32_t a = EMU_PREDICATE(1), *d = EMU_32(0);
    uint32_t result = (instruction->negated ? ~a : a) & mask;
    EMU_EACH_LANE({ d[lane] = result; });
}

// The lane whose value is taken, and whether it lies inside the segment (PTX ISA "shfl.sync", the pseudocode).
static uint32_t shuffle_source(enum emu_word mode, uint32_t lane, uint32_t b, uint32_t c, bool *inside) {
    uint32_t segment = c >> 8 & 31, clamp = c & 31;
    uint32_t largest = (lane & segment) | (clamp & ~segment), smallest = lane & segment;
    int32_t source = (int32_t)lane;
    b &= 31;
    switch (mode) {
    case EMU_W_UP:
        source = (int32_t)lane - (int32_t)b;
        *inside = source >= (int32_t)largest;
        break;
    case EMU_W_DOWN:
        source = (int32_t)(lane + b);
        *inside = source <= (int32_t)largest;
        break;
    case EMU_W_BFLY:
        source = (int32_t)(lane ^ b);
        *inside = source <= (int32_t)largest;
        break;
    default:
        source = (int32_t)(smallest | (b & ~segment));
        *inside = source <= (int32_t)largest;
        break;
    }
    return *inside ? (uint32_t)source : lane;
}

EMU_EXECUTE(shuffle) { // d|p, a, b, c, members
    uint32_t *d = EMU_32(0), values[EMU_LANES], results[EMU_LANES] = {0}, insides = 0;
    const uint32_t *bs = EMU_32(3), *cs = EMU_32(4);
    memcpy(values, EMU_32(2), sizeof(values));
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        bool inside;
        uint32_t source = shuffle_source(EMU_WORD_OF(MODE), lane, bs[lane], cs[lane], &inside);
        if ((mask >> (source & 31) & 1) == 0) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "shfl.sync reads lane %u, which does not take part (members 0x%08x)", source, mask);
            return;
        }
        results[lane] = values[source & 31];
        insides |= (uint32_t)inside << lane;
    }
    EMU_EACH_LANE({ d[lane] = results[lane]; });
    if (EMU_HAS(1)) emu_set_predicate(&EMU_PREDICATE(1), mask, insides);
}

static uint64_t match_value(const struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t operand,
                            uint32_t lane) {
    return instruction->element_bytes == 8 ? EMU_64(operand)[lane] : EMU_32(operand)[lane];
}

EMU_EXECUTE(match_any) { // d, a, members
    uint32_t results[EMU_LANES] = {0}, *d = EMU_32(0);
    EMU_EACH_LANE({
        for (uint32_t other = 0; other < EMU_LANES; other++) {
            if ((mask >> other & 1) == 0) continue;
            bool equal = match_value(warp, instruction, 1, lane) == match_value(warp, instruction, 1, other);
            results[lane] |= (uint32_t)equal << other;
        }
    });
    EMU_EACH_LANE({ d[lane] = results[lane]; });
}

EMU_EXECUTE(match_all) { // d|p, a, members
    uint32_t first = (uint32_t)__builtin_ctz(mask), *d = EMU_32(0);
    bool equal = true;
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        if (match_value(warp, instruction, 2, lane) != match_value(warp, instruction, 2, first)) equal = false;
    }
    EMU_EACH_LANE({ d[lane] = equal ? mask : 0; });
    if (EMU_HAS(1)) emu_set_predicate(&EMU_PREDICATE(1), mask, equal ? EMU_FULL_MASK : 0);
}

EMU_EXECUTE(activemask) {
    uint32_t *d = EMU_32(0);
    EMU_EACH_LANE({ d[lane] = mask; });
}

EMU_EXECUTE(elect) { // d|p, members: the lowest lane is as good as any
    uint32_t leader = (uint32_t)__builtin_ctz(mask), *d = EMU_32(0);
    EMU_EACH_LANE({ d[lane] = leader; });
    emu_set_predicate(&EMU_PREDICATE(1), mask, 1u << leader);
}

static uint32_t reduce(enum emu_word operation, bool is_signed, uint32_t a, uint32_t b) {
    bool less = is_signed ? (int32_t)a < (int32_t)b : a < b;
    switch (operation) {
    case EMU_W_ADD: return a + b;
    case EMU_W_MIN: return less ? a : b;
    case EMU_W_MAX: return less ? b : a;
    case EMU_W_AND: return a & b;
    case EMU_W_OR: return a | b;
    default: return a ^ b;
    }
}

EMU_EXECUTE(redux) { // d, a, members
    uint32_t first = (uint32_t)__builtin_ctz(mask), *d = EMU_32(0);
    const uint32_t *a = EMU_32(1);
    uint32_t result = a[first];
    for (uint32_t lanes = mask & (mask - 1); lanes != 0; lanes &= lanes - 1) {
        result = reduce(EMU_WORD_OF(OPERATION), instruction->form.types[0] == EMU_S32, result, a[__builtin_ctz(lanes)]);
    }
    EMU_EACH_LANE({ d[lane] = result; });
}

EMU_EXECUTE(warp_barrier) {
    (void)instruction, (void)mask;
    emu_race_warp_sync(warp);
}

#define ROW .instruction_class = EMU_CLASS_CONTROL
#define TOGETHER(operand) .flow = EMU_FLOW_MEMBERS, .members = operand
static const struct emu_row rows[] = {
    {"vote", "sync all|any|uni pred", "dp sp s32", vote_predicate, ROW, TOGETHER(2)},
    {"vote", "sync ballot b32", "d32 sp s32", vote_ballot, ROW, TOGETHER(2)},
    {"shfl", "sync up|down|bfly|idx b32", "d32 |p s32 s32 s32 s32", shuffle, ROW, TOGETHER(5)},
    {"match", "any sync b32|b64", "d32 s0 s32", match_any, ROW, TOGETHER(2)},
    {"match", "all sync b32|b64", "d32 |p s0 s32", match_all, ROW, TOGETHER(3)},
    {"activemask", "b32", "d32", activemask, ROW},
    {"elect", "sync", "d32 |p s32", elect, ROW, TOGETHER(2), .arch = 90},
    {"redux", "sync add|min|max u32|s32", "d32 s32 s32", redux, ROW, TOGETHER(2)},
    {"redux", "sync and|or|xor b32", "d32 s32 s32", redux, ROW, TOGETHER(2)},
    {"bar", "warp sync", "s32", warp_barrier, ROW, TOGETHER(0)},
};
EMU_ROWS(emu_rows_warp, rows);
