// Logic, shifts and bit fields (PTX ISA, "Logic and Shift Instructions", "bfe", "prmt" and others).
#include "exec_types.h"

#define LOGIC(name, ...)                                                                                               \
    EMU_BINARY(name##_16, EMU_T_U16, __VA_ARGS__)                                                                      \
    EMU_BINARY(name##_32, EMU_T_U32, __VA_ARGS__)                                                                      \
    EMU_BINARY(name##_64, EMU_T_U64, __VA_ARGS__)                                                                      \
    EMU_EXECUTE(name##_predicate) {                                                                                    \
        uint32_t a = EMU_PREDICATE(1), b = EMU_PREDICATE(2);                                                           \
        if (instruction->negated) b = ~b;                                                                              \
        emu_set_predicate(&EMU_PREDICATE(0), mask, __VA_ARGS__);                                                       \
    }                                                                                                                  \
    static const emu_execute_fn name##_types[EMU_NUM_TYPES] = {                                                        \
        [EMU_B16] = name##_16, [EMU_B32] = name##_32, [EMU_B64] = name##_64, [EMU_PRED] = name##_predicate};
LOGIC(and, a &b)
LOGIC(or, a | b)
LOGIC(xor, a ^ b)

EMU_UNARY(not_16, EMU_T_U16, ~(uint32_t)a)
EMU_UNARY(not_32, EMU_T_U32, ~a)
EMU_UNARY(not_64, EMU_T_U64, ~a)
EMU_UNARY(cnot_16, EMU_T_U16, a == 0)
EMU_UNARY(cnot_32, EMU_T_U32, a == 0)
EMU_UNARY(cnot_64, EMU_T_U64, a == 0)
EMU_EXECUTE(not_predicate) {
    emu_set_predicate(&EMU_PREDICATE(0), mask, ~EMU_PREDICATE(1));
}
static const emu_execute_fn not_types[EMU_NUM_TYPES] = {
    [EMU_B16] = not_16, [EMU_B32] = not_32, [EMU_B64] = not_64, [EMU_PRED] = not_predicate};
static const emu_execute_fn cnot_types[EMU_NUM_TYPES] = {[EMU_B16] = cnot_16, [EMU_B32] = cnot_32, [EMU_B64] = cnot_64};

// Shifts by the width and more leave nothing, or the sign.
EMU_SHIFT(shl_16, EMU_T_U16, b > 15 ? 0 : (uint32_t)a << b)
EMU_SHIFT(shl_32, EMU_T_U32, b > 31 ? 0 : a << (b & 31))
EMU_SHIFT(shl_64, EMU_T_U64, b > 63 ? 0 : a << (b & 63))
EMU_SHIFT(shr_u16, EMU_T_U16, b > 15 ? 0 : a >> (b & 15))
EMU_SHIFT(shr_u32, EMU_T_U32, b > 31 ? 0 : a >> (b & 31))
EMU_SHIFT(shr_u64, EMU_T_U64, b > 63 ? 0 : a >> (b & 63))
EMU_SHIFT(shr_s16, EMU_T_S16, a >> (b > 15 ? 15 : b))
EMU_SHIFT(shr_s32, EMU_T_S32, a >> (b > 31 ? 31 : b))
EMU_SHIFT(shr_s64, EMU_T_S64, a >> (b > 63 ? 63 : b))
static const emu_execute_fn shl_types[EMU_NUM_TYPES] = {[EMU_B16] = shl_16, [EMU_B32] = shl_32, [EMU_B64] = shl_64};
static const emu_execute_fn shr_types[EMU_NUM_TYPES] = {
    [EMU_B16] = shr_u16, [EMU_B32] = shr_u32, [EMU_B64] = shr_u64, [EMU_U16] = shr_u16, [EMU_U32] = shr_u32,
    [EMU_U64] = shr_u64, [EMU_S16] = shr_s16, [EMU_S32] = shr_s32, [EMU_S64] = shr_s64};

// "shf": c is the amount; left gives the upper word of {b, a} << n, right the lower one of {b, a} >> n.
static inline uint32_t funnel_amount(uint32_t c, bool wrap) {
    return wrap ? c & 31 : c > 32 ? 32 : c;
}
EMU_TERNARY(shf_left, EMU_T_U32,
            (uint32_t)(((uint64_t)b << 32 | a)
                           << funnel_amount(c, instruction->form.words[EMU_GROUP_MODE] == EMU_W_WRAP) >>
                       32))
EMU_TERNARY(shf_right, EMU_T_U32,
            (uint32_t)(((uint64_t)b << 32 | a) >>
                       funnel_amount(c, instruction->form.words[EMU_GROUP_MODE] == EMU_W_WRAP)))

EMU_EXECUTE(lop3) {
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2), *cs = EMU_32(3);
    uint32_t table = EMU_32(4)[0];
    uint32_t m[8];
    for (int i = 0; i < 8; i++) m[i] = (table >> i & 1) != 0 ? 0xffffffffu : 0;
    EMU_EACH_LANE({
        uint32_t a = as[lane], b = bs[lane], c = cs[lane];
        uint32_t low = (m[0] & ~b & ~c) | (m[1] & ~b & c) | (m[2] & b & ~c) | (m[3] & b & c);
        uint32_t high = (m[4] & ~b & ~c) | (m[5] & ~b & c) | (m[6] & b & ~c) | (m[7] & b & c);
        d[lane] = (~a & low) | (a & high);
    });
}

EMU_EXECUTE(lop3_predicate) { // d|p, a, b, c, table, q: p = (d != 0) with q by the form's operation
    const uint32_t *as = EMU_32(2), *bs = EMU_32(3), *cs = EMU_32(4);
    uint32_t table = EMU_32(5)[0], not_zero = 0, q = EMU_PREDICATE(6);
    EMU_EACH_LANE({
        uint32_t value = 0;
        for (uint32_t bit = 0; bit < 32; bit++) {
            uint32_t at = (as[lane] >> bit & 1) << 2 | (bs[lane] >> bit & 1) << 1 | (cs[lane] >> bit & 1);
            value |= (table >> at & 1) << bit;
        }
        EMU_32(0)[lane] = value;
        not_zero |= (uint32_t)(value != 0) << lane;
    });
    if (instruction->negated) q = ~q;
    emu_set_predicate(&EMU_PREDICATE(1), mask, EMU_WORD_OF(OPERATION) == EMU_W_AND ? not_zero & q : not_zero | q);
}

EMU_UNARY(popc_32, EMU_T_U32, (uint32_t)__builtin_popcount(a))
EMU_UNARY(clz_32, EMU_T_U32, a == 0 ? 32u : (uint32_t)__builtin_clz(a))
EMU_CONVERT(popc_64, EMU_T_U32, EMU_T_U64, (uint32_t)__builtin_popcountll(a))
EMU_CONVERT(clz_64, EMU_T_U32, EMU_T_U64, a == 0 ? 64u : (uint32_t)__builtin_clzll(a))

static inline uint32_t reversed(uint32_t a) {
    a = (a >> 1 & 0x55555555u) | (a & 0x55555555u) << 1;
    a = (a >> 2 & 0x33333333u) | (a & 0x33333333u) << 2;
    a = (a >> 4 & 0x0f0f0f0fu) | (a & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(a);
}
EMU_UNARY(brev_32, EMU_T_U32, reversed(a))
EMU_UNARY(brev_64, EMU_T_U64, (uint64_t)reversed((uint32_t)a) << 32 | reversed((uint32_t)(a >> 32)))

// "bfind": the place of the highest bit that differs from the sign; all ones where there is none.
static inline uint32_t highest_bit(uint64_t a, unsigned width, bool shift_amount) {
    if (a == 0) return 0xffffffffu;
    uint32_t at = 63u - (uint32_t)__builtin_clzll(a);
    return shift_amount ? width - 1 - at : at;
}
#define IS_SHIFT emu_form_flag(&instruction->form, EMU_W_SHIFTAMT)
EMU_UNARY(bfind_u32, EMU_T_U32, highest_bit(a, 32, IS_SHIFT))
EMU_UNARY(bfind_s32, EMU_T_S32, highest_bit((uint32_t)(a < 0 ? ~a : a), 32, IS_SHIFT))
EMU_CONVERT(bfind_u64, EMU_T_U32, EMU_T_U64, highest_bit(a, 64, IS_SHIFT))
EMU_CONVERT(bfind_s64, EMU_T_U32, EMU_T_S64, highest_bit((uint64_t)(a < 0 ? ~a : a), 64, IS_SHIFT))
static const emu_execute_fn bfind_types[EMU_NUM_TYPES] = {
    [EMU_U32] = bfind_u32, [EMU_S32] = bfind_s32, [EMU_U64] = bfind_u64, [EMU_S64] = bfind_s64};

// "bfe": position and length are the low bytes of b and c; beyond the top, the sign (of .s types) fills.
static inline uint64_t extract(uint64_t a, uint32_t position, uint32_t length, unsigned width, bool is_signed) {
    position &= 255;
    length &= 255;
    unsigned top = width - 1;
    uint64_t sign = 0, field = 0;
    if (is_signed && length > 0) {
        unsigned sign_at = position + length - 1 < top ? position + length - 1 : top;
        sign = a >> sign_at & 1;
    }
    if (position <= top) field = a >> position;
    if (position > top) field = 0;
    unsigned kept = position > top ? 0 : length < width - position ? length : width - position;
    if (length == 0) return 0;
    uint64_t ones = kept >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << kept) - 1;
    return (field & ones) | (sign != 0 ? ~ones : 0);
}
#define FIELD(name, lane_type, width, is_signed)                                                                       \
    EMU_EXECUTE(bfe_##name) {                                                                                          \
        lane_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = emu_lanes(warp, instruction->operands[1]);                                               \
        const uint32_t *bs = EMU_32(2), *cs = EMU_32(3);                                                               \
        EMU_EACH_LANE({ d[lane] = (lane_type)extract(as[lane], bs[lane], cs[lane], width, is_signed); });              \
    }
FIELD(u32, uint32_t, 32, false)
FIELD(s32, uint32_t, 32, true)
FIELD(u64, uint64_t, 64, false)
FIELD(s64, uint64_t, 64, true)
static const emu_execute_fn bfe_types[EMU_NUM_TYPES] = {
    [EMU_U32] = bfe_u32, [EMU_S32] = bfe_s32, [EMU_U64] = bfe_u64, [EMU_S64] = bfe_s64};

// "bfi": bits of a into b at position c, length d.
static inline uint64_t insert(uint64_t a, uint64_t b, uint32_t position, uint32_t length, unsigned width) {
    position &= 255;
    length &= 255;
    if (position >= width || length == 0) return b;
    uint64_t ones = length >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << length) - 1;
    ones <<= position;
    return (b & ~ones) | (a << position & ones);
}
#define INSERT(name, lane_type, width)                                                                                 \
    EMU_EXECUTE(bfi_##name) {                                                                                          \
        lane_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = emu_lanes(warp, instruction->operands[1]);                                               \
        const lane_type *bs = emu_lanes(warp, instruction->operands[2]);                                               \
        const uint32_t *cs = EMU_32(3), *ds = EMU_32(4);                                                               \
        EMU_EACH_LANE({ d[lane] = (lane_type)insert(as[lane], bs[lane], cs[lane], ds[lane], width); });                \
    }
INSERT(32, uint32_t, 32)
INSERT(64, uint64_t, 64)

EMU_BINARY(bmsk_clamp, EMU_T_U32, insert(0xffffffffu, 0, a > 32 ? 32 : a, b > 32 ? 32 : b, 32))
EMU_BINARY(bmsk_wrap, EMU_T_U32, insert(0xffffffffu, 0, a & 31, b & 31, 32))
EMU_BINARY(szext_clamp_u32, EMU_T_U32, b > 31 ? a : a & ((1u << b) - 1))

// "prmt": each nibble of c picks one of eight bytes, its top bit the sign of that byte instead.
static inline uint32_t permute(uint32_t a, uint32_t b, uint32_t c) {
    uint64_t bytes = (uint64_t)b << 32 | a;
    uint32_t d = 0;
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t selector = c >> 4 * i & 15, byte = (uint32_t)(bytes >> 8 * (selector & 7)) & 255;
        if ((selector & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
        d |= byte << 8 * i;
    }
    return d;
}
EMU_TERNARY(prmt, EMU_T_U32, permute(a, b, c))

// The modes of "prmt" that have names: their nibbles for each value of the two low bits of c.
static inline uint32_t named_selector(enum emu_word mode, uint32_t c) {
    static const uint16_t f4e[4] = {0x3210, 0x4321, 0x5432, 0x6543}, b4e[4] = {0x5670, 0x6701, 0x7012, 0x0123};
    static const uint16_t rc8[4] = {0x0000, 0x1111, 0x2222, 0x3333}, ecl[4] = {0x3210, 0x3211, 0x3222, 0x3333};
    static const uint16_t ecr[4] = {0x0000, 0x1110, 0x2210, 0x3210}, rc16[4] = {0x1010, 0x3232, 0x1010, 0x3232};
    switch (mode) {
    case EMU_W_F4E: return f4e[c & 3];
    case EMU_W_B4E: return b4e[c & 3];
    case EMU_W_RC8: return rc8[c & 3];
    case EMU_W_ECL: return ecl[c & 3];
    case EMU_W_ECR: return ecr[c & 3];
    default: return rc16[c & 3];
    }
}
EMU_TERNARY(prmt_named, EMU_T_U32,
            permute(a, b, named_selector((enum emu_word)instruction->form.words[EMU_GROUP_MODE], c)))

#define ROW .instruction_class = EMU_CLASS_INTEGER
static const struct emu_row rows[] = {
    {"and", "T", "d0 s0 s0", .by_type = and_types, ROW},
    {"or", "T", "d0 s0 s0", .by_type = or_types, ROW},
    {"xor", "T", "d0 s0 s0", .by_type = xor_types, ROW},
    {"not", "T", "d0 s0", .by_type = not_types, ROW},
    {"cnot", "T", "d0 s0", .by_type = cnot_types, ROW},
    {"shl", "T", "d0 s0 s32", .by_type = shl_types, ROW},
    {"shr", "T", "d0 s0 s32", .by_type = shr_types, ROW},
    {"shf", "l clamp|wrap b32", "d32 s32 s32 s32", shf_left, ROW},
    {"shf", "r clamp|wrap b32", "d32 s32 s32 s32", shf_right, ROW},
    {"lop3", "b32", "d32 s32 s32 s32 i32", lop3, ROW},
    {"lop3", "and|or b32", "d32 |p s32 s32 s32 i32 sp", lop3_predicate, ROW},
    {"popc", "b32", "d32 s32", popc_32, ROW},
    {"popc", "b64", "d32 s64", popc_64, ROW},
    {"clz", "b32", "d32 s32", clz_32, ROW},
    {"clz", "b64", "d32 s64", clz_64, ROW},
    {"brev", "b32", "d32 s32", brev_32, ROW},
    {"brev", "b64", "d64 s64", brev_64, ROW},
    {"bfind", "?shiftamt T", "d32 s0", .by_type = bfind_types, ROW},
    {"bfe", "T", "d0 s0 s32 s32", .by_type = bfe_types, ROW},
    {"bfi", "b32", "d32 s32 s32 s32 s32", bfi_32, ROW},
    {"bfi", "b64", "d64 s64 s64 s32 s32", bfi_64, ROW},
    {"bmsk", "clamp b32", "d32 s32 s32", bmsk_clamp, ROW},
    {"bmsk", "wrap b32", "d32 s32 s32", bmsk_wrap, ROW},
    {"szext", "clamp u32", "d32 s32 s32", szext_clamp_u32, ROW},
    {"prmt", "b32", "d32 s32 s32 s32", prmt, ROW},
    {"prmt", "b32 f4e|b4e|rc8|ecl|ecr|rc16", "d32 s32 s32 s32", prmt_named, ROW},
};
EMU_ROWS(emu_rows_bits, rows);
