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

// Factors taken apart: value = mantissa * 2^(exponent - 10), the mantissa signed.
struct left {
    int32_t exponents[ROWS][MAX_K], mantissas[ROWS][MAX_K];
    uint32_t special; // not 0: an infinity or NaN is among them
};

struct right {
    int32_t exponents[MAX_K][COLUMNS], mantissas[MAX_K][COLUMNS];
    uint32_t special;
};

struct parts { // of one tile
    const struct left *a;
    const struct right *b;
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
                                  int32_t *exponents, int32_t *mantissas) {
    uint32_t mantissa_bits = formats[format].mantissa_bits, top = (1u << formats[format].exponent_bits) - 1,
             special = 0;
    uint32_t sign_at = mantissa_bits + formats[format].exponent_bits, ones = (1u << mantissa_bits) - 1;
    uint32_t special_from = formats[format].has_infinity ? top << mantissa_bits : (1u << sign_at) - 1;
    int32_t bias = formats[format].bias;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t code = codes[i], magnitude = code & ((1u << sign_at) - 1), exponent = magnitude >> mantissa_bits;
        uint32_t mantissa = (magnitude & ones) | (exponent != 0 ? ones + 1 : 0);
        int32_t value = (int32_t)(mantissa << (10 - mantissa_bits));
        special |= magnitude >= special_from ? 1u : 0u;
        mantissas[i] = (code >> sign_at & 1) != 0 ? -value : value;
        exponents[i] = magnitude == 0 ? NO_EXPONENT : (int32_t)(exponent != 0 ? exponent : 1) - bias;
    }
    return special;
}

static void take_left_apart(const struct emu_tensor_step *step, struct left *left) {
    left->special = 0;
    for (int i = 0; i < ROWS; i++) {
        left->special |= take_apart(step->a[i], step->num_k, step->a_format, left->exponents[i], left->mantissas[i]);
    }
}

static void take_right_apart(const struct emu_tensor_step *step, const uint16_t b[MAX_K][COLUMNS],
                             struct right *right) {
    right->special = take_apart(b[0], step->num_k * COLUMNS, step->b_format, right->exponents[0], right->mantissas[0]);
}

// Terms of eight k: each has 27 bits, so their sum fits 32.
static inline void add_products(const int32_t *a_exponents, const int32_t *a_mantissas,
                                const int32_t b_exponents[][COLUMNS], const int32_t b_mantissas[][COLUMNS],
                                const int32_t *largest, int32_t *totals) {
    for (int k = 0; k < 8; k++) {
        for (int j = 0; j < COLUMNS; j++) {
            int32_t distance = largest[j] - a_exponents[k] - b_exponents[k][j];
            int32_t product = a_mantissas[k] * b_mantissas[k][j], sign = product >> 31;
            uint32_t magnitude = (uint32_t)((product ^ sign) - sign) << 5; // 20 fraction bits become 25
            int32_t kept = (int32_t)(magnitude >> (distance > 31 ? 31 : distance));
            totals[j] += (kept ^ sign) - sign;
        }
    }
}

// Toward zero from a double that holds the total exactly: its low 29 bits are what a float has no room for.
static inline float truncated(double total, int32_t scale) {
    double cut = emu_double(emu_double_bits(total) & ~(uint64_t)0x1fffffff);
    return (float)(cut * emu_double((uint64_t)(uint32_t)(scale + 1023) << 52));
}

