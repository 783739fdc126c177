// gate_up for sm_120a and sm_121a: as gate_up_portable.cuh, on the main loop of gemm_fp4.cuh; the intermediate is NVFP4.
#pragma once
#include "gate_up_epilogue.cuh"
#include "gemm_fp4.cuh"
#include "ptx_dependency.cuh"

namespace moejit {

template <class Config> struct GateUpFp4 {
    using Gemm = GemmFp4<Config>;
    using Epilogue = GateUpEpilogue<Config, Gemm>;
    static constexpr int num_row_tiles = (Epilogue::num_row_blocks + Gemm::row_blocks - 1) / Gemm::row_blocks;
    static constexpr int tile_channels = Config::gated ? Config::block_rows / 2 : Config::block_rows;

    static_assert(Config::activation_format == MJ_FORMAT_NVFP4, "the tensor cores multiply NVFP4 by NVFP4");

    __device__ static void run(const mj_gate_up_args &args)
    {
        begin_after_earlier_grids();
        extern __shared__ __align__(128) char memory[];
        auto &shared = *reinterpret_cast<typename Gemm::Shared *>(memory + Gemm::work_bytes);
        count_tiles<Config::block_tokens, Config::num_threads>(shared.first_tile, shared.warp_sums, args.expert_offsets,
                                                               args.num_local_experts, num_row_tiles);
        int num_tiles = shared.first_tile[args.num_local_experts];
        QuantisedRows x{static_cast<const uint8_t *>(args.x), args.x_value_scales};
        Gemm gemm;
        for (TileWalk walk; !walk.ends(num_tiles); walk.advance()) {
            if (walk.tile_idx() >= num_tiles) continue;
            Tile tile = find_tile<Config::block_tokens>(walk.tile_idx(), shared.first_tile, args.expert_offsets, args.num_local_experts);
            for (int n = static_cast<int>(threadIdx.x); n < Config::block_tokens; n += Config::num_threads) {
                bool valid = n < tile.num_tokens;
                shared.token_rows[n] = valid ? args.sorted_pairs[tile.first_position + n] / Config::top_k : -1;
            }
            __syncthreads();
            gemm.template multiply<Config::hidden>(memory, shared, args.weights + tile.expert * args.expert_stride_bytes, x,
                                                   tile.row_tile * Gemm::row_blocks, Epilogue::num_row_blocks);
            float *staging = reinterpret_cast<float *>(memory);
            stage_sums<Gemm::staging_stride>(gemm, staging);
            __syncthreads();
            int first_channel = tile.row_tile * tile_channels, thread = static_cast<int>(threadIdx.x);
            Epilogue::template activate_staged<tile_channels, Config::num_threads>(staging, tile, first_channel, thread, args,
                                                                                   args.sorted_pairs, Epilogue::alpha_of(args, tile.expert));
            __syncthreads();
            Epilogue::template store_codes<tile_channels, Config::num_threads>(staging, tile, first_channel, thread, args);
            __syncthreads(); // the next tile overwrites token_rows and the ring
        }
    }
};

template <class Config> __device__ __forceinline__ void gate_up_fp4(const mj_gate_up_args &args)
{
    GateUpFp4<Config>::run(args);
}

} // namespace moejit
