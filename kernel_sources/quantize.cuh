// quantize: x to the values that the GEMM multiplies in the NVFP4-activation mode, q * sf in bf16.
#pragma once
#include "live_tokens.cuh"
#include "nvfp4.cuh"
#include "ptx_dependency.cuh"

namespace moejit {

template <class Config> struct Quantize {
    __device__ static void load(float (&y)[16], const mj_quantize_args &args, int64_t row, int block)
    {
        if constexpr (Config::input_format == MJ_FORMAT_BF16) {
            const uint32_t *words = reinterpret_cast<const uint32_t *>(static_cast<const uint16_t *>(args.x) +
                                                                       row * args.x_row_stride + block * 16);
            for (int i = 0; i < 8; i++) {
                y[2 * i] = bf16_low(words[i]);
                y[2 * i + 1] = bf16_high(words[i]);
            }
            quantise_block(y, *args.input_scale);
        } else {
            const uint8_t *codes = static_cast<const uint8_t *>(args.x) + row * (args.x_row_stride / 2) + block * 8;
            float sf = e4m3_value(args.x_scales[row * (Config::hidden / 16) + block]);
            for (int i = 0; i < 16; i++) y[i] = __fmul_rn(e2m1_value(codes[i / 2] >> (i % 2 * 4) & 15u), sf);
        }
    }

    __device__ static void run(const mj_quantize_args &args)
    {
        begin_after_earlier_grids();
        constexpr int blocks = Config::hidden / 16;
        int64_t count = static_cast<int64_t>(live_token_count(args.live_tokens, args.num_tokens)) * blocks;
        for (int64_t i = blockIdx.x * static_cast<int64_t>(Config::num_threads) + threadIdx.x; i < count;
             i += gridDim.x * static_cast<int64_t>(Config::num_threads)) {
            float y[16];
            uint32_t words[8];
            load(y, args, i / blocks, static_cast<int>(i % blocks));
            for (int c = 0; c < 8; c++) words[c] = pack_bf16x2(y[2 * c], y[2 * c + 1]);
            uint4 *values = reinterpret_cast<uint4 *>(static_cast<uint16_t *>(args.x_values) + i * 16);
            values[0] = make_uint4(words[0], words[1], words[2], words[3]);
            values[1] = make_uint4(words[4], words[5], words[6], words[7]);
        }
    }
};

template <class Config> __device__ __forceinline__ void quantize(const mj_quantize_args &args)
{
    Quantize<Config>::run(args);
}

} // namespace moejit
