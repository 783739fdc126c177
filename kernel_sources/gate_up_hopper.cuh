// gate_up for sm_90a: as gate_up_portable.cuh, on the main loops of gemm_hopper.cuh.
#pragma once
#include "gate_up_epilogue.cuh"
#include "gemm_hopper.cuh"
#include "zero.cuh"

namespace moejit {

template <class Config> struct GateUpHopper {
    using Gemm = GemmHopper<Config>;
    using Epilogue = GateUpEpilogue<Config, Gemm>;
    using Alpha = typename Epilogue::Alpha;
    static constexpr int reduced = Config::hidden;
    static constexpr bool weights_first = false; // what it routes with, or route, is the kernel before
    static constexpr int block_channels = Config::gated ? MJ_BLOCK_ROWS / 2 : MJ_BLOCK_ROWS; // of a packed row block
    static constexpr int row_block_bytes = (Config::hidden + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS * MJ_BLOCK_BYTES;

    const mj_gate_up_args &args;
    const Routing<Gemm::can_fold> routing;

    __device__ __forceinline__ int num_row_tiles() const { return (Epilogue::num_row_blocks + Gemm::row_blocks - 1) / Gemm::row_blocks; }
    __device__ __forceinline__ int end_row_block() const { return Epilogue::num_row_blocks; }
    __device__ __forceinline__ int first_row_block(const Tile &tile) const { return tile.row_tile * Gemm::row_blocks; }

    __device__ __forceinline__ void fill(Gemm &gemm, const Tile &tile) const
    {
        int first = first_row_block(tile), left = end_row_block() - first;
        const uint8_t *weights =
            args.weights + tile.expert * args.expert_stride_bytes + static_cast<int64_t>(first) * row_block_bytes;
        gemm.template fill<reduced, weights_first>(weights, left < Gemm::row_blocks ? left : Gemm::row_blocks,
                                    static_cast<const uint8_t *>(args.x), tile, [&](int token) {
                                        int row = routing.sorted_pairs[tile.first_position + token] / Config::top_k;
                                        return static_cast<int64_t>(row) * args.x_row_stride * 2;
                                    });
    }

    // While the kernel before still runs, which may have written them.
    __device__ __forceinline__ void prepare() const
    {
        if constexpr (Gemm::can_fold) {
            if (routing.expert_offsets.folded) prefetch_ids<Config::top_k>(args.fold);
        }
    }

    // By the multiplying warps, which have nothing else to do until weights arrive.
    __device__ __forceinline__ void begin_multiplying() const
    {
        int thread = static_cast<int>(threadIdx.x);
        if (args.zero.output != nullptr) zero_rows<Gemm::consumer_threads>(args.zero, thread);
        if constexpr (Gemm::can_fold) {
            if (routing.expert_offsets.folded && blockIdx.x == 0) {
                publish_routing<Gemm::consumer_threads>(routing, args.expert_offsets, args.sorted_pairs, args.num_local_experts, thread);
            }
        }
    }

    __device__ __forceinline__ void end_filling() const {}

    static constexpr bool notes_tokens = false, takes_fragments = false;

    __device__ __forceinline__ Alpha alpha_of(int expert) const { return Epilogue::alpha_of(args, expert); }

    __device__ __forceinline__ void store(float *staging, const RoutedToken *, const Tile &tile, int row_block, const Alpha &alpha) const
    {
        int first_channel = row_block * block_channels, thread = Gemm::group_thread();
        if constexpr (Config::activation_format == MJ_FORMAT_NVFP4) {
            Epilogue::template activate_staged<block_channels, Gemm::group_threads>(staging, tile, first_channel, thread, args,
                                                                                    routing.sorted_pairs, alpha);
            Gemm::group_barrier();
        }
        Epilogue::template store<block_channels, Gemm::group_threads>(staging, tile, first_channel, thread, args,
                                                                      routing.sorted_pairs, alpha);
    }
};

template <class Config> __device__ __forceinline__ void gate_up_hopper(const mj_gate_up_args &args)
{
    HopperKernel<Config, GateUpHopper<Config>>::run(args);
}

} // namespace moejit
