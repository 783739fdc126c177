#include "arithmetic.h"

#include <math.h>

const struct emu_format emu_format_f16 = {10, 5, 15, true, true, 0x7bff, 0x7fff};
const struct emu_format emu_format_bf16 = {7, 8, 127, true, true, 0x7f7f, 0x7fff};
const struct emu_format emu_format_f32 = {23, 8, 127, true, true, 0x7f7fffff, 0x7fffffff};
const struct emu_format emu_format_tf32 = {10, 8, 127, true, true, 0x3fbff, 0x3ffff}; // of 19 bits
const struct emu_format emu_format_e4m3 = {3, 4, 7, false, true, 0x7e, 0x7f};
const struct emu_format emu_format_e5m2 = {2, 5, 15, true, true, 0x7b, 0x7f};
const struct emu_format emu_format_e2m1 = {1, 2, 1, false, false, 0x7, 0x7};
const struct emu_format emu_format_e2m3 = {3, 2, 1, false, false, 0x1f, 0x1f};
const struct emu_format emu_format_e3m2 = {2, 3, 3, false, false, 0x1f, 0x1f};

double emu_format_value(const struct emu_format *format, uint32_t code) {
    int mantissa_bits = format->mantissa_bits;
    uint32_t sign_bit = 1u << (mantissa_bits + format->exponent_bits), magnitude = code & (sign_bit - 1);
    uint32_t mantissa = magnitude & ((1u << mantissa_bits) - 1);
    int exponent = (int)(magnitude >> mantissa_bits), top = (1 << format->exponent_bits) - 1;
    double value;
    if (format->has_infinity && exponent == top) {
        value = mantissa != 0 ? (double)NAN : HUGE_VAL;
    } else if (format->has_nan && magnitude > format->largest) {
        value = (double)NAN;
    } else if (exponent == 0) {
        value = ldexp((double)mantissa, 1 - format->bias - mantissa_bits);
    } else {
        value = ldexp((double)(mantissa | 1u << mantissa_bits), exponent - format->bias - mantissa_bits);
    }
    return (code & sign_bit) != 0 ? -value : value;
}

// A whole number of steps.
static double round_steps(double steps, enum emu_rounding rounding) {
    switch (rounding) {
    case EMU_ROUND_ZERO: return trunc(steps);
    case EMU_ROUND_DOWN: return floor(steps);
    case EMU_ROUND_UP: return ceil(steps);
    case EMU_ROUND_AWAY: return round(steps);
    default: return nearbyint(steps);
    }
}

static uint32_t overflow_code(const struct emu_format *format, bool negative, enum emu_rounding rounding,
                              bool saturate) {
    bool stays = rounding == EMU_ROUND_ZERO || (rounding == EMU_ROUND_DOWN && !negative) ||
                 (rounding == EMU_ROUND_UP && negative);
    if (saturate || stays || !format->has_nan) return format->largest;
    return format->has_infinity ? format->largest + 1 : format->nan;
}

static uint32_t round_finite(const struct emu_format *format, double value, enum emu_rounding rounding, bool saturate) {
    int mantissa_bits = format->mantissa_bits, lowest = 1 - format->bias, exponent = ilogb(value);
    if (exponent < lowest) exponent = lowest;
    // Two scalings, since 2^(bits - exponent) may be beyond a double.
    double steps = round_steps(ldexp(value, mantissa_bits - exponent), rounding),
           rounded = ldexp(steps, exponent - mantissa_bits);
    double magnitude = fabs(rounded);
    if (magnitude == 0) return 0;
    if (magnitude > emu_format_value(format, format->largest))
        return overflow_code(format, value < 0, rounding, saturate);
    exponent = ilogb(magnitude);
    if (exponent < lowest) return (uint32_t)ldexp(magnitude, mantissa_bits - lowest);
    uint32_t mantissa = (uint32_t)ldexp(magnitude, mantissa_bits - exponent);
    return (uint32_t)(exponent + format->bias - 1) * (1u << mantissa_bits) + mantissa;
}

uint32_t emu_format_round(const struct emu_format *format, double value, enum emu_rounding rounding, bool saturate) {
    uint32_t sign = signbit(value) ? 1u << (format->mantissa_bits + format->exponent_bits) : 0;
    if (isnan(value)) return format->nan;
    if (isinf(value)) {
        if (saturate || !format->has_nan) return sign | format->largest;
        return format->has_infinity ? sign | (format->largest + 1) : sign | format->nan;
    }
    if (value == 0) return sign;
    return sign | round_finite(format, value, rounding, saturate);
}

