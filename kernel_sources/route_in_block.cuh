// Routing that each CTA does for itself where pairs are few: what route.cuh writes to memory, in shared memory. A layer is then
// two launches (docs/decisions/0012-route-twice.md).
#pragma once
#include "live_tokens.cuh"
#include "scheduler.cuh"

namespace moejit {

// One of the two lists: route's, or the CTA's own.
template <bool can_fold> struct RoutedList {
    const int32_t *listed;
    uint8_t *own; // shared memory
    bool folded;

    __device__ __forceinline__ int operator[](int i) const
    {
        if constexpr (can_fold) {
            if (folded) return own[i];
        }
        return listed[i];
    }
};

template <bool can_fold> struct Routing {
    RoutedList<can_fold> expert_offsets, sorted_pairs;
};

// By the whole CTA, before the ids may be read: they come from memory meanwhile.
template <int top_k> __device__ __forceinline__ void prefetch_ids(const mj_fold_args &args)
{
    constexpr int ids_of_line = 32;
    int first = static_cast<int>(threadIdx.x) * ids_of_line;
    if (first < args.num_tokens * top_k) prefetch_l2(args.expert_ids + first);
}

// Groups the pairs by local expert, in ascending order inside one, and counts tiles as count_tiles does. A thread has a pair;
// warps take turns at the experts' counts, so that the order is that of the pairs. By the whole CTA.
template <int block_tokens, int top_k, int num_threads>
__device__ __forceinline__ void route_in_block(const mj_fold_args &args, const Routing<true> &own, int *first_tile, int *warp_sums,
                                               int num_experts, int num_row_tiles)
{
    static_assert(num_threads >= MJ_FOLDED_PAIRS, "a thread for each pair");
    int pair = static_cast<int>(threadIdx.x), lane = pair % 32, warp = pair / 32, num_pairs = args.num_tokens * top_k;
    int *counts = first_tile; // until there are tiles
    int expert = -1;
    if (pair < live_token_count(args.live_tokens, args.num_tokens) * top_k) {
        expert = local_expert(args.expert_ids[pair], args.local_expert_offset, num_experts);
    }
#pragma unroll 1
    for (int e = pair; e < num_experts; e += num_threads) counts[e] = 0;
    uint32_t equals = __match_any_sync(0xffffffffu, expert);
    int rank = __popc(equals & ((1u << lane) - 1));
    __syncthreads();
#pragma unroll 1
    for (int turn = 0; turn * 32 < num_pairs; turn++) {
        if (turn == warp) {
            int before = expert >= 0 ? counts[expert] : 0;
            __syncwarp();
            if (expert >= 0 && rank == 0) counts[expert] = before + __popc(equals);
            rank += before;
        }
        __syncthreads();
    }
    scan_experts<num_threads>(
        warp_sums, num_experts, [&](int e) { return counts[e] + (token_tiles<block_tokens>(counts[e]) << 16); },
        [&](int e, int before) {
            own.expert_offsets.own[e] = static_cast<uint8_t>(before & 0xffff);
            first_tile[e] = (before >> 16) * num_row_tiles;
        });
    if (expert >= 0) own.sorted_pairs.own[own.expert_offsets.own[expert] + rank] = static_cast<uint8_t>(pair);
    __syncthreads();
}

// The CTA's lists to where route would have written them.
template <int num_threads>
__device__ __forceinline__ void publish_routing(const Routing<true> &own, int32_t *expert_offsets, int32_t *sorted_pairs,
                                                int num_experts, int thread)
{
#pragma unroll 1
    for (int e = thread; e <= num_experts; e += num_threads) expert_offsets[e] = own.expert_offsets.own[e];
#pragma unroll 1
    for (int i = thread; i < own.expert_offsets.own[num_experts]; i += num_threads) sorted_pairs[i] = own.sorted_pairs.own[i];
}

} // namespace moejit
