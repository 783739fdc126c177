// gate_up for sm_100a, as far as the compiler can vouch for it: no family has it, nothing has run it, and nothing overlaps in
// it. It shows that the block-scaled layout, rows of codes and scales, and the epilogue are what tcgen05.mma kind::mxf4nvf4
// wants: a packed block is its A matrix and its scales, as they are.
#pragma once
#include "gate_up_epilogue.cuh"
#include "ptx_mbarrier.cuh"
#include "ptx_memory.cuh"
#include "ptx_tcgen05.cuh"
#include "scheduler.cuh"

namespace moejit {

template <class Base> struct Tcgen05Config : Base {
    static constexpr int packed_layout = MJ_LAYOUT_BLOCK_SCALED;
    static constexpr int block_rows = MJ_SCALED_BLOCK_ROWS, block_tokens = 64;
};

// The main loop: one packed block and 64 columns of the tokens at a time.
template <class Config> struct GemmTcgen05 {
    static constexpr int block_rows = Config::block_rows, block_tokens = Config::block_tokens, num_threads = Config::num_threads;
    static constexpr int staging_stride = block_rows + 4;
    static constexpr int all_columns = 128;                              // of tensor memory
    static constexpr int a_scales_at = block_tokens, b_scales_at = a_scales_at + 4; // after the sums' columns
    static_assert(num_threads == 128 && block_tokens <= 128 && b_scales_at + 4 <= all_columns, "four warps, one 128x4 tile of scales");

    struct Shared {
        uint8_t weights[MJ_SCALED_BLOCK_BYTES];
        uint8_t tokens[block_tokens * MJ_SCALED_BLOCK_COLUMNS / 2]; // [groups of 8 rows][2][8 rows][16 bytes], as weights
        uint8_t token_scales[MJ_SCALED_BLOCK_SCALE_BYTES];          // a 128x4 tile
        float staging[block_tokens * staging_stride];
        uint64_t products_ended;
        uint32_t tensor_memory;
        int token_rows[block_tokens];
        int warp_sums[num_threads / 32];
        int first_tile[1];
    };

    Shared &shared;
    uint32_t sums = 0, parity = 0;

    __device__ __forceinline__ void init()
    {
        if (threadIdx.x < 32) tensor_memory_allocate<all_columns>(shared_address(&shared.tensor_memory));
        if (threadIdx.x == 0) {
            mbarrier_init(shared_address(&shared.products_ended), 1);
            mbarrier_init_fence();
        }
        tcgen05_fence_before_sync();
        __syncthreads();
        tcgen05_fence_after_sync();
        sums = shared.tensor_memory;
    }

    __device__ __forceinline__ void end()
    {
        __syncthreads();
        if (threadIdx.x < 32) tensor_memory_free<all_columns>(sums);
    }

    template <int reduced>
    __device__ __forceinline__ void fill(const uint8_t *block, const uint8_t *codes, const uint8_t *scales, int first_column)
    {
        int thread = static_cast<int>(threadIdx.x), left = reduced - first_column;
        for (int i = thread; i < MJ_SCALED_BLOCK_BYTES / 16; i += num_threads) {
            copy_async_16(shared_address(shared.weights) + i * 16, block + i * 16, true);
        }
        for (int i = thread; i < block_tokens * 3; i += num_threads) {
            int token = i / 3, part = i % 3, row = shared.token_rows[token];
            bool is_scale = part == 2;
            int has = is_scale ? left / 16 : left / 2 - part * 16, most = is_scale ? 4 : 16;
            int bytes = row < 0 || has < 0 ? 0 : (has < most ? has : most);
            if (is_scale) {
                int64_t offset = static_cast<int64_t>(row) * MJ_ROW_SCALE_BYTES(reduced) + first_column / 16;
                copy_async_4_part(shared_address(shared.token_scales) + token % 32 * 16 + token / 32 * 4,
                                  scales + (bytes > 0 ? offset : 0), bytes);
            } else {
                int64_t offset = static_cast<int64_t>(row) * MJ_ROW_CODE_BYTES(reduced) + first_column / 2 + part * 16;
                copy_async_16_part(shared_address(shared.tokens) + token / 8 * 256 + part * 128 + token % 8 * 16,
                                   codes + (bytes > 0 ? offset : 0), bytes);
            }
        }
        copy_async_commit();
        copy_async_wait<0>();
        fence_proxy_async(); // for the tensor cores
        tcgen05_fence_before_sync();
        __syncthreads();
        tcgen05_fence_after_sync();
    }

    template <int reduced>
    __device__ __forceinline__ void multiply(const uint8_t *blocks, const uint8_t *codes, const uint8_t *scales)
    {
        for (int column = 0; column < reduced; column += MJ_SCALED_BLOCK_COLUMNS) {
            fill<reduced>(blocks + column / MJ_SCALED_BLOCK_COLUMNS * MJ_SCALED_BLOCK_BYTES, codes, scales, column);
            if (threadIdx.x == 0) {
                uint32_t weights = shared_address(shared.weights);
                copy_scales(sums + a_scales_at, tcgen05_descriptor(weights + MJ_SCALED_BLOCK_CODE_BYTES, 0, 128));
                copy_scales(sums + b_scales_at, tcgen05_descriptor(shared_address(shared.token_scales), 0, 128));
                tcgen05_mma_nvfp4(sums, tcgen05_descriptor(weights, 128, 256),
                                  tcgen05_descriptor(shared_address(shared.tokens), 128, 256),
                                  nvfp4_instruction<block_rows, block_tokens>(), sums + a_scales_at, sums + b_scales_at, column > 0);
                tcgen05_commit(shared_address(&shared.products_ended));
            }
            mbarrier_wait(shared_address(&shared.products_ended), parity); // shared memory is free again
            parity ^= 1;
            tcgen05_fence_after_sync();
        }
    }

    // As GemmPortable::for_each_sum; a warp reads its 32 lanes, which are rows, in two halves.
    template <class F> __device__ __forceinline__ void for_each_sum(F f) const
    {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
        for (int half = 0; half < 2; half++) {
            int first_row = warp * 32 + half * 16;
            for (int n = 0; n < block_tokens; n += 8) {
                float c[4];
                load_sums(c, sums + (static_cast<uint32_t>(first_row) << 16) + n);
                f(n + lane % 4 * 2, first_row + lane / 4, c[0], c[2]);
                f(n + lane % 4 * 2 + 1, first_row + lane / 4, c[1], c[3]);
            }
        }
    }
};

template <class Base> __device__ __forceinline__ void gate_up_tcgen05(const mj_gate_up_args &args)
{
    using Config = Tcgen05Config<Base>;
    using Gemm = GemmTcgen05<Config>;
    using Epilogue = GateUpEpilogue<Config, Gemm>;
    constexpr int num_row_tiles = (Epilogue::rows + Config::block_rows - 1) / Config::block_rows;
    constexpr int tile_channels = Config::gated ? Config::block_rows / 2 : Config::block_rows;
    constexpr int column_blocks = (Config::hidden + MJ_SCALED_BLOCK_COLUMNS - 1) / MJ_SCALED_BLOCK_COLUMNS;
    extern __shared__ __align__(128) char memory[];
    auto &shared = *reinterpret_cast<typename Gemm::Shared *>(memory);
    count_tiles<Config::block_tokens, Config::num_threads>(shared.first_tile, shared.warp_sums, args.expert_offsets,
                                                           args.num_local_experts, num_row_tiles);
    int num_tiles = shared.first_tile[args.num_local_experts];
    Gemm gemm{shared};
    gemm.init();
    for (TileWalk walk; !walk.ends(num_tiles); walk.advance()) {
        if (walk.tile_idx() >= num_tiles) continue;
        Tile tile = find_tile<Config::block_tokens>(walk.tile_idx(), shared.first_tile, args.expert_offsets, args.num_local_experts);
        for (int n = static_cast<int>(threadIdx.x); n < Config::block_tokens; n += Config::num_threads) {
            bool valid = n < tile.num_tokens;
            shared.token_rows[n] = valid ? args.sorted_pairs[tile.first_position + n] / Config::top_k : -1;
        }
        __syncthreads();
        const uint8_t *weights = args.weights + tile.expert * args.expert_stride_bytes;
        gemm.template multiply<Config::hidden>(weights + static_cast<int64_t>(tile.row_tile) * column_blocks * MJ_SCALED_BLOCK_BYTES,
                                               static_cast<const uint8_t *>(args.x), args.x_value_scales);
        stage_sums<Gemm::staging_stride>(gemm, shared.staging);
        tcgen05_fence_before_sync(); // the next tile's products overwrite the sums
        __syncthreads();
        int first_channel = tile.row_tile * tile_channels, thread = static_cast<int>(threadIdx.x);
        Epilogue::template activate_staged<tile_channels, Config::num_threads>(shared.staging, tile, first_channel, thread, args,
                                                                               args.sorted_pairs, Epilogue::alpha_of(args, tile.expert));
        __syncthreads();
        Epilogue::template store_codes<tile_channels, Config::num_threads>(shared.staging, tile, first_channel, thread, args);
        __syncthreads(); // the next tile overwrites token_rows and the staged values
    }
    gemm.end();
}

} // namespace moejit
