// cvt between numbers (PTX ISA "cvt"): between integers, from and to floats. Packed formats are in exec_pack.c.
#include <math.h>

#include "arithmetic.h"
#include "exec_types.h"

// ---- The frequent ones.
EMU_CONVERT(cvt_u64_u32, EMU_T_U64, EMU_T_U32, a)
EMU_CONVERT(cvt_s64_s32, EMU_T_S64, EMU_T_S32, (int64_t)a)
EMU_CONVERT(cvt_u32_u64, EMU_T_U32, EMU_T_U64, a)
EMU_CONVERT(cvt_f32_s32, EMU_T_U32, EMU_T_S32, emu_bits((float)a))
EMU_CONVERT(cvt_f32_u32, EMU_T_U32, EMU_T_U32, emu_bits((float)a))
EMU_CONVERT(cvt_f32_f16, EMU_T_U32, EMU_T_U32, emu_bits_canonical(emu_f16_value(a & 0xffff)))
EMU_CONVERT(cvt_f32_bf16, EMU_T_U32, EMU_T_U32, a << 16)
EMU_CONVERT(cvt_f16_f32, EMU_T_U32, EMU_T_U32, emu_f16_round(emu_float(a)))
EMU_CONVERT(cvt_bf16_f32, EMU_T_U32, EMU_T_U32, emu_bf16_round(emu_float(a)))

// ---- All others: through an integer of 128 bits or a double.
static bool is_float(enum emu_type type) {
    return type == EMU_F16 || type == EMU_BF16 || type == EMU_F32 || type == EMU_F64 || type == EMU_TF32;
}

static bool is_signed(enum emu_type type) {
    return type == EMU_S8 || type == EMU_S16 || type == EMU_S32 || type == EMU_S64;
}

static unsigned width_of(enum emu_type type) {
    switch (type) {
    case EMU_U8:
    case EMU_S8:
    case EMU_B8: return 8;
    case EMU_U16:
    case EMU_S16:
    case EMU_F16:
    case EMU_BF16: return 16;
    case EMU_U64:
    case EMU_S64:
    case EMU_F64: return 64;
    default: return 32;
    }
}

static __int128 integer_value(enum emu_type type, uint64_t bits) {
    unsigned width = width_of(type);
    if (width < 64) bits &= ((uint64_t)1 << width) - 1;
    bool negative = is_signed(type) && (bits >> (width - 1) & 1) != 0;
    return (__int128)bits - (negative ? (__int128)1 << width : 0);
}

static uint64_t integer_clamped(enum emu_type type, __int128 value) {
    unsigned width = width_of(type);
    __int128 one = 1, largest = is_signed(type) ? (one << (width - 1)) - 1 : (one << width) - 1;
    __int128 smallest = is_signed(type) ? -(one << (width - 1)) : 0;
    return (uint64_t)(value > largest ? largest : value < smallest ? smallest : value);
}

static double float_value(enum emu_type type, uint64_t bits) {
    switch (type) {
    case EMU_F16: return (double)emu_f16_value((uint32_t)bits & 0xffff);
    case EMU_BF16: return (double)emu_bf16_value((uint32_t)bits & 0xffff);
    case EMU_F64: return emu_double(bits);
    default: return (double)emu_float((uint32_t)bits);
    }
}

static uint64_t integer_of_float(enum emu_type to, enum emu_type from, double value, enum emu_word rounding) {
    unsigned width = width_of(to);
    if (isnan(value)) { // PTX ISA "cvt": 0, but the middle of the range where 64 bits are met on either side
        return from != EMU_F64 && width != 64 ? 0 : (uint64_t)1 << (width - 1);
    }
    switch (rounding) {
    case EMU_W_RNI: value = nearbyint(value); break;
    case EMU_W_RMI: value = floor(value); break;
    case EMU_W_RPI: value = ceil(value); break;
    default: value = trunc(value); break;
    }
    if (value >= 3.4e38) value = 3.4e38; // beyond any integer, inside 128 bits
    if (value <= -1.7e38) value = -1.7e38;
    return integer_clamped(to, value >= 1.7e38 ? (__int128)1 << 100 : (__int128)value);
}

