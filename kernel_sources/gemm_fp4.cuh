// The main loop that gate_up and down share on sm_120a and sm_121a: packed NVFP4 weights (M side) times gathered NVFP4 token
// rows (N side), f32 sums. A ring of shared-memory stages is filled by cp.async; codes and scales go to the tensor cores as
// they are.
#pragma once
#include "ptx_memory.cuh"
#include "ptx_mma_scaled.cuh"
#include "scheduler.cuh"

namespace moejit {

// Rows of activations in NVFP4 (abi.h).
struct QuantisedRows {
    const uint8_t *codes, *scales;
};

template <class Config> struct GemmFp4 {
    static constexpr int block_rows = Config::block_rows, block_tokens = Config::block_tokens;
    static constexpr int num_stages = Config::num_stages, num_threads = Config::num_threads;
    static constexpr int num_warps = num_threads / 32;
    static constexpr int warps_on_tokens = block_tokens >= 64 ? 2 : 1, warps_on_rows = num_warps / warps_on_tokens;
    static constexpr int row_tiles = block_rows / 16 / warps_on_rows;          // m16 tiles of a warp
    static constexpr int token_tiles = block_tokens / 8 / warps_on_tokens;     // n8 tiles of a warp
    static constexpr int row_blocks = block_rows / MJ_BLOCK_ROWS;              // halves of packed blocks, 64 rows each
    static constexpr int k_blocks = Config::block_k / MJ_SCALED_BLOCK_COLUMNS; // of a stage
    static constexpr int half_code_bytes = MJ_SCALED_BLOCK_CODE_BYTES / 2;
    static constexpr int weight_block_bytes = row_blocks * half_code_bytes + MJ_SCALED_BLOCK_SCALE_BYTES;
    static constexpr int weight_bytes = k_blocks * weight_block_bytes; // of a stage; then codes, then scales of tokens
    static constexpr int token_row_bytes = Config::block_k / 2, token_scale_bytes = Config::block_k / 16;
    static constexpr int token_scales_at = weight_bytes + block_tokens * token_row_bytes;
    static constexpr int stage_bytes = token_scales_at + block_tokens * token_scale_bytes;
    static constexpr int ring_bytes = num_stages * stage_bytes;
    static constexpr int staging_stride = block_rows + 4; // floats; + 4 spreads the columns of a store over the banks
    static constexpr int staging_bytes = block_tokens * staging_stride * 4;
    static constexpr int work_bytes = ring_bytes > staging_bytes ? ring_bytes : staging_bytes;

    static_assert(Config::packed_layout == MJ_LAYOUT_BLOCK_SCALED, "codes and scales as the tensor cores take them");
    static_assert(k_blocks == 4, "a stage has 128 bytes of a token's codes and 16 of its scales");
    static_assert(row_tiles * warps_on_rows * 16 == block_rows && row_tiles <= 2, "warps share the rows evenly, in one half");
    static_assert(token_tiles * warps_on_tokens * 8 == block_tokens, "warps share the tokens evenly");
    static_assert(num_threads == row_blocks * 128 && num_threads >= block_tokens, "16 bytes of each packed block a thread");
    static_assert(num_stages >= 2, "a ring needs two stages");

    // Dynamic shared memory: the ring (later the staged results), then this, then first_tile[num_experts + 1].
    struct Shared {
        int token_rows[block_tokens]; // row of each token, -1 where the tile has no such token
        int warp_sums[num_threads / 32];
        int first_tile[1];
    };

    float sums[row_tiles][token_tiles][4];

    template <int reduced>
    static constexpr int column_blocks = (reduced + MJ_SCALED_BLOCK_COLUMNS - 1) / MJ_SCALED_BLOCK_COLUMNS;

    // What this thread copies of each stage, 16 bytes each: codes of every packed block, scales of one; pieces of tokens' rows.
    // Sources are those of the first stage; null where there is nothing.
    static constexpr int pieces = token_row_bytes / 16, token_copies = (block_tokens * pieces + num_threads - 1) / num_threads;
    struct Copies {
        const uint8_t *codes, *scales, *token_codes[token_copies], *token_scales;
    };

    __device__ __forceinline__ static int thread() { return static_cast<int>(threadIdx.x); }

    template <int reduced>
    __device__ __forceinline__ static Copies copies_of(const Shared &shared, const uint8_t *weights, QuantisedRows tokens,
                                                       int first_row_block, int num_row_blocks)
    {
        constexpr int64_t row_bytes = static_cast<int64_t>(column_blocks<reduced>) * MJ_SCALED_BLOCK_BYTES;
        Copies copies{};
        int row_block = first_row_block + thread() / 128;
        // Rows past a packed block whose second half comes first are another launch's: nobody takes their sums.
        if (row_block < num_row_blocks && row_block / 2 == first_row_block / 2) {
            copies.codes = weights + row_block / 2 * row_bytes + row_block % 2 * half_code_bytes + thread() % 128 * 16;
        }
        copies.scales = weights + first_row_block / 2 * row_bytes + thread() / 32 * MJ_SCALED_BLOCK_BYTES +
                        MJ_SCALED_BLOCK_CODE_BYTES + thread() % 32 * 16; // of the first k_blocks warps
#pragma unroll
        for (int i = 0; i < token_copies; i++) {
            int token = (thread() + i * num_threads) / pieces, row = token < block_tokens ? shared.token_rows[token] : -1;
            int64_t offset = static_cast<int64_t>(row) * MJ_ROW_CODE_BYTES(reduced) + thread() % pieces * 16;
            if (row >= 0) copies.token_codes[i] = tokens.codes + offset;
        }
        int row = thread() < block_tokens ? shared.token_rows[thread()] : -1;
        if (row >= 0) copies.token_scales = tokens.scales + static_cast<int64_t>(row) * MJ_ROW_SCALE_BYTES(reduced);
        return copies;
    }

    // `reduced` columns of 64-row blocks first_row_block and up of the matrix at `weights`, which has num_row_blocks.
    template <int reduced>
    __device__ __forceinline__ void multiply(char *ring, const Shared &shared, const uint8_t *weights, QuantisedRows tokens,
                                             int first_row_block, int num_row_blocks)
    {
        constexpr int num_steps = (reduced + Config::block_k - 1) / Config::block_k;
        uint32_t base = shared_address(ring);
        for (int m = 0; m < row_tiles; m++) {
            for (int n = 0; n < token_tiles; n++) {
                for (int i = 0; i < 4; i++) sums[m][n][i] = 0.0f;
            }
        }
        Copies copies = copies_of<reduced>(shared, weights, tokens, first_row_block, num_row_blocks);
        auto fill = [&](int stage, int step) {
            if (step < num_steps) {
                fill_weights<reduced>(base + stage * stage_bytes, copies, weights, step);
                fill_tokens<reduced>(base + stage * stage_bytes, copies, weights, step);
            }
            copy_async_commit(); // a group always, so that waits can count groups
        };
        // Before step 0 the ring is filled, all stages but one; the code that fills stands here once, since it is what takes long
        // to compile.
#pragma unroll 1
        for (int step = 1 - num_stages, stage = 1; step < num_steps; step++) {
            if (step >= 0) {
                copy_async_wait<num_stages - 2>();
                __syncthreads(); // this step's copies of all threads have arrived, and the stage filled next is no longer read
            }
            fill(stage == 0 ? num_stages - 1 : stage - 1, step + num_stages - 1);
            if (step >= 0) consume<reduced>(base + stage * stage_bytes, first_row_block % 2, step);
            stage = stage + 1 == num_stages ? 0 : stage + 1;
        }
        copy_async_wait<0>();
        __syncthreads(); // the ring is free for the epilogue
    }

    // Of each packed block [row block] 2048 bytes of codes, then its 128x4 tile of scales. Rows beyond the matrix become zeros;
    // the address must be a good one even where nothing is read. Column blocks beyond it are neither filled nor multiplied.
    template <int reduced>
    __device__ __forceinline__ static void fill_weights(uint32_t stage, const Copies &copies, const uint8_t *good, int step)
    {
        int64_t offset = static_cast<int64_t>(step) * k_blocks * MJ_SCALED_BLOCK_BYTES;
#pragma unroll
        for (int k = 0; k < k_blocks; k++) {
            if (!inside<reduced>(step * k_blocks + k)) break;
            bool valid = copies.codes != nullptr;
            copy_async_16(stage + k * weight_block_bytes + thread() * 16, valid ? copies.codes + offset + k * MJ_SCALED_BLOCK_BYTES : good, valid);
        }
        if (int k = thread() / 32; k < k_blocks && inside<reduced>(step * k_blocks + k)) {
            copy_async_16(stage + k * weight_block_bytes + weight_scale_offset(thread() % 32), copies.scales + offset);
        }
    }

    // The four scale words of rows i, i + 32, i + 64 and i + 96, so placed that 16 lanes of a load, which want rows i to i + 3
    // and i + 8 to i + 11, meet 32 banks.
    __device__ __forceinline__ static int weight_scale_offset(int i)
    {
        return row_blocks * half_code_bytes + (i ^ (i >> 3 & 1) << 2) * 16;
    }

    template <int reduced> __device__ __forceinline__ static bool inside(int column_block)
    {
        return column_blocks<reduced> % k_blocks == 0 || column_block < column_blocks<reduced>;
    }

    template <int reduced>
    __device__ __forceinline__ static void fill_tokens(uint32_t stage, const Copies &copies, const uint8_t *good, int step)
    {
        int left = reduced - step * Config::block_k, piece = thread() % pieces;
#pragma unroll
        for (int i = 0; i < token_copies; i++) {
            int token = (thread() + i * num_threads) / pieces;
            if (token >= block_tokens) break;
            int bytes = copies.token_codes[i] == nullptr ? 0 : present<reduced>(left / 2 - piece * 16, 16);
            copy_async_16_part(stage + weight_bytes + token_offset(token, piece),
                               bytes > 0 ? copies.token_codes[i] + step * token_row_bytes : good, bytes);
        }
        if (thread() < block_tokens) {
            int bytes = copies.token_scales == nullptr ? 0 : present<reduced>(left / 16, token_scale_bytes);
            copy_async_16_part(stage + token_scale_offset(thread()),
                              bytes > 0 ? copies.token_scales + step * token_scale_bytes : good, bytes);
        }
    }

    // Of `whole` bytes those before the row's end, which is `left` bytes away.
    template <int reduced> __device__ __forceinline__ static int present(int left, int whole)
    {
        return reduced % Config::block_k == 0 || left > whole ? whole : (left < 0 ? 0 : left);
    }

    // 16-byte chunks of a token's row are permuted by the row, so that eight rows of one column meet eight bank groups.
    __device__ __forceinline__ static int token_offset(int token, int chunk)
    {
        return token * token_row_bytes + ((chunk ^ (token & 7)) << 4);
    }

    // 16 bytes of scales a token, so placed that eight lanes of a load, which want two tokens of each of four n8 tiles, meet
    // 32 banks.
    __device__ __forceinline__ static int token_scale_offset(int token)
    {
        return token_scales_at + (token ^ (token >> 3 & 3) << 1) * token_scale_bytes;
    }

    // The warp's m16 tile m. Two of a warp are 32 rows apart: their scales are neighbours in shared memory.
    __device__ __forceinline__ static int row_tile_of(int warp, int m)
    {
        int place = warp / warps_on_tokens;
        return row_tiles == 2 ? place / 2 * 4 + place % 2 + 2 * m : place;
    }

    // first_half: of a packed block, that the tile's first 64 rows are.
    template <int reduced> __device__ __forceinline__ void consume(uint32_t stage, int first_half, int step)
    {
        int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
        int first_row_tile = row_tile_of(warp, 0), first_token = warp % warps_on_tokens * token_tiles * 8;
        uint32_t b_scales[k_blocks][(token_tiles + 3) / 4];
        load_token_scales(b_scales, stage, first_token, lane);
#pragma unroll
        for (int k = 0; k < k_blocks; k++) {
            if (!inside<reduced>(step * k_blocks + k)) break;
            uint32_t block = stage + k * weight_block_bytes, half = block + first_row_tile / 4 * half_code_bytes;
            uint32_t a[row_tiles][4], b[token_tiles][2], a_scales[row_tiles];
#pragma unroll
            for (int m = 0; m < row_tiles; m++) {
                // Matrices of 8 rows by 16 bytes: rows 0 and 8, then the same 32 columns on.
                int row_group = row_tile_of(warp, m) % 4 * 2 + lane / 8 % 2;
                load_matrix_x4(a[m], half + row_group * 256 + lane / 16 * 128 + lane % 8 * 16);
            }
            load_weight_scales(a_scales, block, (first_half + first_row_tile / 4) % 2, first_row_tile % 4, lane);
            load_tokens(b, stage + weight_bytes, first_token, k, lane);
            products<0>(a, b, a_scales, b_scales[k]);
        }
    }

    // Of m16 tile `tile` of a half of a packed block, and the one 32 rows on: lanes 0 and 1 of a group of four have those of rows
    // lane / 4 and 8 more, as lanes 2 and 3 have.
    __device__ __forceinline__ static void load_weight_scales(uint32_t (&scales)[row_tiles], uint32_t block, int half, int tile,
                                                              int lane)
    {
        uint32_t both[2];
        load_shared_8(both, block + weight_scale_offset((tile % 2 * 2 + lane % 2) * 8 + lane / 4) + half * 8);
        scales[0] = row_tiles == 2 || tile < 2 ? both[0] : both[1];
        if constexpr (row_tiles == 2) scales[1] = both[1];
    }

    // Of all packed blocks of the stage at once; lane q of a group of four has those of n8 tiles q, q + 4 and so on.
    __device__ __forceinline__ static void load_token_scales(uint32_t (&scales)[k_blocks][(token_tiles + 3) / 4], uint32_t stage,
                                                             int first_token, int lane)
    {
#pragma unroll
        for (int n = 0; n < token_tiles; n += 4) {
            uint32_t all[k_blocks];
            int token = first_token + n * 8 + lane % 4 % (token_tiles < 4 ? token_tiles : 4) * 8 + lane / 4;
            load_shared_16(all, stage + token_scale_offset(token));
            for (int k = 0; k < k_blocks; k++) scales[k][n / 4] = all[k];
        }
    }

    __device__ __forceinline__ static void load_tokens(uint32_t (&b)[token_tiles][2], uint32_t tokens, int first, int k,
                                                       int lane)
    {
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

    // Products i and up of the warp's, row tiles outermost: which lane holds a token's scales is part of the instruction.
    template <int i>
    __device__ __forceinline__ void products(const uint32_t (&a)[row_tiles][4], const uint32_t (&b)[token_tiles][2],
                                             const uint32_t (&a_scales)[row_tiles],
                                             const uint32_t (&b_scales)[(token_tiles + 3) / 4])
    {
        if constexpr (i < row_tiles * token_tiles) {
            constexpr int m = i / token_tiles, n = i % token_tiles;
            mma_nvfp4<0, n % 4>(sums[m][n], a[m], b[n], a_scales[m], b_scales[n / 4]);
            products<i + 1>(a, b, a_scales, b_scales);
        }
    }

    // Calls f(token of the tile, row of the tile, value, value 8 rows below) for every pair of sums that this thread holds.
    template <class F> __device__ __forceinline__ void for_each_sum(F f) const
    {
        int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
        for (int m = 0; m < row_tiles; m++) {
            int row = row_tile_of(warp, m) * 16 + lane / 4;
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
