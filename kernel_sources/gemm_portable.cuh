// The main loop that gate_up and down share, for sm_80 and up: packed NVFP4 weights (M side) times gathered bf16 token rows
// (N side), f32 sums. A ring of shared-memory stages is filled by cp.async; weights are dequantised in registers.
#pragma once
#include "dequantise.cuh"
#include "ptx_memory.cuh"
#include "ptx_mma.cuh"
#include "scheduler.cuh"

namespace moejit {

template <class Config> struct GemmPortable {
    static constexpr int block_rows = Config::block_rows, block_tokens = Config::block_tokens;
    static constexpr int num_stages = Config::num_stages, num_threads = Config::num_threads;
    static constexpr int num_warps = num_threads / 32;
    static constexpr int warps_on_tokens = block_tokens >= 64 ? 2 : 1, warps_on_rows = num_warps / warps_on_tokens;
    static constexpr int row_tiles = block_rows / 16 / warps_on_rows;         // m16 tiles of a warp
    static constexpr int token_tiles = block_tokens / 8 / warps_on_tokens;    // n8 tiles of a warp
    static constexpr int row_blocks = block_rows / MJ_BLOCK_ROWS;             // packed blocks of a stage
    static constexpr int weight_bytes = row_blocks * MJ_BLOCK_BYTES;          // of a stage
    static constexpr int token_row_bytes = MJ_BLOCK_COLUMNS * 2;              // of a stage
    static constexpr int stage_bytes = weight_bytes + block_tokens * token_row_bytes;
    static constexpr int ring_bytes = num_stages * stage_bytes;
    static constexpr int staging_stride = block_rows + 4; // floats; + 4 spreads the columns of a store over the banks
    static constexpr int staging_bytes = block_tokens * staging_stride * 4;
    static constexpr int work_bytes = ring_bytes > staging_bytes ? ring_bytes : staging_bytes;

    static_assert(Config::block_k == MJ_BLOCK_COLUMNS, "a stage is one packed block deep");
    static_assert(row_tiles * warps_on_rows * 16 == block_rows, "warps share the rows evenly");
    static_assert(token_tiles * warps_on_tokens * 8 == block_tokens, "warps share the tokens evenly");
    static_assert(num_stages >= 2, "a ring needs two stages");

    // Dynamic shared memory: the ring (later the staged results), then these, then first_tile[num_experts + 1].
    struct Shared {
        const uint8_t *token_rows[block_tokens]; // first byte of each token's row, null where the tile has no such token
        int warp_sums[num_threads / 32];
        int first_tile[1];
    };

    float sums[row_tiles][token_tiles][4];

    // Weights of row tile `row_tile` start at `weights`; blocks at and past num_row_blocks are read as zeros.
    __device__ __forceinline__ void multiply(char *ring, const Shared &shared, const uint8_t *weights, int first_row_block,
                                             int num_row_blocks, int reduced)
    {
        int num_steps = (reduced + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS;
        uint32_t base = shared_address(ring);
        for (int m = 0; m < row_tiles; m++) {
            for (int n = 0; n < token_tiles; n++) {
                for (int i = 0; i < 4; i++) sums[m][n][i] = 0.0f;
            }
        }
        for (int step = 0; step < num_stages - 1; step++) {
            fill(base + step * stage_bytes, shared, weights, first_row_block, num_row_blocks, step, num_steps, reduced);
        }
        for (int step = 0, stage = 0; step < num_steps; step++) {
            copy_async_wait<num_stages - 2>();
            __syncthreads(); // this step's copies of all threads have arrived, and the stage filled next is no longer read
            int next = step + num_stages - 1, next_stage = stage == 0 ? num_stages - 1 : stage - 1;
            fill(base + next_stage * stage_bytes, shared, weights, first_row_block, num_row_blocks, next, num_steps, reduced);
            consume(base + stage * stage_bytes);
            stage = stage + 1 == num_stages ? 0 : stage + 1;
        }
        copy_async_wait<0>();
        __syncthreads(); // the ring is free for the epilogue
    }

    // Commits one group always, so that waits can count groups.
    __device__ __forceinline__ void fill(uint32_t stage, const Shared &shared, const uint8_t *weights, int first_row_block,
                                         int num_row_blocks, int step, int num_steps, int reduced)
    {
        if (step < num_steps) {
            constexpr int chunks = MJ_BLOCK_BYTES / 16;
            for (int i = static_cast<int>(threadIdx.x); i < row_blocks * chunks; i += num_threads) {
                int block = first_row_block + i / chunks;
                bool valid = block < num_row_blocks;
                int64_t offset = (static_cast<int64_t>(valid ? block : 0) * num_steps + step) * MJ_BLOCK_BYTES;
                copy_async_16(stage + i * 16, weights + offset + i % chunks * 16, valid);
            }
            for (int i = static_cast<int>(threadIdx.x); i < block_tokens * 8; i += num_threads) {
                int token = i / 8, chunk = i % 8, column = step * MJ_BLOCK_COLUMNS + chunk * 8;
                const uint8_t *row = shared.token_rows[token];
                bool valid = row != nullptr && column < reduced;
                // The address must be a good one even where nothing is read.
                const uint8_t *source = valid ? row + static_cast<int64_t>(column) * 2 : weights;
                copy_async_16(stage + weight_bytes + token_offset(token, chunk), source, valid);
            }
        }
        copy_async_commit();
    }

    // 16-byte chunks of a token's row are permuted by the row, so that eight rows of one column meet eight bank groups.
    __device__ __forceinline__ static int token_offset(int token, int chunk)
    {
        return token * token_row_bytes + ((chunk ^ (token & 7)) << 4);
    }

    __device__ __forceinline__ void consume(uint32_t stage)
    {
        int lane = threadIdx.x % 32, first_row_tile = threadIdx.x / 32 / warps_on_tokens * row_tiles;
        uint32_t codes[row_tiles][4], scales[row_tiles][2];
#pragma unroll
        for (int m = 0; m < row_tiles; m++) {
            int tile = first_row_tile + m; // four m16 tiles a packed block
            uint32_t block = stage + tile / 4 * MJ_BLOCK_BYTES;
            load_shared_16(codes[m], block + (tile % 4 * 32 + lane) * 16);
            load_shared_8(scales[m], block + MJ_BLOCK_CODE_BYTES + (tile % 4 * 8 + lane / 4) * 8);
        }
#pragma unroll
        for (int k = 0; k < 4; k++) {
            uint32_t tokens[token_tiles][2];
            load_tokens(tokens, stage + weight_bytes, k, lane);
#pragma unroll
            for (int m = 0; m < row_tiles; m++) {
                uint32_t a[4];
                ScalePair scale = expand_scales(scales[m][k / 2]);
                dequantise(a, codes[m][k], k % 2 == 0 ? scale.even : scale.odd);
#pragma unroll
                for (int n = 0; n < token_tiles; n++) mma_bf16(sums[m][n], a, tokens[n][0], tokens[n][1]);
            }
        }
    }

    __device__ __forceinline__ static void load_tokens(uint32_t (&b)[token_tiles][2], uint32_t tokens, int k, int lane)
    {
        int first = threadIdx.x / 32 % warps_on_tokens * token_tiles * 8;
        if constexpr (token_tiles == 1) {
            load_matrix_x2(b[0], tokens + token_offset(first + lane % 8, 2 * k + lane / 8 % 2));
        } else {
#pragma unroll
            for (int n = 0; n < token_tiles; n += 2) {
                uint32_t pair[4];
                int token = first + n * 8 + lane % 8 + lane / 16 * 8;
                load_matrix_x4(pair, tokens + token_offset(token, 2 * k + lane / 8 % 2));
                b[n][0] = pair[0], b[n][1] = pair[1], b[n + 1][0] = pair[2], b[n + 1][1] = pair[3];
            }
        }
    }

    // Calls f(token of the tile, row of the tile, value, value 8 rows below) for every pair of sums that this thread holds.
    template <class F> __device__ __forceinline__ void for_each_sum(F f) const
    {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int m = 0; m < row_tiles; m++) {
            int row = (warp / warps_on_tokens * row_tiles + m) * 16 + lane / 4;
#pragma unroll
            for (int n = 0; n < token_tiles; n++) {
                int token = (warp % warps_on_tokens * token_tiles + n) * 8 + lane % 4 * 2;
                f(token, row, sums[m][n][0], sums[m][n][2]);
                f(token + 1, row, sums[m][n][1], sums[m][n][3]);
            }
        }
    }
};

} // namespace moejit
