// What gate_up does with the sums of a tile, or of a part of one: scale, bias, activation, rounding, rows of the intermediate.
#pragma once
#include "activation.cuh"
#include "bias.cuh"
#include "nvfp4.cuh"
#include "packed_layout.cuh"
#include "row_order.cuh"
#include "scheduler.cuh"

namespace moejit {

// Gemm: a main loop. tile.first_position and num_tokens may be those of a part of the tile.
template <class Config, class Gemm> struct GateUpEpilogue {
    static constexpr int rows = Config::gated ? 2 * Config::intermediate : Config::intermediate;
    static constexpr int num_row_blocks = (rows + MJ_BLOCK_ROWS - 1) / MJ_BLOCK_ROWS;

    // Scale and bias of one source row, for one token.
    __device__ static float finish(float sum, float alpha, float token_weight, int expert, int source_row,
                                   const mj_gate_up_args &args)
    {
        float scale = __fmul_rn(alpha, weight_unit<Config>());
        if constexpr (Config::router_weight_on_input) scale = __fmul_rn(scale, token_weight);
        float bias = load_bias<Config::gate_up_bias_dtype>(args.bias, static_cast<int64_t>(expert) * rows + source_row);
        return __fmaf_rn(sum, scale, bias);
    }

    // Activated values to staging[token][channel]; the first row of the sums is the first of `first_channel`.
    template <class Sums, class Pairs>
    __device__ static void stage(const Sums &sums, float *staging, const Tile &tile, int first_channel,
                                 const mj_gate_up_args &args, const Pairs &sorted_pairs)
    {
        const float *alpha = args.alpha + static_cast<int64_t>(tile.expert) * args.alpha_stride;
        float gate_alpha = alpha[0], up_alpha = alpha[args.alpha_stride - 1];
        sums.for_each_sum([&](int token, int row, float first, float second) {
            float weight = 1.0f;
            if constexpr (Config::router_weight_on_input) {
                weight = token < tile.num_tokens ? args.router_weights[sorted_pairs[tile.first_position + token]] : 0.0f;
            }
            float *staged = staging + token * Gemm::staging_stride;
            if constexpr (Config::gated) {
                int local = row / 16 * 8 + row % 8, channel = first_channel + local;
                if (channel >= Config::intermediate) return;
                int gate_row = source_row<Config::row_order>(channel, false, Config::intermediate);
                int up_row = source_row<Config::row_order>(channel, true, Config::intermediate);
                float gate = finish(first, gate_alpha, weight, tile.expert, gate_row, args);
                float up = finish(second, up_alpha, weight, tile.expert, up_row, args);
                staged[local] = activate<Config>(gate, up, args);
            } else {
                int channel = first_channel + row;
                if (channel < Config::intermediate) {
                    staged[row] = activate<Config>(finish(first, gate_alpha, weight, tile.expert, channel, args), 0.0f, args);
                }
                if (channel + 8 < Config::intermediate) {
                    float value = finish(second, gate_alpha, weight, tile.expert, channel + 8, args);
                    staged[row + 8] = activate<Config>(value, 0.0f, args);
                }
            }
        });
    }

    // Staged `channels` channels to the intermediate, 16 of them (one NVFP4 block, 32 bytes) a thread.
    template <int channels, int num_threads>
    __device__ static void store(const float *staging, const Tile &tile, int first_channel, int thread,
                                 const mj_gate_up_args &args)
    {
        constexpr int groups = channels / 16;
        static_assert(channels % 16 == 0, "whole NVFP4 blocks");
#pragma unroll 1 // registers are short: the main loop's sums are alive
        for (int i = thread; i < tile.num_tokens * groups; i += num_threads) {
            int token = i / groups, local = i % groups * 16, channel = first_channel + local;
            if (channel >= Config::intermediate) continue;
            float h[16];
            for (int c = 0; c < 16; c++) h[c] = staging[token * Gemm::staging_stride + local + c];
            if constexpr (Config::activation_format == MJ_FORMAT_NVFP4) {
                quantise_block(h, args.intermediate_scale[tile.expert * args.intermediate_scale_stride]);
            }
            uint32_t words[8];
            for (int c = 0; c < 8; c++) words[c] = pack_bf16x2(h[2 * c], h[2 * c + 1]);
            int64_t offset = static_cast<int64_t>(tile.first_position + token) * Config::intermediate + channel;
            uint4 *row = reinterpret_cast<uint4 *>(static_cast<uint16_t *>(args.intermediate) + offset);
            row[0] = make_uint4(words[0], words[1], words[2], words[3]);
            row[1] = make_uint4(words[4], words[5], words[6], words[7]);
        }
    }

    // The same to codes and scales (abi.h).
    template <int channels, int num_threads>
    __device__ static void store_codes(const float *staging, const Tile &tile, int first_channel, int thread,
                                       const mj_gate_up_args &args)
    {
        constexpr int groups = channels / 16;
        static_assert(channels % 16 == 0, "whole NVFP4 blocks");
        float scale = args.intermediate_scale[tile.expert * args.intermediate_scale_stride];
#pragma unroll 1
        for (int i = thread; i < tile.num_tokens * groups; i += num_threads) {
            int token = i / groups, local = i % groups * 16, channel = first_channel + local;
            if (channel >= Config::intermediate) continue;
            float h[16];
            for (int c = 0; c < 16; c++) h[c] = staging[token * Gemm::staging_stride + local + c];
            float sf = quantise_codes(h, scale);
            int64_t row = tile.first_position + token;
            uint8_t *codes = static_cast<uint8_t *>(args.intermediate) + row * MJ_ROW_CODE_BYTES(Config::intermediate);
            *reinterpret_cast<uint2 *>(codes + channel / 2) = e2m1_codes(h);
            args.intermediate_scales[row * MJ_ROW_SCALE_BYTES(Config::intermediate) + channel / 16] = e4m3_byte(sf);
        }
    }
};

} // namespace moejit
