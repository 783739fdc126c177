// Integer arithmetic (PTX ISA, "Integer Arithmetic Instructions").
#include "exec_types.h"

EMU_BINARY(add_16, EMU_T_U16, (uint32_t)a + b)
EMU_BINARY(add_32, EMU_T_U32, a + b)
EMU_BINARY(add_64, EMU_T_U64, a + b)
EMU_BINARY(sub_16, EMU_T_U16, (uint32_t)a - b)
EMU_BINARY(sub_32, EMU_T_U32, a - b)
EMU_BINARY(sub_64, EMU_T_U64, a - b)
static const emu_execute_fn add_types[EMU_NUM_TYPES] = {[EMU_U16] = add_16, [EMU_S16] = add_16, [EMU_U32] = add_32,
                                                        [EMU_S32] = add_32, [EMU_U64] = add_64, [EMU_S64] = add_64};
static const emu_execute_fn sub_types[EMU_NUM_TYPES] = {[EMU_U16] = sub_16, [EMU_S16] = sub_16, [EMU_U32] = sub_32,
                                                        [EMU_S32] = sub_32, [EMU_U64] = sub_64, [EMU_S64] = sub_64};

static inline int32_t saturated(int64_t value) {
    return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}
EMU_BINARY(add_sat_s32, EMU_T_S32, saturated((int64_t)a + b))
EMU_BINARY(sub_sat_s32, EMU_T_S32, saturated((int64_t)a - b))

EMU_BINARY(mul_lo_16, EMU_T_U16, (uint32_t)a *b)
EMU_BINARY(mul_lo_32, EMU_T_U32, a *b)
EMU_BINARY(mul_lo_64, EMU_T_U64, a *b)
EMU_BINARY(mul_hi_u16, EMU_T_U16, (uint32_t)a *b >> 16)
EMU_BINARY(mul_hi_s16, EMU_T_S16, a *b >> 16)
EMU_BINARY(mul_hi_u32, EMU_T_U32, (uint64_t)a *b >> 32)
EMU_BINARY(mul_hi_s32, EMU_T_S32, (int64_t)a *b >> 32)
EMU_BINARY(mul_hi_u64, EMU_T_U64, (unsigned __int128)a *b >> 64)
EMU_BINARY(mul_hi_s64, EMU_T_S64, (__int128)a *b >> 64)
static const emu_execute_fn mul_lo_types[EMU_NUM_TYPES] = {
    [EMU_U16] = mul_lo_16, [EMU_S16] = mul_lo_16, [EMU_U32] = mul_lo_32,
    [EMU_S32] = mul_lo_32, [EMU_U64] = mul_lo_64, [EMU_S64] = mul_lo_64};
static const emu_execute_fn mul_hi_types[EMU_NUM_TYPES] = {
    [EMU_U16] = mul_hi_u16, [EMU_S16] = mul_hi_s16, [EMU_U32] = mul_hi_u32,
    [EMU_S32] = mul_hi_s32, [EMU_U64] = mul_hi_u64, [EMU_S64] = mul_hi_s64};

// d is twice as wide as a and b; c too, where there is one.
#define WIDE(name, lane_type, wide_type, narrow_type, type)                                                            \
    EMU_EXECUTE(mul_wide_##name) {                                                                                     \
        wide_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = EMU_32(1), *bs = EMU_32(2);                                                              \
        EMU_EACH_LANE({ d[lane] = (wide_type)((type)(narrow_type)as[lane] * (narrow_type)bs[lane]); });                \
    }                                                                                                                  \
    EMU_EXECUTE(mad_wide_##name) {                                                                                     \
        wide_type *d = emu_lanes(warp, instruction->operands[0]);                                                      \
        const lane_type *as = EMU_32(1), *bs = EMU_32(2);                                                              \
        const wide_type *cs = emu_lanes(warp, instruction->operands[3]);                                               \
        EMU_EACH_LANE({ d[lane] = (wide_type)((type)(narrow_type)as[lane] * (narrow_type)bs[lane]) + cs[lane]; });     \
    }
WIDE(u16, uint32_t, uint32_t, uint16_t, uint32_t)
WIDE(s16, uint32_t, uint32_t, int16_t, int32_t)
WIDE(u32, uint32_t, uint64_t, uint32_t, uint64_t)
WIDE(s32, uint32_t, uint64_t, int32_t, int64_t)
static const emu_execute_fn mul_wide_types[EMU_NUM_TYPES] = {
    [EMU_U16] = mul_wide_u16, [EMU_S16] = mul_wide_s16, [EMU_U32] = mul_wide_u32, [EMU_S32] = mul_wide_s32};
