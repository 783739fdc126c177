// f16, bf16 and pairs of them (PTX ISA, "Half Precision Floating Point Instructions"). Each rounds once.
#include <math.h>

#include "arithmetic.h"
#include "exec_types.h"

struct half_kind {
    const struct emu_format *format;
    bool is_bf16, is_pair;
};

static struct half_kind kind_of(const struct emu_instruction *instruction) {
    enum emu_type type = (enum emu_type)instruction->form.types[0];
    bool is_bf16 = type == EMU_BF16 || type == EMU_BF16X2;
    return (struct half_kind){is_bf16 ? &emu_format_bf16 : &emu_format_f16, is_bf16,
                              type == EMU_F16X2 || type == EMU_BF16X2};
}

static float value_of(const struct half_kind *kind, uint32_t code) {
    return kind->is_bf16 ? emu_bf16_value(code) : emu_f16_value(code);
}

static uint32_t flush(const struct half_kind *kind, uint32_t code) {
    uint32_t exponent = kind->is_bf16 ? 0x7f80 : 0x7c00;
    return (code & exponent) == 0 ? code & 0x8000 : code;
}

static bool is_nan(const struct half_kind *kind, uint32_t code) {
    return (code & 0x7fff) > (kind->is_bf16 ? 0x7f80u : 0x7c00u);
}

// .ftz, .sat and .relu of a result.
static uint32_t finish(const struct emu_instruction *instruction, const struct half_kind *kind, uint32_t code) {
    if (EMU_FLAG(FTZ)) code = flush(kind, code);
    bool negative = (code & 0x8000) != 0;
    if (EMU_FLAG(SAT)) {
        uint32_t one = kind->is_bf16 ? 0x3f80 : 0x3c00;
        if (is_nan(kind, code) || negative) return 0;
        return code > one ? one : code;
    }
    if (EMU_FLAG(RELU) && negative && !is_nan(kind, code)) return 0;
    return code;
}

typedef uint32_t (*half_fn)(const struct emu_instruction *instruction, const struct half_kind *kind, uint32_t a,
                            uint32_t b, uint32_t c);

#define ONE(kind) ((kind)->is_bf16 ? 0x3f80u : 0x3c00u)

static uint32_t half_add(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)i, (void)c;
    return emu_fma_half(kind->format, a, ONE(kind), b);
}

static uint32_t half_sub(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)i, (void)c;
    return emu_fma_half(kind->format, a, ONE(kind), b ^ 0x8000);
}

static uint32_t half_mul(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)i, (void)c;
    return emu_fma_half(kind->format, a, b, 0x8000); // -0 keeps the sign of a zero product
}

static uint32_t half_fma(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)i;
    return emu_fma_half(kind->format, a, b, c);
}

static uint32_t choose_half(const struct emu_instruction *instruction, const struct half_kind *kind, uint32_t a,
                            uint32_t b, bool is_max) {
    bool a_is_nan = is_nan(kind, a), b_is_nan = is_nan(kind, b);
    uint32_t sign = (a ^ b) & 0x8000;
    if ((a_is_nan && b_is_nan) || (EMU_FLAG(NAN_FLAG) && (a_is_nan || b_is_nan))) return 0x7fff;
    if (EMU_FLAG(ABS)) a &= 0x7fff, b &= 0x7fff;
    if (a_is_nan) a = b; // the other one wins; .xorsign still takes the sign of both
    if (b_is_nan) b = a;
    float x = value_of(kind, a), y = value_of(kind, b);
    bool first = x == y ? ((a & 0x8000) != 0) != is_max : (x < y) != is_max;
    uint32_t result = first ? a : b;
    return EMU_FLAG(XORSIGN) ? (result & 0x7fff) | sign : result;
}

static uint32_t half_min(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)c;
    return choose_half(i, kind, a, b, false);
}

static uint32_t half_max(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)c;
    return choose_half(i, kind, a, b, true);
}

