#include "moe/layout.h"

static size_t align(size_t bytes) {
    return (bytes + MJ_MEMORY_ALIGNMENT - 1) / MJ_MEMORY_ALIGNMENT * MJ_MEMORY_ALIGNMENT;
}

static size_t packed_bytes(enum mj_packed_layout packed, int rows, int columns) {
    if (packed == MJ_LAYOUT_BLOCK_SCALED) {
        return (size_t)mj_ceil_div(rows, MJ_SCALED_BLOCK_ROWS) * (size_t)mj_ceil_div(columns, MJ_SCALED_BLOCK_COLUMNS) *
               MJ_SCALED_BLOCK_BYTES;
    }
    return (size_t)mj_ceil_div(rows, MJ_BLOCK_ROWS) * (size_t)mj_ceil_div(columns, MJ_BLOCK_COLUMNS) * MJ_BLOCK_BYTES;
}

void mj_layout_weights(const struct mj_problem *problem, struct mj_weights_layout *layout) {
    const moejit_layer *layer = &problem->layer;
    size_t experts = (size_t)layer->num_local_experts;
    layout->gate_up_expert = packed_bytes(problem->packed_layout, problem->gate_up_rows, layer->hidden);
    layout->down_expert = packed_bytes(problem->packed_layout, layer->hidden, layer->intermediate);
    layout->down = align(experts * layout->gate_up_expert);
    layout->invalid_scales = layout->down + align(experts * layout->down_expert);
    layout->total = layout->invalid_scales + MJ_MEMORY_ALIGNMENT;
}

// What rows of activations take: values, and where they are codes their scales.
static void place_rows(enum mj_packed_layout packed, size_t rows, int columns, size_t *next, size_t *values,
                       size_t *scales) {
    bool codes = packed == MJ_LAYOUT_BLOCK_SCALED;
    *values = *next;
    *next += align(rows * (codes ? (size_t)MJ_ROW_CODE_BYTES(columns) : (size_t)columns * 2));
    *scales = *next;
    if (codes) *next += align(rows * (size_t)MJ_ROW_SCALE_BYTES(columns));
}

void mj_layout_workspace(const struct mj_problem *problem, int max_num_tokens, size_t partials_cap,
                         struct mj_workspace_layout *layout) {
    const moejit_layer *layer = &problem->layer;
    size_t pairs = (size_t)max_num_tokens * (size_t)layer->top_k, next = 0;
    layout->expert_offsets = next;
    next += align(((size_t)layer->num_local_experts + 1) * sizeof(int32_t));
    layout->sorted_pairs = next;
    next += align(pairs * sizeof(int32_t));
    size_t x_rows = layer->activation_format == MOEJIT_FORMAT_NVFP4 ? (size_t)max_num_tokens : 0;
    place_rows(problem->packed_layout, x_rows, layer->hidden, &next, &layout->x_values, &layout->x_value_scales);
    place_rows(problem->packed_layout, pairs, layer->intermediate, &next, &layout->intermediate,
               &layout->intermediate_scales);
    layout->partials = next;
    layout->partial_row_blocks = 0;
    if (problem->sum == MJ_SUM_ORDERED) {
        size_t block_bytes = pairs * MJ_BLOCK_ROWS * sizeof(float);
        size_t blocks = (size_t)mj_ceil_div(layer->hidden, MJ_BLOCK_ROWS), fitting = partials_cap / block_bytes;
        if (fitting < 1) fitting = 1;
        // An even number, so that a chunk ends with a tile of 128 rows.
        if (fitting > 1) fitting -= fitting % 2;
        layout->partial_row_blocks = (int)(fitting < blocks ? fitting : blocks);
        next += align(block_bytes * (size_t)layout->partial_row_blocks);
    }
    layout->total = next;
}
