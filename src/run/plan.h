#ifndef MOEJIT_RUN_PLAN_H
#define MOEJIT_RUN_PLAN_H

#include "moe/layout.h"
#include "run/loaded_kernel.h"

#define MJ_MAX_PLAN_KERNELS (MJ_NUM_KERNELS + 2 * MJ_NUM_TILES)

struct moejit_plan {
    struct moejit_context *context;
    struct mj_problem problem;
    int max_num_tokens;
    moejit_family family; // never AUTO
    int forced_tile;      // -1: none
    struct mj_workspace_layout workspace;
    struct mj_loaded_kernel kernels[MJ_MAX_PLAN_KERNELS];
    int num_kernels;
};

// The kernel with that tile (-1 for kernels without one), or NULL where the plan does not hold it.
const struct mj_loaded_kernel *mj_plan_find(const struct moejit_plan *plan, enum mj_kernel_id id, int tile_idx);

#endif
