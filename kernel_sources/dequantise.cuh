// From packed weights (abi.h, MJ_LAYOUT_FRAGMENTS) to the A registers of mma.sync and wgmma: 9 integer and 4 packed operations for a word
// of eight, and 3 for the scales of two words.
#pragma once
#include "ptx_math.cuh"

namespace moejit {

// bf16(sf * 2^119) of row r in the low half, and of row r + 8 in the high one, of a pair of k16 steps.
struct ScalePair {
    uint32_t even, odd;
};

// A register of which the compiler does not know the value (grids have no third dimension): an "and" and an "or" are one
// instruction with one constant, two with two.
__device__ __forceinline__ uint32_t scale_exponent()
{
    return 0x70007000u + blockIdx.z;
}

__device__ __forceinline__ ScalePair expand_scales(uint32_t word)
{
    constexpr uint32_t bytes = 0x0ff00ff0u;
    uint32_t exponent = scale_exponent();
    return ScalePair{(word & bytes) | exponent, (__funnelshift_l(word, word, 8) & bytes) | exponent};
}

// The four registers of one k16 step: value * sf * 2^-7, exact in bf16.
__device__ __forceinline__ void dequantise(uint32_t (&a)[4], uint32_t word, uint32_t scales)
{
    constexpr uint32_t codes = 0x81c081c0u, lowest = 0x00400040u;
    a[0] = multiply_bf16x2_low(word & codes, scales);
    a[1] = multiply_bf16x2_high(__funnelshift_l(word, word, 10) & codes, scales);
    a[2] = multiply_bf16x2_low(word << 6 & codes, scales);
    a[3] = multiply_bf16x2_high((word << 4 & (codes & ~lowest)) | (word >> 4 & lowest), scales);
}

// A lane's part of a packed block: the registers of four steps.
__device__ __forceinline__ void dequantise_block(uint32_t (&a)[4][4], const uint32_t (&codes)[4], const uint32_t (&scales)[2])
{
#pragma unroll
    for (int pair = 0; pair < 2; pair++) {
        ScalePair scale = expand_scales(scales[pair]);
        dequantise(a[2 * pair], codes[2 * pair], scale.even);
        dequantise(a[2 * pair + 1], codes[2 * pair + 1], scale.odd);
    }
}

} // namespace moejit
