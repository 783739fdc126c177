// The main loop that gate_up and down share on sm_90a for few tokens an expert: packed NVFP4 weights (M side) times gathered
// bf16 token rows (N side), f32 sums, by mma.sync. One warp fills a ring of stages by bulk copies; four warps, each with an
// m16 tile, dequantise weights in registers and multiply. Here instructions are what is short: no fence, no descriptor and no
// zero row is spent (docs/kernels.md).
#pragma once
#include "dequantise.cuh"
#include "hopper_ring.cuh"
#include "ptx_cluster.cuh"
#include "ptx_dependency.cuh"
#include "ptx_mma.cuh"
#include "route_in_block.cuh"
#include "scheduler.cuh"

namespace moejit {

template <class Config> struct GemmHopperMma {
    static constexpr int block_tokens = Config::block_tokens, num_threads = Config::num_threads;
    static constexpr bool can_fold = true;  // may route by itself (route_in_block.cuh)
    static constexpr bool can_split = true; // CTAs of a cluster may share a tile: each has some of its stages, see add_sums
    static constexpr bool notes_scales_early = true; // weights and scales before the main loop
    static constexpr int row_blocks = 1, group_blocks = 1, group_threads = 128, consumer_threads = 128;
    static constexpr int column_blocks = Config::block_k / MJ_BLOCK_COLUMNS; // of a stage
    static constexpr int weight_bytes = column_blocks * MJ_BLOCK_BYTES;
    static constexpr int token_row_bytes = Config::block_k * 2;
    static constexpr int token_stride = token_row_bytes + 16; // eight rows of one column meet eight bank groups
    static constexpr int stage_bytes = weight_bytes + block_tokens * token_stride;
    static constexpr int token_tiles = block_tokens / 8;
    static constexpr int chunk_tokens = block_tokens;        // that the epilogue stages at a time
    static constexpr int staging_stride = MJ_BLOCK_ROWS + 4; // floats; + 4 spreads the columns of a store over the banks

    static_assert(Config::block_rows == MJ_BLOCK_ROWS, "four warps of 16 rows");
    static_assert(num_threads == consumer_threads + 32, "and one that copies, a lane for each token");
    static_assert(block_tokens % 8 == 0 && block_tokens <= 32, "n8 tiles; no more tokens than lanes");

    using Ring = moejit::Ring<MJ_MAX_RING_STAGES, 1, consumer_threads / 32>;

    // Dynamic shared memory: the ring, then this, then first_tile[num_experts + 1], then own expert offsets of a byte each.
    struct Shared {
        float staging[1][chunk_tokens * staging_stride];
        Tile tiles[1];
        RoutedToken tokens[1][block_tokens];
        typename Ring::Barriers barriers;
        int warp_sums[num_threads / 32];
        uint8_t own_pairs[MJ_FOLDED_PAIRS];
        int first_tile[1];
    };

    // As many stages as there is memory for where CTAs are few.
    __device__ __forceinline__ static int ring_bytes(int num_stages) { return num_stages * stage_bytes; }

    uint32_t memory; // shared address of the ring
    Ring ring;
    typename Ring::Cursor cursor;
    mj_split_args split;
    bool waited; // by the producer warp: for the kernel before
    uint32_t token_rows[token_tiles]; // where a lane's row of ldmatrix begins, from the stage's rows on
    float sums[token_tiles][4];

    template <class Args> __device__ __forceinline__ static Routing<true> routing(const Args &args, Shared &shared)
    {
        bool folded = args.fold.expert_ids != nullptr;
        uint8_t *own_offsets = reinterpret_cast<uint8_t *>(shared.first_tile + args.num_local_experts + 1);
        return {{args.expert_offsets, own_offsets, folded}, {args.sorted_pairs, shared.own_pairs, folded}};
    }

    // By the whole CTA; followed by __syncthreads.
    __device__ __forceinline__ void init(char *ring_memory, Shared &shared, int num_stages)
    {
        memory = shared_address(ring_memory);
        ring.init(shared.barriers, num_stages);
        waited = false;
    }

    __device__ __forceinline__ static bool is_producer() { return threadIdx.x >= consumer_threads; }
    __device__ __forceinline__ static void enter_producer() {}
    __device__ __forceinline__ static void enter_consumer() {}
    __device__ __forceinline__ static int group() { return 0; }
    __device__ __forceinline__ static int group_thread() { return static_cast<int>(threadIdx.x); }
    __device__ __forceinline__ static void group_barrier() { named_barrier(1, consumer_threads); }

    // The stages of a tile that this CTA multiplies.
    struct Steps {
        int first, end;
    };

    template <int reduced> __device__ __forceinline__ Steps own_steps() const
    {
        constexpr int num_steps = (reduced + Config::block_k - 1) / Config::block_k;
        if (split.num_ctas == 1) return {0, num_steps};
        int first = cluster_rank() * split.steps, end = first + split.steps;
        return {first, end < num_steps ? end : num_steps};
    }

    // One tile's copies, by the producer warp, a lane for each token. row_of(token): the first byte of its row, for tokens of
    // the tile, a multiple of 16 away from `tokens`. weights_first: those of the first stages are asked for before the kernel
    // before has ended, and the rows, which it writes, after.
    template <int reduced, bool weights_first, class RowOf>
    __device__ __forceinline__ void fill(const uint8_t *weights, int, const uint8_t *tokens, const Tile &tile, RowOf row_of)
    {
        const Steps steps = own_steps<reduced>();
        int lane = static_cast<int>(threadIdx.x) % 32, asked_for = steps.first;
        const uint8_t *row = tokens + (lane < tile.num_tokens ? row_of(lane) : 0);
        if (weights_first && !waited) {
            typename Ring::Cursor ahead = cursor;
            int ring_end = steps.first + ring.num_stages, end = steps.end < ring_end ? steps.end : ring_end;
#pragma unroll 1
            for (; asked_for < end; asked_for++, ring.advance(ahead)) fill_weights<reduced>(weights, tile.num_tokens, asked_for, ahead);
            wait_for_earlier_grids();
            waited = true;
        }
#pragma unroll 1
        for (int step = steps.first; step < steps.end; step++) {
            if (step >= asked_for) {
                ring.wait_drained(cursor);
                fill_weights<reduced>(weights, tile.num_tokens, step, cursor);
            }
            __syncwarp(); // the bytes are announced
            if (lane < tile.num_tokens) {
                copy_bulk(memory + cursor.stage * stage_bytes + weight_bytes + lane * token_stride, row + step * token_row_bytes,
                          row_bytes<reduced>(step), ring.filled_barrier(cursor));
            }
            ring.advance(cursor);
        }
    }

    template <int reduced> __device__ __forceinline__ static uint32_t row_bytes(int step)
    {
        int columns_left = reduced - step * Config::block_k;
        return static_cast<uint32_t>(columns_left < Config::block_k ? columns_left : Config::block_k) * 2;
    }

    // Announces the stage's bytes, and asks for the weights among them.
    template <int reduced>
    __device__ __forceinline__ void fill_weights(const uint8_t *weights, int num_tokens, int step, const typename Ring::Cursor &at)
    {
        constexpr int all_blocks = (reduced + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS;
        int blocks_left = all_blocks - step * column_blocks;
        uint32_t bytes = static_cast<uint32_t>(blocks_left < column_blocks ? blocks_left : column_blocks) * MJ_BLOCK_BYTES;
        uint32_t barrier = ring.filled_barrier(at);
        if (threadIdx.x % 32 == 0) {
            mbarrier_arrive_expect(barrier, bytes + row_bytes<reduced>(step) * static_cast<uint32_t>(num_tokens));
            copy_bulk(memory + at.stage * stage_bytes, weights + static_cast<int64_t>(step) * weight_bytes, bytes, barrier);
        }
    }

    __device__ __forceinline__ void finish_fill() const
    {
        if (!waited) wait_for_earlier_grids(); // a CTA without tiles
    }

    // One tile's products, by the four consumer warps.
    template <int reduced> __device__ __forceinline__ void multiply(int num_tokens, bool)
    {
#pragma unroll
        for (int n = 0; n < token_tiles; n++) {
            for (int i = 0; i < 4; i++) sums[n][i] = 0.0f;
            int lane = threadIdx.x % 32, token = n * 8 + lane % 8;
            token_rows[n] = (token < num_tokens ? token : num_tokens - 1) * token_stride + lane / 8 * 16;
        }
        choose_width<reduced, 1>(num_tokens);
    }

    template <int reduced, int tiles> __device__ __forceinline__ void choose_width(int num_tokens)
    {
        if constexpr (tiles == token_tiles) {
            multiply_at<reduced, tiles>();
        } else {
            if (num_tokens <= tiles * 8) {
                multiply_at<reduced, tiles>();
            } else {
                choose_width<reduced, tiles + 1>(num_tokens);
            }
        }
    }

    // The last stage may have fewer blocks, and its last block fewer steps: what is beyond was not copied, and is not read.
    template <int reduced, int tiles> __device__ __forceinline__ void multiply_at()
    {
        constexpr int full_stages = reduced / Config::block_k, steps_left = reduced % Config::block_k / 16;
        const Steps steps = own_steps<reduced>();
        if constexpr (full_stages > 0) {
#pragma unroll 1
            for (int left = (steps.end < full_stages ? steps.end : full_stages) - steps.first; left > 0; left--) {
                consume_stage<tiles, column_blocks * 4>();
            }
        }
        if constexpr (steps_left > 0) {
            if (steps.end > full_stages) consume_stage<tiles, steps_left>();
        }
    }

    template <int tiles, int steps> __device__ __forceinline__ void consume_stage()
    {
        uint32_t stage = memory + cursor.stage * stage_bytes;
        ring.wait_filled(cursor);
#pragma unroll
        for (int first = 0; first < steps; first += 4) {
            uint32_t codes[4], scales[2];
            load_weights(codes, scales, stage + first / 4 * MJ_BLOCK_BYTES);
            multiply_pair<tiles>(codes[0], codes[1], scales[0], stage, first, first + 1 < steps);
            if (first + 2 < steps) multiply_pair<tiles>(codes[2], codes[3], scales[1], stage, first + 2, first + 3 < steps);
        }
        ring.release(cursor);
        ring.advance(cursor);
    }

    // What this lane multiplies of a packed block: a warp has an m16 tile.
    __device__ __forceinline__ static void load_weights(uint32_t (&codes)[4], uint32_t (&scales)[2], uint32_t block)
    {
        int lane = threadIdx.x % 32, tile = threadIdx.x / 32;
        load_shared_16(codes, block + (tile * 32 + lane) * 16);
        load_shared_8(scales, block + MJ_BLOCK_CODE_BYTES + (tile * 8 + lane / 4) * 8);
    }

    // k16 step `step` of the stage and, if both, the next.
    template <int tiles>
    __device__ __forceinline__ void multiply_pair(uint32_t even, uint32_t odd, uint32_t scales, uint32_t stage, int step, bool both)
    {
        uint32_t a[2][4], b[tiles][4];
#pragma unroll
        for (int n = 0; n < tiles; n++) load_tokens(b[n], stage + weight_bytes, n, step, both);
        ScalePair scale = expand_scales(scales);
        dequantise(a[0], even, scale.even);
        if (both) dequantise(a[1], odd, scale.odd);
#pragma unroll
        for (int n = 0; n < tiles; n++) mma_bf16(sums[n], a[0], b[n][0], b[n][1]);
#pragma unroll
        for (int n = 0; n < tiles; n++) {
            if (both) mma_bf16(sums[n], a[1], b[n][2], b[n][3]);
        }
    }

    // B registers of eight tokens: two for each of the two steps. In place of a row that no token has, the last one's: nothing is
    // made of its products.
    __device__ __forceinline__ void load_tokens(uint32_t (&b)[4], uint32_t tokens, int n, int step, bool both)
    {
        uint32_t row = tokens + token_rows[n] + step * 32;
        if (both) {
            load_matrix_x4(b, row);
        } else {
            uint32_t half[2];
            load_matrix_x2(half, row);
            b[0] = half[0], b[1] = half[1];
        }
    }

    // Where CTAs share a tile, by the consumer warps after multiply: the first of the cluster adds the others' sums to its own, in
    // the order of their ranks, and has the epilogue; true in that one. The others leave theirs in their own memory, and stay until
    // they have been read. A cluster has at most one tile: its producer warps, which would run ahead, have exited or will.
    __device__ __forceinline__ bool add_sums(float *staging)
    {
        static_assert(token_tiles * consumer_threads * 16 <= sizeof(Shared::staging), "four sums of each n8 tile a thread");
        if (split.num_ctas == 1) return true;
        float4 *own = reinterpret_cast<float4 *>(staging) + threadIdx.x;
        if (cluster_rank() > 0) {
#pragma unroll
            for (int n = 0; n < token_tiles; n++) {
                own[n * consumer_threads] = make_float4(sums[n][0], sums[n][1], sums[n][2], sums[n][3]);
            }
        }
        cluster_arrive();
        cluster_wait();
        if (cluster_rank() == 0) read_sums(shared_address(own));
        cluster_arrive(); // they have been read
        if (cluster_rank() == 0) return true;
        cluster_wait();
        return false;
    }

    // Three CTAs' at a time, so that they are on their way together.
    __device__ __forceinline__ void read_sums(uint32_t own)
    {
        constexpr int at_once = 3;
#pragma unroll 1
        for (int first = 1; first < split.num_ctas; first += at_once) {
            float4 others[at_once][token_tiles];
#pragma unroll
            for (int i = 0; i < at_once; i++) {
                uint32_t mapped = map_shared(own, first + i < split.num_ctas ? first + i : first);
#pragma unroll
                for (int n = 0; n < token_tiles; n++) others[i][n] = load_mapped(mapped + n * consumer_threads * 16);
            }
#pragma unroll
            for (int i = 0; i < at_once; i++) {
                if (first + i < split.num_ctas) add(others[i]);
            }
        }
    }

    __device__ __forceinline__ void add(const float4 (&others)[token_tiles])
    {
#pragma unroll
        for (int n = 0; n < token_tiles; n++) {
            sums[n][0] += others[n].x, sums[n][1] += others[n].y, sums[n][2] += others[n].z, sums[n][3] += others[n].w;
        }
    }

    __device__ __forceinline__ void end_sharing() const
    {
        if (split.num_ctas > 1) cluster_wait(); // for what add_sums arrived at
    }

    // The sums, for the epilogue: of eight tokens.
    struct Chunk {
        const GemmHopperMma &gemm;
        int group_block, idx; // nought

        __device__ __forceinline__ const float (&sum(int n) const)[4] { return gemm.sums[n]; }
    };

    __device__ __forceinline__ static Tile chunk_of(const Tile &tile, int) { return tile; }
};

} // namespace moejit
