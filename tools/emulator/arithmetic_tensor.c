#include "arithmetic_tensor.h"

#include <math.h>

#include "arithmetic.h"

#define ROWS EMU_TENSOR_ROWS
#define COLUMNS EMU_TENSOR_COLUMNS
#define MAX_K EMU_TENSOR_MAX_K
#define NO_EXPONENT (-100000) // of zero: it never is the largest, and its terms vanish

// Lanes of a variable shift are one instruction from AVX2 on; a loader's choice, since the build knows no CPU.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

// Eight columns at once.
typedef int32_t eight __attribute__((vector_size(32)));
typedef uint32_t eight_unsigned __attribute__((vector_size(32)));
typedef float eight_floats __attribute__((vector_size(32)));
typedef int64_t eight_wide __attribute__((vector_size(64)));
typedef double eight_doubles __attribute__((vector_size(64)));

// Factors taken apart: |value| = magnitude * 2^(exponent - 10); the sign is 0 or -1.
struct left {
    int32_t exponents[ROWS][MAX_K], magnitudes[ROWS][MAX_K], signs[ROWS][MAX_K];
    uint32_t special; // not 0: an infinity or NaN is among them
};

struct right {
    int32_t exponents[MAX_K][COLUMNS], magnitudes[MAX_K][COLUMNS], signs[MAX_K][COLUMNS];
    uint32_t special;
};

struct parts { // of one tile
    const struct left *a;
    const struct right *b;
    bool half_sums;
};

static const struct {
    uint32_t mantissa_bits, exponent_bits;
    int32_t bias;
    bool has_infinity;
    const struct emu_format *format;
} formats[] = {
    [EMU_TENSOR_F16] = {10, 5, 15, true, &emu_format_f16},
    [EMU_TENSOR_BF16] = {7, 8, 127, true, &emu_format_bf16},
    [EMU_TENSOR_E4M3] = {3, 4, 7, false, &emu_format_e4m3},
    [EMU_TENSOR_E5M2] = {2, 5, 15, true, &emu_format_e5m2},
};

CLONES static uint32_t take_apart(const uint16_t *codes, uint32_t count, enum emu_tensor_format format,
                                  int32_t *exponents, int32_t *magnitudes, int32_t *signs) {
    uint32_t mantissa_bits = formats[format].mantissa_bits, top = (1u << formats[format].exponent_bits) - 1,
             special = 0;
    uint32_t sign_at = mantissa_bits + formats[format].exponent_bits, ones = (1u << mantissa_bits) - 1;
    uint32_t special_from = formats[format].has_infinity ? top << mantissa_bits : (1u << sign_at) - 1;
    int32_t bias = formats[format].bias;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t code = codes[i], magnitude = code & ((1u << sign_at) - 1), exponent = magnitude >> mantissa_bits;
        uint32_t mantissa = (magnitude & ones) | (exponent != 0 ? ones + 1 : 0);
        special |= magnitude >= special_from ? 1u : 0u;
        magnitudes[i] = (int32_t)(mantissa << (10 - mantissa_bits));
        signs[i] = -(int32_t)(code >> sign_at & 1);
        exponents[i] = magnitude == 0 ? NO_EXPONENT : (int32_t)(exponent != 0 ? exponent : 1) - bias;
    }
    return special;
}

static void take_left_apart(const struct emu_tensor_step *step, struct left *left) {
    left->special = 0;
    for (int i = 0; i < ROWS; i++) {
        left->special |= take_apart(step->a[i], step->num_k, step->a_format, left->exponents[i], left->magnitudes[i],
                                    left->signs[i]);
    }
}

static void take_right_apart(const struct emu_tensor_step *step, const uint16_t b[MAX_K][COLUMNS],
                             struct right *right) {
    right->special = take_apart(b[0], step->num_k * COLUMNS, step->b_format, right->exponents[0], right->magnitudes[0],
                                right->signs[0]);
}

// ---- The H100's sums (measured, docs/emulator.md): every term truncated toward zero to 25 bits after the leading one
// of the largest exponent, added exactly, truncated to f32. Assumed for the other archs.

