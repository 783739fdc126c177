// Conversions over every value, fma against wider arithmetic, tensor-core sums against their model worked by hand.
#include "../cmocka_all.h"

#include <math.h>

#include "arithmetic.h"
#include "arithmetic_tensor.h"

static void halves_round_to_nearest_even(void **state) {
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

static const struct {
    const char *name;
    const struct emu_format *format;
    uint32_t codes;
    double largest, smallest;
} formats[] = {
    {"f16", &emu_format_f16, 0x10000, 65504, 0x1p-24}, {"bf16", &emu_format_bf16, 0x10000, 0x1.fep127, 0x1p-133},
    {"e4m3", &emu_format_e4m3, 0x100, 448, 0x1p-9},    {"e5m2", &emu_format_e5m2, 0x100, 57344, 0x1p-16},
    {"e2m1", &emu_format_e2m1, 0x10, 6, 0.5},          {"e2m3", &emu_format_e2m3, 0x40, 7.5, 0.125},
    {"e3m2", &emu_format_e3m2, 0x40, 28, 0.0625},      {"tf32", &emu_format_tf32, 0x80000, 0x1.ffcp127, 0x1p-136},
};

// Every code comes back from its value; between neighbours each mode goes where it should.
static void check_format(const struct emu_format *format, uint32_t codes) {
    for (uint32_t code = 0; code < codes / 2; code++) {
        double value = emu_format_value(format, code), next = emu_format_value(format, code + 1);
        uint32_t minus = codes / 2;
        if (!isfinite(value)) continue;
        for (int mode = EMU_ROUND_NEAREST; mode <= EMU_ROUND_AWAY; mode++) {
            assert_int_equal(emu_format_round(format, value, (enum emu_rounding)mode, false), code);
            assert_int_equal(emu_format_round(format, -value, (enum emu_rounding)mode, false), code | minus);
        }
        if (code == format->largest || !isfinite(next)) continue;
        double middle = (value + next) / 2, above = nextafter(middle, next), below = nextafter(middle, value);
        uint32_t even = code % 2 == 0 ? code : code + 1;
        assert_int_equal(emu_format_round(format, middle, EMU_ROUND_NEAREST, false), even);
        assert_int_equal(emu_format_round(format, middle, EMU_ROUND_AWAY, false), code + 1);
        assert_int_equal(emu_format_round(format, below, EMU_ROUND_NEAREST, false), code);
        assert_int_equal(emu_format_round(format, above, EMU_ROUND_NEAREST, false), code + 1);
        assert_int_equal(emu_format_round(format, above, EMU_ROUND_ZERO, false), code);
        assert_int_equal(emu_format_round(format, below, EMU_ROUND_UP, false), code + 1);
        assert_int_equal(emu_format_round(format, above, EMU_ROUND_DOWN, false), code);
        assert_int_equal(emu_format_round(format, -below, EMU_ROUND_UP, false), code | minus);
        assert_int_equal(emu_format_round(format, -below, EMU_ROUND_DOWN, false), (code + 1) | minus);
    }
}

static void every_format_rounds_in_every_mode(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        const struct emu_format *format = formats[i].format;
        assert_true(emu_format_value(format, format->largest) == formats[i].largest);
        assert_true(emu_format_value(format, 1) == formats[i].smallest);
        check_format(format, formats[i].codes);
        uint32_t beyond = emu_format_round(format, 1e300, EMU_ROUND_NEAREST, true);
        assert_int_equal(beyond, format->largest);
    }
    assert_int_equal(emu_format_round(&emu_format_e4m3, 1e30, EMU_ROUND_NEAREST, false), 0x7f);
    assert_int_equal(emu_format_round(&emu_format_e4m3, (double)INFINITY, EMU_ROUND_NEAREST, true), 0x7e);
    assert_int_equal(emu_format_round(&emu_format_e4m3, (double)NAN, EMU_ROUND_NEAREST, true), 0x7f);
    assert_int_equal(emu_format_round(&emu_format_e4m3, 464, EMU_ROUND_NEAREST, true), 0x7e);
    assert_int_equal(emu_format_round(&emu_format_f16, 65520, EMU_ROUND_NEAREST, false), 0x7c00);
    assert_int_equal(emu_format_round(&emu_format_f16, 65520, EMU_ROUND_ZERO, false), 0x7bff);
    assert_int_equal(emu_format_round(&emu_format_f16, -65520, EMU_ROUND_UP, false), 0xfbff);
    // The e2m1 ties of docs/numerics.md.
    static const double ties[] = {0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5}, rounded[] = {0, 1, 1, 2, 2, 4, 4};
    for (int i = 0; i < 7; i++) {
        uint32_t code = emu_format_round(&emu_format_e2m1, ties[i], EMU_ROUND_NEAREST, true);
        assert_true(emu_format_value(&emu_format_e2m1, code) == rounded[i]);
    }
}

// Whether no neighbour is nearer to the sum, and a tie went to even where a long double holds the sum exactly.
static void check_fma(const struct emu_format *format, uint32_t a, uint32_t b, uint32_t c) {
    long double x = (long double)emu_format_value(format, a), y = (long double)emu_format_value(format, b);
    long double z = (long double)emu_format_value(format, c), sum = x * y + z;
    bool exact = sum - z == x * y && sum - x * y == z;
    uint32_t got = emu_fma_half(format, a, b, c);
    if (isnan(sum)) {
        assert_int_equal(got, 0x7fff);
        return;
    }
    double value = emu_format_value(format, got);
    if (isinf(value)) {
        assert_true(fabsl(sum) > (long double)emu_format_value(format, format->largest));
        return;
    }
    long double off = fabsl((long double)value - sum), up = fabsl((long double)emu_format_value(format, got + 1) - sum);
    assert_true(off <= up && (off != up || !exact || got % 2 == 0));
    if ((got & 0x7fff) == 0) return;
    long double down = fabsl((long double)emu_format_value(format, got - 1) - sum);
    assert_true(off <= down && (off != down || !exact || got % 2 == 0));
}

