// down: multiply the rows of the intermediate by each expert's down matrix, weigh, and add into the token's row of the
// output (atomic) or write the pair's row of partial sums (ordered; combine adds them up).
#pragma once
#include "bias.cuh"
#include "gemm_portable.cuh"
#include "reduction.cuh"

namespace moejit {

template <class Config> struct DownPortable {
    using Gemm = GemmPortable<Config>;
    static constexpr int num_row_blocks = (Config::hidden + MJ_BLOCK_ROWS - 1) / MJ_BLOCK_ROWS;

    // alpha * sum + bias of the tile to staging[token][column].
    __device__ static void stage(const Gemm &gemm, float *staging, const Tile &tile, int first_column, const mj_down_args &args)
    {
        float scale = __fmul_rn(args.alpha[tile.expert], MJ_WEIGHT_UNIT);
        int64_t bias_row = static_cast<int64_t>(tile.expert) * Config::hidden;
        gemm.for_each_sum([&](int token, int row, float first, float second) {
            float *staged = staging + token * Gemm::staging_stride + row;
            int column = first_column + row;
            if (column < Config::hidden) {
                staged[0] = __fmaf_rn(first, scale, load_bias<Config::down_bias_dtype>(args.bias, bias_row + column));
            }
            if (column + 8 < Config::hidden) {
                staged[8] = __fmaf_rn(second, scale, load_bias<Config::down_bias_dtype>(args.bias, bias_row + column + 8));
            }
        });
    }

    // Eight columns of one token a thread.
    __device__ static void store(const float *staging, const Tile &tile, int first_column, const mj_down_args &args)
    {
        constexpr int groups = Config::block_rows / 8;
        constexpr int element_bytes = Config::output_dtype == MJ_DTYPE_F32 ? 4 : 2;
        int end_column = (args.first_row_block + args.num_row_blocks) * MJ_BLOCK_ROWS;
        for (int i = static_cast<int>(threadIdx.x); i < tile.num_tokens * groups; i += Config::num_threads) {
            int token = i / groups, local = i % groups * 8, column = first_column + local;
            if (column >= Config::hidden || column >= end_column) continue;
            int pair = args.sorted_pairs[tile.first_position + token];
            float weight = args.router_weights == nullptr ? 1.0f : args.router_weights[pair];
            float y[8];
            for (int c = 0; c < 8; c++) y[c] = __fmul_rn(weight, staging[token * Gemm::staging_stride + local + c]);
            if constexpr (Config::sum == MJ_SUM_ATOMIC) {
                int64_t row = static_cast<int64_t>(pair / Config::top_k) * args.output_row_stride;
                add_eight<Config::output_dtype>(static_cast<uint8_t *>(args.output) + row * element_bytes, column, y);
            } else {
                int64_t offset = static_cast<int64_t>(pair) * args.partial_columns + column - args.first_row_block * MJ_BLOCK_ROWS;
                float4 *partials = reinterpret_cast<float4 *>(args.partials + offset);
                partials[0] = make_float4(y[0], y[1], y[2], y[3]);
                partials[1] = make_float4(y[4], y[5], y[6], y[7]);
            }
        }
    }

    __device__ static void run(const mj_down_args &args)
    {
        extern __shared__ __align__(128) char memory[];
        auto &shared = *reinterpret_cast<typename Gemm::Shared *>(memory + Gemm::work_bytes);
        int num_row_tiles = (args.num_row_blocks + Gemm::row_blocks - 1) / Gemm::row_blocks;
        count_tiles<Config::block_tokens, Config::num_threads>(shared.first_tile, shared.thread_sums, args.expert_offsets,
                                                               args.num_local_experts, num_row_tiles);
        int num_tiles = shared.first_tile[args.num_local_experts];
        Gemm gemm;
        for (int idx = static_cast<int>(blockIdx.x); idx < num_tiles; idx += static_cast<int>(gridDim.x)) {
            Tile tile = find_tile<Config::block_tokens>(idx, shared.first_tile, args.expert_offsets, args.num_local_experts);
            for (int n = static_cast<int>(threadIdx.x); n < Config::block_tokens; n += Config::num_threads) {
                int64_t row = static_cast<int64_t>(tile.first_position + n) * Config::intermediate * 2;
                shared.token_rows[n] = n < tile.num_tokens ? static_cast<const uint8_t *>(args.intermediate) + row : nullptr;
            }
            __syncthreads();
            int first_row_block = args.first_row_block + tile.row_tile * Gemm::row_blocks;
            gemm.multiply(memory, shared, args.weights + tile.expert * args.expert_stride_bytes, first_row_block,
                          num_row_blocks, Config::intermediate);
            stage(gemm, reinterpret_cast<float *>(memory), tile, first_row_block * MJ_BLOCK_ROWS, args);
            __syncthreads();
            store(reinterpret_cast<float *>(memory), tile, first_row_block * MJ_BLOCK_ROWS, args);
            __syncthreads(); // the next tile overwrites token_rows and the ring
        }
    }
};

template <class Config> __device__ __forceinline__ void down_portable(const mj_down_args &args)
{
    DownPortable<Config>::run(args);
}

} // namespace moejit