static uint32_t half_function(const struct half_kind *kind, double value) {
    return emu_format_round(kind->format, value, EMU_ROUND_NEAREST, false);
}

static uint32_t half_ex2(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)i, (void)b, (void)c;
    return half_function(kind, exp2((double)value_of(kind, a)));
}

static uint32_t half_tanh(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                          uint32_t c) {
    (void)i, (void)b, (void)c;
    return half_function(kind, tanh((double)value_of(kind, a)));
}

// One function over the halves of each lane's register.
static void apply(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask, half_fn function,
                  int sources) {
    struct half_kind kind = kind_of(instruction);
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1), *bs = sources > 1 ? EMU_32(2) : as, *cs = sources > 2 ? EMU_32(3) : as;
    bool flushes = EMU_FLAG(FTZ);
    EMU_EACH_LANE({
        uint32_t result = 0;
        for (uint32_t shift = 0; shift < (kind.is_pair ? 32u : 16u); shift += 16) {
            uint32_t a = as[lane] >> shift & 0xffff, b = bs[lane] >> shift & 0xffff, c = cs[lane] >> shift & 0xffff;
            if (flushes) a = flush(&kind, a), b = flush(&kind, b), c = flush(&kind, c);
            result |= finish(instruction, &kind, function(instruction, &kind, a, b, c)) << shift;
        }
        d[lane] = result;
    });
}

#define HALF(name, sources)                                                                                            \
    EMU_EXECUTE(exec_##name) {                                                                                         \
        apply(warp, instruction, mask, name, sources);                                                                 \
    }
HALF(half_add, 2)
HALF(half_sub, 2)
HALF(half_mul, 2)
HALF(half_fma, 3)
HALF(half_min, 2)
HALF(half_max, 2)
HALF(half_ex2, 1)
HALF(half_tanh, 1)

// fma.rn.bf16x2 without modifiers, which dequantisation does by the million: a product of bf16 is exact in a float
// unless its exponent leaves a float's; with c zero or the float sum exact there is one rounding left.
static void fma_bf16x2_by_lane(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask) {
    uint32_t *d = EMU_32(0);
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2), *cs = EMU_32(3);
    EMU_EACH_LANE({
        uint32_t result = 0;
        for (uint32_t shift = 0; shift < 32; shift += 16) {
            uint32_t a = as[lane] >> shift & 0xffff, b = bs[lane] >> shift & 0xffff, c = cs[lane] >> shift & 0xffff;
            float product = emu_bf16_value(a) * emu_bf16_value(b), z = emu_bf16_value(c), sum = product + z;
            float magnitude = fabsf(product);
            bool zero = product == 0 && ((a & 0x7fff) == 0 || (b & 0x7fff) == 0); // no underflow
            bool exact =
                magnitude > 1e-30f && magnitude < 1e30f && (z == 0 || (double)sum == (double)product + (double)z);
            // A sum of exponents further apart than a double is wide rounds in the slow way.
            if (exact && z != 0) exact = fabsf(z) > 1e-30f && fabsf(z) < 1e30f && fabsf(sum) > 1e-30f;
            if (exact && z != 0) exact = magnitude < fabsf(z) * 16777216.0f && fabsf(z) < magnitude * 16777216.0f;
            result |= (exact || (zero && z == z) ? emu_bf16_round(sum) : emu_fma_half(&emu_format_bf16, a, b, c))
                      << shift;
        }
        d[lane] = result;
    });
}

