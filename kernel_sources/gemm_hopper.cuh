// The main loop that gate_up and down share on sm_90a: packed NVFP4 weights (M side) times gathered bf16 token rows (N side),
// f32 sums. One warp fills a ring of shared-memory stages: weights by bulk copies, token rows by cp.async. Warpgroups, each
// with 64 rows, dequantise weights in registers and multiply by wgmma.
#pragma once
#include "dequantise.cuh"
#include "ptx_mbarrier.cuh"
#include "ptx_memory.cuh"
#include "ptx_wgmma.cuh"
#include "scheduler.cuh"

namespace moejit {

// A position in the ring, and the parity of the barriers there.
template <int num_stages> struct RingCursor {
    int stage = 0;
    uint32_t parity = 0;

    __device__ __forceinline__ void advance()
    {
        if (++stage == num_stages) stage = 0, parity ^= 1;
    }
};

template <class Config> struct GemmHopper {
    static constexpr int block_rows = Config::block_rows, block_tokens = Config::block_tokens;
    static constexpr int num_stages = Config::num_stages, num_threads = Config::num_threads;
    static constexpr int row_blocks = block_rows / MJ_BLOCK_ROWS;           // and warpgroups: one for each packed row block
    static constexpr int column_blocks = Config::block_k / MJ_BLOCK_COLUMNS; // of a stage
    static constexpr int group_threads = 128, producer_warp = row_blocks * 4;
    static constexpr int token_row_bytes = MJ_BLOCK_COLUMNS * 2, token_block_bytes = block_tokens * token_row_bytes;
    static constexpr int token_bytes = column_blocks * token_block_bytes;    // of a stage
    static constexpr int weight_bytes = row_blocks * column_blocks * MJ_BLOCK_BYTES;
    static constexpr int stage_bytes = (token_bytes + weight_bytes + 1023) / 1024 * 1024; // wgmma's swizzle wants 1024
    static constexpr int ring_bytes = num_stages * stage_bytes;
    static constexpr int chunk_tokens = block_tokens < 32 ? block_tokens : 32; // that the epilogue stages at a time
    static constexpr int staging_stride = MJ_BLOCK_ROWS + 4; // floats; + 4 spreads the columns of a store over the banks
    // An expert's last tile is often not full: it is multiplied at the next of four widths.
    static constexpr int width_step = block_tokens / 4 < 8 ? 8 : block_tokens / 4;

    static_assert(row_blocks * MJ_BLOCK_ROWS == block_rows, "a warpgroup for each 64 rows");
    static_assert(num_threads == row_blocks * group_threads + 32, "and one warp that copies");
    static_assert(block_tokens % chunk_tokens == 0, "whole chunks");

    // Dynamic shared memory, its start aligned to 1024: the ring, then this, then first_tile[num_experts + 1].
    struct Shared {
        float staging[row_blocks][chunk_tokens * staging_stride];
        const uint8_t *token_rows[block_tokens]; // the producer's: first byte of each token's row, null where there is none
        uint64_t filled[num_stages], drained[num_stages];
        int thread_sums[num_threads];
        int first_tile[1];
    };

    using Cursor = RingCursor<num_stages>;

    uint32_t ring, filled, drained; // shared addresses
    const uint8_t **token_rows;
    Cursor cursor;
    float sums[block_tokens / 8][4];

    // By the whole CTA; followed by __syncthreads.
    __device__ __forceinline__ void init(char *memory, Shared &shared)
    {
        ring = shared_address(memory);
        filled = shared_address(shared.filled);
        drained = shared_address(shared.drained);
        token_rows = shared.token_rows;
        if (threadIdx.x == 0) {
            for (int stage = 0; stage < num_stages; stage++) {
                mbarrier_init(filled + stage * 8, 32 + 1); // the lanes' cp.async, and the one that announces the bulk copies
                mbarrier_init(drained + stage * 8, producer_warp);
            }
            mbarrier_init_fence();
        }
    }

    __device__ __forceinline__ static bool is_producer() { return threadIdx.x / 32 == producer_warp; }
    __device__ __forceinline__ static int group() { return static_cast<int>(threadIdx.x) / group_threads; }
    __device__ __forceinline__ static int group_thread() { return static_cast<int>(threadIdx.x) % group_threads; }
    __device__ __forceinline__ static void group_barrier() { named_barrier(1 + group(), group_threads); }

    __device__ __forceinline__ static int width_of(int num_tokens)
    {
        return (num_tokens + width_step - 1) / width_step * width_step;
    }

    // One tile's copies, by the producer warp. row_of(token): the first byte of its row, for tokens of the tile.
    template <int reduced, class RowOf>
    __device__ __forceinline__ void fill(const uint8_t *weights, int num_valid_blocks, const Tile &tile, RowOf row_of)
    {
        constexpr int all_blocks = (reduced + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS;
        constexpr int num_steps = (all_blocks + column_blocks - 1) / column_blocks;
        int lane = threadIdx.x % 32, chunk = lane % 8, width = width_of(tile.num_tokens);
        __syncwarp(); // the last tile's rows are no longer read
        for (int token = lane; token < width; token += 32) {
            token_rows[token] = token < tile.num_tokens ? row_of(token) : nullptr;
        }
        __syncwarp();
        for (int step = 0; step < num_steps; step++) {
            mbarrier_wait(drained + cursor.stage * 8, cursor.parity ^ 1);
            uint32_t stage = ring + cursor.stage * stage_bytes, barrier = filled + cursor.stage * 8;
            int blocks = all_blocks - step * column_blocks < column_blocks ? all_blocks - step * column_blocks : column_blocks;
            if (lane == 0) fill_weights(stage + token_bytes, weights, num_valid_blocks, step, blocks, all_blocks, barrier);
#pragma unroll
            for (int b = 0; b < column_blocks; b++) {
                if (b >= blocks) break;
                int column = (step * column_blocks + b) * MJ_BLOCK_COLUMNS;
                bool inside = column + chunk * 8 < reduced;
#pragma unroll 4
                for (int token = lane / 8; token < width; token += 4) { // eight lanes copy a row of 128 bytes
                    const uint8_t *row = token_rows[token];
                    bool valid = row != nullptr && inside;
                    // The address must be a good one even where nothing is read.
                    const uint8_t *source = valid ? row + (column + chunk * 8) * 2 : weights;
                    copy_async_16(stage + b * token_block_bytes + token_offset(token, chunk), source, valid);
                }
            }
            copy_async_arrive(barrier);
            cursor.advance();
        }
    }

    __device__ __forceinline__ void fill_weights(uint32_t destination, const uint8_t *weights, int num_valid_blocks, int step,
                                                 int blocks, int all_blocks, uint32_t barrier)
    {
        uint32_t bytes = static_cast<uint32_t>(blocks) * MJ_BLOCK_BYTES;
        mbarrier_arrive_expect(barrier, bytes * static_cast<uint32_t>(num_valid_blocks));
        for (int g = 0; g < num_valid_blocks; g++) {
            int64_t offset = (static_cast<int64_t>(g) * all_blocks + step * column_blocks) * MJ_BLOCK_BYTES;
            copy_bulk(destination + g * column_blocks * MJ_BLOCK_BYTES, weights + offset, bytes, barrier);
        }
    }

    // 16-byte chunks of a token's row are permuted by the row: wgmma's 128-byte swizzle.
    __device__ __forceinline__ static int token_offset(int token, int chunk)
    {
        return token * token_row_bytes + ((chunk ^ (token & 7)) << 4);
    }

    // One tile's products, by a warpgroup; active: its row block exists.
    template <int reduced> __device__ __forceinline__ void multiply(int num_tokens, bool active)
    {
#pragma unroll
        for (int n = 0; n < block_tokens / 8; n++) {
            for (int i = 0; i < 4; i++) sums[n][i] = 0.0f;
        }
        if (!active) {
            pass<reduced>();
        } else {
            choose_width<reduced, width_step>(num_tokens);
        }
    }

    template <int reduced, int width> __device__ __forceinline__ void choose_width(int num_tokens)
    {
        if constexpr (width >= block_tokens) {
            multiply_at<reduced, block_tokens>();
        } else {
            if (num_tokens <= width) {
                multiply_at<reduced, width>();
            } else {
                choose_width<reduced, width + width_step>(num_tokens);
            }
        }
    }

    template <int reduced> __device__ __forceinline__ void pass()
    {
        constexpr int num_steps = (reduced + Config::block_k - 1) / Config::block_k;
        for (int step = 0; step < num_steps; step++) {
            mbarrier_wait(filled + cursor.stage * 8, cursor.parity);
            release();
        }
    }

    __device__ __forceinline__ void release()
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) mbarrier_arrive(drained + cursor.stage * 8);
        cursor.advance();
    }

