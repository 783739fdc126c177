// How gate_up or down is launched: how its CTAs share tiles, and the GPU.
#ifndef MOEJIT_RUN_TILE_LAUNCH_H
#define MOEJIT_RUN_TILE_LAUNCH_H

#include "moe/tile_split.h"
#include "moe/tile_spread.h"
#include "run/plan.h"

struct mj_tile_launch {
    struct mj_split_args split;
    int ring_stages, shared_bytes;
    long long num_ctas;
};

struct mj_layer_tiles { // of one layer in flight
    const struct moejit_plan *plan;
    const struct mj_decision *decision;
    int num_tokens, max_tile_ctas;
    bool folded; // no kernel comes between one layer's down and the next one's gate_up
};

// Of the kernel of one of the decision's tiles, on `rows` rows of weights whose reduction is `reduced` long.
struct mj_tile_launch mj_tile_launch_plan(const struct mj_layer_tiles *layer, const struct mj_loaded_kernel *kernel,
                                          int rows, int reduced);

#endif
