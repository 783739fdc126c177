// What down does with the sums of a tile, or of a part of one: scale, bias, the router's weight, and adding into the output
// (atomic) or storing the pair's row of partial sums (ordered).
#pragma once
#include "bias.cuh"
#include "packed_layout.cuh"
#include "reduction.cuh"
#include "scheduler.cuh"

namespace moejit {

// Gemm: a main loop. tile.first_position and num_tokens may be those of a part of the tile.
template <class Config, class Gemm> struct DownEpilogue {
    static constexpr int num_row_blocks = (Config::hidden + MJ_BLOCK_ROWS - 1) / MJ_BLOCK_ROWS;

    // alpha * sum + bias to staging[token][column]; the first row of the sums is `first_column` of the output.
    template <class Sums>
    __device__ static void stage(const Sums &sums, float *staging, const Tile &tile, int first_column, const mj_down_args &args)
    {
        float scale = __fmul_rn(args.alpha[tile.expert], weight_unit<Config>());
        int64_t bias_row = static_cast<int64_t>(tile.expert) * Config::hidden;
        sums.for_each_sum([&](int token, int row, float first, float second) {
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

    // Staged `columns` columns, eight of one token a thread.
    template <int columns, int num_threads, class Pairs>
    __device__ static void store(const float *staging, const Tile &tile, int first_column, int thread, const mj_down_args &args,
                                 const Pairs &sorted_pairs)
    {
        constexpr int groups = columns / 8;
        constexpr int element_bytes = Config::output_dtype == MJ_DTYPE_F32 ? 4 : 2;
        int end_column = (args.first_row_block + args.num_row_blocks) * MJ_BLOCK_ROWS;
#pragma unroll 1 // registers are short: the main loop's sums are alive
        for (int i = thread; i < tile.num_tokens * groups; i += num_threads) {
            int token = i / groups, local = i % groups * 8, column = first_column + local;
            if (column >= Config::hidden || column >= end_column) continue;
            int pair = sorted_pairs[tile.first_position + token];
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
};

} // namespace moejit