static void half_fma_rounds_once(void **state) {
    (void)state;
    static const uint32_t addends[] = {0x8000, 0x0000, 0x3f80, 0xbf81, 0x4180, 0x0001, 0x7b00, 0xc2ff, 0x3c01, 0x0401};
    for (uint32_t a = 0; a < 0x8000; a += 37) {
        for (uint32_t b = 0x101; b < 0x10000; b += 1013) {
            for (size_t i = 0; i < sizeof(addends) / sizeof(addends[0]); i++) {
                check_fma(&emu_format_bf16, a, b, addends[i]);
                check_fma(&emu_format_f16, a, b, addends[i]);
            }
        }
    }
    assert_int_equal(emu_fma_half(&emu_format_bf16, 0x8000, 0x3f80, 0x8000), 0x8000); // -0 * 1 + -0
}

static void directed_floats_enclose_the_exact_value(void **state) {
    (void)state;
    uint32_t bits = 1;
    for (int i = 0; i < 20000; i++) {
        bits = bits * 1664525u + 1013904223u;
        float a = emu_float((bits >> 9 & 0x3fffffu) | 0x3f800000u),
              b = emu_float(((bits * 7u) >> 9 & 0x3fffffu) | 0x3f000000u);
        double exact[] = {(double)a + (double)b, (double)a * (double)b, (double)a / (double)b, sqrt((double)a)};
        for (int op = 0; op < 4; op++) {
            float results[3];
            for (int m = 0; m < 3; m++) {
                enum emu_rounding mode = m == 0 ? EMU_ROUND_DOWN : m == 1 ? EMU_ROUND_UP : EMU_ROUND_ZERO;
                results[m] = op == 0   ? emu_add_f32(a, b, mode)
                             : op == 1 ? emu_mul_f32(a, b, mode)
                             : op == 2 ? emu_div_f32(a, b, mode)
                                       : emu_sqrt_f32(a, mode);
            }
            assert_true((double)results[0] <= exact[op] && exact[op] <= (double)results[1] && results[2] == results[0]);
            assert_true(results[0] == results[1] || nextafterf(results[0], INFINITY) == results[1]);
        }
    }
}

static float step(const float *a, const float *b, float sum, enum emu_sums sums) {
    struct emu_tensor_step tile = {.num_k = 16, .a_format = EMU_TENSOR_BF16, .b_format = EMU_TENSOR_BF16};
    uint16_t right[EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS] = {{0}};
    float out[EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS] = {{0}};
    for (int k = 0; k < 16; k++) {
        tile.a[5][k] = (uint16_t)emu_bf16_round(a[k]);
        right[k][3] = (uint16_t)emu_bf16_round(b[k]);
    }
    out[5][3] = sum;
    emu_tensor_step(&tile, right, out, sums);
    return out[5][3];
}

static void tensor_sums_truncate_as_measured(void **state) {
    (void)state;
    float a[16] = {1}, b[16] = {1};
    assert_true(step(a, b, 2, EMU_SUMS_HARDWARE) == 3);
    // 1 - 2^-25 truncates to the float below 1, while the nearest is 1.
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

// The model again, one term after the other in whole numbers.
static float slow_step(const float *a, const float *b, float sum) {
    int largest = -1000, exponents[17];
    double terms[17];
    for (int i = 0; i < 17; i++) {
        float x = i < 16 ? a[i] : sum, y = i < 16 ? b[i] : 1;
        terms[i] = (double)x * (double)y;
        exponents[i] = terms[i] == 0 ? -1000 : ilogbf(x) + ilogbf(y);
        largest = exponents[i] > largest ? exponents[i] : largest;
    }
    double total = 0;
    for (int i = 0; i < 17; i++) total += trunc(ldexp(terms[i], 25 - largest));
    return emu_float(emu_format_round(&emu_format_f32, ldexp(total, largest - 25), EMU_ROUND_ZERO, false));
}

static void tensor_sums_follow_the_model_everywhere(void **state) {
    (void)state;
    uint32_t bits = 7;
    for (int trial = 0; trial < 20000; trial++) {
        float a[16], b[16], sum;
        int spread = 1 << trial % 6, base = trial % 7 == 6 ? -60 : 0; // the last reaches subnormal results
        for (int i = 0; i < 33; i++) {
            bits = bits * 1664525u + 1013904223u;
            float mantissa = (float)(128 + (bits >> 25)) / 128.0f, sign = (bits >> 24 & 1) != 0 ? -1.0f : 1.0f;
            float value = sign * ldexpf(mantissa, (int)(bits >> 8 & 0xff) % (spread + 1) + base);
            if ((bits >> 4 & 15) == 0) value = 0;
            if (i < 16) a[i] = value;
            if (i >= 16 && i < 32) b[i - 16] = value;
            if (i == 32) sum = base != 0 ? 0 : value * 1.00001f;
        }
        assert_int_equal(emu_bits(step(a, b, sum, EMU_SUMS_HARDWARE)), emu_bits(slow_step(a, b, sum)));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test(every_format_rounds_in_every_mode),
        cmocka_unit_test(half_fma_rounds_once),
        cmocka_unit_test(directed_floats_enclose_the_exact_value),
        cmocka_unit_test(tensor_sums_truncate_as_measured),
        cmocka_unit_test(tensor_sums_follow_the_model_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