// The same with c zero and a product that is zero or well within a float; others set *other.
static inline uint32_t multiply_bf16(uint32_t a, uint32_t b, uint32_t c, uint32_t *other) {
    float product = emu_bf16_value(a) * emu_bf16_value(b), magnitude = fabsf(product);
    uint32_t zero = ((a & 0x7fff) == 0) | ((b & 0x7fff) == 0);
    uint32_t within = (magnitude < 1e30f) & ((magnitude > 1e-30f) | zero);
    *other |= (within ^ 1) | ((c & 0x7fff) != 0);
    uint32_t bits = emu_bits(product + emu_bf16_value(c));
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

EMU_EXECUTE(fma_bf16x2) {
    uint32_t *d = EMU_32(0), results[EMU_LANES], other = 0;
    const uint32_t *as = EMU_32(1), *bs = EMU_32(2), *cs = EMU_32(3);
    EMU_VECTORISE
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        uint32_t a = as[lane], b = bs[lane], c = cs[lane];
        results[lane] = multiply_bf16(a & 0xffff, b & 0xffff, c & 0xffff, &other) |
                        multiply_bf16(a >> 16, b >> 16, c >> 16, &other) << 16;
    }
    if (mask == EMU_FULL_MASK && other == 0) {
        memcpy(d, results, sizeof(results));
    } else {
        fma_bf16x2_by_lane(warp, instruction, mask);
    }
}

static emu_execute_fn choose_fma(const struct emu_form *form) {
    bool plain = !emu_form_flag(form, EMU_W_RELU) && !emu_form_flag(form, EMU_W_SAT);
    return form->types[0] == EMU_BF16X2 && plain ? fma_bf16x2 : exec_half_fma;
}

// .ftz flushes; NaN becomes the canonical one, whatever its sign was (seen on an H100: docs/emulator.md).
static uint32_t half_neg(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)i, (void)b, (void)c;
    return is_nan(kind, a) ? 0x7fff : a ^ 0x8000;
}

static uint32_t half_abs(const struct emu_instruction *i, const struct half_kind *kind, uint32_t a, uint32_t b,
                         uint32_t c) {
    (void)i, (void)b, (void)c;
    return is_nan(kind, a) ? 0x7fff : a & 0x7fff;
}
HALF(half_neg, 1)
HALF(half_abs, 1)

#define ROW .instruction_class = EMU_CLASS_FLOAT
static const struct emu_row rows[] = {
    {"add", "?rn ?ftz ?sat f16|f16x2", "d0 s0 s0", exec_half_add, ROW},
    {"add", "?rn bf16|bf16x2", "d0 s0 s0", exec_half_add, ROW, .arch = 90},
    {"sub", "?rn ?ftz ?sat f16|f16x2", "d0 s0 s0", exec_half_sub, ROW},
    {"sub", "?rn bf16|bf16x2", "d0 s0 s0", exec_half_sub, ROW, .arch = 90},
    {"mul", "?rn ?ftz ?sat f16|f16x2", "d0 s0 s0", exec_half_mul, ROW},
    {"mul", "?rn bf16|bf16x2", "d0 s0 s0", exec_half_mul, ROW, .arch = 90},
    {"fma", "rn ?ftz ?sat f16|f16x2", "d0 s0 s0 s0", exec_half_fma, ROW},
    {"fma", "rn ?ftz ?relu f16|f16x2|bf16|bf16x2", "d0 s0 s0 s0", .choose = choose_fma, ROW},
    {"min", "?ftz ?NaN ?xorsign ?abs f16|f16x2|bf16|bf16x2", "d0 s0 s0", exec_half_min, ROW},
    {"max", "?ftz ?NaN ?xorsign ?abs f16|f16x2|bf16|bf16x2", "d0 s0 s0", exec_half_max, ROW},
    {"neg", "?ftz f16|f16x2|bf16|bf16x2", "d0 s0", exec_half_neg, ROW},
    {"abs", "?ftz f16|f16x2|bf16|bf16x2", "d0 s0", exec_half_abs, ROW},
    {"ex2", "approx ?ftz f16|f16x2|bf16|bf16x2", "d0 s0", exec_half_ex2, ROW},
    {"tanh", "approx f16|f16x2|bf16|bf16x2", "d0 s0", exec_half_tanh, ROW},
};
EMU_ROWS(emu_rows_half, rows);
