// Integer arithmetic and logic (PTX ISA "Integer Arithmetic Instructions", "Logic and Shift Instructions").
#include "exec.h"

// Destination and source lanes as types, and one expression of a, b, c.
#define UNARY(name, D, A, expression)                                                                                  \
    EMU_EXECUTE(name) {                                                                                                \
        D *d = emu_lanes(warp, &instruction->operands[0]);                                                             \
        const A *pa = emu_lanes(warp, &instruction->operands[1]);                                                      \
        EMU_EACH_LANE({                                                                                                \
            A a = pa[lane];                                                                                            \
            d[lane] = (D)(expression);                                                                                 \
        });                                                                                                            \
    }
#define BINARY(name, D, A, expression)                                                                                 \
    EMU_EXECUTE(name) {                                                                                                \
        D *d = emu_lanes(warp, &instruction->operands[0]);                                                             \
        const A *pa = emu_lanes(warp, &instruction->operands[1]);                                                      \
        const A *pb = emu_lanes(warp, &instruction->operands[2]);                                                      \
        EMU_EACH_LANE({                                                                                                \
            A a = pa[lane];                                                                                            \
            A b = pb[lane];                                                                                            \
            d[lane] = (D)(expression);                                                                                 \
        });                                                                                                            \
    }
#define TERNARY(name, D, A, C, expression)                                                                             \
    EMU_EXECUTE(name) {                                                                                                \
        D *d = emu_lanes(warp, &instruction->operands[0]);                                                             \
        const A *pa = emu_lanes(warp, &instruction->operands[1]);                                                      \
        const A *pb = emu_lanes(warp, &instruction->operands[2]);                                                      \
        const C *pc = emu_lanes(warp, &instruction->operands[3]);                                                      \
        EMU_EACH_LANE({                                                                                                \
            A a = pa[lane];                                                                                            \
            A b = pb[lane];                                                                                            \
            C c = pc[lane];                                                                                            \
            d[lane] = (D)(expression);                                                                                 \
        });                                                                                                            \
    }
// The shift amount is 32-bit whatever the type.
#define SHIFT(name, T, expression)                                                                                     \
    EMU_EXECUTE(name) {                                                                                                \
        T *d = emu_lanes(warp, &instruction->operands[0]);                                                             \
        const T *pa = emu_lanes(warp, &instruction->operands[1]);                                                      \
        const uint32_t *pb = EMU_U32(2);                                                                               \
        EMU_EACH_LANE({                                                                                                \
            T a = pa[lane];                                                                                            \
            uint32_t b = pb[lane];                                                                                     \
            d[lane] = (T)(expression);                                                                                 \
        });                                                                                                            \
    }

#define S16(x) ((int32_t)(int16_t)(x))
#define S32(x) ((int32_t)(x))
#define S64(x) ((int64_t)(x))

BINARY(add_u16, uint32_t, uint32_t, (a + b) & 0xffff)
BINARY(sub_u16, uint32_t, uint32_t, (a - b) & 0xffff)
BINARY(mul_lo_u16, uint32_t, uint32_t, (a * b) & 0xffff)
BINARY(and_16, uint32_t, uint32_t, a &b & 0xffff)
BINARY(or_16, uint32_t, uint32_t, (a | b) & 0xffff)
BINARY(xor_16, uint32_t, uint32_t, (a ^ b) & 0xffff)
UNARY(not_16, uint32_t, uint32_t, ~a & 0xffff)
SHIFT(shl_16, uint32_t, b > 15 ? 0 : a << b & 0xffff)
SHIFT(shr_u16, uint32_t, b > 15 ? 0 : (a & 0xffff) >> b)
SHIFT(shr_s16, uint32_t, (uint32_t)(S16(a) >> (b > 15 ? 15 : b)) & 0xffff)

