// What down does with the sums of a tile, or of a part of one: scale, bias, the router's weight, and adding into the output
// (atomic) or storing the pair's row of partial sums (ordered).
#pragma once
#include "bias.cuh"
#include "packed_layout.cuh"
#include "reduction.cuh"
#include "scheduler.cuh"
#include "staging.cuh"

namespace moejit {

// Gemm: a main loop. tile.first_position and num_tokens may be those of a part of the tile.
template <class Config, class Gemm> struct DownEpilogue {
    static constexpr int num_row_blocks = (Config::hidden + MJ_BLOCK_ROWS - 1) / MJ_BLOCK_ROWS;

    // The pair of a token of the tile, and the router's weight on it: from memory.
    struct TokensInMemory {
        const mj_down_args &args;
        int first_position;

        __device__ __forceinline__ int pair(int token) const { return args.sorted_pairs[first_position + token]; }
        __device__ __forceinline__ float weight(int token) const { return weight_of(args, pair(token)); }
    };

    __device__ __forceinline__ static float weight_of(const mj_down_args &args, int pair)
    {
        return args.router_weights == nullptr ? 1.0f : args.router_weights[pair];
    }

    // Staged sums of `columns` columns of the output, the first of them `first_column`; eight of one token a thread.
    template <int columns, int num_threads, class Tokens>
    __device__ static void store(const float *staging, const Tile &tile, int first_column, int thread, const mj_down_args &args,
                                 const Tokens &tokens, float alpha)
    {
        constexpr int element_bytes = Config::output_dtype == MJ_DTYPE_F32 ? 4 : 2;
        int end_column = (args.first_row_block + args.num_row_blocks) * MJ_BLOCK_ROWS;
        float scale = __fmul_rn(alpha, weight_unit<Config>());
        int64_t bias_row = static_cast<int64_t>(tile.expert) * Config::hidden;
        for_each_group<columns, 8, num_threads>(tile.num_tokens, thread, [&](int token, int local) {
            int column = first_column + local;
            if (column >= Config::hidden || column >= end_column) return;
            int pair = tokens.pair(token);
            float weight = tokens.weight(token), y[8];
            load_staged(y, staging + token * Gemm::staging_stride + local);
#pragma unroll
            for (int c = 0; c < 8; c++) {
                float bias = load_bias<Config::down_bias_dtype>(args.bias, bias_row + column + c);
                y[c] = __fmul_rn(weight, __fmaf_rn(y[c], scale, bias));
            }
            if constexpr (Config::sum == MJ_SUM_ATOMIC) {
                int64_t row = static_cast<int64_t>(pair / Config::top_k) * args.output_row_stride;
                add_eight<Config::output_dtype>(static_cast<uint8_t *>(args.output) + row * element_bytes, column, y);
            } else {
                int64_t offset = static_cast<int64_t>(pair) * args.partial_columns + column - args.first_row_block * MJ_BLOCK_ROWS;
                float4 *partials = reinterpret_cast<float4 *>(args.partials + offset);
                partials[0] = make_float4(y[0], y[1], y[2], y[3]);
                partials[1] = make_float4(y[4], y[5], y[6], y[7]);
            }
        });
    }
};

} // namespace moejit
