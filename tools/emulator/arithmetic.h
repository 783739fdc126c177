// Number formats and arithmetic as the PTX ISA defines them, on plain bits.
#ifndef MOEJIT_EMULATOR_ARITHMETIC_H
#define MOEJIT_EMULATOR_ARITHMETIC_H

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

static inline float emu_float(uint32_t bits) {
    union {
        uint32_t bits;
        float value;
    } both = {bits};
    return both.value;
}

static inline uint32_t emu_bits(float value) {
    union {
        float value;
        uint32_t bits;
    } both = {value};
    return both.bits;
}

static inline double emu_double(uint64_t bits) {
    union {
        uint64_t bits;
        double value;
    } both = {bits};
    return both.value;
}

static inline uint64_t emu_double_bits(double value) {
    union {
        double value;
        uint64_t bits;
    } both = {value};
    return both.bits;
}

// Subnormal numbers to zero of their sign.
static inline float emu_flush(float value) {
    uint32_t bits = emu_bits(value);
    return (bits & 0x7f800000u) == 0 ? emu_float(bits & 0x80000000u) : value;
}

#define EMU_NAN_F32 0x7fffffffu // what PTX operations answer for NaN (PTX ISA, "floating point instructions")

#define EMU_QUIET_F64 0x0008000000000000u // the bit that makes a NaN quiet (IEEE 754, 6.2.1)
#define EMU_NAN_F64 0xfff8000000000000u   // of an invalid f64 operation, as an H100 gave it for sqrt (docs/emulator.md)

// NaN results become the canonical one.
static inline uint32_t emu_bits_canonical(float value) {
    return value != value ? EMU_NAN_F32 : emu_bits(value);
}

enum emu_rounding { EMU_ROUND_NEAREST, EMU_ROUND_ZERO, EMU_ROUND_DOWN, EMU_ROUND_UP, EMU_ROUND_AWAY };

// A binary format below double: its finite numbers are m * 2^e. `values` have saturation and special codes of their
// own.
struct emu_format {
    int mantissa_bits, exponent_bits, bias;
    bool has_infinity; // else the top exponent is ordinary, apart from one NaN code
    bool has_nan;
    uint32_t largest; // the greatest finite code, without sign
    uint32_t nan;     // code
};
extern const struct emu_format emu_format_f16, emu_format_bf16, emu_format_f32, emu_format_tf32, emu_format_e4m3,
    emu_format_e5m2, emu_format_e2m1, emu_format_e2m3, emu_format_e3m2;

double emu_format_value(const struct emu_format *format, uint32_t code);
// `sticky` says that value is truncated: the exact number lies a little farther from zero.
uint32_t emu_format_round(const struct emu_format *format, double value, enum emu_rounding rounding, bool saturate);

static inline uint32_t emu_f16_from_double(double value, enum emu_rounding rounding) {
    return emu_format_round(&emu_format_f16, value, rounding, false);
}
static inline uint32_t emu_bf16_from_double(double value, enum emu_rounding rounding) {
    return emu_format_round(&emu_format_bf16, value, rounding, false);
}

float emu_f16_value(uint32_t half);
static inline float emu_bf16_value(uint32_t half) {
    return emu_float(half << 16);
}
uint32_t emu_f16_round(float value); // to nearest even
static inline uint32_t emu_bf16_round(float value) {
    uint32_t bits = emu_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fff;
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

// a + b with the last bit set where the sum is inexact (rounding to odd): rounding it again to fewer bits is then right
// (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008).
double emu_add_to_odd(double a, double b);

// a * b + c with one rounding.
float emu_fma_f32(float a, float b, float c, enum emu_rounding rounding);
float emu_add_f32(float a, float b, enum emu_rounding rounding);
float emu_mul_f32(float a, float b, enum emu_rounding rounding);
float emu_div_f32(float a, float b, enum emu_rounding rounding);
float emu_sqrt_f32(float a, enum emu_rounding rounding);
uint32_t emu_fma_half(const struct emu_format *format, uint32_t a, uint32_t b, uint32_t c);

#endif
