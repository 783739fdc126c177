// route: groups the pairs by local expert. One CTA an expert, all of them reading every id: the list is the same, in token
// order, whatever the schedule.
#pragma once
#include "live_tokens.cuh"

namespace moejit {

template <class Config> struct Route {
    static constexpr int num_threads = Config::num_threads, num_warps = num_threads / 32;

    // Where this CTA's matches of the chunk go: positions before this thread's, and the total, through shared memory.
    __device__ static int rank_in_chunk(bool match, int *warp_counts, int &total)
    {
        unsigned votes = __ballot_sync(0xffffffffu, match);
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        if (lane == 0) warp_counts[warp] = __popc(votes);
        __syncthreads();
        int before = __popc(votes & ((1u << lane) - 1u));
        total = 0;
        for (int w = 0; w < num_warps; w++) {
            before += w < warp ? warp_counts[w] : 0;
            total += warp_counts[w];
        }
        __syncthreads(); // warp_counts may be written again
        return before;
    }

    __device__ static void run(const mj_route_args &args)
    {
        __shared__ int warp_counts[num_warps];
        int expert = static_cast<int>(blockIdx.x), num_experts = args.num_local_experts;
        int num_pairs = live_token_count(args.live_tokens, args.num_tokens) * args.top_k;
        int num_lower = 0, num_equal = 0; // of this thread
        for (int pair = static_cast<int>(threadIdx.x); pair < num_pairs; pair += num_threads) {
            int local = local_expert(args.expert_ids[pair], args.local_expert_offset, num_experts);
            num_lower += local >= 0 && local < expert;
            num_equal += local == expert;
        }
        int position = sum_of_block(num_lower, warp_counts);
        int num_mine = sum_of_block(num_equal, warp_counts);
        if (threadIdx.x == 0) {
            args.expert_offsets[expert] = position;
            if (expert == num_experts - 1) args.expert_offsets[num_experts] = position + num_mine;
        }
        if (num_mine == 0) return;
        for (int first = 0; first < num_pairs; first += num_threads) {
            int pair = first + static_cast<int>(threadIdx.x), total;
            bool match = pair < num_pairs &&
                         local_expert(args.expert_ids[pair], args.local_expert_offset, num_experts) == expert;
            int rank = rank_in_chunk(match, warp_counts, total);
            if (match) args.sorted_pairs[position + rank] = pair;
            position += total;
        }
    }

    __device__ static int sum_of_block(int value, int *warp_counts)
    {
        for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
        if (threadIdx.x % 32 == 0) warp_counts[threadIdx.x / 32] = value;
        __syncthreads();
        int sum = 0;
        for (int w = 0; w < num_warps; w++) sum += warp_counts[w];
        __syncthreads();
        return sum;
    }
};

template <class Config> __device__ __forceinline__ void route(const mj_route_args &args)
{
    Route<Config>::run(args);
}

} // namespace moejit
