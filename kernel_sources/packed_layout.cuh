// What differs between the packed layouts of abi.h for kernels that do not read them.
#pragma once
#include "abi.h"

namespace moejit {

// Sums of products are to be multiplied by it.
template <class Config> __device__ __forceinline__ constexpr float weight_unit()
{
    return Config::packed_layout == MJ_LAYOUT_FRAGMENTS ? MJ_WEIGHT_UNIT : 1.0f;
}

} // namespace moejit