static const emu_execute_fn mad_wide_types[EMU_NUM_TYPES] = {
    [EMU_U16] = mad_wide_u16, [EMU_S16] = mad_wide_s16, [EMU_U32] = mad_wide_u32, [EMU_S32] = mad_wide_s32};

EMU_TERNARY(mad_lo_16, EMU_T_U16, (uint32_t)a *b + c)
EMU_TERNARY(mad_lo_32, EMU_T_U32, a *b + c)
EMU_TERNARY(mad_lo_64, EMU_T_U64, a *b + c)
EMU_TERNARY(mad_hi_u16, EMU_T_U16, ((uint32_t)a * b >> 16) + c)
EMU_TERNARY(mad_hi_s16, EMU_T_S16, ((int32_t)a * b >> 16) + c)
EMU_TERNARY(mad_hi_u32, EMU_T_U32, ((uint64_t)a * b >> 32) + c)
EMU_TERNARY(mad_hi_s32, EMU_T_S32, (uint32_t)((int64_t)a *b >> 32) + (uint32_t)c)
EMU_TERNARY(mad_hi_u64, EMU_T_U64, (uint64_t)((unsigned __int128)a *b >> 64) + c)
EMU_TERNARY(mad_hi_s64, EMU_T_S64, (uint64_t)((__int128)a *b >> 64) + (uint64_t)c)
EMU_TERNARY(mad_hi_sat_s32, EMU_T_S32, saturated(((int64_t)a * b >> 32) + c))
static const emu_execute_fn mad_lo_types[EMU_NUM_TYPES] = {
    [EMU_U16] = mad_lo_16, [EMU_S16] = mad_lo_16, [EMU_U32] = mad_lo_32,
    [EMU_S32] = mad_lo_32, [EMU_U64] = mad_lo_64, [EMU_S64] = mad_lo_64};
static const emu_execute_fn mad_hi_types[EMU_NUM_TYPES] = {
    [EMU_U16] = mad_hi_u16, [EMU_S16] = mad_hi_s16, [EMU_U32] = mad_hi_u32,
    [EMU_S32] = mad_hi_s32, [EMU_U64] = mad_hi_u64, [EMU_S64] = mad_hi_s64};

// 24 bits of each factor (PTX ISA "mul24").
static inline int64_t product_24(int32_t a, int32_t b) {
    return (int64_t)((int32_t)((uint32_t)a << 8) >> 8) * ((int32_t)((uint32_t)b << 8) >> 8);
}
EMU_BINARY(mul24_lo_u32, EMU_T_U32, (uint64_t)(a & 0xffffff) * (b & 0xffffff))
EMU_BINARY(mul24_lo_s32, EMU_T_S32, product_24(a, b))
EMU_TERNARY(mad24_lo_u32, EMU_T_U32, (uint64_t)(a & 0xffffff) * (b & 0xffffff) + c)
EMU_TERNARY(mad24_lo_s32, EMU_T_S32, product_24(a, b) + c)

// Division by zero: PTX leaves the result open; this is what H100s and others give, all ones.
EMU_BINARY(div_u16, EMU_T_U16, b == 0 ? 0xffff : a / b)
EMU_BINARY(div_s16, EMU_T_S16, b == 0 ? -1 : a / b)
EMU_BINARY(div_u32, EMU_T_U32, b == 0 ? 0xffffffffu : a / b)
EMU_BINARY(div_s32, EMU_T_S32, b == 0 ? -1 : (int64_t)a / b)
EMU_BINARY(div_u64, EMU_T_U64, b == 0 ? ~(uint64_t)0 : a / b)
EMU_BINARY(div_s64, EMU_T_S64, b == 0 ? -1 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b)
EMU_BINARY(rem_u16, EMU_T_U16, b == 0 ? a : a % b)
EMU_BINARY(rem_s16, EMU_T_S16, b == 0 ? a : a % b)
EMU_BINARY(rem_u32, EMU_T_U32, b == 0 ? a : a % b)
EMU_BINARY(rem_s32, EMU_T_S32, b == 0 ? a : (int64_t)a % b)
EMU_BINARY(rem_u64, EMU_T_U64, b == 0 ? a : a % b)
EMU_BINARY(rem_s64, EMU_T_S64, b == 0 ? a : b == -1 ? 0 : a % b)

