// down for sm_120a and sm_121a: as down_portable.cuh, on the main loop of gemm_fp4.cuh.
#pragma once
#include "down_epilogue.cuh"
#include "gemm_fp4.cuh"
#include "ptx_dependency.cuh"

namespace moejit {

template <class Config> struct DownFp4 {
    using Gemm = GemmFp4<Config>;
    using Epilogue = DownEpilogue<Config, Gemm>;

    __device__ static void run(const mj_down_args &args)
    {
        begin_after_earlier_grids();
        extern __shared__ __align__(128) char memory[];
        auto &shared = *reinterpret_cast<typename Gemm::Shared *>(memory + Gemm::work_bytes);
        int num_row_tiles = (args.num_row_blocks + Gemm::row_blocks - 1) / Gemm::row_blocks;
        count_tiles<Config::block_tokens, Config::num_threads>(shared.first_tile, shared.warp_sums, args.expert_offsets,
                                                               args.num_local_experts, num_row_tiles);
        int num_tiles = shared.first_tile[args.num_local_experts];
        QuantisedRows intermediate{static_cast<const uint8_t *>(args.intermediate), args.intermediate_scales};
        Gemm gemm;
        for (TileWalk walk; !walk.ends(num_tiles); walk.advance()) {
            if (walk.tile_idx() >= num_tiles) continue;
            Tile tile = find_tile<Config::block_tokens>(walk.tile_idx(), shared.first_tile, args.expert_offsets, args.num_local_experts);
            for (int n = static_cast<int>(threadIdx.x); n < Config::block_tokens; n += Config::num_threads) {
                shared.token_rows[n] = n < tile.num_tokens ? tile.first_position + n : -1;
            }
            __syncthreads();
            int first_row_block = args.first_row_block + tile.row_tile * Gemm::row_blocks;
            int first_column = first_row_block * MJ_BLOCK_ROWS;
            gemm.template multiply<Config::intermediate>(memory, shared, args.weights + tile.expert * args.expert_stride_bytes,
                                                         intermediate, first_row_block, Epilogue::num_row_blocks);
            float *staging = reinterpret_cast<float *>(memory);
            stage_sums<Gemm::staging_stride>(gemm, staging);
            __syncthreads();
            typename Epilogue::TokensInMemory tokens{args, tile.first_position};
            Epilogue::template store<Config::block_rows, Config::num_threads>(staging, tile, first_column,
                                                                              static_cast<int>(threadIdx.x), args, tokens,
                                                                              args.alpha[tile.expert]);
            __syncthreads(); // the next tile overwrites token_rows and the ring
        }
    }
};

template <class Config> __device__ __forceinline__ void down_fp4(const mj_down_args &args)
{
    DownFp4<Config>::run(args);
}

} // namespace moejit
