#include "moe/tile.h"

#include <math.h>
#include <string.h>

// Portable: rings of about 20 to 90 KB, two or more CTAs a multiprocessor from sm_80 on for the narrow ones. Hopper: up
// to 32 tokens mma.sync, four warps and one that copies; beyond wgmma, a warpgroup for each 64 rows and one that copies
// (docs/kernels.md).
const struct mj_tile mj_tiles[MJ_NUM_TILES] = {
    {"64x8x64", MOEJIT_FAMILY_PORTABLE, 64, 8, 64, 6, 128, 1},
    {"64x16x64", MOEJIT_FAMILY_PORTABLE, 64, 16, 64, 6, 128, 1},
    {"64x32x64", MOEJIT_FAMILY_PORTABLE, 64, 32, 64, 5, 128, 1},
    {"128x64x64", MOEJIT_FAMILY_PORTABLE, 128, 64, 64, 4, 256, 1},
    {"128x128x64", MOEJIT_FAMILY_PORTABLE, 128, 128, 64, 4, 256, 1},
    {"hopper_64x8x256", MOEJIT_FAMILY_HOPPER, 64, 8, 256, 3, 160, 7},
    {"hopper_64x16x256", MOEJIT_FAMILY_HOPPER, 64, 16, 256, 3, 160, 5},
    {"hopper_256x64x128", MOEJIT_FAMILY_HOPPER, 256, 64, 128, 5, 640, 1},
    {"hopper_256x96x64", MOEJIT_FAMILY_HOPPER, 256, 96, 64, 8, 640, 1},
    {"hopper_256x160x64", MOEJIT_FAMILY_HOPPER, 256, 160, 64, 7, 384, 1},
    {"fp4_64x8x256", MOEJIT_FAMILY_FP4, 64, 8, 256, 4, 128, 1},
    {"fp4_64x16x256", MOEJIT_FAMILY_FP4, 64, 16, 256, 3, 128, 1},
    {"fp4_64x32x256", MOEJIT_FAMILY_FP4, 64, 32, 256, 3, 128, 1},
    {"fp4_128x64x256", MOEJIT_FAMILY_FP4, 128, 64, 256, 3, 256, 1},
    {"fp4_128x128x256", MOEJIT_FAMILY_FP4, 128, 128, 256, 2, 256, 1},
};

const char *moejit_tile_name(int32_t tile_idx) {
    return tile_idx >= 0 && tile_idx < MJ_NUM_TILES ? mj_tiles[tile_idx].name : NULL;
}

int mj_tile_find(const char *name) {
    for (int i = 0; i < MJ_NUM_TILES; i++) {
        if (strcmp(mj_tiles[i].name, name) == 0) return i;
    }
    return -1;
}

// Experts have unequal shares. On an H100 the Hopper tile that holds one and a half times the average was the fastest
// at every one of nine token counts (docs/benchmarks.md).
static long long tokens_to_hold(moejit_family family, long long tokens_per_expert) {
    return family == MOEJIT_FAMILY_HOPPER ? tokens_per_expert + tokens_per_expert / 2 : tokens_per_expert;
}

int mj_tile_choose(const struct mj_problem *problem, moejit_family family, int num_tokens) {
    long long pairs = (long long)num_tokens * problem->layer.top_k;
    long long tokens_per_expert = (pairs + problem->layer.num_experts - 1) / problem->layer.num_experts;
    int chosen = 0;
    for (int i = 0; i < MJ_NUM_TILES; i++) {
        if (mj_tiles[i].family != family) continue;
        chosen = i;
        if (tokens_to_hold(family, tokens_per_expert) <= mj_tiles[i].block_tokens) break;
    }
    return chosen;
}

bool mj_family_runs_on(moejit_family family, const char *arch) {
    switch (family) {
    case MOEJIT_FAMILY_PORTABLE: return true;
    case MOEJIT_FAMILY_HOPPER: return strcmp(arch, "sm_90a") == 0;
    default: return strcmp(arch, "sm_120a") == 0 || strcmp(arch, "sm_121a") == 0;
    }
}

const char *mj_family_archs(moejit_family family) {
    if (family == MOEJIT_FAMILY_PORTABLE) return "any arch";
    return family == MOEJIT_FAMILY_HOPPER ? "sm_90a" : "sm_120a or sm_121a";
}

enum mj_packed_layout mj_family_layout(moejit_family family) {
    return family == MOEJIT_FAMILY_FP4 ? MJ_LAYOUT_BLOCK_SCALED : MJ_LAYOUT_FRAGMENTS;
}

moejit_family mj_family_best(const char *arch) {
    return mj_family_runs_on(MOEJIT_FAMILY_HOPPER, arch) ? MOEJIT_FAMILY_HOPPER : MOEJIT_FAMILY_PORTABLE;
}

moejit_family mj_family_choose(const struct mj_problem *problem, const char *arch) {
    const moejit_layer *layer = &problem->layer;
    bool scaled =
        layer->activation_format == MOEJIT_FORMAT_NVFP4 && layer->packed_layout != MOEJIT_PACKED_LAYOUT_FRAGMENTS;
    return scaled && mj_family_runs_on(MOEJIT_FAMILY_FP4, arch) ? MOEJIT_FAMILY_FP4 : mj_family_best(arch);
}

enum mj_packed_layout mj_packed_layout_choose(const struct mj_problem *problem, const char *arch) {
    switch (problem->layer.packed_layout) {
    case MOEJIT_PACKED_LAYOUT_FRAGMENTS: return MJ_LAYOUT_FRAGMENTS;
    case MOEJIT_PACKED_LAYOUT_BLOCK_SCALED: return MJ_LAYOUT_BLOCK_SCALED;
    default: return mj_family_layout(mj_family_choose(problem, arch));
    }
}