static inline void load_eight(eight *to, const void *from) {
    __builtin_memcpy(to, from, sizeof(*to));
}

// Right by at most 31, of numbers that are not negative.
static inline void shift_down(eight *values, const eight *distances) {
    eight near = *distances < 31;
    *values = (eight)((eight_unsigned)*values >> (eight_unsigned)((*distances & near) | (31 & ~near)));
}

static inline void apply_signs(eight *values, const eight *signs) {
    *values = (*values ^ *signs) - *signs;
}

static inline void raise_to(eight *largest, const eight *exponents) {
    eight above = *exponents > *largest;
    *largest = (*exponents & above) | (*largest & ~above);
}

// Addends as 25 bits after their leading one.
static inline void take_addends_apart(const eight *bits, eight *exponents, eight *magnitudes, eight *signs) {
    eight exponent = *bits >> 23 & 255, subnormal = exponent == 0, mantissa = *bits & 0x7fffff;
    mantissa |= ~subnormal & 0x800000;
    eight zero = mantissa == 0;
    *exponents = ((exponent - subnormal - 127) & ~zero) | (zero & NO_EXPONENT);
    *magnitudes = mantissa << 2;
    *signs = *bits >> 31;
}

static inline void find_largest(const int32_t *a_exponents, const struct right *b, uint32_t num_k, eight *largest) {
    for (uint32_t k = 0; k < num_k; k++) {
        eight exponents;
        load_eight(&exponents, b->exponents[k]);
        exponents += a_exponents[k];
        raise_to(largest, &exponents);
    }
}

// Terms of eight k: each has 27 bits, so their sum fits 32.
static inline void add_products(const struct left *a, int row, const struct right *b, uint32_t first,
                                const eight *largest, eight *total) {
    for (uint32_t k = first; k < first + 8; k++) {
        eight exponents, magnitudes, signs;
        load_eight(&exponents, b->exponents[k]);
        load_eight(&magnitudes, b->magnitudes[k]);
        load_eight(&signs, b->signs[k]);
        eight distances = *largest - a->exponents[row][k] - exponents;
        magnitudes *= a->magnitudes[row][k] << 5; // 20 fraction bits become 25
        signs ^= a->signs[row][k];
        shift_down(&magnitudes, &distances);
        apply_signs(&magnitudes, &signs);
        *total += magnitudes;
    }
}

// Toward zero, or to odd, from doubles that hold the totals exactly: their low 29 bits are what a float has no room
// for.
static inline void truncate_totals(const eight_doubles *totals, const eight *scales, bool to_odd, float *sums) {
    eight_wide bits, exponents = (__builtin_convertvector(*scales, eight_wide) + 1023) << 52;
    eight_doubles cut, factors;
    __builtin_memcpy(&bits, totals, sizeof(bits));
    eight_wide odd = ((bits & 0x1fffffff) != 0) & (to_odd ? 0x20000000 : 0);
    bits = (bits & ~(int64_t)0x1fffffff) | odd;
    __builtin_memcpy(&cut, &bits, sizeof(cut));
    __builtin_memcpy(&factors, &exponents, sizeof(factors));
    eight_floats results = __builtin_convertvector(cut * factors, eight_floats);
    __builtin_memcpy(sums, &results, sizeof(results));
}

static inline void hardware_row(const struct parts *parts, int row, uint32_t num_k, float *sums, eight *scales) {
    eight bits, largest, magnitudes, signs;
    load_eight(&bits, sums);
    take_addends_apart(&bits, &largest, &magnitudes, &signs);
    eight distances = -largest;
    find_largest(parts->a->exponents[row], parts->b, num_k, &largest);
    distances += largest;
    shift_down(&magnitudes, &distances);
    apply_signs(&magnitudes, &signs);
    eight_doubles totals = __builtin_convertvector(magnitudes, eight_doubles);
    for (uint32_t k = 0; k < num_k; k += 8) {
        eight part = {0};
        add_products(parts->a, row, parts->b, k, &largest, &part);
        totals += __builtin_convertvector(part, eight_doubles);
    }
    *scales = largest & (largest > NO_EXPONENT / 2);
    eight exponents = *scales - 25;
    truncate_totals(&totals, &exponents, parts->half_sums, sums);
}

