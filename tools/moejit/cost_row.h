// One row of `moejit inspect cost`: gate_up or down with one tile.
#ifndef MOEJIT_TOOL_COST_ROW_H
#define MOEJIT_TOOL_COST_ROW_H

#include "moe/loop_cost.h"
#include "sass.h"

struct cost_row {
    const struct mj_machine *machine;
    const struct mj_tile *tile;
    enum mj_step step;
    char name[96]; // "gate_up hopper_64x8x128"
    int registers, spilled_bytes, shared_bytes, ctas_per_sm, bytes_in_flight;
    bool serialised; // ptxas made each wgmma wait for the one before
    struct sass_loops loops;
    struct mj_block_cost block; // at the widest loop
    struct mj_width_cost widths[MJ_LOOP_COST_MAX_WIDTHS];
    int num_widths;
    bool counted; // on an emulator: the two that follow
    double sectors, conflicts;
};

// What a layer must be for a family's tiles: fp4's take NVFP4 activations alone, and each reads its own packed layout.
void cost_layer_for(moejit_layer *layer, moejit_family family);

// From a kernel of a plan with that tile alone. False, with a sentence, where it cannot be told.
bool cost_row_read(const moejit_kernel_info *info, const struct mj_machine *machine, const struct mj_tile *tile,
                   enum mj_step step, const char *nvdisasm, struct cost_row *row, char *message, size_t message_bytes);

// What breaks a budget, as words ("spills, serialised"), or "".
void cost_row_faults(const struct cost_row *row, char *faults, size_t bytes);

void cost_print_json(const struct cost_row *row, const struct mj_problem *problem, const int *tokens, int num_tokens);
// Three tables: what the kernels take, their main loops, the predicted times.
void cost_print_tables(const struct cost_row *rows, int num_rows, const struct mj_problem *problem, const int *tokens,
                       int num_tokens);

#endif
