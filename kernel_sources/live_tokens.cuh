// What every kernel asks of the routing: how many tokens are live, and whether an expert is here.
#pragma once
#include "abi.h"

namespace moejit {

__device__ __forceinline__ int live_token_count(const int32_t *live_tokens, int num_tokens)
{
    if (live_tokens == nullptr) return num_tokens;
    int live = *live_tokens;
    return live < 0 ? 0 : (live < num_tokens ? live : num_tokens);
}

// The id's local expert, or -1. Unsigned, so that no id overflows.
__device__ __forceinline__ int local_expert(int32_t id, int local_expert_offset, int num_local_experts)
{
    uint32_t local = static_cast<uint32_t>(id) - static_cast<uint32_t>(local_expert_offset);
    return id >= 0 && local < static_cast<uint32_t>(num_local_experts) ? static_cast<int>(local) : -1;
}

} // namespace moejit
