// From packed weights (abi.h, layout 1) to the A registers of mma.sync, in a dozen integer and packed operations a word.
#pragma once
#include "ptx_math.cuh"

namespace moejit {

// 16 as a value that the compiler does not know: products of it stay products, which have a pipe of their own, while shifts
// share theirs with the logic that dequantising is full of.
__device__ __forceinline__ uint32_t opaque_sixteen()
{
    uint32_t factor;
    asm("mov.u32 %0, 16;" : "=r"(factor));
    return factor;
}

// Two copies of bf16(sf * 2^119), from byte `idx` of a word of scale bytes.
__device__ __forceinline__ uint32_t expand_scale(uint32_t scales, int idx)
{
    return __byte_perm(scales, 0, 0x4040 | idx | idx << 8) * opaque_sixteen() + 0x70007000u;
}

// The four registers of one k16 step: value * sf * 2^-7, exact in bf16. `scales` holds the bytes of rows r and r + 8 for two
// steps, of which `half` is this one.
__device__ __forceinline__ void dequantise(uint32_t (&a)[4], uint32_t word, uint32_t scales, int half)
{
    constexpr uint32_t sign_and_magnitude = 0x81c081c0u;
    uint32_t upper = expand_scale(scales, 2 * half), lower = expand_scale(scales, 2 * half + 1);
    uint32_t last = (word << 4 & 0x80008000u) | (word >> 6 & 0x01800180u) | (word >> 4 & 0x00400040u);
    a[0] = multiply_bf16x2(word & sign_and_magnitude, upper);
    a[1] = multiply_bf16x2(word << 3 & sign_and_magnitude, lower);
    a[2] = multiply_bf16x2(word << 6 & sign_and_magnitude, upper);
    a[3] = multiply_bf16x2(last, lower);
}

} // namespace moejit