static enum emu_rounding rounding_of(enum emu_word word) {
    switch (word) {
    case EMU_W_RZ: return EMU_ROUND_ZERO;
    case EMU_W_RM: return EMU_ROUND_DOWN;
    case EMU_W_RP: return EMU_ROUND_UP;
    case EMU_W_RNA: return EMU_ROUND_AWAY;
    default: return EMU_ROUND_NEAREST;
    }
}

static uint64_t bits_of_double(enum emu_type to, double value, enum emu_rounding rounding) {
    switch (to) {
    case EMU_F16: return emu_format_round(&emu_format_f16, value, rounding, false);
    case EMU_BF16: return emu_format_round(&emu_format_bf16, value, rounding, false);
    case EMU_TF32: return (uint64_t)emu_format_round(&emu_format_tf32, value, rounding, false) << 13;
    case EMU_F64: return isnan(value) ? 0x7fffffffffffffffu : emu_double_bits(value);
    default: return emu_format_round(&emu_format_f32, value, rounding, false);
    }
}

// An integer of 64 bits may need more than a double has: its lowest bits become one sticky bit.
static uint64_t float_of_integer(enum emu_type to, __int128 value, enum emu_rounding rounding) {
    unsigned __int128 magnitude = value < 0 ? (unsigned __int128)-value : (unsigned __int128)value;
    if (to == EMU_F64 && rounding == EMU_ROUND_NEAREST) {
        uint64_t word = (uint64_t)magnitude;
        return emu_double_bits(value < 0 ? -(double)word : (double)word);
    }
    if (to == EMU_F64) {
        uint64_t word = (uint64_t)magnitude;
        double nearest = (double)word;
        unsigned __int128 back = (unsigned __int128)nearest;
        bool up = (rounding == EMU_ROUND_UP && value > 0) || (rounding == EMU_ROUND_DOWN && value < 0);
        if (up && back < magnitude) nearest = nextafter(nearest, HUGE_VAL);
        if (!up && back > magnitude) nearest = nextafter(nearest, 0);
        return emu_double_bits(value < 0 ? -nearest : nearest);
    }
    if (magnitude >> 52 != 0) magnitude = (magnitude >> 12 << 12) | ((magnitude & 0xfff) != 0 ? 0x1000 : 0);
    double wide = (double)(uint64_t)magnitude;
    return bits_of_double(to, value < 0 ? -wide : wide, rounding);
}

static uint64_t float_of_float(const struct emu_instruction *instruction, enum emu_type to, double value) {
    enum emu_word word = EMU_WORD_OF(ROUNDING);
    switch (word) { // to a whole number
    case EMU_W_RNI: value = nearbyint(value); break;
    case EMU_W_RZI: value = trunc(value); break;
    case EMU_W_RMI: value = floor(value); break;
    case EMU_W_RPI: value = ceil(value); break;
    default: break;
    }
    if (EMU_FLAG(SAT)) value = value > 0 ? (value < 1 ? value : 1) : 0;
    if (EMU_FLAG(RELU) && value < 0) value = 0;
    if (EMU_FLAG(RELU) && value == 0) value = 0;
    uint64_t bits = bits_of_double(to, value, rounding_of(word));
    if (EMU_FLAG(FTZ) && to == EMU_F32) bits = emu_bits(emu_flush(emu_float((uint32_t)bits)));
    return bits;
}

