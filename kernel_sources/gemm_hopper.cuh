// The main loop that gate_up and down share on sm_90a: packed NVFP4 weights (M side) times gathered bf16 token rows (N side),
// f32 sums. Some warps fill a ring of shared-memory stages: weights by bulk copies, token rows by cp.async. Warpgroups, each
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
    static constexpr int group_threads = 128, consumer_threads = row_blocks * group_threads;
    static constexpr int producer_threads = num_threads - consumer_threads;
    static constexpr int copied_rows = producer_threads / 8;                // at a time: eight threads copy 128 bytes
    static constexpr int rows_per_thread = (block_tokens + copied_rows - 1) / copied_rows;
    // With four warpgroups of products registers are short: those that copy hand over what they do not need.
    static constexpr bool moves_registers = producer_threads == group_threads && row_blocks == 4;
    // A warpgroup dequantises its next block while its products are on their way; or, where a second set of registers would spill,
    // waits at once and leaves the tensor cores to the others.
    static constexpr bool overlaps = block_tokens != 16 && block_tokens < 128;
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
    static_assert(producer_threads >= 32 && producer_threads % 32 == 0, "and warps that copy");
    static_assert(column_blocks <= 2, "multiply_at takes two blocks at a time");
    static_assert(block_tokens % chunk_tokens == 0, "whole chunks");

    // Dynamic shared memory, its start aligned to 1024: the ring, then this, then first_tile[num_experts + 1].
    struct Shared {
        float staging[row_blocks][chunk_tokens * staging_stride];
        Tile tiles[row_blocks]; // of each warpgroup: kept here during the main loop, for registers are short
        uint64_t filled[num_stages], drained[num_stages];
        int thread_sums[num_threads];
        int first_tile[1];
    };

    using Cursor = RingCursor<num_stages>;
    static constexpr uint32_t no_row = 0xffffffffu;

    uint32_t ring, filled, drained; // shared addresses
    Cursor cursor;
    float sums[block_tokens / 8][4];

    // By the whole CTA; followed by __syncthreads.
    __device__ __forceinline__ void init(char *memory, Shared &shared)
    {
        ring = shared_address(memory);
        filled = shared_address(shared.filled);
        drained = shared_address(shared.drained);
        if (threadIdx.x == 0) {
            for (int stage = 0; stage < num_stages; stage++) {
                mbarrier_init(filled + stage * 8, producer_threads + 1); // cp.async of each; the announcement of bulk copies
                mbarrier_init(drained + stage * 8, consumer_threads / 32);
            }
            mbarrier_init_fence();
        }
    }

    __device__ __forceinline__ static bool is_producer() { return threadIdx.x >= consumer_threads; }

    __device__ __forceinline__ static void enter_producer()
    {
        if constexpr (moves_registers) shrink_registers<32>();
    }

    __device__ __forceinline__ static void enter_consumer()
    {
        if constexpr (moves_registers) grow_registers<112>();
    }

    __device__ __forceinline__ static int group() { return static_cast<int>(threadIdx.x) / group_threads; }
    __device__ __forceinline__ static int group_thread() { return static_cast<int>(threadIdx.x) % group_threads; }
    __device__ __forceinline__ static void group_barrier() { named_barrier(1 + group(), group_threads); }

    __device__ __forceinline__ static int width_of(int num_tokens)
    {
        return (num_tokens + width_step - 1) / width_step * width_step;
    }

    // One tile's copies, by the producer warps. row_of(token): the first byte of its row, for tokens of the tile, a multiple of 16
    // away from `tokens`.
    template <int reduced, class RowOf>
    __device__ __forceinline__ void fill(const uint8_t *weights, int num_valid_blocks, const uint8_t *tokens, const Tile &tile,
                                         RowOf row_of)
    {
        constexpr int all_blocks = (reduced + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS;
        constexpr int num_steps = (all_blocks + column_blocks - 1) / column_blocks;
        int thread = static_cast<int>(threadIdx.x) - consumer_threads, chunk = thread % 8, first = thread / 8;
        int width = width_of(tile.num_tokens);
        uint32_t rows[rows_per_thread]; // in units of 16 bytes
#pragma unroll
        for (int i = 0; i < rows_per_thread; i++) {
            int token = first + i * copied_rows;
            rows[i] = token < tile.num_tokens ? static_cast<uint32_t>(row_of(token) >> 4) + chunk : no_row;
        }
#pragma unroll 1
        for (int step = 0; step < num_steps; step++) {
            mbarrier_wait(drained + cursor.stage * 8, cursor.parity ^ 1);
            uint32_t stage = ring + cursor.stage * stage_bytes, barrier = filled + cursor.stage * 8;
            int left = all_blocks - step * column_blocks, blocks = left < column_blocks ? left : column_blocks;
            if (thread == 0) fill_weights(stage + token_bytes, weights, num_valid_blocks, step, blocks, all_blocks, barrier);
#pragma unroll
            for (int b = 0; b < column_blocks; b++) {
                if (b >= blocks) break;
                int column = (step * column_blocks + b) * MJ_BLOCK_COLUMNS;
                bool inside = reduced % MJ_BLOCK_COLUMNS == 0 || column + chunk * 8 < reduced;
                uint32_t destination = stage + b * token_block_bytes;
#pragma unroll
                for (int i = 0; i < rows_per_thread; i++) {
                    int token = first + i * copied_rows;
                    if (token >= width) break;
                    bool valid = rows[i] != no_row && inside;
                    // The address must be a good one even where nothing is read.
                    const uint8_t *source = tokens + (valid ? (static_cast<int64_t>(rows[i]) << 4) + column * 2 : 0);
                    copy_async_16(destination + token_offset(token, chunk), source, valid);
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
            release(cursor.stage);
            cursor.advance();
        }
    }

    __device__ __forceinline__ void release(int stage)
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) mbarrier_arrive(drained + stage * 8);
    }

    template <int reduced, int width> __device__ __forceinline__ void multiply_at()
    {
        constexpr int all_blocks = (reduced + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS;
        uint32_t a[overlaps ? 2 : 1][4][4];
        int last_stage = -1; // of the products under way
#pragma unroll 1
        for (int block = 0; block + 1 < all_blocks; block += 2) {
            consume<width, 0, column_blocks == 1>(a[0], last_stage);
            consume<width, column_blocks - 1, true>(a[overlaps], last_stage);
        }
        if constexpr (all_blocks % 2 == 1) consume<width, 0, true>(a[0], last_stage);
        if constexpr (overlaps) {
            wgmma_wait<0>();
            release(last_stage);
        }
        pin_sums<width>(); // they are not read before the last wait
    }

    // Block b of the stage at the cursor; last: it leaves the stage. The products of the block before end meanwhile, and their
    // stage is given back.
    template <int width, int b, bool last>
    __device__ __forceinline__ void consume(uint32_t (&a)[4][4], int &last_stage)
    {
        uint32_t tokens = ring + cursor.stage * stage_bytes;
        uint32_t weights = tokens + token_bytes + (group() * column_blocks + b) * MJ_BLOCK_BYTES;
        if constexpr (b == 0) {
            mbarrier_wait(filled + cursor.stage * 8, cursor.parity);
            fence_proxy_async(); // token rows came by cp.async, and wgmma reads them through the asynchronous proxy
        }
        load_and_dequantise(a, weights);
        if constexpr (overlaps) {
            wgmma_wait<0>();
            if (b == 0 && last_stage >= 0) release(last_stage);
        }
        pin_sums<width>();
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < 4; k++) {
            wgmma_bf16<width>(sums, a[k], wgmma_descriptor(tokens + b * token_block_bytes) + k * (32 >> 4));
        }
        wgmma_commit();
        if constexpr (!overlaps) {
            wgmma_wait<0>();
            if constexpr (last) release(cursor.stage);
        }
        last_stage = cursor.stage;
        if constexpr (last) cursor.advance();
    }

    // What is done to the sums before is not moved behind.
    template <int width> __device__ __forceinline__ void pin_sums()
    {
#pragma unroll
        for (int n = 0; n < width / 8; n++) {
            asm volatile("" : "+f"(sums[n][0]), "+f"(sums[n][1]), "+f"(sums[n][2]), "+f"(sums[n][3])::"memory");
        }
    }

    // What this lane multiplies of a packed block: a warp has an m16 tile.
    __device__ __forceinline__ static void load_and_dequantise(uint32_t (&a)[4][4], uint32_t block)
    {
        int lane = threadIdx.x % 32, tile = threadIdx.x / 32 % 4;
        uint32_t codes[4], scales[2];
        load_shared_16(codes, block + (tile * 32 + lane) * 16);
        load_shared_8(scales, block + MJ_BLOCK_CODE_BYTES + (tile * 8 + lane / 4) * 8);
        dequantise_block(a, codes, scales);
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