BINARY(add_u32, uint32_t, uint32_t, a + b)
BINARY(sub_u32, uint32_t, uint32_t, a - b)
BINARY(mul_lo_u32, uint32_t, uint32_t, a *b)
BINARY(mul_hi_s32, uint32_t, uint32_t, (uint64_t)(S64(S32(a)) * S32(b)) >> 32)
BINARY(mul_hi_u32, uint32_t, uint32_t, (uint64_t)a *b >> 32)
BINARY(mul_wide_s32, uint64_t, uint32_t, S64(S32(a)) * S32(b))
BINARY(mul_wide_u32, uint64_t, uint32_t, (uint64_t)a *b)
BINARY(mul_wide_u16, uint32_t, uint32_t, (a & 0xffff) * (b & 0xffff))
BINARY(mul_wide_s16, uint32_t, uint32_t, S16(a) * S16(b))
TERNARY(mad_lo_u32, uint32_t, uint32_t, uint32_t, a *b + c)
TERNARY(mad_wide_s32, uint64_t, uint32_t, uint64_t, (uint64_t)(S64(S32(a)) * S32(b)) + c)
TERNARY(mad_wide_u32, uint64_t, uint32_t, uint64_t, (uint64_t)a *b + c)
// Division by zero is unspecified by the ISA; here it gives all ones, as hardware was seen to do.
BINARY(div_s32, uint32_t, uint32_t, b == 0 ? UINT32_MAX : (b == UINT32_MAX ? 0 - a : (uint32_t)(S32(a) / S32(b))))
BINARY(div_u32, uint32_t, uint32_t, b == 0 ? UINT32_MAX : a / b)
BINARY(rem_s32, uint32_t, uint32_t, b == 0 ? a : (b == UINT32_MAX ? 0 : (uint32_t)(S32(a) % S32(b))))
BINARY(rem_u32, uint32_t, uint32_t, b == 0 ? a : a % b)
BINARY(min_s32, uint32_t, uint32_t, S32(a) < S32(b) ? a : b)
BINARY(max_s32, uint32_t, uint32_t, S32(a) > S32(b) ? a : b)
BINARY(min_u32, uint32_t, uint32_t, a < b ? a : b)
BINARY(max_u32, uint32_t, uint32_t, a > b ? a : b)
UNARY(abs_s32, uint32_t, uint32_t, S32(a) < 0 ? 0 - a : a)
UNARY(neg_s32, uint32_t, uint32_t, 0 - a)
UNARY(not_32, uint32_t, uint32_t, ~a)
BINARY(and_32, uint32_t, uint32_t, a &b)
BINARY(or_32, uint32_t, uint32_t, a | b)
BINARY(xor_32, uint32_t, uint32_t, a ^ b)
SHIFT(shl_32, uint32_t, b > 31 ? 0 : a << b)
SHIFT(shr_u32, uint32_t, b > 31 ? 0 : a >> b)
SHIFT(shr_s32, uint32_t, S32(a) >> (b > 31 ? 31 : b))
UNARY(popc_32, uint32_t, uint32_t, __builtin_popcount(a))
UNARY(clz_32, uint32_t, uint32_t, a == 0 ? 32 : __builtin_clz(a))
TERNARY(shf_l_wrap, uint32_t, uint32_t, uint32_t, ((uint64_t)b << 32 | a) << (c & 31) >> 32)
TERNARY(shf_r_wrap, uint32_t, uint32_t, uint32_t, ((uint64_t)b << 32 | a) >> (c & 31))

static uint32_t reverse_bits(uint32_t a) {
    uint32_t d = 0;
    for (int i = 0; i < 32; i++) d |= (a >> i & 1) << (31 - i);
    return d;
}

UNARY(brev_32, uint32_t, uint32_t, reverse_bits(a))

static uint32_t field_mask(uint32_t length) {
    return length > 31 ? UINT32_MAX : (1u << length) - 1;
}

static uint32_t insert_field(uint32_t a, uint32_t b, uint32_t position, uint32_t length) {
    position &= 255;
    length &= 255;
    if (position > 31) return b;
    uint32_t mask = field_mask(length) << position;
    return (b & ~mask) | (a << position & mask);
}

EMU_EXECUTE(bfi_32) {
    uint32_t *d = EMU_U32(0), *a = EMU_U32(1), *b = EMU_U32(2), *position = EMU_U32(3), *length = EMU_U32(4);
    EMU_EACH_LANE(d[lane] = insert_field(a[lane], b[lane], position[lane], length[lane]));
}

static uint32_t extract_field(uint32_t a, uint32_t position, uint32_t length, bool is_signed) {
    position &= 255;
    length &= 255;
    uint32_t field = (position > 31 ? 0 : a >> position) & field_mask(length);
    if (!is_signed || length == 0) return field;
    uint32_t last = position + length - 1, sign = a >> (last > 31 ? 31 : last) & 1; // PTX ISA "bfe"
    return sign ? field | ~field_mask(position > 31 ? 0 : (length > 32 - position ? 32 - position : length)) : field;
}

TERNARY(bfe_u32, uint32_t, uint32_t, uint32_t, extract_field(a, b, c, false))
TERNARY(bfe_s32, uint32_t, uint32_t, uint32_t, extract_field(a, b, c, true))