// NaN hands its bits on from f32 to f64 (made quiet) and back, and from f32 to tf32 with .rna, where a NaN of low bits
// alone becomes an infinity; all others are canonical. Seen on an H100 (docs/emulator.md).
static bool keeps_nan(const struct emu_instruction *instruction, uint64_t bits, uint64_t *result) {
    enum emu_type to = (enum emu_type)instruction->form.types[0], from = (enum emu_type)instruction->form.types[1];
    enum emu_word rounding = EMU_WORD_OF(ROUNDING);
    bool to_whole = rounding == EMU_W_RNI || rounding == EMU_W_RZI || rounding == EMU_W_RMI || rounding == EMU_W_RPI;
    if (EMU_FLAG(SAT) || EMU_FLAG(RELU) || EMU_FLAG(SATFINITE) || to_whole || !isnan(float_value(from, bits)))
        return false;
    uint64_t payload = bits & 0x7fffffu;
    if (from == EMU_F32 && to == EMU_F64) {
        *result = (bits >> 31 & 1) << 63 | 0x7ff0000000000000u | EMU_QUIET_F64 | payload << 29;
    } else if (from == EMU_F64 && to == EMU_F32) {
        *result = bits >> 63 << 31 | 0x7fc00000u | (bits >> 29 & 0x7fffffu);
    } else if (from == EMU_F32 && to == EMU_TF32 && rounding == EMU_W_RNA) {
        *result = bits & 0xffffe000u;
    } else {
        return false;
    }
    return true;
}

static uint64_t convert(const struct emu_instruction *instruction, uint64_t bits) {
    enum emu_type to = (enum emu_type)instruction->form.types[0], from = (enum emu_type)instruction->form.types[1];
    if (!is_float(from)) {
        __int128 value = integer_value(from, bits);
        if (is_float(to)) return float_of_integer(to, value, rounding_of(EMU_WORD_OF(ROUNDING)));
        return EMU_FLAG(SAT) ? integer_clamped(to, value) : (uint64_t)value;
    }
    uint64_t kept;
    if (is_float(to) && keeps_nan(instruction, bits, &kept)) return kept;
    double value = float_value(from, bits);
    // To f16 an H100 ignores .ftz: directed rounding of a subnormal source gives the smallest f16.
    if (EMU_FLAG(FTZ) && from == EMU_F32 && to != EMU_F16) value = (double)emu_flush((float)value);
    if (is_float(to)) return float_of_float(instruction, to, value);
    return integer_of_float(to, from, value, EMU_WORD_OF(ROUNDING));
}

// A register wider than the type takes the sign with it.
static uint64_t extend(enum emu_type to, uint64_t bits, unsigned register_bytes) {
    unsigned width = width_of(to);
    if (width < 64) bits &= ((uint64_t)1 << width) - 1;
    if (is_signed(to) && width < 64 && (bits >> (width - 1) & 1) != 0) bits |= ~(((uint64_t)1 << width) - 1);
    return register_bytes >= 8 ? bits : bits & (((uint64_t)1 << 8 * register_bytes) - 1);
}

EMU_EXECUTE(cvt_any) {
    enum emu_type to = (enum emu_type)instruction->form.types[0];
    unsigned to_bytes = instruction->register_bytes, from_bytes = instruction->source_bytes;
    EMU_EACH_LANE({
        uint64_t bits = from_bytes == 8 ? EMU_64(1)[lane] : EMU_32(1)[lane];
        uint64_t result = extend(to, convert(instruction, bits), to_bytes);
        if (to_bytes == 8) {
            EMU_64(0)[lane] = result;
        } else {
            EMU_32(0)[lane] = (uint32_t)result;
        }
    });
}

// Integers of 32 bits at most in registers as narrow: shifts cut and extend them.
static void cvt_narrow(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask) {
    enum emu_type to = (enum emu_type)instruction->form.types[0], from = (enum emu_type)instruction->form.types[1];
    uint32_t *d = EMU_32(0), cut_from = 32 - width_of(from), cut_to = 32 - width_of(to);
    const uint32_t *as = EMU_32(1);
    const uint32_t kept = instruction->register_bytes < 4 ? (1u << 8 * instruction->register_bytes) - 1 : 0xffffffffu;
    const bool from_signed = is_signed(from), to_signed = is_signed(to);
    EMU_EACH_LANE({
        uint32_t a = as[lane] << cut_from;
        a = from_signed ? (uint32_t)((int32_t)a >> cut_from) : a >> cut_from;
        a <<= cut_to;
        a = to_signed ? (uint32_t)((int32_t)a >> cut_to) : a >> cut_to;
        d[lane] = a & kept;
    });
}

