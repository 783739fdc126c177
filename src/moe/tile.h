// The tiles of each family, and which one serves a number of tokens.
#ifndef MOEJIT_MOE_TILE_H
#define MOEJIT_MOE_TILE_H

#include <stddef.h>

#include "moe/problem.h"

struct mj_tile {
    const char *name; // rows x tokens x depth, the family before it where it is not the portable one
    moejit_family family;
    int block_rows, block_tokens, block_k, num_stages, num_threads;
    int blocks_per_sm; // that the compiler must leave registers for
};

// Those of a family follow each other, narrow ones first.
#define MJ_NUM_TILES 15
extern const struct mj_tile mj_tiles[MJ_NUM_TILES];

// The tile of that name, or -1.
int mj_tile_find(const char *name);

// The family's tile for T tokens: the narrowest that holds the tokens of an average expert, or (Hopper) one and a half
// times as many.
int mj_tile_choose(const struct mj_problem *problem, moejit_family family, int num_tokens);

// The family that serves bf16 activations best on an arch, and the one that serves a layer best with its packed layout.
moejit_family mj_family_best(const char *arch);
moejit_family mj_family_choose(const struct mj_problem *problem, const char *arch);
// Whether a family has its instructions on an arch; those that have them, for messages.
bool mj_family_runs_on(moejit_family family, const char *arch);
const char *mj_family_archs(moejit_family family);
// The packed layout that a family reads, and that of a layer's weights on an arch: as the layer says, or the best
// family's.
enum mj_packed_layout mj_family_layout(moejit_family family);
enum mj_packed_layout mj_packed_layout_choose(const struct mj_problem *problem, const char *arch);
const char *mj_packed_layout_name(enum mj_packed_layout layout);
const char *mj_family_name(moejit_family family);

// Whether a Hopper tile multiplies by mma.sync, not wgmma: the rule of gemm_hopper.cuh.
bool mj_tile_uses_mma(const struct mj_tile *tile);

// Dynamic shared memory of gate_up and down kernels, in bytes: what gemm_<family>.cuh lays out.
int mj_tile_shared_bytes(const struct mj_tile *tile, int num_local_experts);

// Of a Hopper tile that multiplies by mma.sync: one stage of its ring, of which it has num_stages or more.
int mj_tile_stage_bytes(const struct mj_tile *tile);

// At least as many tiles as any routing of T tokens can make; the grid is never larger.
long long mj_tile_max_count(const struct mj_tile *tile, const struct mj_problem *problem, int num_tokens, int num_rows);

// About as many as a uniform routing of T tokens makes: one for each expert that is hit, while tiles have room for what
// such an expert has.
double mj_tile_expected_count(const struct mj_tile *tile, const struct mj_problem *problem, int num_tokens,
                              int num_rows);

// Thread blocks for an element-wise kernel of `count` items, `num_threads` a block.
long long mj_tile_blocks_for(long long count, int num_threads);

#endif