const char *mj_packed_layout_name(enum mj_packed_layout layout) {
    return layout == MJ_LAYOUT_BLOCK_SCALED ? "block-scaled" : "fragments";
}

const char *mj_family_name(moejit_family family) {
    static const char *const names[] = {"auto", "portable", "hopper", "fp4"};
    return names[family];
}

int32_t moejit_tile_runs_on(int32_t tile_idx, const char *arch) {
    if (tile_idx < 0 || tile_idx >= MJ_NUM_TILES || arch == NULL) return 0;
    return mj_family_runs_on(mj_tiles[tile_idx].family, arch);
}

static int portable_shared_bytes(const struct mj_tile *tile) {
    int stage = tile->block_rows / MJ_BLOCK_ROWS * MJ_BLOCK_BYTES + tile->block_tokens * MJ_BLOCK_COLUMNS * 2;
    int ring = tile->num_stages * stage;
    int staging = tile->block_tokens * (tile->block_rows + 4) * 4;
    return (ring > staging ? ring : staging) + tile->block_tokens * 8;
}

// A warpgroup's staged sums, the tile that it works on and that one's tokens.
#define HOPPER_GROUP_BYTES(staged, tokens) ((staged) * (MJ_BLOCK_ROWS + 4) * 4 + 16 + (tokens)*8)
#define HOPPER_BARRIER_BYTES 16 // of a stage

int mj_tile_stage_bytes(const struct mj_tile *tile) {
    int weights = tile->block_k / MJ_BLOCK_COLUMNS * MJ_BLOCK_BYTES;
    return weights + tile->block_tokens * (tile->block_k * 2 + 16);
}

static int hopper_mma_shared_bytes(const struct mj_tile *tile) {
    return tile->num_stages * mj_tile_stage_bytes(tile) + MJ_MAX_RING_STAGES * HOPPER_BARRIER_BYTES +
           HOPPER_GROUP_BYTES(tile->block_tokens, tile->block_tokens) + MJ_FOLDED_PAIRS;
}

static int hopper_wgmma_shared_bytes(const struct mj_tile *tile) {
    int row_blocks = tile->block_rows / MJ_BLOCK_ROWS;
    int stage =
        tile->block_k / MJ_BLOCK_COLUMNS * (row_blocks * MJ_BLOCK_BYTES + tile->block_tokens * MJ_BLOCK_COLUMNS * 2);
    int chunk_tokens = tile->block_tokens < 32 ? tile->block_tokens : 32;
    int groups = tile->num_threads / 128 - 1; // warpgroups that multiply
    return tile->num_stages * ((stage + 1023) / 1024 * 1024 + HOPPER_BARRIER_BYTES) +
           groups * HOPPER_GROUP_BYTES(chunk_tokens, tile->block_tokens);
}

static int fp4_shared_bytes(const struct mj_tile *tile) {
    int codes = tile->block_rows * MJ_SCALED_BLOCK_COLUMNS / 2; // and all 128 rows' scales with them
    int weights = tile->block_k / MJ_SCALED_BLOCK_COLUMNS * (codes + MJ_SCALED_BLOCK_SCALE_BYTES);
    int stage = weights + tile->block_tokens * (MJ_ROW_CODE_BYTES(tile->block_k) + MJ_ROW_SCALE_BYTES(tile->block_k));
    int ring = tile->num_stages * stage;
    int staging = tile->block_tokens * (tile->block_rows + 4) * 4;
    return (ring > staging ? ring : staging) + tile->block_tokens * 4;
}

bool mj_tile_uses_mma(const struct mj_tile *tile) {
    return tile->family == MOEJIT_FAMILY_HOPPER && tile->block_rows == MJ_BLOCK_ROWS && tile->block_tokens <= 32;
}

static int own_shared_bytes(const struct mj_tile *tile) {
    if (tile->family == MOEJIT_FAMILY_PORTABLE) return portable_shared_bytes(tile);
    if (tile->family == MOEJIT_FAMILY_FP4) return fp4_shared_bytes(tile);
    return mj_tile_uses_mma(tile) ? hopper_mma_shared_bytes(tile) : hopper_wgmma_shared_bytes(tile);
}

int mj_tile_shared_bytes(const struct mj_tile *tile, int num_local_experts) {
    int expert = mj_tile_uses_mma(tile) ? 5 : 4; // its first tile, and its first pair where gate_up and down route
    return own_shared_bytes(tile) + tile->num_threads / 32 * 4 + (num_local_experts + 1) * expert;
}

long long mj_tile_max_count(const struct mj_tile *tile, const struct mj_problem *problem, int num_tokens,
                            int num_rows) {
    long long pairs = (long long)num_tokens * problem->layer.top_k, experts = problem->layer.num_local_experts;
    long long busy = pairs < experts ? pairs : experts; // each has a pair at least, which begins a tile
    long long row_tiles = mj_ceil_div(num_rows, tile->block_rows);
    return (busy + (pairs - busy) / tile->block_tokens) * row_tiles;
}

double mj_tile_expected_count(const struct mj_tile *tile, const struct mj_problem *problem, int num_tokens,
                              int num_rows) {
    const moejit_layer *layer = &problem->layer;
    double missed = pow(1.0 - (double)layer->top_k / layer->num_experts, num_tokens);
    double busy = layer->num_local_experts * (1.0 - missed);
    double pairs = (double)num_tokens * layer->top_k * layer->num_local_experts / layer->num_experts;
    return fmax(busy, pairs / tile->block_tokens) * mj_ceil_div(num_rows, tile->block_rows);
}

long long mj_tile_blocks_for(long long count, int num_threads) {
    return (count + num_threads - 1) / num_threads;
}