// False where a result leaves the normal floats.
CLONES static bool hardware_step(const struct parts *parts, uint32_t num_k, float sums[ROWS][COLUMNS]) {
    eight outside = {0};
    for (int row = 0; row < ROWS; row++) {
        eight scales;
        hardware_row(parts, row, num_k, sums[row], &scales);
        // A total has at least the last of 25 bits: above 2^-126 from here on. Above, 22 terms below 2^2 do not
        // overflow.
        outside |= (scales <= -100) | (scales >= 120);
    }
    int32_t any = 0;
    for (int j = 0; j < COLUMNS; j++) any |= outside[j];
    return any == 0;
}

// To a float that rounds to f16 as the double would.
static float odd_float(double value) {
    float cut = emu_float(emu_format_round(&emu_format_f32, value, EMU_ROUND_ZERO, false));
    return (double)cut != value ? emu_float(emu_bits(cut) | 1) : cut;
}

// The same where results may be subnormal or overflow.
static float scaled(double total, int32_t scale, bool to_odd) {
    double exact = ldexp(total, scale), magnitude = fabs(exact);
    if (magnitude > 3.4028234663852886e38) return exact < 0 ? -HUGE_VALF : HUGE_VALF;
    return to_odd ? odd_float(exact) : emu_float(emu_format_round(&emu_format_f32, exact, EMU_ROUND_ZERO, false));
}

static float factor_value(enum emu_tensor_format format, uint32_t code) {
    if (format == EMU_TENSOR_BF16) return emu_bf16_value(code);
    return format == EMU_TENSOR_F16 ? emu_f16_value(code) : (float)emu_format_value(formats[format].format, code);
}

static float careful_hardware(const struct parts *parts, uint32_t num_k, int i, int j, float addend) {
    uint32_t bits = emu_bits(addend), exponent = bits >> 23 & 255;
    int64_t mantissa = (int64_t)(bits & 0x7fffffu) | (exponent != 0 ? 0x800000 : 0), total;
    int32_t addend_exponent = mantissa == 0 ? NO_EXPONENT : (int32_t)(exponent != 0 ? exponent : 1) - 127;
    int32_t largest = addend_exponent;
    for (uint32_t k = 0; k < num_k; k++) {
        int32_t sum = parts->a->exponents[i][k] + parts->b->exponents[k][j];
        largest = sum > largest ? sum : largest;
    }
    if (largest <= NO_EXPONENT / 2) return 0;
    int32_t distance = largest - addend_exponent;
    total = mantissa << 2 >> (distance > 62 ? 62 : distance);
    if ((bits >> 31) != 0) total = -total;
    for (uint32_t k = 0; k < num_k; k++) {
        int64_t product = (int64_t)parts->a->magnitudes[i][k] * parts->b->magnitudes[k][j];
        bool negative = parts->a->signs[i][k] != parts->b->signs[k][j];
        distance = largest - parts->a->exponents[i][k] - parts->b->exponents[k][j];
        int64_t magnitude = product << 5 >> (distance > 62 ? 62 : distance);
        total += negative ? -magnitude : magnitude;
    }
    return scaled((double)total, largest - 25, parts->half_sums);
}

// The exact sum, rounded once: doubles that hold each product, added with their errors (TwoSum).
CLONES static void nearest_step(const float a[ROWS][MAX_K], const float b[MAX_K][COLUMNS], uint32_t num_k,
                                bool half_sums, float sums[ROWS][COLUMNS]) {
    for (int i = 0; i < ROWS; i++) {
        double totals[COLUMNS], errors[COLUMNS];
        for (int j = 0; j < COLUMNS; j++) totals[j] = (double)sums[i][j], errors[j] = 0;
        for (uint32_t k = 0; k < num_k; k++) {
            for (int j = 0; j < COLUMNS; j++) {
                double value = (double)a[i][k] * (double)b[k][j], next = totals[j] + value, part = next - totals[j];
                errors[j] += (totals[j] - (next - part)) + (value - part);
                totals[j] = next;
            }
        }
        for (int j = 0; j < COLUMNS; j++) {
            double total = emu_add_to_odd(totals[j], errors[j]);
            sums[i][j] = half_sums ? odd_float(total) : (float)total;
        }
    }
}

