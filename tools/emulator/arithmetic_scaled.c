#include "arithmetic_scaled.h"

#include <math.h>

#include "arithmetic.h"
#include "arithmetic_tensor.h"

#define ROWS EMU_SCALED_ROWS
#define COLUMNS EMU_SCALED_COLUMNS
#define K EMU_SCALED_K

// e2m1 * ue4m3 has at most six significant bits: exact in bf16. The one NaN of ue4m3 makes its 16 factors NaN. In whole
// numbers, for this is done 1536 times a step.
static uint16_t factor(uint8_t code, uint8_t scale) {
    static const uint8_t halves[] = {0, 1, 2, 3, 4, 6, 8, 12}; // of the e2m1 magnitudes
    uint32_t exponent = scale >> 3, mantissa = scale & 7;
    if (scale == 0x7f) return 0x7fff;
    uint32_t steps = exponent == 0 ? mantissa : (8 + mantissa) << (exponent - 1); // of 2^-9
    uint32_t bits = emu_bits((float)(halves[code & 7] * steps) * 0x1p-10f);
    return (uint16_t)(bits >> 16 | (uint32_t)(code & 8) << 12);
}

// What sm_120 does with its 64 products is not published and was not measured: taken is what the H100 does with 16,
// four times, K ascending. So the bits are those of mma.m16n8k16 on the same numbers as bf16.
static void add_hardware(const struct emu_scaled_step *step, float sums[ROWS][COLUMNS], enum emu_sums model) {
    struct emu_tensor_step part = {.num_k = 16, .a_format = EMU_TENSOR_BF16, .b_format = EMU_TENSOR_BF16};
    uint16_t b[EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS];
    for (int block = 0; block < EMU_SCALED_BLOCKS; block++) {
        for (int k = 0; k < 16; k++) {
            for (int i = 0; i < ROWS; i++) part.a[i][k] = factor(step->a[i][block * 16 + k], step->a_scales[i][block]);
            for (int j = 0; j < COLUMNS; j++) b[k][j] = factor(step->b[j][block * 16 + k], step->b_scales[j][block]);
        }
        emu_tensor_step(&part, b, sums, model);
    }
}

static bool all_finite(const struct emu_scaled_step *step, float sums[ROWS][COLUMNS]) {
    bool finite = true;
    for (int i = 0; i < ROWS; i++) {
        for (int block = 0; block < EMU_SCALED_BLOCKS; block++) finite &= step->a_scales[i][block] != 0x7f;
        for (int j = 0; j < COLUMNS; j++) finite &= isfinite(sums[i][j]) != 0;
    }
    for (int j = 0; j < COLUMNS; j++) {
        for (int block = 0; block < EMU_SCALED_BLOCKS; block++) finite &= step->b_scales[j][block] != 0x7f;
    }
    return finite;
}

// Products are multiples of 2^-20 below 2^23: doubles add 64 of them exactly, and the addend comes with one rounding.
static void add_nearest(const struct emu_scaled_step *step, float sums[ROWS][COLUMNS]) {
    double a[ROWS][K], b[COLUMNS][K];
    for (int k = 0; k < K; k++) {
        for (int i = 0; i < ROWS; i++)
            a[i][k] = (double)emu_bf16_value(factor(step->a[i][k], step->a_scales[i][k / 16]));
        for (int j = 0; j < COLUMNS; j++)
            b[j][k] = (double)emu_bf16_value(factor(step->b[j][k], step->b_scales[j][k / 16]));
    }
    for (int i = 0; i < ROWS; i++) {
        for (int j = 0; j < COLUMNS; j++) {
            double total = 0;
            for (int k = 0; k < K; k++) total += a[i][k] * b[j][k];
            sums[i][j] = (float)emu_add_to_odd(total, (double)sums[i][j]);
        }
    }
}

void emu_scaled_multiply(const struct emu_scaled_step *step, float sums[ROWS][COLUMNS], enum emu_sums model) {
    if (model == EMU_SUMS_NEAREST && all_finite(step, sums)) {
        add_nearest(step, sums);
    } else {
        add_hardware(step, sums, model);
    }
}
