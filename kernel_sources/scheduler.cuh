// Which tiles a persistent CTA works on. Tiles are numbered expert by expert, inside one by row tile, tokens fastest: CTAs
// that run at the same time then read the same weights. How many there are is known on the device only (expert_offsets).
#pragma once
#include "abi.h"

namespace moejit {

// The tiles of a CTA: one in each wave of as many tiles as there are CTAs. The next wave begins one CTA further on, because
// tiles of a kind (an expert's last, with few tokens) would otherwise meet the same CTAs in every wave.
struct TileWalk {
    int wave_start = 0, slot = static_cast<int>(blockIdx.x);

    __device__ __forceinline__ bool ends(int num_tiles) const { return wave_start >= num_tiles; }
    __device__ __forceinline__ int tile_idx() const { return wave_start + slot; }
    __device__ __forceinline__ void advance()
    {
        wave_start += static_cast<int>(gridDim.x);
        slot = slot + 1 == static_cast<int>(gridDim.x) ? 0 : slot + 1;
    }
};

struct Tile {
    int expert;
    int row_tile;
    int first_position; // in sorted_pairs
    int num_tokens;     // of the tile, 1 .. block_tokens
};

// first_tile[e] = tiles of the experts before e, for e in [0, num_experts]; shared memory, written by the whole CTA.
template <int block_tokens, int num_threads>
__device__ __forceinline__ void count_tiles(int *first_tile, int *thread_sums, const int32_t *expert_offsets, int num_experts,
                                            int num_row_tiles)
{
    int per_thread = (num_experts + num_threads - 1) / num_threads;
    int begin = static_cast<int>(threadIdx.x) * per_thread;
    int end = begin + per_thread < num_experts ? begin + per_thread : num_experts;
    int sum = 0;
    for (int e = begin; e < end; e++) {
        first_tile[e] = sum;
        sum += (expert_offsets[e + 1] - expert_offsets[e] + block_tokens - 1) / block_tokens * num_row_tiles;
    }
    thread_sums[threadIdx.x] = sum;
    __syncthreads();
    int before = 0;
    for (int t = 0; t < static_cast<int>(threadIdx.x) && begin < num_experts; t++) before += thread_sums[t];
    for (int e = begin; e < end; e++) first_tile[e] += before;
    if (begin < num_experts && end == num_experts) first_tile[num_experts] = before + sum;
    __syncthreads();
}

template <int block_tokens>
__device__ __forceinline__ Tile find_tile(int tile_idx, const int *first_tile, const int32_t *expert_offsets, int num_experts)
{
    int low = 0, high = num_experts; // the last e with first_tile[e] <= tile_idx
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (first_tile[middle] <= tile_idx) {
            low = middle;
        } else {
            high = middle;
        }
    }
    int begin = expert_offsets[low], num_pairs = expert_offsets[low + 1] - begin;
    int num_token_tiles = (num_pairs + block_tokens - 1) / block_tokens;
    int local_idx = tile_idx - first_tile[low];
    int first = local_idx % num_token_tiles * block_tokens;
    int left = num_pairs - first;
    return Tile{low, local_idx / num_token_tiles, begin + first, left < block_tokens ? left : block_tokens};
}

} // namespace moejit
