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

// A token of a tile.
struct RoutedToken {
    int pair;
    float weight; // the router's
};

// An expert's tokens are spread evenly over as few tiles as hold them, in eights: two tiles of 136 rather than one of 256 and
// one of 14, which would dequantise as much and multiply little.
template <int block_tokens> __device__ __forceinline__ int token_tiles(int num_pairs)
{
    return (num_pairs + block_tokens - 1) / block_tokens;
}

template <int block_tokens> __device__ __forceinline__ int tokens_per_tile(int num_pairs)
{
    int tiles = token_tiles<block_tokens>(num_pairs);
    return ((num_pairs + tiles - 1) / tiles + 7) / 8 * 8;
}

// store(e, what value() gives for the experts before e, added up) for e in [0, num_experts], by the whole CTA. store(e) may
// overwrite what value(e) reads.
template <int num_threads, class Value, class Store>
__device__ __forceinline__ void scan_experts(int *warp_sums, int num_experts, Value value, Store store)
{
    int per_thread = (num_experts + num_threads - 1) / num_threads, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int begin = static_cast<int>(threadIdx.x) * per_thread;
    int end = begin + per_thread < num_experts ? begin + per_thread : num_experts;
    int sum = 0;
#pragma unroll 1 // one or two rounds: a body for four is code for nothing
    for (int e = begin; e < end; e++) sum += value(e);
    int running = sum;
    for (int distance = 1; distance < 32; distance *= 2) {
        int below = __shfl_up_sync(0xffffffffu, running, distance);
        running += lane >= distance ? below : 0;
    }
    if (lane == 31) warp_sums[warp] = running;
    __syncthreads();
    int before = running - sum + __reduce_add_sync(0xffffffffu, lane < warp ? warp_sums[lane] : 0);
#pragma unroll 1
    for (int e = begin; e < end; e++) {
        int next = before + value(e);
        store(e, before);
        before = next;
    }
    if (begin < num_experts && end == num_experts) store(num_experts, before);
    __syncthreads();
}

// first_tile[e] = tiles of the experts before e, for e in [0, num_experts]; shared memory, written by the whole CTA.
template <int block_tokens, int num_threads>
__device__ __forceinline__ void count_tiles(int *first_tile, int *warp_sums, const int32_t *expert_offsets, int num_experts,
                                            int num_row_tiles)
{
    scan_experts<num_threads>(
        warp_sums, num_experts,
        [&](int e) { return token_tiles<block_tokens>(expert_offsets[e + 1] - expert_offsets[e]) * num_row_tiles; },
        [&](int e, int before) { first_tile[e] = before; });
}

// The last e with first_tile[e] <= tile_idx. By all lanes of a warp, which look at 32 places at a time.
__device__ __forceinline__ int find_expert(int tile_idx, const int *first_tile, int num_experts)
{
    int lane = static_cast<int>(threadIdx.x) % 32, first = 0, count = num_experts;
    while (count > 1) {
        int stride = (count + 31) / 32, at = lane * stride;
        int before = __popc(__ballot_sync(0xffffffffu, at < count && first_tile[first + at] <= tile_idx)) - 1;
        first += before * stride;
        count = count - before * stride < stride ? count - before * stride : stride;
    }
    return first;
}

// By all lanes of a warp.
template <int block_tokens, class Offsets>
__device__ __forceinline__ Tile find_tile(int tile_idx, const int *first_tile, const Offsets &expert_offsets, int num_experts)
{
    int expert = find_expert(tile_idx, first_tile, num_experts), local_idx = tile_idx - first_tile[expert];
    int begin = expert_offsets[expert], num_pairs = expert_offsets[expert + 1] - begin;
    if (num_pairs <= block_tokens) return Tile{expert, local_idx, begin, num_pairs}; // without a division
    int num_token_tiles = token_tiles<block_tokens>(num_pairs), per_tile = tokens_per_tile<block_tokens>(num_pairs);
    int first = local_idx % num_token_tiles * per_tile, left = num_pairs - first;
    return Tile{expert, local_idx / num_token_tiles, begin + first, left < per_tile ? left : per_tile};
}

} // namespace moejit