#define SIX(name)                                                                                                      \
    {                                                                                                                  \
        [EMU_U16] = name##_u16, [EMU_S16] = name##_s16, [EMU_U32] = name##_u32, [EMU_S32] = name##_s32,                \
        [EMU_U64] = name##_u64, [EMU_S64] = name##_s64                                                                 \
    }
static const emu_execute_fn div_types[EMU_NUM_TYPES] = SIX(div), rem_types[EMU_NUM_TYPES] = SIX(rem);

#define MINMAX(suffix, tuple)                                                                                          \
    EMU_BINARY(min_##suffix, tuple, a < b ? a : b)                                                                     \
    EMU_BINARY(max_##suffix, tuple, a > b ? a : b)
MINMAX(u16, EMU_T_U16)
MINMAX(s16, EMU_T_S16)
MINMAX(u32, EMU_T_U32)
MINMAX(s32, EMU_T_S32)
MINMAX(u64, EMU_T_U64)
MINMAX(s64, EMU_T_S64)
static const emu_execute_fn min_types[EMU_NUM_TYPES] = SIX(min), max_types[EMU_NUM_TYPES] = SIX(max);

// min.relu and max.relu of s32, and of pairs of 16-bit numbers (PTX ISA: sm_90 and up).
static inline int32_t at_least_zero(int32_t value) {
    return value < 0 ? 0 : value;
}
EMU_BINARY(min_relu_s32, EMU_T_S32, at_least_zero(a < b ? a : b))
EMU_BINARY(max_relu_s32, EMU_T_S32, at_least_zero(a > b ? a : b))

EMU_UNARY(neg_16, EMU_T_U16, 0u - a)
EMU_UNARY(neg_32, EMU_T_U32, 0u - a)
EMU_UNARY(neg_64, EMU_T_U64, 0u - a)
EMU_UNARY(abs_s16, EMU_T_S16, a < 0 ? 0u - (uint32_t)a : (uint32_t)a)
EMU_UNARY(abs_s32, EMU_T_S32, a < 0 ? 0u - (uint32_t)a : (uint32_t)a)
EMU_UNARY(abs_s64, EMU_T_S64, a < 0 ? 0u - (uint64_t)a : (uint64_t)a)
static const emu_execute_fn neg_types[EMU_NUM_TYPES] = {[EMU_S16] = neg_16, [EMU_S32] = neg_32, [EMU_S64] = neg_64};
static const emu_execute_fn abs_types[EMU_NUM_TYPES] = {[EMU_S16] = abs_s16, [EMU_S32] = abs_s32, [EMU_S64] = abs_s64};

static inline uint32_t absolute_difference(int32_t a, int32_t b) {
    return a > b ? (uint32_t)a - (uint32_t)b : (uint32_t)b - (uint32_t)a;
}
EMU_TERNARY(sad_u32, EMU_T_U32, c + (a > b ? a - b : b - a))
EMU_TERNARY(sad_s32, EMU_T_S32, (uint32_t)c + absolute_difference(a, b))

// "dp4a": four products of bytes added to c; the signs of a and b by the form's two types.
static inline uint32_t dot_bytes(uint32_t a, uint32_t b, uint32_t c, bool a_signed, bool b_signed) {
    for (int i = 0; i < 4; i++) {
        int32_t x = a_signed ? (int8_t)(a >> 8 * i) : (uint8_t)(a >> 8 * i);
        int32_t y = b_signed ? (int8_t)(b >> 8 * i) : (uint8_t)(b >> 8 * i);
        c += (uint32_t)(x * y);
    }
    return c;
}
EMU_TERNARY(dp4a, EMU_T_U32,
            dot_bytes(a, b, c, instruction->form.types[0] == EMU_S32, instruction->form.types[1] == EMU_S32))

// Carries live in a register of each thread, which "addc" and "subc" read (PTX ISA, "Extended-Precision ...").
static uint8_t *carries(struct emu_warp *warp) {
    return warp->carry;
}
EMU_EXECUTE(add_carry) {
    bool reads = strcmp(instruction->row->name, "addc") == 0, writes = strcmp(instruction->row->form, "cc T") == 0;
    bool wide = instruction->element_bytes == 8;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        uint64_t a = wide ? EMU_64(1)[lane] : EMU_32(1)[lane], b = wide ? EMU_64(2)[lane] : EMU_32(2)[lane];
        unsigned __int128 sum = (unsigned __int128)a + b + (reads ? carries(warp)[lane] : 0u);
        if (wide) {
            EMU_64(0)[lane] = (uint64_t)sum;
        } else {
            EMU_32(0)[lane] = (uint32_t)sum;
        }
        if (writes) carries(warp)[lane] = (uint8_t)(sum >> (wide ? 64 : 32)) & 1;
    }
}
EMU_EXECUTE(sub_borrow) {
    bool reads = strcmp(instruction->row->name, "subc") == 0, writes = strcmp(instruction->row->form, "cc T") == 0;
    bool wide = instruction->element_bytes == 8;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        if ((mask >> lane & 1) == 0) continue;
        uint64_t a = wide ? EMU_64(1)[lane] : EMU_32(1)[lane], b = wide ? EMU_64(2)[lane] : EMU_32(2)[lane];
        unsigned __int128 difference = (unsigned __int128)a - b - (reads ? carries(warp)[lane] : 0u);
        if (wide) {
            EMU_64(0)[lane] = (uint64_t)difference;
        } else {
            EMU_32(0)[lane] = (uint32_t)difference;
        }
        if (writes) carries(warp)[lane] = (uint8_t)(difference >> (wide ? 64 : 32)) & 1;
    }
}
static const emu_execute_fn carry_types[EMU_NUM_TYPES] = {
    [EMU_U32] = add_carry, [EMU_S32] = add_carry, [EMU_U64] = add_carry, [EMU_S64] = add_carry};
