// The two main loops of the Hopper family, and what gate_up and down are around them: persistent CTAs whose warps either copy
// or multiply.
#pragma once
#include "gemm_hopper_mma.cuh"
#include "gemm_hopper_wgmma.cuh"
#include "ptx_dependency.cuh"
#include "staging.cuh"

namespace moejit {

template <class Config, bool few_tokens> struct ChooseGemmHopper {
    using Gemm = GemmHopperMma<Config>;
};

template <class Config> struct ChooseGemmHopper<Config, false> {
    using Gemm = GemmHopperWgmma<Config>;
};

// A tile's shape says which: mma.sync where one warp copies for one packed row block.
template <class Config> using GemmHopper =
    typename ChooseGemmHopper<Config, Config::block_rows == MJ_BLOCK_ROWS && Config::block_tokens <= 32>::Gemm;

// Step: what gate_up and down differ in. weights_first: the routing is older than the kernel before, so that weights may be
// on their way while that one still runs; the copying warps wait for it before they copy token rows.
template <class Config, class Step> struct HopperKernel {
    using Gemm = GemmHopper<Config>;
    using Shared = typename Gemm::Shared;

    template <class Args> __device__ __forceinline__ static void run(const Args &args)
    {
        extern __shared__ __align__(1024) char memory[];
        auto &shared = *reinterpret_cast<Shared *>(memory + Gemm::ring_bytes(args.ring_stages));
        Gemm gemm;
        gemm.init(memory, shared, args.ring_stages);
        if constexpr (Gemm::can_split) gemm.split = args.split;
        const Step step{args, Gemm::routing(args, shared)};
        int num_experts = args.num_local_experts;
        if constexpr (!Step::weights_first) {
            step.prepare();
            begin_after_earlier_grids();
        }
        route(step, shared, num_experts);
        auto num_tiles = [&] { return shared.first_tile[num_experts]; }; // read anew: registers are short
        auto tile_of = [&](int idx) {
            return find_tile<Config::block_tokens>(idx, shared.first_tile, step.routing.expert_offsets, num_experts);
        };
        if (Gemm::is_producer()) {
            Gemm::enter_producer();
            for (TileWalk walk = begin_walk(args); !walk.ends(num_tiles()); walk.advance()) {
                if (walk.tile_idx() < num_tiles()) step.fill(gemm, tile_of(walk.tile_idx()));
            }
            if constexpr (Step::weights_first) gemm.finish_fill();
            step.end_filling();
        } else {
            Gemm::enter_consumer();
            step.begin_multiplying();
            for (TileWalk walk = begin_walk(args); !walk.ends(num_tiles()); walk.advance()) {
                if (walk.tile_idx() < num_tiles()) multiply(gemm, shared, tile_of(walk.tile_idx()), step);
            }
        }
    }

    // CTAs that share a tile have that of their cluster, and no other.
    template <class Args> __device__ __forceinline__ static TileWalk begin_walk(const Args &args)
    {
        TileWalk walk;
        if constexpr (Gemm::can_split) {
            if (args.split.num_ctas > 1) walk.slot = cluster_idx();
        }
        return walk;
    }

    // Counts the tiles; from ids where they are given.
    __device__ __forceinline__ static void route(const Step &step, Shared &shared, int num_experts)
    {
        if constexpr (Gemm::can_fold) {
            if (step.routing.expert_offsets.folded) {
                route_in_block<Config::block_tokens, Config::top_k, Config::num_threads>(
                    step.args.fold, step.routing, shared.first_tile, shared.warp_sums, num_experts, step.num_row_tiles());
                return;
            }
        }
        count_tiles<Config::block_tokens, Config::num_threads>(shared.first_tile, shared.warp_sums, step.args.expert_offsets,
                                                               num_experts, step.num_row_tiles());
    }

    // Of the tile's tokens that a thread looks up, and of its expert: asked for before the main loop, which hides the latency, as
    // far as there are registers to keep it in.
    static constexpr int tokens_per_thread =
        Step::notes_tokens ? (Config::block_tokens + Gemm::group_threads - 1) / Gemm::group_threads : 0;
    struct Noted {
        RoutedToken tokens[tokens_per_thread + 1]; // the last is not used
        typename Step::Alpha alpha;
    };

    __device__ __forceinline__ static void note_pairs(Noted &noted, const Tile &tile, const Step &step)
    {
        if constexpr (Step::notes_tokens) {
#pragma unroll
            for (int i = 0; i < tokens_per_thread; i++) {
                int token = Gemm::group_thread() + i * Gemm::group_threads;
                noted.tokens[i].pair = token < tile.num_tokens ? step.routing.sorted_pairs[tile.first_position + token] : -1;
            }
        }
    }

    __device__ __forceinline__ static void note_weights(Noted &noted, const Step &step)
    {
        if constexpr (Step::notes_tokens) {
#pragma unroll
            for (int i = 0; i < tokens_per_thread; i++) {
                int pair = noted.tokens[i].pair;
                noted.tokens[i].weight = pair < 0 ? 0.0f : step.weight(pair);
            }
        }
    }

    __device__ __forceinline__ static void multiply(Gemm &gemm, Shared &shared, const Tile &tile, const Step &step)
    {
        bool active = step.first_row_block(tile) + Gemm::group() * Gemm::group_blocks < step.end_row_block();
        if (Gemm::group_thread() == 0) shared.tiles[Gemm::group()] = tile;
        Noted noted;
        note_pairs(noted, tile, step);
        if constexpr (Gemm::notes_scales_early) {
            note_weights(noted, step);
            noted.alpha = step.alpha_of(tile.expert);
        }
        gemm.template multiply<Step::reduced>(tile.num_tokens, active);
        if constexpr (Gemm::can_split) {
            if (!gemm.add_sums(shared.staging[0])) return;
        }
        if (active) finish(gemm, shared, noted, step);
        if constexpr (Gemm::can_split) gemm.end_sharing();
    }

    static constexpr int chunks = Config::block_tokens / Gemm::chunk_tokens;

    __device__ __forceinline__ static void finish(const Gemm &gemm, Shared &shared, Noted &noted, const Step &step)
    {
        float *staging = shared.staging[Gemm::group()];
        RoutedToken *tokens = shared.tokens[Gemm::group()];
        if constexpr (!Gemm::notes_scales_early) note_weights(noted, step);
        if constexpr (Step::notes_tokens) {
#pragma unroll
            for (int i = 0; i < tokens_per_thread; i++) {
                int token = Gemm::group_thread() + i * Gemm::group_threads;
                if (token < Config::block_tokens) tokens[token] = noted.tokens[i];
            }
        }
        Gemm::group_barrier(); // tokens were noted by all threads, the tile by one
        const Tile tile = shared.tiles[Gemm::group()];
        if constexpr (!Gemm::notes_scales_early) noted.alpha = step.alpha_of(tile.expert);
        int first_row_block = step.first_row_block(tile) + Gemm::group() * Gemm::group_blocks;
        if constexpr (Step::takes_fragments) {
#pragma unroll
            for (int c = 0; c < Gemm::group_blocks * chunks; c++) {
                int idx = c % chunks, row_block = first_row_block + c / chunks;
                if (row_block >= step.end_row_block() || idx * Gemm::chunk_tokens >= tile.num_tokens) continue;
                step.take(typename Gemm::Chunk{gemm, c / chunks, idx}, staging, tokens + idx * Gemm::chunk_tokens,
                          Gemm::chunk_of(tile, idx), row_block, noted.alpha);
            }
            Gemm::group_barrier(); // the next tile's tokens are noted where these were
        } else {
            store_chunks(gemm, staging, tokens, tile, first_row_block, noted.alpha, step);
        }
    }

    // Chunk by chunk of 64 rows and a few tokens. What is done with a chunk stands here once, not unrolled: see staging.cuh.
    __device__ __forceinline__ static void store_chunks(const Gemm &gemm, float *staging, const RoutedToken *tokens, const Tile &tile,
                                                        int first_row_block, const typename Step::Alpha &alpha, const Step &step)
    {
#pragma unroll 1
        for (int i = 0; i < Gemm::group_blocks * chunks; i++) {
            int idx = i % chunks, row_block = first_row_block + i / chunks;
            if (row_block >= step.end_row_block()) break;
            if (idx * Gemm::chunk_tokens >= tile.num_tokens) continue;
            float *place = fragment_place<Gemm::staging_stride>(staging, Gemm::group_thread());
            asm volatile("" : "+l"(place)); // else its sums with each token are kept over the main loop, in seven registers
#pragma unroll
            for (int c = 0; c < Gemm::group_blocks * chunks; c++) {
                if (c == i) stage_chunk(typename Gemm::Chunk{gemm, c / chunks, c % chunks}, place);
            }
            Gemm::group_barrier();
            step.store(staging, tokens + idx * Gemm::chunk_tokens, Gemm::chunk_of(tile, idx), row_block, alpha);
            Gemm::group_barrier(); // the next chunk overwrites the staged one
        }
    }

    __device__ __forceinline__ static void stage_chunk(const typename Gemm::Chunk &chunk, float *place)
    {
#pragma unroll
        for (int n = 0; n < Gemm::chunk_tokens / 8; n++) {
            stage_fragment<Gemm::staging_stride>(chunk.sum(n), place + n * 8 * Gemm::staging_stride);
        }
    }
};

} // namespace moejit
