// down for sm_90a: as down_portable.cuh, on the main loop of gemm_hopper.cuh.
#pragma once
#include "down_epilogue.cuh"
#include "gemm_hopper.cuh"

namespace moejit {

template <class Config> struct DownHopper {
    using Gemm = GemmHopper<Config>;
    using Epilogue = DownEpilogue<Config, Gemm>;
    static constexpr int packed_row_block_bytes =
        (Config::intermediate + MJ_BLOCK_COLUMNS - 1) / MJ_BLOCK_COLUMNS * MJ_BLOCK_BYTES;

    __device__ static void fill(Gemm &gemm, const Tile &tile, int end_block, const mj_down_args &args)
    {
        int first_block = args.first_row_block + tile.row_tile * Gemm::row_blocks, left = end_block - first_block;
        const uint8_t *weights =
            args.weights + tile.expert * args.expert_stride_bytes + static_cast<int64_t>(first_block) * packed_row_block_bytes;
        gemm.template fill<Config::intermediate>(
            weights, left < Gemm::row_blocks ? left : Gemm::row_blocks, static_cast<const uint8_t *>(args.intermediate), tile,
            [&](int token) { return static_cast<int64_t>(tile.first_position + token) * Config::intermediate * 2; });
    }

    __device__ static int row_block_of(const Tile &tile, const mj_down_args &args)
    {
        return args.first_row_block + tile.row_tile * Gemm::row_blocks + Gemm::group();
    }

    __device__ static void finish(const Gemm &gemm, typename Gemm::Shared &shared, const mj_down_args &args)
    {
        float *staging = shared.staging[Gemm::group()];
        Gemm::group_barrier(); // the tile was noted by one thread
        const Tile tile = shared.tiles[Gemm::group()];
        int row_block = row_block_of(tile, args);
#pragma unroll // so that registers of sums are free once staged
        for (int idx = 0; idx < Config::block_tokens / Gemm::chunk_tokens; idx++) {
            if (idx * Gemm::chunk_tokens >= tile.num_tokens) break;
            Tile chunk = Gemm::chunk_of(tile, idx);
            Epilogue::stage(typename Gemm::Chunk{gemm, idx}, staging, chunk, row_block * MJ_BLOCK_ROWS, args);
            Gemm::group_barrier();
            Epilogue::template store<MJ_BLOCK_ROWS, Gemm::group_threads>(staging, chunk, row_block * MJ_BLOCK_ROWS,
                                                                         Gemm::group_thread(), args);
            Gemm::group_barrier(); // the next chunk overwrites the staged one
        }
    }

    __device__ static void run(const mj_down_args &args)
    {
        extern __shared__ __align__(1024) char memory[];
        auto &shared = *reinterpret_cast<typename Gemm::Shared *>(memory + Gemm::ring_bytes);
        int num_row_tiles = (args.num_row_blocks + Gemm::row_blocks - 1) / Gemm::row_blocks;
        int end_block = args.first_row_block + args.num_row_blocks;
        Gemm gemm;
        gemm.init(memory, shared);
        count_tiles<Config::block_tokens, Config::num_threads>(shared.first_tile, shared.thread_sums, args.expert_offsets,
                                                               args.num_local_experts, num_row_tiles);
        int num_tiles = shared.first_tile[args.num_local_experts];
        auto tile_of = [&](int idx) {
            return find_tile<Config::block_tokens>(idx, shared.first_tile, args.expert_offsets, args.num_local_experts);
        };
        if (Gemm::is_producer()) {
            Gemm::enter_producer();
            for (TileWalk walk; !walk.ends(num_tiles); walk.advance()) {
                if (walk.tile_idx() < num_tiles) fill(gemm, tile_of(walk.tile_idx()), end_block, args);
            }
        } else {
            Gemm::enter_consumer();
            for (TileWalk walk; !walk.ends(num_tiles); walk.advance()) {
                if (walk.tile_idx() >= num_tiles) continue;
                Tile tile = tile_of(walk.tile_idx());
                int row_block = row_block_of(tile, args);
                bool active = row_block < end_block;
                if (Gemm::group_thread() == 0) shared.tiles[Gemm::group()] = tile;
                gemm.template multiply<Config::intermediate>(tile.num_tokens, active);
                if (active) finish(gemm, shared, args);
            }
        }
    }
};

template <class Config> __device__ __forceinline__ void down_hopper(const mj_down_args &args)
{
    DownHopper<Config>::run(args);
}

} // namespace moejit
