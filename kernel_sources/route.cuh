// route: groups the pairs by local expert. One CTA an expert, all of them reading every id: the list is the same, in token
// order, whatever the schedule.
#pragma once
#include "live_tokens.cuh"
#include "ptx_dependency.cuh"

namespace moejit {

template <class Config> struct Route {
    static constexpr int num_threads = Config::num_threads, num_warps = num_threads / 32;

    static constexpr int chunk_pairs = 8; // neighbouring pairs of a thread, in the pass that writes

    // Matches of the threads before this one, and the total, through shared memory.
    __device__ static int rank_in_block(int matches, int *warp_counts, int &total)
    {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32, sum = matches;
        for (int distance = 1; distance < 32; distance *= 2) {
            int below = __shfl_up_sync(0xffffffffu, sum, distance);
            sum += lane >= distance ? below : 0;
        }
        if (lane == 31) warp_counts[warp] = sum;
        __syncthreads();
        int before = sum - matches;
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
        begin_after_earlier_grids();
        __shared__ int warp_counts[num_warps];
        int expert = static_cast<int>(blockIdx.x), num_experts = args.num_local_experts;
        int num_pairs = live_token_count(args.live_tokens, args.num_tokens) * args.top_k;
        int num_lower = 0, num_equal = 0; // of this thread
#pragma unroll 8
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
        for (int first = 0; first < num_pairs; first += num_threads * chunk_pairs) {
            int begin = first + static_cast<int>(threadIdx.x) * chunk_pairs, total;
            uint32_t matches = 0;
#pragma unroll
            for (int i = 0; i < chunk_pairs; i++) {
                bool match = begin + i < num_pairs &&
                             local_expert(args.expert_ids[begin + i], args.local_expert_offset, num_experts) == expert;
                matches |= static_cast<uint32_t>(match) << i;
            }
            int rank = rank_in_block(__popc(matches), warp_counts, total);
            for (; matches != 0; matches &= matches - 1) args.sorted_pairs[position + rank++] = begin + __ffs(matches) - 1;
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
