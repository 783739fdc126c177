// Conversions over every value, fma against wider arithmetic, tensor-core sums against their model worked by hand.
#include "../cmocka_all.h"

#include <math.h>

#include "arithmetic.h"

static void conversions_are_nearest_even(void **state) {
    (void)state;
    for (uint32_t half = 0; half < 0x10000; half++) {
        float bf16 = emu_bf16_value(half), f16 = emu_f16_value(half);
        if (bf16 == bf16) assert_int_equal(emu_bf16_round(bf16), half);
        if (f16 == f16) assert_int_equal(emu_f16_round(f16), half);
        if ((half & 0x7fff) >= 0x7bff) continue;
        // The midpoint to the next value, and its neighbours.
        float middle = (f16 + emu_f16_value(half + 1)) / 2;
        uint32_t even = half % 2 == 0 ? half : half + 1;
        assert_int_equal(emu_f16_round(middle), even);
        assert_int_equal(emu_f16_round(nextafterf(middle, copysignf(INFINITY, f16))), half + 1);
        assert_int_equal(emu_f16_round(nextafterf(middle, 0)), half);
    }
    assert_int_equal(emu_bf16_round(NAN), 0x7fff);
    assert_int_equal(emu_f16_round(65519.9f), 0x7bff);
    assert_int_equal(emu_f16_round(-65520.0f), 0xfc00);
}

// All products of one factor set with -0 and some addends, against long double, which holds them exactly.
static void bf16_fma_rounds_once(void **state) {
    (void)state;
    static const uint32_t addends[] = {0x8000, 0x0000, 0x3f80, 0xbf81, 0x4180, 0x0001, 0x7f00, 0xc2ff};
    for (uint32_t a = 0; a < 0x8000; a += 37) {
        for (uint32_t b = 0x101; b < 0x10000; b += 1013) {
            for (size_t i = 0; i < sizeof(addends) / sizeof(addends[0]); i++) {
                long double exact = (long double)emu_bf16_value(a) * (long double)emu_bf16_value(b);
                long double addend = (long double)emu_bf16_value(addends[i]), sum = exact + addend;
                uint32_t got = emu_bf16_fma(a, b, addends[i]);
                if (sum != sum) {
                    assert_int_equal(got, 0x7fff);
                    continue;
                }
                // Whether no neighbour is nearer. (A long double may round the sum itself, far below half a step.)
                long double off = fabsl((long double)emu_bf16_value(got) - sum);
                if (isinf(emu_bf16_value(got))) continue;
                assert_true(off <= fabsl((long double)emu_bf16_value(got + 1) - sum));
                if ((got & 0x7fff) != 0) assert_true(off <= fabsl((long double)emu_bf16_value(got - 1) - sum));
            }
        }
    }
    assert_int_equal(emu_bf16_fma(0x8000, 0x3f80, 0x8000), 0x8000); // -0 * 1 + -0
}

static float step(const float *a, const float *b, float sum, enum emu_sums sums) {
    uint16_t a_bits[16] = {0}, b_bits[16] = {0};
    struct emu_factor fa[16], fb[16];
    for (int i = 0; i < 16; i++) {
        a_bits[i] = (uint16_t)emu_bf16_round(a[i]);
        b_bits[i] = (uint16_t)emu_bf16_round(b[i]);
        fa[i] = emu_factor_of_bf16(a_bits[i]);
        fb[i] = emu_factor_of_bf16(b_bits[i]);
    }
    return emu_tensor_step(fa, fb, a_bits, b_bits, sum, sums);
}

static void tensor_sums_truncate_as_measured(void **state) {
    (void)state;
    float a[16] = {1}, b[16] = {1};
    assert_true(step(a, b, 2, EMU_SUMS_HARDWARE) == 3);
    // 1 + 2^-24: lost in a float; 1 - 2^-25 truncates to the float below 1, while the nearest is 1.
    a[1] = 0x1p-13f, b[1] = -0x1p-12f;
    assert_true(step(a, b, 0, EMU_SUMS_HARDWARE) == 1 - 0x1p-24f);
    assert_true(step(a, b, 0, EMU_SUMS_NEAREST) == 1);
    // 2^-26 is below the 25 bits that are kept beside 1: gone before the sum.
    a[1] = 0x1p-13f, b[1] = -0x1p-13f;
    assert_true(step(a, b, 0, EMU_SUMS_HARDWARE) == 1);
    // Exponents are not normalised: 1.5 * 1.5 counts as exponent 0, so 2^-25 beside it is kept.
    a[0] = b[0] = 1.5f, a[1] = 0x1p-13f, b[1] = -0x1p-12f;
    assert_true(step(a, b, 0, EMU_SUMS_HARDWARE) == nextafterf(2.25f, 0));
    a[0] = INFINITY;
    assert_true(isinf(step(a, b, 0, EMU_SUMS_HARDWARE)));
    b[0] = 0;
    assert_true(isnan(step(a, b, 0, EMU_SUMS_HARDWARE)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions_are_nearest_even),
        cmocka_unit_test(bf16_fma_rounds_once),
        cmocka_unit_test(tensor_sums_truncate_as_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
