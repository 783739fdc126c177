// Packed 16-bit arithmetic and conversions on plain integers, so that no CUDA library header is needed.
#pragma once
#include "abi.h"

namespace moejit {

// "fma", half precision: each half a * b + c, rounded once; subnormals are kept.
__device__ __forceinline__ uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c)
{
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// Both halves of a times the low, or the high, half of b. By fma, because "mul.bf16x2" needs sm_90; the addend -0 keeps the
// sign of a zero product. Doubling a half costs nothing: the instruction can name one.
__device__ __forceinline__ uint32_t multiply_bf16x2_low(uint32_t a, uint32_t b)
{
    uint32_t d;
    asm("{ .reg .b16 l, h; .reg .b32 both; mov.b32 {l, h}, %2; mov.b32 both, {l, l}; fma.rn.bf16x2 %0, %1, both, %3; }"
        : "=r"(d)
        : "r"(a), "r"(b), "r"(0x80008000u));
    return d;
}

__device__ __forceinline__ uint32_t multiply_bf16x2_high(uint32_t a, uint32_t b)
{
    uint32_t d;
    asm("{ .reg .b16 l, h; .reg .b32 both; mov.b32 {l, h}, %2; mov.b32 both, {h, h}; fma.rn.bf16x2 %0, %1, both, %3; }"
        : "=r"(d)
        : "r"(a), "r"(b), "r"(0x80008000u));
    return d;
}

// "cvt": two floats to bf16 or fp16, to nearest even; `low` goes into the low half.
__device__ __forceinline__ uint32_t pack_bf16x2(float low, float high)
{
    uint32_t d;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

__device__ __forceinline__ uint32_t pack_f16x2(float low, float high)
{
    uint32_t d;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
    return d;
}

__device__ __forceinline__ float bf16_low(uint32_t pair)
{
    return __uint_as_float(pair << 16);
}

__device__ __forceinline__ float bf16_high(uint32_t pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

__device__ __forceinline__ float f16_low(uint32_t pair)
{
    float f;
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, l; }" : "=f"(f) : "r"(pair));
    return f;
}

__device__ __forceinline__ float f16_high(uint32_t pair)
{
    float f;
    asm("{ .reg .b16 l, h; mov.b32 {l, h}, %1; cvt.f32.f16 %0, h; }" : "=f"(f) : "r"(pair));
    return f;
}

} // namespace moejit
