// Adds a warp's sums into a 16-bit output straight from the main loop's registers: rounded, transposed in a little shared memory
// of the warp's own, and added 16 bytes of a row at a time. No warp waits for another.
#pragma once
#include "bias.cuh"
#include "ptx_memory.cuh"
#include "reduction.cuh"
#include "scheduler.cuh"

namespace moejit {

template <class Config, class Gemm> struct FragmentAdder {
    static constexpr bool serves = Config::sum == MJ_SUM_ATOMIC && Config::output_dtype != MJ_DTYPE_F32;
    static constexpr int token_tiles = Gemm::chunk_tokens / 8; // mma's n8
    static constexpr int row_bytes = 32;                       // of a token in staging: 16 rows of the output's columns
    static constexpr int warp_bytes = Gemm::chunk_tokens * row_bytes;
    static_assert(!serves || warp_bytes * 4 <= Gemm::chunk_tokens * Gemm::staging_stride * 4, "four warps' in a group's staging");

    const mj_down_args &args;
    const RoutedToken *tokens; // of the chunk, all chunk_tokens of them; those beyond num_tokens count for nothing
    uint32_t staging;          // the warp's
    int num_tokens, expert, first_column;
    float alpha; // of the expert

    // By a warp; chunk: 16 rows by chunk_tokens tokens of sums, from first_column on.
    template <class Chunk> __device__ __forceinline__ void add(const Chunk &chunk) const
    {
        float scale = __fmul_rn(alpha, weight_unit<Config>());
        int lane = threadIdx.x % 32;
        float bias[2] = {bias_of(lane / 4), bias_of(lane / 4 + 8)};
#pragma unroll
        for (int n = 0; n < token_tiles; n += 2) {
            uint32_t m[2][2];
            round(m[0], chunk.sum(n), n, scale, bias);
            if constexpr (token_tiles == 1) {
                store_columns_x2(staging_of(lane % 8, lane / 8), m[0]);
            } else {
                round(m[1], chunk.sum(n + 1), n + 1, scale, bias);
                const uint32_t all[4] = {m[0][0], m[0][1], m[1][0], m[1][1]};
                store_columns_x4(staging_of((n + lane / 16) * 8 + lane % 8, lane / 8), all);
            }
        }
        __syncwarp();
#pragma unroll
        for (int first = 0; first < Gemm::chunk_tokens; first += 16) add_row(first + lane / 2, lane % 2);
        __syncwarp(); // the next chunk overwrites the staged one
    }

    __device__ __forceinline__ float bias_of(int row) const
    {
        int column = first_column + row;
        if (Config::down_bias_dtype == MJ_DTYPE_NONE || column >= Config::hidden) return 0.0f;
        return load_bias<Config::down_bias_dtype>(args.bias, static_cast<int64_t>(expert) * Config::hidden + column);
    }

    // A lane's fragment of eight tokens: two of them, rows l / 4 and l / 4 + 8.
    __device__ __forceinline__ void round(uint32_t (&m)[2], const float (&sum)[4], int n, float scale, const float (&bias)[2]) const
    {
        const RoutedToken *token = tokens + n * 8 + threadIdx.x % 4 * 2;
        float weights[2] = {token[0].weight, token[1].weight};
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float low = __fmul_rn(weights[0], __fmaf_rn(sum[half * 2], scale, bias[half]));
            float high = __fmul_rn(weights[1], __fmaf_rn(sum[half * 2 + 1], scale, bias[half]));
            m[half] = pack_pair<Config::output_dtype>(low, high);
        }
    }

    // Where eight rows of a token are staged: of every second four tokens the halves change places, for the banks' sake.
    __device__ __forceinline__ uint32_t staging_of(int token, int half) const
    {
        return staging + token * row_bytes + (((half ^ token / 4) & 1) << 4);
    }

    __device__ __forceinline__ void add_row(int token, int half) const
    {
        int column = first_column + half * 8, end_column = (args.first_row_block + args.num_row_blocks) * MJ_BLOCK_ROWS;
        if (token >= num_tokens || column >= Config::hidden || column >= end_column) return;
        uint32_t v[4];
        load_shared_16(v, staging_of(token, half));
        int64_t row = static_cast<int64_t>(tokens[token].pair / Config::top_k) * args.output_row_stride;
        add_eight_16<Config::output_dtype>(static_cast<uint16_t *>(args.output) + row + column, v);
    }
};

} // namespace moejit
