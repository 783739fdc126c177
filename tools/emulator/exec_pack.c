// cvt to and from pairs: halves, fp8, fp6, fp4; cvt.pack (PTX ISA "cvt", "cvt.pack").
#include <math.h>

#include "arithmetic.h"
#include "exec_types.h"

static const struct emu_format *format_of(enum emu_type type) {
    switch (type) {
    case EMU_F16X2: return &emu_format_f16;
    case EMU_BF16X2: return &emu_format_bf16;
    case EMU_E4M3X2: return &emu_format_e4m3;
    case EMU_E5M2X2: return &emu_format_e5m2;
    case EMU_E2M1X2: return &emu_format_e2m1;
    case EMU_E2M3X2: return &emu_format_e2m3;
    default: return &emu_format_e3m2;
    }
}

// fp6 codes lie in bytes of their own, fp4 codes share one.
static uint32_t step_of(enum emu_type type) {
    return type == EMU_F16X2 || type == EMU_BF16X2 ? 16 : type == EMU_E2M1X2 ? 4 : 8;
}

static uint32_t narrow(const struct emu_instruction *instruction, const struct emu_format *format, double value) {
    bool saturate = EMU_FLAG(SATFINITE);
    enum emu_rounding rounding = EMU_WORD_OF(ROUNDING) == EMU_W_RZ ? EMU_ROUND_ZERO : EMU_ROUND_NEAREST;
    if (EMU_FLAG(RELU) && !(value > 0) && !isnan(value)) value = 0;
    return emu_format_round(format, value, rounding, saturate);
}

// d, a, b: a goes to the upper half.
EMU_EXECUTE(pack_f32) {
    enum emu_type to = (enum emu_type)instruction->form.types[0];
    const struct emu_format *format = format_of(to);
    uint32_t *d = EMU_32(0), step = step_of(to);
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2);
    EMU_EACH_LANE({
        uint32_t high = narrow(instruction, format, (double)emu_float(as[lane]));
        d[lane] = high << step | narrow(instruction, format, (double)emu_float(bs[lane]));
    });
}

EMU_EXECUTE(pack_bf16x2) {
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2);
    EMU_EACH_LANE({ d[lane] = emu_bf16_round(emu_float(as[lane])) << 16 | emu_bf16_round(emu_float(bs[lane])); });
}

EMU_EXECUTE(pack_f16x2) {
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2);
    EMU_EACH_LANE({ d[lane] = emu_f16_round(emu_float(as[lane])) << 16 | emu_f16_round(emu_float(bs[lane])); });
}

static emu_execute_fn choose_pack(const struct emu_form *form) {
    bool plain = form->words[EMU_GROUP_ROUNDING] == EMU_W_RN && !emu_form_flag(form, EMU_W_RELU) &&
                 !emu_form_flag(form, EMU_W_SATFINITE);
    if (!plain) return pack_f32;
    return form->types[0] == EMU_BF16X2 ? pack_bf16x2 : pack_f16x2;
}

// Between pairs: from f16x2 down, or up to f16x2 and bf16x2.
EMU_EXECUTE(convert_pair) {
    enum emu_type to = (enum emu_type)instruction->form.types[0], from = (enum emu_type)instruction->form.types[1];
    const struct emu_format *to_format = format_of(to), *from_format = format_of(from);
    uint32_t *d = EMU_32(0), to_step = step_of(to), from_step = step_of(from);
    const uint32_t *as = EMU_32(1);
    uint32_t code = (1u << from_step) - 1;
    EMU_EACH_LANE({
        double low = emu_format_value(from_format, as[lane] & code);
        double high = emu_format_value(from_format, as[lane] >> from_step & code);
        d[lane] = narrow(instruction, to_format, high) << to_step | narrow(instruction, to_format, low);
    });
}

