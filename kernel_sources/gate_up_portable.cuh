// gate_up: gather token rows, multiply by the gate and up rows of each chosen expert, activate, round, write one row of the
// intermediate for each pair.
#pragma once
#include "activation.cuh"
#include "bias.cuh"
#include "gemm_portable.cuh"
#include "nvfp4.cuh"
#include "row_order.cuh"

namespace moejit {

template <class Config> struct GateUpPortable {
    using Gemm = GemmPortable<Config>;
    static constexpr int rows = Config::gated ? 2 * Config::intermediate : Config::intermediate;
    static constexpr int num_row_blocks = (rows + MJ_BLOCK_ROWS - 1) / MJ_BLOCK_ROWS;
    static constexpr int num_row_tiles = (num_row_blocks + Gemm::row_blocks - 1) / Gemm::row_blocks;
    static constexpr int tile_channels = Config::gated ? Config::block_rows / 2 : Config::block_rows;
    static_assert(tile_channels % 16 == 0, "a tile holds whole NVFP4 blocks");

    // Scale and bias of one source row, for one token.
    __device__ static float finish(float sum, float alpha, float token_weight, int expert, int source_row,
                                   const mj_gate_up_args &args)
    {
        float scale = __fmul_rn(alpha, MJ_WEIGHT_UNIT);
        if constexpr (Config::router_weight_on_input) scale = __fmul_rn(scale, token_weight);
        float bias = load_bias<Config::gate_up_bias_dtype>(args.bias, static_cast<int64_t>(expert) * rows + source_row);
        return __fmaf_rn(sum, scale, bias);
    }

    // Activated values of the tile to staging[token][channel].
    __device__ static void stage(const Gemm &gemm, float *staging, const Tile &tile, const mj_gate_up_args &args)
    {
        const float *alpha = args.alpha + static_cast<int64_t>(tile.expert) * args.alpha_stride;
        float gate_alpha = alpha[0], up_alpha = alpha[args.alpha_stride - 1];
        gemm.for_each_sum([&](int token, int row, float first, float second) {
            float weight = 1.0f;
            if constexpr (Config::router_weight_on_input) {
                weight = token < tile.num_tokens ? args.router_weights[args.sorted_pairs[tile.first_position + token]] : 0.0f;
            }
            float *staged = staging + token * Gemm::staging_stride;
            if constexpr (Config::gated) {
                int local = row / 16 * 8 + row % 8, channel = tile.row_tile * tile_channels + local;
                if (channel >= Config::intermediate) return;
                int gate_row = source_row<Config::row_order>(channel, false, Config::intermediate);
                int up_row = source_row<Config::row_order>(channel, true, Config::intermediate);
                float gate = finish(first, gate_alpha, weight, tile.expert, gate_row, args);
                float up = finish(second, up_alpha, weight, tile.expert, up_row, args);
                staged[local] = activate<Config>(gate, up, args);
            } else {
                int channel = tile.row_tile * tile_channels + row;
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

    // staging to the intermediate, 16 channels (one NVFP4 block, 32 bytes) a thread.
    __device__ static void store(const float *staging, const Tile &tile, const mj_gate_up_args &args)
    {
        constexpr int groups = tile_channels / 16;
        for (int i = static_cast<int>(threadIdx.x); i < tile.num_tokens * groups; i += Config::num_threads) {
            int token = i / groups, local = i % groups * 16, channel = tile.row_tile * tile_channels + local;
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

    __device__ static void run(const mj_gate_up_args &args)
    {
        extern __shared__ __align__(128) char memory[];
        auto &shared = *reinterpret_cast<typename Gemm::Shared *>(memory + Gemm::work_bytes);
        count_tiles<Config::block_tokens, Config::num_threads>(shared.first_tile, shared.thread_sums, args.expert_offsets,
                                                               args.num_local_experts, num_row_tiles);
        int num_tiles = shared.first_tile[args.num_local_experts];
        Gemm gemm;
        for (int idx = static_cast<int>(blockIdx.x); idx < num_tiles; idx += static_cast<int>(gridDim.x)) {
            Tile tile = find_tile<Config::block_tokens>(idx, shared.first_tile, args.expert_offsets, args.num_local_experts);
            for (int n = static_cast<int>(threadIdx.x); n < Config::block_tokens; n += Config::num_threads) {
                const uint8_t *row = nullptr;
                if (n < tile.num_tokens) {
                    int token = args.sorted_pairs[tile.first_position + n] / Config::top_k;
                    row = static_cast<const uint8_t *>(args.x) + static_cast<int64_t>(token) * args.x_row_stride * 2;
                }
                shared.token_rows[n] = row;
            }
            __syncthreads();
            gemm.multiply(memory, shared, args.weights + tile.expert * args.expert_stride_bytes,
                          tile.row_tile * Gemm::row_blocks, num_row_blocks, Config::hidden);
            stage(gemm, reinterpret_cast<float *>(memory), tile, args);
            __syncthreads();
            store(reinterpret_cast<float *>(memory), tile, args);
            __syncthreads(); // the next tile overwrites token_rows and the ring
        }
    }
};

template <class Config> __device__ __forceinline__ void gate_up_portable(const mj_gate_up_args &args)
{
    GateUpPortable<Config>::run(args);
}

} // namespace moejit
