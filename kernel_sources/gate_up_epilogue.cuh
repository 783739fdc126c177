// What gate_up does with the sums of a tile, or of a part of one: scale, bias, activation, rounding, rows of the intermediate.
#pragma once
#include "activation.cuh"
#include "bias.cuh"
#include "nvfp4.cuh"
#include "packed_layout.cuh"
#include "row_order.cuh"
#include "scheduler.cuh"
#include "staging.cuh"

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

    // The staged row of a channel of the tile's, or of its gate: eight gates come before their eight ups.
    __device__ __forceinline__ static int row_of(int channel) { return Config::gated ? channel / 8 * 16 + channel % 8 : channel; }

    // Of an expert.
    struct Alpha {
        float gate, up;
    };

    __device__ __forceinline__ static Alpha alpha_of(const mj_gate_up_args &args, int expert)
    {
        const float *alpha = args.alpha + static_cast<int64_t>(expert) * args.alpha_stride;
        return {alpha[0], alpha[args.alpha_stride - 1]};
    }

    // What a channel needs for all of a token's channels.
    struct Scales {
        Alpha alpha;
        float weight = 1.0f;

        template <class Pairs>
        __device__ __forceinline__ Scales(const Alpha &of_expert, const Tile &tile, int token, const mj_gate_up_args &args,
                                          const Pairs &sorted_pairs)
            : alpha(of_expert)
        {
            if constexpr (Config::router_weight_on_input) weight = args.router_weights[sorted_pairs[tile.first_position + token]];
        }
    };

    // Activated values of neighbouring channels, at most eight; staged: at the first one's gate.
    template <int width>
    __device__ __forceinline__ static void activated(float (&h)[width], const float *staged, const Scales &scales, int expert,
                                                     int channel, const mj_gate_up_args &args)
    {
        load_staged(h, staged);
        if constexpr (Config::gated) {
            float ups[width];
            load_staged(ups, staged + 8);
#pragma unroll
            for (int c = 0; c < width; c++) {
                int gate_row = source_row<Config::row_order>(channel + c, false, Config::intermediate);
                int up_row = source_row<Config::row_order>(channel + c, true, Config::intermediate);
                float gate = finish(h[c], scales.alpha.gate, scales.weight, expert, gate_row, args);
                h[c] = activate<Config>(gate, finish(ups[c], scales.alpha.up, scales.weight, expert, up_row, args), args);
            }
        } else {
#pragma unroll
            for (int c = 0; c < width; c++) {
                h[c] = activate<Config>(finish(h[c], scales.alpha.gate, scales.weight, expert, channel + c, args), 0.0f, args);
            }
        }
    }

    // As many neighbouring channels a thread as keep all threads busy, if they can be stored at once: 2, 4 or 8.
    static constexpr int tokens_at_once = Config::block_tokens < 32 ? Config::block_tokens : 32;
    template <int channels, int num_threads, int width = tokens_at_once * channels / num_threads>
    static constexpr int channels_per_thread = width >= 8 ? 8 : (width >= 4 ? 4 : 2);

    // Staged sums of `channels` channels, the first of them `first_channel`, to the intermediate. Tensor cores' NVFP4 and what
    // is rounded to it: activate_staged(), a barrier, and store() or store_codes(); otherwise store() alone.
    template <int channels, int num_threads, class Pairs>
    __device__ static void activate_staged(float *staging, const Tile &tile, int first_channel, int thread,
                                           const mj_gate_up_args &args, const Pairs &sorted_pairs, const Alpha &alpha)
    {
        constexpr int width = channels_per_thread<channels, num_threads>;
        for_each_group<channels, width, num_threads>(tile.num_tokens, thread, [&](int token, int local) {
            int channel = first_channel + local;
            if (channel >= Config::intermediate) return;
            float *staged = staging + token * Gemm::staging_stride + row_of(local), h[width];
            activated(h, staged, Scales(alpha, tile, token, args, sorted_pairs), tile.expert, channel, args);
            for (int c = 0; c < width; c++) staged[c] = h[c];
        });
    }

    template <int channels, int num_threads, class Pairs>
    __device__ static void store(const float *staging, const Tile &tile, int first_channel, int thread,
                                 const mj_gate_up_args &args, const Pairs &sorted_pairs, const Alpha &alpha)
    {
        constexpr bool quantised = Config::activation_format == MJ_FORMAT_NVFP4;
        constexpr int width = quantised ? 16 : channels_per_thread<channels, num_threads>;
        static_assert(channels % 16 == 0, "whole NVFP4 blocks");
        for_each_group<channels, width, num_threads>(tile.num_tokens, thread, [&](int token, int local) {
            int channel = first_channel + local;
            if (channel >= Config::intermediate) return;
            const float *staged = staging + token * Gemm::staging_stride;
            float h[width];
            if constexpr (quantised) {
                for (int c = 0; c < width; c++) h[c] = staged[row_of(local + c)];
                quantise_block(h, args.intermediate_scale[tile.expert * args.intermediate_scale_stride]);
            } else {
                activated(h, staged + row_of(local), Scales(alpha, tile, token, args, sorted_pairs), tile.expert, channel, args);
            }
            int64_t offset = static_cast<int64_t>(tile.first_position + token) * Config::intermediate + channel;
            store_bf16(static_cast<uint16_t *>(args.intermediate) + offset, h);
        });
    }

    template <int width> __device__ __forceinline__ static void store_bf16(uint16_t *to, const float (&h)[width])
    {
        uint32_t words[width / 2];
        for (int c = 0; c < width / 2; c++) words[c] = pack_bf16x2(h[2 * c], h[2 * c + 1]);
        if constexpr (width == 2) {
            *reinterpret_cast<uint32_t *>(to) = words[0];
        } else if constexpr (width == 4) {
            *reinterpret_cast<uint2 *>(to) = make_uint2(words[0], words[1]);
        } else {
            for (int i = 0; i < width / 8; i++) {
                reinterpret_cast<uint4 *>(to)[i] = make_uint4(words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
            }
        }
    }

    // The same to codes and scales (abi.h).
    template <int channels, int num_threads>
    __device__ static void store_codes(const float *staging, const Tile &tile, int first_channel, int thread,
                                       const mj_gate_up_args &args)
    {
        static_assert(channels % 16 == 0, "whole NVFP4 blocks");
        float scale = args.intermediate_scale[tile.expert * args.intermediate_scale_stride];
        for_each_group<channels, 16, num_threads>(tile.num_tokens, thread, [&](int token, int local) {
            int channel = first_channel + local;
            if (channel >= Config::intermediate) return;
            float h[16];
            for (int c = 0; c < 16; c++) h[c] = staging[token * Gemm::staging_stride + row_of(local + c)];
            float sf = quantise_codes(h, scale);
            int64_t row = tile.first_position + token;
            uint8_t *codes = static_cast<uint8_t *>(args.intermediate) + row * MJ_ROW_CODE_BYTES(Config::intermediate);
            *reinterpret_cast<uint2 *>(codes + channel / 2) = e2m1_codes(h);
            args.intermediate_scales[row * MJ_ROW_SCALE_BYTES(Config::intermediate) + channel / 16] = e4m3_byte(sf);
        });
    }
};

} // namespace moejit