// ue8m0: powers of two, an exponent alone.
static uint32_t power_of_two(const struct emu_instruction *instruction, float value) {
    uint32_t bits = emu_bits(value) & 0x7fffffffu, exponent = bits >> 23;
    if (bits > 0x7f800000u) return 0xff;
    if (bits == 0x7f800000u) return 0xfe;
    bool up = EMU_WORD_OF(ROUNDING) == EMU_W_RP;
    if (exponent == 0) return up && bits > 0x400000u ? 1 : 0; // 2^-127 is half the smallest normal number
    if (up && (bits & 0x7fffffu) != 0) exponent++;
    return exponent > 0xfe ? 0xfe : exponent;
}
EMU_EXECUTE(pack_ue8m0) {
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2);
    EMU_EACH_LANE({
        d[lane] = power_of_two(instruction, emu_float(as[lane])) << 8 | power_of_two(instruction, emu_float(bs[lane]));
    });
}
static uint32_t bf16_of_power(uint32_t code) {
    return code == 0xff ? 0x7fff : code == 0 ? 0x0040 : code << 7;
}
EMU_EXECUTE(unpack_ue8m0) {
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1);
    EMU_EACH_LANE({ d[lane] = bf16_of_power(as[lane] >> 8 & 255) << 16 | bf16_of_power(as[lane] & 255); });
}

// cvt.pack.sat: two s32 clamped to 16 or 8 bits; with four 8-bit lanes c goes above.
static uint32_t clamped(int32_t value, bool is_signed, int bits) {
    int32_t largest = is_signed ? (1 << (bits - 1)) - 1 : (1 << bits) - 1,
            smallest = is_signed ? -(1 << (bits - 1)) : 0;
    int32_t kept = value > largest ? largest : value < smallest ? smallest : value;
    return (uint32_t)kept & (uint32_t)((1 << bits) - 1);
}
EMU_EXECUTE(pack_integers) {
    enum emu_type to = (enum emu_type)instruction->form.types[0];
    bool is_signed = to == EMU_S16 || to == EMU_S8;
    int bits = to == EMU_S16 || to == EMU_U16 ? 16 : 8;
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2), *cs = bits == 8 && EMU_HAS(3) ? EMU_32(3) : NULL;
    EMU_EACH_LANE({
        uint32_t pair =
            clamped((int32_t)as[lane], is_signed, bits) << bits | clamped((int32_t)bs[lane], is_signed, bits);
        d[lane] = bits == 8 ? (cs != NULL ? cs[lane] << 16 : 0) | pair : pair;
    });
}

#define ROW .instruction_class = EMU_CLASS_FLOAT
static const struct emu_row rows[] = {
    {"cvt", "rn|rz ?relu ?satfinite f16x2|bf16x2 f32", "d0 s1 s1", .choose = choose_pack, ROW},
    {"cvt", "rn satfinite ?relu e4m3x2|e5m2x2 f32", "d0 s1 s1", pack_f32, ROW, .arch = 89},
    {"cvt", "rn satfinite ?relu e4m3x2|e5m2x2 f16x2", "d0 s1", convert_pair, ROW, .arch = 89},
    {"cvt", "rn ?relu f16x2 e4m3x2|e5m2x2", "d0 s1", convert_pair, ROW, .arch = 89},
    {"cvt", "rn satfinite ?relu e2m1x2|e2m3x2|e3m2x2 f32", "d0 s1 s1", pack_f32, ROW, .arch = 100, .arch_a = true},
    {"cvt", "rn ?relu f16x2 e2m1x2|e2m3x2|e3m2x2", "d0 s1", convert_pair, ROW, .arch = 100, .arch_a = true},
    {"cvt", "rz|rp satfinite ue8m0x2 f32", "d0 s1 s1", pack_ue8m0, ROW, .arch = 100, .arch_a = true},
    {"cvt", "rn bf16x2 ue8m0x2", "d0 s1", unpack_ue8m0, ROW, .arch = 100, .arch_a = true},
    {"cvt", "pack sat u16|s16 s32", "d32 s32 s32", pack_integers, ROW},
    {"cvt", "pack sat u8|s8 s32 b32", "d32 s32 s32 s32?", pack_integers, ROW},
};
EMU_ROWS(emu_rows_pack, rows);
