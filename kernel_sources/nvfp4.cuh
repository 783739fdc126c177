// Rounding to NVFP4 with IEEE operations only, so that every arch, the emulator included, gives the same bits. Values stay
// floats: what travels on is q * sf, which bf16 holds exactly.
#pragma once
#include "ptx_math.cuh"

namespace moejit {

constexpr float max_e4m3 = 448.0f;
constexpr float max_finite = 3.402823466e38f;

// To the nearest integer, ties to even, for 0 <= a < 2^22: adding 1.5 * 2^23 leaves no fraction bits.
__device__ __forceinline__ float round_to_integer(float a)
{
    return __fadd_rn(__fadd_rn(a, 12582912.0f), -12582912.0f);
}

// The e4m3 value nearest to a >= 0, ties to even, saturating; NaN for NaN and infinity.
__device__ __forceinline__ float round_to_e4m3(float a)
{
    if (!(a <= max_finite)) return __uint_as_float(0x7fc00000u);
    if (a >= max_e4m3) return max_e4m3;
    if (a < 0.015625f) return __fmul_rn(round_to_integer(__fmul_rn(a, 512.0f)), 0.001953125f); // steps of 2^-9 below 2^-6
    uint32_t bits = __float_as_uint(a);
    bits += 0x7ffffu + ((bits >> 20) & 1u); // to three mantissa bits
    return __uint_as_float(bits & ~0xfffffu);
}

// The e2m1 value nearest to a, ties to even, saturating at 6.
__device__ __forceinline__ float round_to_e2m1(float a)
{
    float magnitude = fabsf(a), rounded;
    if (magnitude < 2.0f) {
        rounded = __fmul_rn(round_to_integer(__fmul_rn(magnitude, 2.0f)), 0.5f);
    } else if (magnitude < 4.0f) {
        rounded = round_to_integer(magnitude);
    } else {
        rounded = magnitude > 5.0f ? 6.0f : 4.0f;
    }
    return copysignf(rounded, a);
}

// Replaces 16 values y by q of NVFP4(y) with quantisation scale g, and returns sf. NaN or infinity in the block makes sf NaN.
__device__ __forceinline__ float quantise_codes(float (&y)[16], float g)
{
    float largest = 0.0f;
    bool finite = true;
    for (int i = 0; i < 16; i++) {
        finite = finite && fabsf(y[i]) <= max_finite;
        largest = fmaxf(largest, fabsf(y[i]));
    }
    float sf = finite ? round_to_e4m3(__fmul_rn(__fdiv_rn(largest, 6.0f), g)) : __uint_as_float(0x7fc00000u);
    float factor = sf == 0.0f ? 0.0f : fminf(__fdiv_rn(g, sf), max_finite);
    for (int i = 0; i < 16; i++) y[i] = sf == 0.0f ? 0.0f : round_to_e2m1(__fmul_rn(y[i], factor));
    return sf;
}

// Replaces 16 values y by q * sf. NaN or infinity in the block makes all of it NaN.
__device__ __forceinline__ void quantise_block(float (&y)[16], float g)
{
    float sf = quantise_codes(y, g);
    for (int i = 0; i < 16; i++) y[i] = __fmul_rn(y[i], sf);
}

// What a checkpoint's e4m3 byte stands for.
__device__ __forceinline__ float e4m3_value(uint8_t byte)
{
    int exponent = (byte >> 3) & 15, mantissa = byte & 7;
    if ((byte & 0x7f) == 0x7f) return __uint_as_float(0x7fc00000u);
    float value = exponent == 0 ? __fmul_rn(static_cast<float>(mantissa), 0.001953125f)
                                : __uint_as_float(static_cast<uint32_t>((exponent + 120) << 23 | mantissa << 20));
    return byte & 0x80 ? -value : value;
}

__device__ __forceinline__ float e2m1_value(uint32_t code)
{
    // The three magnitude bits are the end of an exponent and the start of a mantissa: of a float 2^126 times too small.
    float value = __fmul_rn(__uint_as_float((code & 7u) << 22), 8.50705917e37f);
    return code & 8u ? -value : value;
}

// The byte of an sf that quantise_codes returned.
__device__ __forceinline__ uint8_t e4m3_byte(float sf)
{
    if (!(sf <= max_e4m3)) return 0x7f;
    if (sf < 0.015625f) return static_cast<uint8_t>(__fmul_rn(sf, 512.0f)); // steps of 2^-9 below 2^-6
    return static_cast<uint8_t>((__float_as_uint(sf) >> 20) - (120u << 3));
}

// The codes of 16 values q, two to a byte, even ones low. A NaN among them has any code: its block's sf is NaN.
__device__ __forceinline__ uint2 e2m1_codes(const float (&q)[16])
{
    uint32_t words[2] = {0, 0};
    for (int i = 0; i < 16; i++) {
        uint32_t bits = __float_as_uint(__fmul_rn(q[i], 1.17549435e-38f)); // the inverse of e2m1_value
        words[i / 8] |= ((bits >> 22 & 7u) | (bits >> 28 & 8u)) << (i % 8 * 4);
    }
    return make_uint2(words[0], words[1]);
}

} // namespace moejit
