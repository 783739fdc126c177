// How many CTAs share a tile where tiles are too few to keep a GPU's memory busy (kernel_sources/gemm_hopper_mma.cuh).
#ifndef MOEJIT_MOE_TILE_SPLIT_H
#define MOEJIT_MOE_TILE_SPLIT_H

#include "moe/tile.h"

#define MJ_SPLIT_DEFAULT 2 // CTAs that share a tile where nobody says otherwise and multiprocessors would have none
#define MJ_SPLIT_LARGEST 8 // of a cluster on every GPU (CUDA C++ programming guide, "Thread Block Clusters")
// A cluster lies in one group of multiprocessors (a GPC, of which an H100 has eight): of each group's places for CTAs
// up to so many are too few for one more.
#define MJ_SPLIT_LOST_PLACES(num_ctas) (8 * ((num_ctas)-1))

// Of a launch of at most `num_tiles` tiles whose reduction is `reduced` long. max_ctas: MJ_SPLIT_LARGEST or less, 1 for
// none, 0 for MJ_SPLIT_DEFAULT where there are no more tiles than multiprocessors, else none. A function of these and
// of the arch alone, not of the GPU that is there: sums in another order have other bits. num_ctas is 1 where tiles are
// not shared.
struct mj_split_args mj_tile_split(const struct mj_tile *tile, const struct mj_problem *problem, long long num_tiles,
                                   int reduced, int max_ctas);

#endif
