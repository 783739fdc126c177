#include "moe/tile.h"

// Rings of about 20 to 90 KB: two or more CTAs a multiprocessor from sm_80 on for the narrow tiles (docs/kernels.md).
const struct mj_tile mj_tiles[MJ_NUM_TILES] = {
    {"64x8x64", 64, 8, 64, 6, 128},     {"64x16x64", 64, 16, 64, 6, 128},     {"64x32x64", 64, 32, 64, 5, 128},
    {"128x64x64", 128, 64, 64, 4, 256}, {"128x128x64", 128, 128, 64, 4, 256},
};

const char *moejit_tile_name(int32_t tile_idx) {
    return tile_idx >= 0 && tile_idx < MJ_NUM_TILES ? mj_tiles[tile_idx].name : NULL;
}

int mj_tile_choose(const struct mj_problem *problem, int num_tokens) {
    long long pairs = (long long)num_tokens * problem->layer.top_k;
    long long tokens_per_expert = (pairs + problem->layer.num_experts - 1) / problem->layer.num_experts;
    for (int i = 0; i < MJ_NUM_TILES - 1; i++) {
        if (tokens_per_expert <= mj_tiles[i].block_tokens) return i;
    }
    return MJ_NUM_TILES - 1;
}

int mj_tile_shared_bytes(const struct mj_tile *tile, int num_local_experts) {
    int stage = tile->block_rows / MJ_BLOCK_ROWS * MJ_BLOCK_BYTES + tile->block_tokens * MJ_BLOCK_COLUMNS * 2;
    int ring = tile->num_stages * stage;
    int staging = tile->block_tokens * (tile->block_rows + 4) * 4;
    int rows_and_sums = tile->block_tokens * 8 + tile->num_threads * 4;
    return (ring > staging ? ring : staging) + rows_and_sums + (num_local_experts + 1) * 4;
}

long long mj_tile_max_count(const struct mj_tile *tile, const struct mj_problem *problem, int num_tokens,
                            int num_rows) {
    long long pairs = (long long)num_tokens * problem->layer.top_k, experts = problem->layer.num_local_experts;
    long long busy = pairs < experts ? pairs : experts; // each has at most one tile that is not full
    long long row_tiles = mj_ceil_div(num_rows, tile->block_rows);
    return (pairs / tile->block_tokens + busy) * row_tiles;
}

long long mj_tile_blocks_for(long long count, int num_threads) {
    return (count + num_threads - 1) / num_threads;
}
