// down for sm_90a: as down_portable.cuh, on the main loops of gemm_hopper.cuh.
#pragma once
#include "down_epilogue.cuh"
#include "fragment_adder.cuh"
#include "gemm_hopper.cuh"

namespace moejit {

template <class Config> struct DownHopper {
    using Gemm = GemmHopper<Config>;
    using Epilogue = DownEpilogue<Config, Gemm>;
    using Adder = FragmentAdder<Config, Gemm>;
    using Alpha = float;
    static constexpr int reduced = Config::intermediate;
    static constexpr bool weights_first = true;
    static constexpr int row_block_bytes = (Config::intermediate + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS * MJ_BLOCK_BYTES;

    const mj_down_args &args;
    const Routing<Gemm::can_fold> routing;

    __device__ __forceinline__ int num_row_tiles() const { return (args.num_row_blocks + Gemm::row_blocks - 1) / Gemm::row_blocks; }
    __device__ __forceinline__ int end_row_block() const { return args.first_row_block + args.num_row_blocks; }
    __device__ __forceinline__ int first_row_block(const Tile &tile) const { return args.first_row_block + tile.row_tile * Gemm::row_blocks; }

    __device__ __forceinline__ void fill(Gemm &gemm, const Tile &tile) const
    {
        int first = first_row_block(tile), left = end_row_block() - first;
        const uint8_t *weights =
            args.weights + tile.expert * args.expert_stride_bytes + static_cast<int64_t>(first) * row_block_bytes;
        gemm.template fill<reduced, weights_first>(
            weights, left < Gemm::row_blocks ? left : Gemm::row_blocks, static_cast<const uint8_t *>(args.intermediate), tile,
            [&](int token) { return static_cast<int64_t>(tile.first_position + token) * Config::intermediate * 2; });
    }

    // The kernel after this one: route may start at once, it takes little room. gate_up, where the layer folds, would wait in the
    // places of CTAs that are done, and is let in once all weights are asked for (DeepSeek-R1 with 16 tokens on one H100: 837 us
    // in place of 848; with 64, where route comes next, the other way round 1913 in place of 1876).
    __device__ __forceinline__ bool is_before_gate_up() const { return Gemm::can_fold && routing.expert_offsets.folded; }

    __device__ __forceinline__ void begin_multiplying() const
    {
        wait_for_earlier_grids();
        if (!is_before_gate_up()) let_later_grids_start();
    }

    __device__ __forceinline__ void end_filling() const
    {
        if (is_before_gate_up()) let_later_grids_start();
    }

    static constexpr bool notes_tokens = true; // every row block of a tile asks for their pairs and weights
    static constexpr bool takes_fragments = Adder::serves;

    __device__ __forceinline__ Alpha alpha_of(int expert) const { return args.alpha[expert]; }
    __device__ __forceinline__ float weight(int pair) const { return Epilogue::weight_of(args, pair); }

    struct Tokens {
        const RoutedToken *tokens;

        __device__ __forceinline__ int pair(int token) const { return tokens[token].pair; }
        __device__ __forceinline__ float weight(int token) const { return tokens[token].weight; }
    };

    template <class Chunk>
    __device__ __forceinline__ void take(const Chunk &chunk, float *staging, const RoutedToken *tokens, const Tile &tile,
                                         int row_block, Alpha alpha) const
    {
        int warp = Gemm::group_thread() / 32;
        Adder{args, tokens, shared_address(staging) + warp * Adder::warp_bytes, tile.num_tokens, tile.expert,
              row_block * MJ_BLOCK_ROWS + warp * 16, alpha}.add(chunk);
    }

    __device__ __forceinline__ void store(const float *staging, const RoutedToken *tokens, const Tile &tile, int row_block, Alpha alpha) const
    {
        Epilogue::template store<MJ_BLOCK_ROWS, Gemm::group_threads>(staging, tile, row_block * MJ_BLOCK_ROWS,
                                                                     Gemm::group_thread(), args, Tokens{tokens}, alpha);
    }
};

template <class Config> __device__ __forceinline__ void down_hopper(const mj_down_args &args)
{
    HopperKernel<Config, DownHopper<Config>>::run(args);
}

} // namespace moejit
