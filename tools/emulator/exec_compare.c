// setp, selp.
#include "exec.h"

#include "arithmetic.h"

// The mask of lanes for which the condition holds; all 32 are looked at, those of the mask are kept.
#define COMPARE(condition)                                                                                             \
    do {                                                                                                               \
        for (int lane = 0; lane < EMU_LANES; lane++) {                                                                 \
            T a = (T)pa[lane];                                                                                         \
            T b = (T)pb[lane];                                                                                         \
            result |= (uint32_t)(condition) << lane;                                                                   \
        }                                                                                                              \
    } while (0)

#define COMPARE_INTEGERS(name, TYPE, STORED)                                                                           \
    EMU_EXECUTE(name) {                                                                                                \
        typedef TYPE T;                                                                                                \
        const STORED *pa = emu_lanes(warp, &instruction->operands[1]);                                                 \
        const STORED *pb = emu_lanes(warp, &instruction->operands[2]);                                                 \
        uint32_t result = 0, *d = &EMU_PREDICATE(0);                                                                   \
        switch ((enum emu_compare)instruction->immediate) {                                                            \
        case EMU_EQ: COMPARE(a == b); break;                                                                           \
        case EMU_NE: COMPARE(a != b); break;                                                                           \
        case EMU_LT: COMPARE(a < b); break;                                                                            \
        case EMU_LE: COMPARE(a <= b); break;                                                                           \
        case EMU_GT: COMPARE(a > b); break;                                                                            \
        default: COMPARE(a >= b); break;                                                                               \
        }                                                                                                              \
        *d = (*d & ~mask) | (result & mask);                                                                           \
    }

COMPARE_INTEGERS(setp_u16, uint16_t, uint32_t)
COMPARE_INTEGERS(setp_s16, int16_t, uint32_t)
COMPARE_INTEGERS(setp_u32, uint32_t, uint32_t)
COMPARE_INTEGERS(setp_s32, int32_t, uint32_t)
COMPARE_INTEGERS(setp_u64, uint64_t, uint64_t)
COMPARE_INTEGERS(setp_s64, int64_t, uint64_t)

static bool compare_floats(enum emu_compare compare, float a, float b) {
    bool unordered = a != a || b != b;
    switch (compare) {
    case EMU_EQ: return a == b;
    case EMU_NE: return !unordered && a != b;
    case EMU_LT: return a < b;
    case EMU_LE: return a <= b;
    case EMU_GT: return a > b;
    case EMU_GE: return a >= b;
    case EMU_EQU: return unordered || a == b;
    case EMU_NEU: return unordered || a != b;
    case EMU_LTU: return unordered || a < b;
    case EMU_LEU: return unordered || a <= b;
    case EMU_GTU: return unordered || a > b;
    case EMU_GEU: return unordered || a >= b;
    case EMU_NUM: return !unordered;
    case EMU_NAN: return unordered;
    }
    return false;
}

EMU_EXECUTE(setp_f32) {
    const uint32_t *a = EMU_U32(1), *b = EMU_U32(2);
    uint32_t result = 0, *d = &EMU_PREDICATE(0);
    for (int lane = 0; lane < EMU_LANES; lane++) {
        bool holds = compare_floats((enum emu_compare)instruction->immediate, emu_float(a[lane]), emu_float(b[lane]));
        result |= (uint32_t)holds << lane;
    }
    *d = (*d & ~mask) | (result & mask);
}

EMU_EXECUTE(select_32) {
    uint32_t *d = EMU_U32(0), chosen = EMU_PREDICATE(3);
    const uint32_t *a = EMU_U32(1), *b = EMU_U32(2);
    EMU_EACH_LANE(d[lane] = chosen >> lane & 1 ? a[lane] : b[lane]);
}

EMU_EXECUTE(select_64) {
    uint64_t *d = EMU_U64(0);
    uint32_t chosen = EMU_PREDICATE(3);
    const uint64_t *a = EMU_U64(1), *b = EMU_U64(2);
    EMU_EACH_LANE(d[lane] = chosen >> lane & 1 ? a[lane] : b[lane]);
}
