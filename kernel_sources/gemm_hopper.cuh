// The two main loops of the Hopper family, and what gate_up and down are around them: persistent CTAs whose warps either copy
// or multiply.
#pragma once
#include "gemm_hopper_mma.cuh"
#include "gemm_hopper_wgmma.cuh"
#include "ptx_dependency.cuh"

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
        auto &shared = *reinterpret_cast<Shared *>(memory + Gemm::ring_bytes);
        Gemm gemm;
        gemm.init(memory, shared);
        const Step step{args, Gemm::routing(args, shared)};
        int num_experts = args.num_local_experts;
        if constexpr (!Step::weights_first) begin_after_earlier_grids();
        route(step, shared, num_experts);
        int num_tiles = shared.first_tile[num_experts];
        auto tile_of = [&](int idx) {
            return find_tile<Config::block_tokens>(idx, shared.first_tile, step.routing.expert_offsets, num_experts);
        };
        if (Gemm::is_producer()) {
            Gemm::enter_producer();
            for (TileWalk walk; !walk.ends(num_tiles); walk.advance()) {
                if (walk.tile_idx() < num_tiles) step.fill(gemm, tile_of(walk.tile_idx()));
            }
            if constexpr (Step::weights_first) gemm.finish_fill();
        } else {
            Gemm::enter_consumer();
            step.begin_multiplying();
            for (TileWalk walk; !walk.ends(num_tiles); walk.advance()) {
                if (walk.tile_idx() < num_tiles) multiply(gemm, shared, tile_of(walk.tile_idx()), step);
            }
        }
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

    __device__ __forceinline__ static void multiply(Gemm &gemm, Shared &shared, const Tile &tile, const Step &step)
    {
        bool active = step.first_row_block(tile) + Gemm::group() < step.end_row_block();
        if (Gemm::group_thread() == 0) shared.tiles[Gemm::group()] = tile;
        gemm.template multiply<Step::reduced>(tile.num_tokens, active);
        if (active) finish(gemm, shared, step);
    }

    __device__ __forceinline__ static void finish(const Gemm &gemm, Shared &shared, const Step &step)
    {
        float *staging = shared.staging[Gemm::group()];
        Gemm::group_barrier(); // the tile was noted by one thread
        const Tile tile = shared.tiles[Gemm::group()];
        int row_block = step.first_row_block(tile) + Gemm::group();
#pragma unroll // so that registers of sums are free once staged
        for (int idx = 0; idx < Config::block_tokens / Gemm::chunk_tokens; idx++) {
            if (idx * Gemm::chunk_tokens >= tile.num_tokens) break;
            Tile chunk = Gemm::chunk_of(tile, idx);
            step.stage(typename Gemm::Chunk{gemm, idx}, staging, chunk, row_block);
            Gemm::group_barrier();
            step.store(staging, chunk, row_block);
            Gemm::group_barrier(); // the next chunk overwrites the staged one
        }
    }
};

} // namespace moejit
