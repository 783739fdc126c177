// quantize for kernels that multiply NVFP4 by NVFP4: x to rows of codes and scales (abi.h).
#pragma once
#include "live_tokens.cuh"
#include "nvfp4.cuh"
#include "ptx_dependency.cuh"

namespace moejit {

template <class Config> struct QuantizeFp4 {
    // Rounds 16 values of a bf16 row.
    __device__ static uint8_t round(uint2 &codes, const mj_quantize_args &args, int64_t row, int block)
    {
        const uint32_t *words =
            reinterpret_cast<const uint32_t *>(static_cast<const uint16_t *>(args.x) + row * args.x_row_stride + block * 16);
        float y[16];
        for (int i = 0; i < 8; i++) {
            y[2 * i] = bf16_low(words[i]);
            y[2 * i + 1] = bf16_high(words[i]);
        }
        uint8_t sf = e4m3_byte(quantise_codes(y, *args.input_scale));
        codes = e2m1_codes(y);
        return sf;
    }

    // Takes 16 codes as they are. Tensor cores have no sign of a scale: it goes into the codes. The caller's rows start anywhere.
    __device__ static uint8_t copy(uint2 &codes, const mj_quantize_args &args, int64_t row, int block)
    {
        const uint8_t *bytes = static_cast<const uint8_t *>(args.x) + row * (args.x_row_stride / 2) + block * 8;
        uint8_t sf = args.x_scales[row * (Config::hidden / 16) + block];
        uint32_t words[2] = {0, 0}, signs = sf & 0x80 ? 0x88888888u : 0;
        for (int i = 0; i < 8; i++) words[i / 4] |= static_cast<uint32_t>(bytes[i]) << (i % 4 * 8);
        codes = make_uint2(words[0] ^ signs, words[1] ^ signs);
        return sf & 0x7f;
    }

    __device__ static void run(const mj_quantize_args &args)
    {
        begin_after_earlier_grids();
        constexpr int blocks = Config::hidden / 16;
        int64_t count = static_cast<int64_t>(live_token_count(args.live_tokens, args.num_tokens)) * blocks;
        for (int64_t i = blockIdx.x * static_cast<int64_t>(Config::num_threads) + threadIdx.x; i < count;
             i += gridDim.x * static_cast<int64_t>(Config::num_threads)) {
            int64_t row = i / blocks;
            int block = static_cast<int>(i % blocks);
            uint2 codes;
            uint8_t sf;
            if constexpr (Config::input_format == MJ_FORMAT_BF16) {
                sf = round(codes, args, row, block);
            } else {
                sf = copy(codes, args, row, block);
            }
            uint8_t *values = static_cast<uint8_t *>(args.x_values) + row * MJ_ROW_CODE_BYTES(Config::hidden);
            *reinterpret_cast<uint2 *>(values + block * 8) = codes;
            args.x_value_scales[row * MJ_ROW_SCALE_BYTES(Config::hidden) + block] = sf;
        }
    }
};

template <class Config> __device__ __forceinline__ void quantize_fp4(const mj_quantize_args &args)
{
    QuantizeFp4<Config>::run(args);
}

} // namespace moejit
