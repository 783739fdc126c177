// combine: each token's rows of partial sums, added in the order of k, rounded once. Four columns a thread.
#pragma once
#include "live_tokens.cuh"
#include "ptx_dependency.cuh"
#include "ptx_math.cuh"

namespace moejit {

template <class Config> struct Combine {
    __device__ static void load(float (&y)[4], const void *row, int column)
    {
        if constexpr (Config::output_dtype == MJ_DTYPE_F32) {
            for (int c = 0; c < 4; c++) y[c] = static_cast<const float *>(row)[column + c];
        } else {
            const uint32_t *pairs = reinterpret_cast<const uint32_t *>(static_cast<const uint16_t *>(row) + column);
            for (int c = 0; c < 2; c++) {
                bool bf16 = Config::output_dtype == MJ_DTYPE_BF16;
                y[2 * c] = bf16 ? bf16_low(pairs[c]) : f16_low(pairs[c]);
                y[2 * c + 1] = bf16 ? bf16_high(pairs[c]) : f16_high(pairs[c]);
            }
        }
    }

    __device__ static void store(void *row, int column, const float (&y)[4])
    {
        if constexpr (Config::output_dtype == MJ_DTYPE_F32) {
            for (int c = 0; c < 4; c++) static_cast<float *>(row)[column + c] = y[c];
        } else {
            uint32_t *pairs = reinterpret_cast<uint32_t *>(static_cast<uint16_t *>(row) + column);
            for (int c = 0; c < 2; c++) {
                bool bf16 = Config::output_dtype == MJ_DTYPE_BF16;
                pairs[c] = bf16 ? pack_bf16x2(y[2 * c], y[2 * c + 1]) : pack_f16x2(y[2 * c], y[2 * c + 1]);
            }
        }
    }

    __device__ static void run(const mj_combine_args &args)
    {
        begin_after_earlier_grids();
        constexpr int element_bytes = Config::output_dtype == MJ_DTYPE_F32 ? 4 : 2;
        int groups = args.num_columns / 4;
        int64_t count = static_cast<int64_t>(live_token_count(args.live_tokens, args.num_tokens)) * groups;
        for (int64_t i = blockIdx.x * static_cast<int64_t>(Config::num_threads) + threadIdx.x; i < count;
             i += gridDim.x * static_cast<int64_t>(Config::num_threads)) {
            int64_t token = i / groups;
            int local = static_cast<int>(i % groups) * 4;
            void *row = static_cast<uint8_t *>(args.output) + token * args.output_row_stride * element_bytes;
            float y[4] = {0.0f, 0.0f, 0.0f, 0.0f};
            if (args.accumulate) load(y, row, args.first_column + local);
            for (int k = 0; k < args.top_k; k++) {
                int64_t pair = token * args.top_k + k;
                if (local_expert(args.expert_ids[pair], args.local_expert_offset, args.num_local_experts) < 0) continue;
                float4 part = *reinterpret_cast<const float4 *>(args.partials + pair * args.partial_columns + local);
                y[0] = __fadd_rn(y[0], part.x), y[1] = __fadd_rn(y[1], part.y);
                y[2] = __fadd_rn(y[2], part.z), y[3] = __fadd_rn(y[3], part.w);
            }
            store(row, args.first_column + local, y);
        }
    }
};

template <class Config> __device__ __forceinline__ void combine(const mj_combine_args &args)
{
    Combine<Config>::run(args);
}

} // namespace moejit