// H100 (measured, docs/emulator.md): every term truncated toward zero to 25 bits after the leading one of the largest
// exponent, added exactly, truncated to f32. Assumed for the other archs. False where a result leaves the normal
// floats.
CLONES static bool hardware_step(const struct parts *parts, uint32_t num_k, float sums[ROWS][COLUMNS]) {
    int32_t lowest = 0, highest = 0;
    for (int i = 0; i < ROWS; i++) {
        int32_t largest[COLUMNS], addend_exponents[COLUMNS], addends[COLUMNS];
        for (int j = 0; j < COLUMNS; j++) {
            uint32_t bits = emu_bits(sums[i][j]), exponent = bits >> 23 & 255, fraction = bits & 0x7fffffu;
            uint32_t mantissa = fraction | (exponent != 0 ? 0x800000u : 0);
            addends[j] = (int32_t)(mantissa << 2);
            addends[j] = (bits >> 31) != 0 ? -addends[j] : addends[j];
            addend_exponents[j] = mantissa == 0 ? NO_EXPONENT : (int32_t)(exponent != 0 ? exponent : 1) - 127;
            largest[j] = addend_exponents[j];
        }
        for (uint32_t k = 0; k < num_k; k++) {
            for (int j = 0; j < COLUMNS; j++) {
                int32_t exponent = parts->a->exponents[i][k] + parts->b->exponents[k][j];
                largest[j] = exponent > largest[j] ? exponent : largest[j];
            }
        }
        double totals[COLUMNS];
        for (int j = 0; j < COLUMNS; j++) {
            int32_t distance = largest[j] - addend_exponents[j], sign = addends[j] >> 31;
            int32_t kept = ((addends[j] ^ sign) - sign) >> (distance > 31 ? 31 : distance);
            totals[j] = (double)((kept ^ sign) - sign);
        }
        for (uint32_t k = 0; k < num_k; k += 8) {
            int32_t part[COLUMNS] = {0};
            add_products(&parts->a->exponents[i][k], &parts->a->mantissas[i][k], &parts->b->exponents[k],
                         &parts->b->mantissas[k], largest, part);
            for (int j = 0; j < COLUMNS; j++) totals[j] += (double)part[j];
        }
        for (int j = 0; j < COLUMNS; j++) {
            int32_t counted = largest[j] <= NO_EXPONENT / 2 ? 0 : largest[j];
            lowest = counted < lowest ? counted : lowest;
            highest = counted > highest ? counted : highest;
            sums[i][j] = truncated(totals[j], counted - 25);
        }
    }
    // A total has at least the last of 25 bits: above 2^-126 from here on. Above, 22 terms below 2^2 do not overflow.
    return lowest > -100 && highest < 120;
}

// The same where results may be subnormal or overflow.
static float scaled(double total, int32_t scale) {
    double exact = ldexp(total, scale), magnitude = fabs(exact);
    if (magnitude > 3.4028234663852886e38) return exact < 0 ? -HUGE_VALF : HUGE_VALF;
    return emu_float(emu_format_round(&emu_format_f32, exact, EMU_ROUND_ZERO, false));
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
        int64_t product = (int64_t)parts->a->mantissas[i][k] * parts->b->mantissas[k][j];
        distance = largest - parts->a->exponents[i][k] - parts->b->exponents[k][j];
        int64_t magnitude = (product < 0 ? -product : product) << 5 >> (distance > 62 ? 62 : distance);
        total += product < 0 ? -magnitude : magnitude;
    }
    return scaled((double)total, largest - 25);
}

// The exact sum, rounded once: doubles that hold each product, added with their errors (TwoSum).
CLONES static void nearest_step(const float a[ROWS][MAX_K], const float b[MAX_K][COLUMNS], uint32_t num_k,
                                float sums[ROWS][COLUMNS]) {
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
        for (int j = 0; j < COLUMNS; j++) sums[i][j] = (float)emu_add_to_odd(totals[j], errors[j]);
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
    if (model == EMU_SUMS_NEAREST) nearest_step(a, b, step->num_k, nearest);
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
    struct parts parts = {left, &right};
    take_right_apart(step, b, &right);
    if (left->special != 0 || right.special != 0 || any_special(sums)) {
        careful_step(step, b, &parts, sums, model);
    } else if (model == EMU_SUMS_NEAREST) {
        float a_values[ROWS][MAX_K], b_values[MAX_K][COLUMNS];
        all_values(step, b, a_values, b_values);
        nearest_step(a_values, b_values, step->num_k, sums);
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
