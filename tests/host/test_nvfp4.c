// Formats against exhaustive tables.
#include "../cmocka_all.h"

#include <math.h>
#include <string.h>

#include "moe/nvfp4.h"

static void e2m1_has_the_sixteen_values(void **state) {
    static const double values[16] = {0, .5, 1, 1.5, 2, 3, 4, 6, -0.0, -.5, -1, -1.5, -2, -3, -4, -6};
    (void)state;
    for (unsigned code = 0; code < 16; code++) {
        assert_true((double)mj_e2m1_value(code) == values[code]);
        assert_int_equal(!!signbit(mj_e2m1_value(code)), code >> 3);
    }
}

static void e2m1_rounds_ties_to_even(void **state) {
    static const double ties[][2] = {{0.25, 0}, {0.75, 1}, {1.25, 1}, {1.75, 2}, {2.5, 2},
                                     {3.5, 4},  {5, 4},    {7, 6},    {1e30, 6}};
    (void)state;
    for (size_t i = 0; i < sizeof(ties) / sizeof(ties[0]); i++) {
        float tie = (float)ties[i][0];
        assert_true((double)mj_e2m1_value(mj_e2m1_round(tie)) == ties[i][1]);
        assert_true((double)mj_e2m1_value(mj_e2m1_round(-tie)) == -ties[i][1]);
    }
    for (unsigned code = 0; code < 16; code++) assert_int_equal(mj_e2m1_round(mj_e2m1_value(code)), code);
}

// Bit by bit, from the format's definition.
static void e4m3_has_the_values_of_its_definition(void **state) {
    (void)state;
    for (unsigned byte = 0; byte < 0x7f; byte++) {
        unsigned exponent = byte >> 3, mantissa = byte & 7;
        double value = exponent == 0 ? mantissa / 512.0 : (1 + mantissa / 8.0) * pow(2, (double)exponent - 7);
        assert_true((double)mj_e4m3_value(byte) == value);
        assert_true((double)mj_e4m3_value(byte | 0x80) == -value);
    }
    assert_true(isnan(mj_e4m3_value(0x7f)));
    assert_true((double)mj_e4m3_value(0x7e) == 448);
}

static void e4m3_rounds_every_midpoint_to_even(void **state) {
    (void)state;
    for (unsigned byte = 0; byte < 0x7e; byte++) {
        double low = (double)mj_e4m3_value(byte), high = (double)mj_e4m3_value(byte + 1), middle = (low + high) / 2;
        assert_int_equal(mj_e4m3_round((float)middle), byte % 2 == 0 ? byte : byte + 1);
        assert_int_equal(mj_e4m3_round(nextafterf((float)middle, 0)), byte);
        assert_int_equal(mj_e4m3_round(nextafterf((float)middle, 1000)), byte + 1);
        assert_int_equal(mj_e4m3_round((float)low), byte);
    }
    assert_int_equal(mj_e4m3_round(1e9f), 0x7e);
    assert_int_equal(mj_e4m3_round(INFINITY), 0x7f);
    assert_int_equal(mj_e4m3_round(NAN), 0x7f);
}

static void bf16_and_f16_round_trip_and_break_ties_to_even(void **state) {
    (void)state;
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        float bf16 = mj_bf16_value((uint16_t)bits), f16 = mj_f16_value((uint16_t)bits);
        if (isfinite(bf16)) assert_int_equal(mj_bf16_round((double)bf16), bits);
        if (isfinite(f16)) assert_int_equal(mj_f16_round((double)f16), bits);
        float bf16_up = mj_bf16_value((uint16_t)(bits + 1)), f16_up = mj_f16_value((uint16_t)(bits + 1));
        unsigned even = bits % 2 == 0 ? bits : bits + 1;
        if ((bits & 0x7fff) < 0x7f7f) assert_int_equal(mj_bf16_round(((double)bf16 + (double)bf16_up) / 2), even);
        if ((bits & 0x7fff) < 0x7bff) assert_int_equal(mj_f16_round(((double)f16 + (double)f16_up) / 2), even);
    }
    assert_int_equal(mj_f16_round(65520), 0x7c00);
    assert_int_equal(mj_bf16_round(1e39), 0x7f80);
}

// All 16 x 256 products have at most six significant bits: exact in bf16 and fp16 (docs/numerics.md).
static void products_are_exact_in_sixteen_bits(void **state) {
    (void)state;
    for (unsigned code = 0; code < 16; code++) {
        for (unsigned byte = 0; byte < 0x7f; byte++) {
            double product = (double)mj_e2m1_value(code) * (double)mj_e4m3_value(byte);
            assert_true((double)mj_bf16_value(mj_bf16_round(product)) == product);
            assert_true((double)mj_f16_value(mj_f16_round(product)) == product);
        }
    }
}

static void quantising_follows_the_formula(void **state) {
    (void)state;
    float y[16] = {6, -3, 1.5f, 0.5f, 0.25f, 0.2f, 0, -0.0f, 5, 3.5f, 2.5f, 1.75f, 1.25f, 0.75f, -6, 4};
    static const unsigned want[16] = {7, 13, 3, 1, 0, 0, 0, 8, 6, 6, 4, 4, 2, 2, 15, 6};
    uint8_t codes[8];
    assert_int_equal(mj_nvfp4_quantise(y, 1, codes), 0x38); // max / 6 = 1
    for (unsigned i = 0; i < 16; i++) assert_int_equal(codes[i / 2] >> (i % 2 * 4) & 15, want[i]);
    y[3] = INFINITY;
    assert_int_equal(mj_nvfp4_quantise(y, 1, codes), 0x7f);
    memset(y, 0, sizeof(y));
    assert_int_equal(mj_nvfp4_quantise(y, 1, codes), 0);
}

static void tiled_scales_are_a_permutation(void **state) {
    static unsigned char seen[384 * 8];
    (void)state;
    int rows = 300, blocks = 7; // padded to 384 and 8
    assert_int_equal(mj_nvfp4_scale_bytes(1, rows, blocks), sizeof(seen));
    for (int row = 0; row < rows; row++) {
        for (int block = 0; block < blocks; block++) {
            size_t offset = mj_nvfp4_scale_offset(1, row, block, blocks);
            assert_true(offset < sizeof(seen));
            assert_int_equal(seen[offset]++, 0);
        }
    }
    assert_int_equal(mj_nvfp4_scale_offset(1, 37, 5, blocks), 512 + 5 * 16 + 4 + 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(e2m1_has_the_sixteen_values),
        cmocka_unit_test(e2m1_rounds_ties_to_even),
        cmocka_unit_test(e4m3_has_the_values_of_its_definition),
        cmocka_unit_test(e4m3_rounds_every_midpoint_to_even),
        cmocka_unit_test(bf16_and_f16_round_trip_and_break_ties_to_even),
        cmocka_unit_test(products_are_exact_in_sixteen_bits),
        cmocka_unit_test(quantising_follows_the_formula),
        cmocka_unit_test(tiled_scales_are_a_permutation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