    template <int reduced, int width> __device__ __forceinline__ void multiply_at()
    {
        constexpr int all_blocks = (reduced + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS;
        constexpr int whole_steps = all_blocks / column_blocks, rest = all_blocks % column_blocks;
#pragma unroll 1
        for (int step = 0; step < whole_steps; step++) consume<width, column_blocks>();
        if constexpr (rest > 0) consume<width, rest>();
#pragma unroll
        for (int n = 0; n < width / 8; n++) { // sums are not read before the last wait
            asm volatile("" : "+f"(sums[n][0]), "+f"(sums[n][1]), "+f"(sums[n][2]), "+f"(sums[n][3])::"memory");
        }
    }

    // One stage: dequantise, multiply, wait. While a warpgroup waits the others dequantise.
    template <int width, int blocks> __device__ __forceinline__ void consume()
    {
        mbarrier_wait(filled + cursor.stage * 8, cursor.parity);
        fence_proxy_async(); // token rows came by cp.async, and wgmma reads them through the asynchronous proxy
        uint32_t tokens = ring + cursor.stage * stage_bytes;
        uint32_t weights = tokens + token_bytes + group() * column_blocks * MJ_BLOCK_BYTES;
        uint32_t a[blocks * 4][4];
#pragma unroll
        for (int b = 0; b < blocks; b++) load_and_dequantise(a + b * 4, weights + b * MJ_BLOCK_BYTES);
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < blocks * 4; k++) {
            uint64_t descriptor = wgmma_descriptor(tokens + k / 4 * token_block_bytes) + k % 4 * (32 >> 4);
            wgmma_bf16<width>(sums, a[k], descriptor);
        }
        wgmma_commit();
        wgmma_wait<0>();
        release();
    }