static void all_values(const struct emu_tensor_step *step, const uint16_t b_codes[MAX_K][COLUMNS], float a[ROWS][MAX_K],
                       float b[MAX_K][COLUMNS]) {
    for (uint32_t k = 0; k < step->num_k; k++) {
        for (int i = 0; i < ROWS; i++) a[i][k] = factor_value(step->a_format, step->a[i][k]);
        for (int j = 0; j < COLUMNS; j++) b[k][j] = factor_value(step->b_format, b_codes[k][j]);
    }
}

// Infinities and NaN follow IEEE: any order gives the same. Other outputs of the tile are as usual.
static void careful_step(const struct emu_tensor_step *step, const uint16_t b_codes[MAX_K][COLUMNS],
                         const struct parts *parts, float sums[ROWS][COLUMNS], enum emu_sums model) {
    float a[ROWS][MAX_K], b[MAX_K][COLUMNS], nearest[ROWS][COLUMNS];
    all_values(step, b_codes, a, b);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) nearest[i][j] = sums[i][j];
    }
    if (model == EMU_SUMS_NEAREST) nearest_step(a, b, step->num_k, step->half_sums, nearest);
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            double total = (double)sums[i][j];
            for (uint32_t k = 0; k < step->num_k; k++) total += (double)a[i][k] * (double)b[k][j];
            if (isnan(total)) {
                sums[i][j] = emu_float(EMU_NAN_F32);
            } else if (isinf(total)) {
                sums[i][j] = (float)total;
            } else {
                sums[i][j] =
                    model == EMU_SUMS_NEAREST ? nearest[i][j] : careful_hardware(parts, step->num_k, i, j, sums[i][j]);
            }
        }
    }
}

static bool any_special(float sums[ROWS][COLUMNS]) {
    uint32_t special = 0;
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) special |= (emu_bits(sums[i][j]) & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
    }
    return special != 0;
}

static void tile_step(const struct emu_tensor_step *step, const struct left *left, const uint16_t b[MAX_K][COLUMNS],
                      float sums[ROWS][COLUMNS], enum emu_sums model) {
    struct right right;
    struct parts parts = {left, &right, step->half_sums};
    take_right_apart(step, b, &right);
    if (left->special != 0 || right.special != 0 || any_special(sums)) {
        careful_step(step, b, &parts, sums, model);
    } else if (model == EMU_SUMS_NEAREST) {
        float a_values[ROWS][MAX_K], b_values[MAX_K][COLUMNS];
        all_values(step, b, a_values, b_values);
        nearest_step(a_values, b_values, step->num_k, step->half_sums, sums);
    } else {
        float results[ROWS][COLUMNS];
        __builtin_memcpy(results, sums, sizeof(results));
        if (hardware_step(&parts, step->num_k, results)) {
            __builtin_memcpy(sums, results, sizeof(results));
        } else {
            careful_step(step, b, &parts, sums, model);
        }
    }
}

void emu_tensor_tiles(const struct emu_tensor_step *step, uint32_t num_tiles,
                      const uint16_t b[][EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS],
                      float sums[][EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS], enum emu_sums model) {
    struct left left;
    take_left_apart(step, &left);
    for (uint32_t tile = 0; tile < num_tiles; tile++) tile_step(step, &left, b[tile], sums[tile], model);
}

void emu_tensor_step(const struct emu_tensor_step *step, const uint16_t b[EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS],
                     float sums[EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS], enum emu_sums model) {
    struct left left;
    take_left_apart(step, &left);
    tile_step(step, &left, b, sums, model);
}
