// The main loop that gate_up and down share on sm_90a for many tokens an expert: packed NVFP4 weights (M side) times gathered
// bf16 token rows (N side), f32 sums, by wgmma. Some warps fill a ring of stages: weights by bulk copies, token rows by
// cp.async, since no bulk copy of Hopper gathers rows and swizzles them. Warpgroups, each with 64 rows, dequantise weights in
// registers and multiply.
#pragma once
#include "dequantise.cuh"
#include "hopper_ring.cuh"
#include "ptx_dependency.cuh"
#include "ptx_wgmma.cuh"
#include "route_in_block.cuh"
#include "scheduler.cuh"

namespace moejit {

template <class Config> struct GemmHopperWgmma {
    static constexpr int block_rows = Config::block_rows, block_tokens = Config::block_tokens;
    static constexpr int num_stages = Config::num_stages, num_threads = Config::num_threads;
    static constexpr bool can_fold = false, can_split = false;
    static constexpr bool notes_scales_early = false; // registers are short
    static constexpr int row_blocks = block_rows / MJ_BLOCK_ROWS;
    static constexpr int column_blocks = Config::block_k / MJ_BLOCK_COLUMNS; // of a stage
    static constexpr int group_threads = 128, consumer_threads = num_threads - group_threads;
    static constexpr int groups = consumer_threads / group_threads, group_blocks = row_blocks / groups; // of packed rows
    static constexpr int blocks = group_blocks * column_blocks; // that a warpgroup dequantises of a stage
    // Of the copying warps the first copies weights, and runs ahead of the others, which copy token rows.
    static constexpr int token_threads = num_threads - consumer_threads - 32;
    static constexpr int copied_rows = token_threads / 8; // at a time: eight threads copy 128 bytes
    static constexpr int rows_per_thread = (block_tokens + copied_rows - 1) / copied_rows;
    static constexpr int token_row_bytes = MJ_BLOCK_COLUMNS * 2, token_block_bytes = block_tokens * token_row_bytes;
    static constexpr int token_bytes = column_blocks * token_block_bytes; // of a stage
    static constexpr int weight_bytes = row_blocks * column_blocks * MJ_BLOCK_BYTES;
    static constexpr int stage_bytes = (token_bytes + weight_bytes + 1023) / 1024 * 1024; // wgmma's swizzle wants 1024
    static constexpr int chunk_tokens = block_tokens < 32 ? block_tokens : 32; // that the epilogue stages at a time
    static constexpr int staging_stride = MJ_BLOCK_ROWS + 4; // floats; + 4 spreads the columns of a store over the banks
    // A warpgroup of copying warps hands registers that it does not need to those that multiply.
    static constexpr int launch_registers = 65536 / (num_threads * Config::blocks_per_sm) / 8 * 8;
    static constexpr int producer_registers = launch_registers >= 168 ? 40 : 64; // a thread keeps its rows in them
    static constexpr int spare_registers = (launch_registers - producer_registers) / groups / 8 * 8;
    static constexpr int consumer_registers = launch_registers + spare_registers > 240 ? 240 : launch_registers + spare_registers;
    static_assert(consumer_registers * groups + producer_registers <= launch_registers * (groups + 1),
                  "setmaxnreg waits for ever for registers that the CTA was not launched with");

    static_assert(groups * group_blocks * MJ_BLOCK_ROWS == block_rows, "whole row blocks for each warpgroup");
    static_assert(blocks <= 2, "dequantised at once");
    static_assert(block_tokens % chunk_tokens == 0 && block_tokens <= 256, "whole chunks, an n of wgmma");

    // Arrivals: of each thread that copies token rows once they are here, and the announcement of the weights.
    using Ring = moejit::Ring<num_stages, token_threads + 1, consumer_threads / 32>;

    // Dynamic shared memory, its start aligned to 1024: the ring, then this, then first_tile[num_experts + 1].
    struct Shared {
        float staging[groups][chunk_tokens * staging_stride];
        Tile tiles[groups]; // of each warpgroup: kept here during the main loop, for registers are short
        RoutedToken tokens[groups][block_tokens];
        typename Ring::Barriers barriers;
        int warp_sums[num_threads / 32];
        int first_tile[1];
    };

    __device__ __forceinline__ static int ring_bytes(int) { return num_stages * stage_bytes; }

    uint32_t memory; // shared address of the ring
    Ring ring;
    typename Ring::Cursor cursor;
    float sums[group_blocks][block_tokens / 8][4]; // once a tile's main loop is through; until then ptx_wgmma.cuh has them

    template <class Args> __device__ __forceinline__ static Routing<false> routing(const Args &args, Shared &)
    {
        return {{args.expert_offsets, nullptr, false}, {args.sorted_pairs, nullptr, false}};
    }

    // By the whole CTA; followed by __syncthreads.
    __device__ __forceinline__ void init(char *ring_memory, Shared &shared, int)
    {
        memory = shared_address(ring_memory);
        ring.init(shared.barriers, num_stages);
        declare_sums<0, block_tokens>();
        if constexpr (group_blocks > 1) declare_sums<1, block_tokens>();
    }

    __device__ __forceinline__ static bool is_producer() { return threadIdx.x >= consumer_threads; }
    __device__ __forceinline__ static void enter_producer() { shrink_registers<producer_registers>(); }
    __device__ __forceinline__ static void enter_consumer() { grow_registers<consumer_registers>(); }
    __device__ __forceinline__ static int group() { return static_cast<int>(threadIdx.x) / group_threads; }
    __device__ __forceinline__ static int group_thread() { return static_cast<int>(threadIdx.x) % group_threads; }
    __device__ __forceinline__ static void group_barrier() { named_barrier(1 + group(), group_threads); }

    // A tile that is not full is multiplied at the next of a few widths. Each is a main loop to compile: so there are few
    // narrow ones, where dequantising takes longer than the products, and few of a wide tile for reductions that end soon.
    static constexpr int first_width = block_tokens == 160 ? 64 : (block_tokens <= 64 ? 16 : 32);

    template <int reduced> __device__ __forceinline__ static constexpr int next_width(int width)
    {
        int step = 16;
        if (block_tokens <= 64 && width >= 32) step = 8;
        if (block_tokens == 160) step = reduced < 256 ? 48 : (width < 96 ? 32 : (width < 112 ? 16 : 8));
        return width + step < block_tokens ? width + step : block_tokens;
    }

    template <int reduced> __device__ __forceinline__ static int width_of(int num_tokens)
    {
        int width = first_width;
        while (width < num_tokens) width = next_width<reduced>(width);
        return width;
    }

    // One tile's copies, by the producer warps. row_of(token): the first byte of its row, for tokens of the tile, a multiple of 16
    // away from `tokens`.
    template <int reduced, bool weights_first, class RowOf>
    __device__ __forceinline__ void fill(const uint8_t *weights, int num_valid_blocks, const uint8_t *tokens, const Tile &tile,
                                         RowOf row_of)
    {
        if (threadIdx.x < consumer_threads + 32) {
            fill_weights<reduced>(weights, num_valid_blocks);
        } else {
            if constexpr (weights_first) wait_for_earlier_grids(); // at once from the second time on
            fill_tokens<reduced>(tokens, tile.num_tokens, row_of);
        }
    }

    __device__ __forceinline__ void finish_fill() {}

    // A bulk copy for each packed row block and stage, by a lane of its own. In place of one beyond the last, which nothing is made
    // of, the last again.
    template <int reduced> __device__ __forceinline__ void fill_weights(const uint8_t *weights, int num_valid_blocks)
    {
        constexpr int all_blocks = (reduced + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS;
        int lane = static_cast<int>(threadIdx.x) % 32;
        int valid = lane < num_valid_blocks ? lane : num_valid_blocks - 1;
        const uint8_t *source = weights + static_cast<int64_t>(valid) * all_blocks * MJ_BLOCK_BYTES;
#pragma unroll 1
        for (int block = 0; block < all_blocks; block += column_blocks) {
            uint32_t bytes = static_cast<uint32_t>(all_blocks - block < column_blocks ? 1 : column_blocks) * MJ_BLOCK_BYTES;
            uint32_t barrier = ring.filled_barrier(cursor);
            ring.wait_drained(cursor);
            if (lane == 0) mbarrier_arrive_expect(barrier, bytes * row_blocks);
            __syncwarp(); // the bytes are announced
            if (lane < row_blocks) {
                uint32_t destination = memory + cursor.stage * stage_bytes + token_bytes + lane * column_blocks * MJ_BLOCK_BYTES;
                copy_bulk(destination, source + static_cast<int64_t>(block) * MJ_BLOCK_BYTES, bytes, barrier);
            }
            ring.advance(cursor);
        }
    }

    // Rows that no token has, up to the width, hold another token's: nothing is made of their products. Columns beyond the
    // last are not copied, and not read.
    template <int reduced, class RowOf>
    __device__ __forceinline__ void fill_tokens(const uint8_t *tokens, int num_tokens, RowOf row_of)
    {
        constexpr int num_steps = (reduced + Config::block_k - 1) / Config::block_k;
        int thread = static_cast<int>(threadIdx.x) - consumer_threads - 32, chunk = thread % 8, first = thread / 8;
        int num_rows = (width_of<reduced>(num_tokens) + copied_rows - 1 - first) / copied_rows;
        uint32_t rows[rows_per_thread]; // in units of 16 bytes
#pragma unroll
        for (int i = 0; i < rows_per_thread; i++) {
            int token = first + i * copied_rows;
            rows[i] = static_cast<uint32_t>(row_of(token < num_tokens ? token : num_tokens - 1) >> 4);
        }
        const uint8_t *columns = tokens + chunk * 16;
#pragma unroll 1
        for (int step = 0; step < num_steps; step++) {
            uint32_t stage = memory + cursor.stage * stage_bytes + token_offset(first, chunk);
            ring.wait_drained(cursor);
#pragma unroll
            for (int b = 0; b < column_blocks; b++) {
                int column = step * Config::block_k + b * MJ_BLOCK_COLUMNS + chunk * 8;
                if (reduced % Config::block_k == 0 || column < reduced) {
                    copy_rows<0>(stage + b * token_block_bytes, columns + b * token_row_bytes, rows, num_rows);
                }
            }
            copy_async_arrive(ring.filled_barrier(cursor));
            columns += column_blocks * token_row_bytes;
            ring.advance(cursor);
        }
    }

    // A thread's rows are 12 apart, so that the swizzle of every second one differs by one bit.
    template <int i>
    __device__ __forceinline__ void copy_rows(uint32_t stage, const uint8_t *columns, const uint32_t (&rows)[rows_per_thread],
                                              int num_rows) const
    {
        static_assert(copied_rows == 12, "three warps");
        if constexpr (i < rows_per_thread) {
            if (i >= num_rows) return;
            uint32_t destination = (i % 2 == 0 ? stage : stage ^ 4 << 4) + i * copied_rows * token_row_bytes;
            uint32_t row = rows[i];
            asm volatile("" : "+r"(row)); // else its product is kept over the loop, in two registers
            copy_async_16(destination, columns + static_cast<uint64_t>(row) * 16);
            copy_rows<i + 1>(stage, columns, rows, num_rows);
        }
    }

    // 16-byte chunks of a token's row are permuted by the row: wgmma's 128-byte swizzle.
    __device__ __forceinline__ static int token_offset(int token, int chunk)
    {
        return token * token_row_bytes + ((chunk ^ (token & 7)) << 4);
    }

    // One tile's products, by a warpgroup; active: it has a row block that exists.
    template <int reduced> __device__ __forceinline__ void multiply(int num_tokens, bool active)
    {
        zero_sums<0, block_tokens>();
        if constexpr (group_blocks > 1) zero_sums<1, block_tokens>();
        if (!active) {
            pass<reduced>();
        } else {
            choose_width<reduced, first_width>(num_tokens);
        }
        take_sums<0>(sums[0]);
        if constexpr (group_blocks > 1) take_sums<1>(sums[1]);
    }

    template <int reduced, int width> __device__ __forceinline__ void choose_width(int num_tokens)
    {
        if constexpr (width >= block_tokens) {
            multiply_at<reduced, block_tokens>();
        } else {
            if (num_tokens <= width) {
                multiply_at<reduced, width>();
            } else {
                choose_width<reduced, next_width<reduced>(width)>(num_tokens);
            }
        }
    }

    template <int reduced> __device__ __forceinline__ void pass()
    {
#pragma unroll 1
        for (int step = 0; step < (reduced + Config::block_k - 1) / Config::block_k; step++) {
            ring.wait_filled(cursor);
            ring.release(cursor);
            ring.advance(cursor);
        }
    }

    // Two stages at once where it is worth compiling: two row blocks leave registers for three sets of A, and only one other
    // warpgroup to keep the tensor cores busy. The last stage may have fewer blocks, and its last block fewer steps: what is
    // beyond was not copied, and is not read.
    template <int reduced, int width> __device__ __forceinline__ void multiply_at()
    {
        constexpr int full_stages = reduced / Config::block_k, steps_left = reduced % Config::block_k / 16;
        constexpr int at_once = group_blocks == 2 && full_stages >= 4 ? 2 : 1;
#pragma unroll 1
        for (int i = 0; i < full_stages / at_once; i++) consume_stages<width, at_once, column_blocks * 4>();
        if constexpr (full_stages % at_once != 0) consume_stages<width, full_stages % at_once, column_blocks * 4>();
        if constexpr (steps_left > 0) consume_stages<width, 1, steps_left>();
    }

    // A warpgroup waits for its own products, once in `num_stages`; others keep the tensor cores busy meanwhile. A block is
    // dequantised while the products of the one before are under way, in registers of those before that: ptxas overlaps only
    // what stands in one basic block with them.
    template <int width, int num_stages, int steps> __device__ __forceinline__ void consume_stages()
    {
        constexpr int stage_blocks = group_blocks * ((steps + 3) / 4), num_blocks = num_stages * stage_blocks;
        static_assert(num_stages == 1 || stage_blocks == 2, "a stage is freed when the second block of the next one is reached");
        PackedWords words[num_blocks];
        uint32_t a[num_blocks][4][4], tokens[num_stages];
        typename Ring::Cursor at[num_stages];
#pragma unroll
        for (int stage = 0; stage < num_stages; stage++, ring.advance(cursor)) {
            at[stage] = cursor;
            ring.wait_filled(cursor);
        }
        fence_proxy_async(); // token rows came by cp.async, and wgmma reads them through the asynchronous proxy
#pragma unroll
        for (int stage = 0; stage < num_stages; stage++) tokens[stage] = wgmma_descriptor(memory + at[stage].stage * stage_bytes);
#pragma unroll
        for (int i = 0; i < num_blocks; i++) {
            int stage = i / stage_blocks, r = i % group_blocks, b = i % stage_blocks / group_blocks;
            if (i % stage_blocks == 0) {
#pragma unroll
                for (int j = 0; j < stage_blocks; j++) load(words[i + j], at[stage], j % group_blocks, j / group_blocks);
            }
            if (i >= 2) wgmma_wait<1>();
            if (stage > 0 && i % stage_blocks == 1) ring.release(at[stage - 1]);
            dequantise_block(a[i], words[i].codes, words[i].scales);
            wgmma_fence();
#pragma unroll
            for (int k = 0; k < 4; k++) {
                if (b * 4 + k >= steps) break;
                add_products<width>(r, a[i][k], tokens[stage] + ((b * token_block_bytes + k * 32) >> 4));
            }
            wgmma_commit();
        }
        wgmma_wait<0>();
        ring.release(at[num_stages - 1]);
    }

    // To the sums of row block r, known when this is compiled.
    template <int width> __device__ __forceinline__ static void add_products(int r, const uint32_t (&a)[4], uint32_t descriptor)
    {
        if (r == 0) {
            wgmma_bf16<width, 0>(a, descriptor);
        } else if constexpr (group_blocks > 1) {
            wgmma_bf16<width, 1>(a, descriptor);
        }
    }

    struct PackedWords { // what a lane multiplies of a block: a warp has an m16 tile
        uint32_t codes[4], scales[2];
    };

    // Of the warpgroup's row block r and column block b of a stage.
    __device__ __forceinline__ void load(PackedWords &words, const typename Ring::Cursor &at, int r, int b) const
    {
        int row_block = group() * group_blocks + r;
        uint32_t block = memory + at.stage * stage_bytes + token_bytes + (row_block * column_blocks + b) * MJ_BLOCK_BYTES;
        int lane = threadIdx.x % 32, tile = threadIdx.x / 32 % 4;
        load_shared_16(words.codes, block + (tile * 32 + lane) * 16);
        load_shared_8(words.scales, block + MJ_BLOCK_CODE_BYTES + (tile * 8 + lane / 4) * 8);
    }

    // The sums of tokens [idx * chunk_tokens, ...) and one of the warpgroup's row blocks, for the epilogue: of eight of the tokens.
    struct Chunk {
        const GemmHopperWgmma &gemm;
        int group_block, idx;

        __device__ __forceinline__ const float (&sum(int n) const)[4] { return gemm.sums[group_block][idx * (chunk_tokens / 8) + n]; }
    };

    // The chunk's part of a tile.
    __device__ __forceinline__ static Tile chunk_of(const Tile &tile, int chunk)
    {
        int first = chunk * chunk_tokens, left = tile.num_tokens - first;
        return Tile{tile.expert, tile.row_tile, tile.first_position + first, left < chunk_tokens ? left : chunk_tokens};
    }
};

} // namespace moejit
