// Number formats and arithmetic as the PTX ISA defines them, on plain bits.
#ifndef MOEJIT_EMULATOR_ARITHMETIC_H
#define MOEJIT_EMULATOR_ARITHMETIC_H

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

static inline float emu_bf16_value(uint32_t half) {
    return emu_float(half << 16);
}

float emu_f16_value(uint32_t half);

// To nearest even; NaN becomes 0x7fff, the canonical one.
uint32_t emu_bf16_round(float value);
uint32_t emu_f16_round(float value);

// a * b + c, rounded once (PTX ISA, half precision "fma").
uint32_t emu_bf16_fma(uint32_t a, uint32_t b, uint32_t c);

// A factor of a tensor core's product, taken apart: value = mantissa * 2^(exponent - 7).
struct emu_factor {
    int32_t exponent; // EMU_FACTOR_SPECIAL for infinity and NaN
    int32_t mantissa; // signed, 8 bits
};
#define EMU_FACTOR_SPECIAL 4096

struct emu_factor emu_factor_of_bf16(uint16_t bits);

// One k16 step of a tensor core: sum + the 16 products. `a_bits` and `b_bits` are the factors as bf16.
float emu_tensor_step(const struct emu_factor *a, const struct emu_factor *b, const uint16_t *a_bits,
                      const uint16_t *b_bits, float sum, enum emu_sums sums);

#endif
