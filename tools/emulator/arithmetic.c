#include "arithmetic.h"

#include <math.h>
#include <stdbool.h>

float emu_f16_value(uint32_t half) {
    uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, mantissa = half & 1023;
    if (exponent == 31) return emu_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) return copysignf(ldexpf((float)mantissa, -24), emu_float(sign));
    return emu_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint32_t emu_bf16_round(float value) {
    uint32_t bits = emu_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

uint32_t emu_f16_round(float value) {
    uint32_t bits = emu_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u; // 65520 and more
    if (magnitude < 0x38800000u) {                       // below 2^-14: steps of 2^-24
        float steps = nearbyintf(ldexpf(emu_float(magnitude), 24));
        return sign | (uint32_t)steps;
    }
    return sign | ((magnitude + 0xfffu + (magnitude >> 13 & 1) - 0x38000000u) >> 13);
}

// The product of two bf16 is exact in a double (16 bits), and so is its sum with a third unless their exponents are
// more than 37 apart: then rounding the double to odd first keeps the second rounding right (Boldo and Melquiond 2008).
static double add_to_odd(double a, double b) {
    double sum = a + b, part = sum - a, error = (a - (sum - part)) + (b - part); // TwoSum (Knuth)
    union {
        double value;
        uint64_t bits;
    } both = {sum};
    if (error == 0 || isnan(error) || isinf(sum) || (both.bits & 1) != 0) return sum;
    bool away = (error > 0) == (sum > 0);
    both.bits += away ? 1 : (uint64_t)-1;
    return both.value;
}

uint32_t emu_bf16_fma(uint32_t a, uint32_t b, uint32_t c) {
    // A product of 16 bits is exact in a float that is not subnormal; the addend -0 changes nothing.
    float exact = emu_bf16_value(a) * emu_bf16_value(b);
    if (c == 0x8000 && (fabsf(exact) >= 0x1p-126f || exact == 0) && !isinf(exact)) {
        bool vanished = exact == 0 && (a & 0x7fff) != 0 && (b & 0x7fff) != 0;
        if (!vanished) return emu_bf16_round(exact);
    }
    double product = (double)emu_bf16_value(a) * (double)emu_bf16_value(b);
    double sum = add_to_odd(product, (double)emu_bf16_value(c));
    if (isnan(sum)) return 0x7fff;
    if (sum == 0 || isinf(sum)) return emu_bits((float)sum) >> 16;
    // From 53 bits to 8 in one rounding: to float would be a first one.
    int exponent = ilogb(sum) < -126 ? -126 : ilogb(sum);
    double step = ldexp(1, exponent - 7), rounded = nearbyint(sum / step) * step;
    return emu_bits((float)rounded) >> 16;
}

// Sign, mantissa with its hidden bit, and the exponent of that bit; false for infinity and NaN.
static bool split(float value, int *exponent, int64_t *mantissa) {
    uint32_t word = emu_bits(value);
    *exponent = (int)(word >> 23 & 255);
    *mantissa = word & 0x7fffffu;
    if (*exponent == 255) return false;
    if (*exponent == 0) {
        *exponent = 1;
    } else {
        *mantissa |= 0x800000;
    }
    *exponent -= 127;
    if (word >> 31) *mantissa = -*mantissa;
    return true;
}

struct emu_factor emu_factor_of_bf16(uint16_t bits) {
    int exponent;
    int64_t mantissa;
    if (!split(emu_bf16_value(bits), &exponent, &mantissa)) return (struct emu_factor){EMU_FACTOR_SPECIAL, 1};
    return (struct emu_factor){exponent, (int32_t)(mantissa / 65536)}; // a bf16 has seven of the 23 bits
}

// Infinities and NaN follow IEEE: any order gives the same.
static float special_sum(const uint16_t *a, const uint16_t *b, float sum) {
    for (int i = 0; i < 16; i++) sum += emu_bf16_value(a[i]) * emu_bf16_value(b[i]);
    return isnan(sum) ? emu_float(0x7fffffff) : sum;
}

// sum * 2^lowest, toward zero.
static float truncate_to_float(int64_t sum, int lowest) {
    bool negative = sum < 0;
    uint64_t magnitude = negative ? (uint64_t)-sum : (uint64_t)sum;
    if (magnitude == 0) return 0;
    int length = 64 - __builtin_clzll(magnitude), drop = length - 24;
    if (lowest + drop < -149) drop = -149 - lowest; // the last bit of the smallest float
    if (drop > 63) return negative ? -0.0f : 0.0f;
    if (drop > 0) {
        magnitude >>= drop;
        lowest += drop;
    }
    float value = ldexpf((float)magnitude, lowest);
    return negative ? -value : value;
}

#define NO_EXPONENT (-4096)

// H100 (measured, docs/emulator.md): every term truncated toward zero to 25 bits after the leading one of the largest
// exponent, added exactly, truncated to f32. Assumed for the other archs.
static float hardware_step(const int32_t *exponents, const int32_t *mantissas, int largest, int64_t addend) {
    int64_t sum = addend;
    for (int i = 0; i < 16; i++) {
        int distance = largest - exponents[i], shift = distance > 31 ? 31 : distance;
        uint32_t magnitude =
            (uint32_t)(mantissas[i] < 0 ? -mantissas[i] : mantissas[i]); // 16 bits, of which 14 fractional
        int32_t kept = (int32_t)(magnitude << 11 >> shift);
        sum += mantissas[i] < 0 ? -kept : kept;
    }
    return truncate_to_float(sum, largest - 25);
}

// The exact sum, rounded once: 64-bit mantissas added with their errors (TwoSum).
static float nearest_step(const int32_t *exponents, const int32_t *mantissas, float addend) {
    long double sum = (long double)addend, error = 0;
    for (int i = 0; i < 16; i++) {
        if (mantissas[i] == 0) continue;
        long double value = ldexpl((long double)mantissas[i], exponents[i] - 14), next = sum + value, part = next - sum;
        error += (sum - (next - part)) + (value - part);
        sum = next;
    }
    return (float)(sum + error);
}

float emu_tensor_step(const struct emu_factor *a, const struct emu_factor *b, const uint16_t *a_bits,
                      const uint16_t *b_bits, float sum, enum emu_sums sums) {
    int32_t exponents[16], mantissas[16], largest = NO_EXPONENT, widest = 0;
    for (int i = 0; i < 16; i++) {
        exponents[i] = a[i].exponent + b[i].exponent;
        mantissas[i] = a[i].mantissa * b[i].mantissa;
        int32_t counted = mantissas[i] != 0 ? exponents[i] : NO_EXPONENT;
        largest = counted > largest ? counted : largest;
        widest = exponents[i] > widest ? exponents[i] : widest;
    }
    int exponent;
    int64_t mantissa;
    if (widest >= EMU_FACTOR_SPECIAL - 300 || !split(sum, &exponent, &mantissa))
        return special_sum(a_bits, b_bits, sum);
    if (sums == EMU_SUMS_NEAREST) return nearest_step(exponents, mantissas, sum);
    if (mantissa != 0 && exponent > largest) largest = exponent;
    if (largest == NO_EXPONENT) return 0;
    int distance = largest - exponent, shift = distance > 62 ? 62 : distance;
    int64_t magnitude = (mantissa < 0 ? -mantissa : mantissa) << 2 >> shift; // 24 bits, 23 fractional, to 25
    return hardware_step(exponents, mantissas, largest, mantissa < 0 ? -magnitude : magnitude);
}
