// Reads one element of an optional bias.
#pragma once
#include "ptx_math.cuh"

namespace moejit {

template <int dtype> __device__ __forceinline__ float load_bias(const void *bias, int64_t idx)
{
    if constexpr (dtype == MJ_DTYPE_F32) {
        return static_cast<const float *>(bias)[idx];
    } else if constexpr (dtype == MJ_DTYPE_BF16) {
        return bf16_low(static_cast<const uint16_t *>(bias)[idx]);
    } else {
        return 0.0f;
    }
}

} // namespace moejit