EMU_EXECUTE(cvt_narrow_checked) {
    bool narrow = instruction->register_bytes <= 4 && instruction->source_bytes <= 4;
    (narrow ? cvt_narrow : cvt_any)(warp, instruction, mask);
}

// Whether the frequent executors may be used is known when the operands are, so they check widths: a wider register
// takes the general way.
#define CHECKED(name, to, from)                                                                                        \
    EMU_EXECUTE(name##_checked) {                                                                                      \
        bool plain = instruction->register_bytes == (to) && instruction->source_bytes == (from);                       \
        (plain ? name : cvt_any)(warp, instruction, mask);                                                             \
    }
CHECKED(cvt_u64_u32, 8, 4)
CHECKED(cvt_s64_s32, 8, 4)
CHECKED(cvt_u32_u64, 4, 8)
CHECKED(cvt_f32_s32, 4, 4)
CHECKED(cvt_f32_u32, 4, 4)
CHECKED(cvt_f32_f16, 4, 2)
CHECKED(cvt_f32_bf16, 4, 2)
CHECKED(cvt_f16_f32, 2, 4)
CHECKED(cvt_bf16_f32, 2, 4)

static emu_execute_fn choose(const struct emu_form *form) {
    enum emu_type to = (enum emu_type)form->types[0], from = (enum emu_type)form->types[1];
    enum emu_word rounding = (enum emu_word)form->words[EMU_GROUP_ROUNDING];
    bool plain = !emu_form_flag(form, EMU_W_SAT) && !emu_form_flag(form, EMU_W_RELU) &&
                 !emu_form_flag(form, EMU_W_FTZ) && (rounding == EMU_W_NONE || rounding == EMU_W_RN);
    if (!plain) return cvt_any;
    if (to == EMU_F32 && from == EMU_F16) return cvt_f32_f16_checked;
    if (to == EMU_F32 && from == EMU_BF16) return cvt_f32_bf16_checked;
    if (to == EMU_F16 && from == EMU_F32) return cvt_f16_f32_checked;
    if (to == EMU_BF16 && from == EMU_F32) return cvt_bf16_f32_checked;
    if (to == EMU_F32 && from == EMU_S32) return cvt_f32_s32_checked;
    if (to == EMU_F32 && from == EMU_U32) return cvt_f32_u32_checked;
    if ((to == EMU_U64 || to == EMU_S64) && from == EMU_U32) return cvt_u64_u32_checked;
    if ((to == EMU_U64 || to == EMU_S64) && from == EMU_S32) return cvt_s64_s32_checked;
    if ((to == EMU_U32 || to == EMU_S32) && (from == EMU_U64 || from == EMU_S64)) return cvt_u32_u64_checked;
    bool integers = !is_float(to) && !is_float(from) && rounding == EMU_W_NONE;
    return integers && width_of(to) <= 32 && width_of(from) <= 32 ? cvt_narrow_checked : cvt_any;
}

#define ROW .instruction_class = EMU_CLASS_INTEGER
#define INTEGERS "u8|u16|u32|u64|s8|s16|s32|s64"
#define FLOATS "f16|bf16|f32|f64"
static const struct emu_row rows[] = {
    {"cvt", "?sat " INTEGERS " " INTEGERS, "d0+ s1+", .choose = choose, ROW},
    {"cvt", "?rn|rz|rm|rp ?ftz ?sat " FLOATS " " INTEGERS, "d0+ s1+", .choose = choose, ROW},
    {"cvt", "rni|rzi|rmi|rpi ?ftz ?sat " INTEGERS " " FLOATS, "d0+ s1+", .choose = choose, ROW},
    {"cvt", "?rn|rz|rm|rp|rni|rzi|rmi|rpi ?ftz ?relu ?sat " FLOATS " " FLOATS, "d0+ s1+", .choose = choose, ROW},
    {"cvt", "rna|rn|rz ?relu ?satfinite tf32 f32", "d32 s32", cvt_any, ROW},
};
EMU_ROWS(emu_rows_convert, rows);