float emu_f16_value(uint32_t half) {
    uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, mantissa = half & 1023;
    if (exponent == 31) return emu_float(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) return (sign != 0 ? -5.9604644775390625e-8f : 5.9604644775390625e-8f) * (float)mantissa;
    return emu_float(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint32_t emu_f16_round(float value) {
    uint32_t bits = emu_bits(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return 0x7fff;
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u; // 65520 and more
    if (magnitude < 0x38800000u) {                       // below 2^-14: steps of 2^-24
        return sign | (uint32_t)nearbyintf(emu_float(magnitude) * 16777216.0f);
    }
    return sign | ((magnitude + 0xfffu + (magnitude >> 13 & 1) - 0x38000000u) >> 13);
}

double emu_add_to_odd(double a, double b) {
    double sum = a + b, part = sum - a, error = (a - (sum - part)) + (b - part); // TwoSum (Knuth)
    uint64_t bits = emu_double_bits(sum);
    if (error == 0 || isnan(error) || isinf(sum) || (bits & 1) != 0) return sum;
    bool away = (error > 0) == (sum > 0);
    return emu_double(away ? bits + 1 : bits - 1);
}

static float round_to_float(double value, enum emu_rounding rounding) {
    if (rounding == EMU_ROUND_NEAREST) return (float)value;
    return emu_float(emu_format_round(&emu_format_f32, value, rounding, false));
}

// A sum of zeros of both signs is -0 only when rounding down (IEEE 754, 6.3).
static float exact_zero(float sum, double a, double b, enum emu_rounding rounding) {
    if (sum == 0 && rounding == EMU_ROUND_DOWN && a + b == 0 && (signbit(a) || signbit(b) || a != 0)) return -0.0f;
    return sum;
}

float emu_add_f32(float a, float b, enum emu_rounding rounding) {
    if (rounding == EMU_ROUND_NEAREST) return a + b;
    return exact_zero(round_to_float(emu_add_to_odd((double)a, (double)b), rounding), (double)a, (double)b, rounding);
}

float emu_mul_f32(float a, float b, enum emu_rounding rounding) {
    return rounding == EMU_ROUND_NEAREST ? a * b : round_to_float((double)a * (double)b, rounding);
}

float emu_fma_f32(float a, float b, float c, enum emu_rounding rounding) {
    if (rounding == EMU_ROUND_NEAREST) return fmaf(a, b, c);
    double product = (double)a * (double)b;
    return exact_zero(round_to_float(emu_add_to_odd(product, (double)c), rounding), product, (double)c, rounding);
}

// From the nearest float to the one that the mode asks for; `above`: the exact value is greater (1), less (-1), equal
// (0).
static float direct(float nearest, int above, enum emu_rounding rounding) {
    if (above == 0 || isnan(nearest)) return nearest;
    bool up = rounding == EMU_ROUND_UP || (rounding == EMU_ROUND_ZERO && signbit(nearest)); // a quotient's -0 too
    if (up && above > 0) return nextafterf(nearest, HUGE_VALF);
    if (!up && above < 0) return nextafterf(nearest, -HUGE_VALF);
    return nearest;
}

float emu_div_f32(float a, float b, enum emu_rounding rounding) {
    float quotient = a / b;
    if (rounding == EMU_ROUND_NEAREST || isinf(b) || b == 0 || isinf(a) || isnan(quotient)) return quotient;
    if (isinf(quotient)) quotient = copysignf(3.402823466e38f, quotient); // overflow: the largest is below
    double back = (double)quotient * (double)b, difference = b > 0 ? (double)a - back : back - (double)a;
    return direct(quotient, (difference > 0) - (difference < 0), rounding);
}

float emu_sqrt_f32(float a, enum emu_rounding rounding) {
    float root = sqrtf(a);
    if (rounding == EMU_ROUND_NEAREST || !(a > 0) || isinf(a)) return root;
    double difference = (double)a - (double)root * (double)root;
    return direct(root, (difference > 0) - (difference < 0), rounding);
}

uint32_t emu_fma_half(const struct emu_format *format, uint32_t a, uint32_t b, uint32_t c) {
    bool is_bf16 = format == &emu_format_bf16;
    double x = (double)(is_bf16 ? emu_bf16_value(a & 0xffff) : emu_f16_value(a & 0xffff));
    double y = (double)(is_bf16 ? emu_bf16_value(b & 0xffff) : emu_f16_value(b & 0xffff));
    double z = (double)(is_bf16 ? emu_bf16_value(c & 0xffff) : emu_f16_value(c & 0xffff));
    // A product of halves is exact in a double.
    double sum = emu_add_to_odd(x * y, z);
    // Twice to odd is once to odd: 53 bits to the 24 of a float, then to a half's 8 or 11.
    float narrow = (float)sum;
    double magnitude = fabs(sum);
    if (magnitude < 1.1754943508222875e-38 || magnitude > 1e38) {
        return emu_format_round(format, sum, EMU_ROUND_NEAREST, false);
    }
    if ((double)narrow != sum) {
        float toward_zero = fabs((double)narrow) > magnitude ? nextafterf(narrow, 0) : narrow;
        narrow = emu_float(emu_bits(toward_zero) | 1);
    }
    return is_bf16 ? emu_bf16_round(narrow) : emu_f16_round(narrow);
}