    __device__ __forceinline__ static void load_and_dequantise(uint32_t (*a)[4], uint32_t block)
    {
        int lane = threadIdx.x % 32, tile = threadIdx.x / 32 % 4; // a warp has an m16 tile
        uint32_t codes[4], scales[2];
        load_shared_16(codes, block + (tile * 32 + lane) * 16);
        load_shared_8(scales, block + MJ_BLOCK_CODE_BYTES + (tile * 8 + lane / 4) * 8);
#pragma unroll
        for (int k = 0; k < 4; k++) dequantise(a[k], codes[k], scales[k / 2] >> (k % 2 * 16));
    }

    // The sums of tokens [chunk * chunk_tokens, ...), for the epilogue: as GemmPortable::for_each_sum, of the warpgroup's rows
    // and the chunk's tokens.
    struct Chunk {
        const GemmHopper &gemm;
        int idx;

        template <class F> __device__ __forceinline__ void for_each_sum(F f) const
        {
            int lane = threadIdx.x % 32, row = threadIdx.x / 32 % 4 * 16 + lane / 4;
#pragma unroll
            for (int n = 0; n < block_tokens / 8; n++) {
                if (n / (chunk_tokens / 8) != idx) continue;
                int token = n % (chunk_tokens / 8) * 8 + lane % 4 * 2;
                f(token, row, gemm.sums[n][0], gemm.sums[n][2]);
                f(token + 1, row, gemm.sums[n][1], gemm.sums[n][3]);
            }
        }
    };

    // The chunk's part of a tile.
    __device__ __forceinline__ static Tile chunk_of(const Tile &tile, int chunk)
    {
        int first = chunk * chunk_tokens, left = tile.num_tokens - first;
        return Tile{tile.expert, tile.row_tile, tile.first_position + first, left < chunk_tokens ? left : chunk_tokens};
    }
};

} // namespace moejit
