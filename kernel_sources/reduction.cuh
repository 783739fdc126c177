// Adds to the output that many CTAs add to: eight neighbouring columns of one row at a time.
#pragma once
#include "ptx_math.cuh"

namespace moejit {

#if __CUDA_ARCH__ >= 900
// "red": vector forms from sm_90 on.
__device__ __forceinline__ void add_eight_bf16(void *address, const uint32_t (&v)[4])
{
    asm volatile("red.relaxed.gpu.global.add.noftz.v4.bf16x2 [%0], {%1, %2, %3, %4};" ::"l"(
                     __cvta_generic_to_global(address)),
                 "r"(v[0]), "r"(v[1]), "r"(v[2]), "r"(v[3])
                 : "memory");
}

__device__ __forceinline__ void add_four_f32(float *address, const float *v)
{
    asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(address)),
                 "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3])
                 : "memory");
}
#else
// sm_80 to sm_89 have no packed bf16 reduction: compare and swap. a * 1 + b rounds once, as red would.
__device__ __forceinline__ void add_eight_bf16(void *address, const uint32_t (&v)[4])
{
    unsigned *words = static_cast<unsigned *>(address);
    for (int i = 0; i < 4; i++) {
        unsigned seen = *static_cast<volatile unsigned *>(words + i);
        unsigned expected;
        do {
            expected = seen;
            seen = atomicCAS(words + i, expected, fma_bf16x2(expected, 0x3f803f80u, v[i]));
        } while (seen != expected);
    }
}

__device__ __forceinline__ void add_four_f32(float *address, const float *v)
{
    for (int i = 0; i < 4; i++) {
        asm volatile("red.relaxed.gpu.global.add.f32 [%0], %1;" ::"l"(__cvta_generic_to_global(address + i)), "f"(v[i])
                     : "memory");
    }
}
#endif

__device__ __forceinline__ void add_eight_f16(void *address, const uint32_t (&v)[4])
{
    uint32_t *words = static_cast<uint32_t *>(address);
    for (int i = 0; i < 4; i++) {
        asm volatile("red.relaxed.gpu.global.add.noftz.f16x2 [%0], %1;" ::"l"(__cvta_generic_to_global(words + i)),
                     "r"(v[i])
                     : "memory");
    }
}

// Two floats to a 16-bit output's dtype; eight of them are added to neighbouring columns.
template <int dtype> __device__ __forceinline__ uint32_t pack_pair(float low, float high)
{
    return dtype == MJ_DTYPE_BF16 ? pack_bf16x2(low, high) : pack_f16x2(low, high);
}

template <int dtype> __device__ __forceinline__ void add_eight_16(uint16_t *address, const uint32_t (&v)[4])
{
    if constexpr (dtype == MJ_DTYPE_BF16) {
        add_eight_bf16(address, v);
    } else {
        add_eight_f16(address, v);
    }
}

// Adds v[0..7] to columns [column, column + 8) of the row, each rounded to the output's dtype first.
template <int dtype> __device__ __forceinline__ void add_eight(void *row, int column, const float (&v)[8])
{
    if constexpr (dtype == MJ_DTYPE_F32) {
        float *address = static_cast<float *>(row) + column;
        add_four_f32(address, v);
        add_four_f32(address + 4, v + 4);
    } else {
        uint32_t pairs[4];
        for (int i = 0; i < 4; i++) pairs[i] = pack_pair<dtype>(v[2 * i], v[2 * i + 1]);
        add_eight_16<dtype>(static_cast<uint16_t *>(row) + column, pairs);
    }
}

} // namespace moejit