static const emu_execute_fn borrow_types[EMU_NUM_TYPES] = {
    [EMU_U32] = sub_borrow, [EMU_S32] = sub_borrow, [EMU_U64] = sub_borrow, [EMU_S64] = sub_borrow};

#define ROW .instruction_class = EMU_CLASS_INTEGER
static const struct emu_row rows[] = {
    {"add", "T", "d0 s0 s0", .by_type = add_types, ROW},
    {"add", "sat s32", "d0 s0 s0", add_sat_s32, ROW},
    {"add", "cc T", "d0 s0 s0", .by_type = carry_types, ROW},
    {"addc", "T", "d0 s0 s0", .by_type = carry_types, ROW},
    {"addc", "cc T", "d0 s0 s0", .by_type = carry_types, ROW},
    {"sub", "T", "d0 s0 s0", .by_type = sub_types, ROW},
    {"sub", "sat s32", "d0 s0 s0", sub_sat_s32, ROW},
    {"sub", "cc T", "d0 s0 s0", .by_type = borrow_types, ROW},
    {"subc", "T", "d0 s0 s0", .by_type = borrow_types, ROW},
    {"subc", "cc T", "d0 s0 s0", .by_type = borrow_types, ROW},
    {"mul", "lo T", "d0 s0 s0", .by_type = mul_lo_types, ROW},
    {"mul", "hi T", "d0 s0 s0", .by_type = mul_hi_types, ROW},
    {"mul", "wide T", "dw s0 s0", .by_type = mul_wide_types, ROW},
    {"mad", "lo T", "d0 s0 s0 s0", .by_type = mad_lo_types, ROW},
    {"mad", "hi T", "d0 s0 s0 s0", .by_type = mad_hi_types, ROW},
    {"mad", "hi sat s32", "d0 s0 s0 s0", mad_hi_sat_s32, ROW},
    {"mad", "wide T", "dw s0 s0 sw", .by_type = mad_wide_types, ROW},
    {"mul24", "lo u32", "d0 s0 s0", mul24_lo_u32, ROW},
    {"mul24", "lo s32", "d0 s0 s0", mul24_lo_s32, ROW},
    {"mad24", "lo u32", "d0 s0 s0 s0", mad24_lo_u32, ROW},
    {"mad24", "lo s32", "d0 s0 s0 s0", mad24_lo_s32, ROW},
    {"div", "T", "d0 s0 s0", .by_type = div_types, ROW},
    {"rem", "T", "d0 s0 s0", .by_type = rem_types, ROW},
    {"min", "T", "d0 s0 s0", .by_type = min_types, ROW},
    {"max", "T", "d0 s0 s0", .by_type = max_types, ROW},
    {"min", "relu s32", "d0 s0 s0", min_relu_s32, ROW, .arch = 90},
    {"max", "relu s32", "d0 s0 s0", max_relu_s32, ROW, .arch = 90},
    {"neg", "T", "d0 s0", .by_type = neg_types, ROW},
    {"abs", "T", "d0 s0", .by_type = abs_types, ROW},
    {"sad", "u32", "d0 s0 s0 s0", sad_u32, ROW},
    {"sad", "s32", "d0 s0 s0 s0", sad_s32, ROW},
    {"dp4a", "u32|s32 u32|s32", "d32 s32 s32 s32", dp4a, ROW},
};
EMU_ROWS(emu_rows_integer, rows);
