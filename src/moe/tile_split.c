#include "moe/tile_split.h"

#include "moe/machine_table.h"

#define LEAST_STEPS 2 // of a CTA: fewer would be latency alone

// CTAs that run at the same time on a GPU of the arch.
static long long resident_ctas(const struct mj_tile *tile, const struct mj_problem *problem) {
    const struct mj_machine *machine = mj_machine_find("sm_90a");
    int ctas = machine->shared_bytes /
               (mj_tile_shared_bytes(tile, problem->layer.num_local_experts) + MJ_RESERVED_SHARED_BYTES);
    return (long long)machine->num_sms * (ctas < tile->blocks_per_sm ? ctas : tile->blocks_per_sm);
}

struct mj_split_args mj_tile_split(const struct mj_tile *tile, const struct mj_problem *problem, long long num_tiles,
                                   int reduced, int max_ctas) {
    int num_steps = mj_ceil_div(reduced, tile->block_k);
    struct mj_split_args split = {1, num_steps};
    if (!mj_tile_uses_mma(tile) || problem->layer.sum == MOEJIT_SUM_BATCH_INVARIANT) return split;
    long long resident = resident_ctas(tile, problem);
    if (max_ctas == 0) max_ctas = num_tiles <= mj_machine_find("sm_90a")->num_sms ? MJ_SPLIT_DEFAULT : 1;
    for (int ctas = max_ctas; ctas > 1; ctas--) {
        int steps = mj_ceil_div(num_steps, ctas);
        bool all_have_some = (ctas - 1) * steps < num_steps;
        if (steps < LEAST_STEPS || !all_have_some) continue;
        if (num_tiles * ctas + MJ_SPLIT_LOST_PLACES(ctas) <= resident) return (struct mj_split_args){ctas, steps};
    }
    return split;
}