static uint32_t permute_bytes(uint32_t a, uint32_t b, uint32_t selectors) {
    uint64_t both = (uint64_t)b << 32 | a;
    uint32_t d = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t selector = selectors >> (i * 4) & 15, byte = (uint32_t)(both >> ((selector & 7) * 8)) & 255;
        if (selector & 8) byte = byte & 128 ? 255 : 0; // the sign, replicated
        d |= byte << (i * 8);
    }
    return d;
}

TERNARY(prmt_32, uint32_t, uint32_t, uint32_t, permute_bytes(a, b, c))

static uint32_t lookup(uint32_t a, uint32_t b, uint32_t c, uint32_t table) {
    uint32_t d = 0;
    for (uint32_t row = 0; row < 8; row++) {
        if ((table >> row & 1) == 0) continue;
        d |= (row & 4 ? a : ~a) & (row & 2 ? b : ~b) & (row & 1 ? c : ~c);
    }
    return d;
}

EMU_EXECUTE(lop3_32) {
    uint32_t *d = EMU_U32(0), *a = EMU_U32(1), *b = EMU_U32(2), *c = EMU_U32(3);
    uint32_t table = (uint32_t)instruction->immediate;
    EMU_EACH_LANE(d[lane] = lookup(a[lane], b[lane], c[lane], table));
}

BINARY(add_u64, uint64_t, uint64_t, a + b)
BINARY(sub_u64, uint64_t, uint64_t, a - b)
BINARY(mul_lo_u64, uint64_t, uint64_t, a *b)
BINARY(mul_hi_u64, uint64_t, uint64_t, (unsigned __int128)a *b >> 64)
BINARY(mul_hi_s64, uint64_t, uint64_t, (unsigned __int128)((__int128)S64(a) * S64(b)) >> 64)
TERNARY(mad_lo_u64, uint64_t, uint64_t, uint64_t, a *b + c)
BINARY(div_s64, uint64_t, uint64_t, b == 0 ? UINT64_MAX : (b == UINT64_MAX ? 0 - a : (uint64_t)(S64(a) / S64(b))))
BINARY(div_u64, uint64_t, uint64_t, b == 0 ? UINT64_MAX : a / b)
BINARY(rem_s64, uint64_t, uint64_t, b == 0 ? a : (b == UINT64_MAX ? 0 : (uint64_t)(S64(a) % S64(b))))
BINARY(rem_u64, uint64_t, uint64_t, b == 0 ? a : a % b)
BINARY(min_s64, uint64_t, uint64_t, S64(a) < S64(b) ? a : b)
BINARY(max_s64, uint64_t, uint64_t, S64(a) > S64(b) ? a : b)
BINARY(min_u64, uint64_t, uint64_t, a < b ? a : b)
BINARY(max_u64, uint64_t, uint64_t, a > b ? a : b)
UNARY(neg_s64, uint64_t, uint64_t, 0 - a)
UNARY(not_64, uint64_t, uint64_t, ~a)
BINARY(and_64, uint64_t, uint64_t, a &b)
BINARY(or_64, uint64_t, uint64_t, a | b)
BINARY(xor_64, uint64_t, uint64_t, a ^ b)
SHIFT(shl_64, uint64_t, b > 63 ? 0 : a << b)
SHIFT(shr_u64, uint64_t, b > 63 ? 0 : a >> b)
SHIFT(shr_s64, uint64_t, S64(a) >> (b > 63 ? 63 : b))
UNARY(popc_64, uint32_t, uint64_t, __builtin_popcountll(a))

// Predicates are a bit a lane: one word operation for the warp.
static void set_predicate(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                          uint32_t value) {
    uint32_t *d = &EMU_PREDICATE(0);
    *d = (*d & ~mask) | (value & mask);
}

EMU_EXECUTE(and_predicate) {
    set_predicate(warp, instruction, mask, EMU_PREDICATE(1) & EMU_PREDICATE(2));
}

EMU_EXECUTE(or_predicate) {
    set_predicate(warp, instruction, mask, EMU_PREDICATE(1) | EMU_PREDICATE(2));
}

EMU_EXECUTE(xor_predicate) {
    set_predicate(warp, instruction, mask, EMU_PREDICATE(1) ^ EMU_PREDICATE(2));
}

EMU_EXECUTE(not_predicate) {
    set_predicate(warp, instruction, mask, ~EMU_PREDICATE(1));
}

EMU_EXECUTE(mov_predicate) {
    set_predicate(warp, instruction, mask, EMU_PREDICATE(1));
}
