// Sizes of what lies in device memory: packed weights and the workspace.
#ifndef MOEJIT_MOE_LAYOUT_H
#define MOEJIT_MOE_LAYOUT_H

#include "moe/problem.h"

#define MJ_MEMORY_ALIGNMENT 256

struct mj_weights_layout {              // bytes
    size_t gate_up_expert, down_expert; // strides between experts
    size_t down;                        // offset of the down matrices
    size_t invalid_scales;              // offset of pack's counter
    size_t total;
};

struct mj_workspace_layout { // byte offsets of what a layer keeps between its kernels
    size_t expert_offsets, sorted_pairs, x_values, x_value_scales, intermediate, intermediate_scales, partials;
    int partial_row_blocks; // 64-column blocks of the output that partials hold at once (ordered sum)
    size_t total;
};

void mj_layout_weights(const struct mj_problem *problem, struct mj_weights_layout *layout);
// With block-scaled weights go activations in NVFP4, else they are bf16.
// partials_cap: most bytes that partials may take; at least one block of columns is always given.
void mj_layout_workspace(const struct mj_problem *problem, int max_num_tokens, size_t partials_cap,
                         struct mj_workspace_layout *layout);

#endif
