#include "cost_row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const step_names[] = {"gate_up", "down"};

void cost_layer_for(moejit_layer *layer, moejit_family family) {
    bool fp4 = family == MOEJIT_FAMILY_FP4;
    if (fp4) layer->activation_format = MOEJIT_FORMAT_NVFP4;
    layer->packed_layout = fp4 ? MOEJIT_PACKED_LAYOUT_BLOCK_SCALED : MOEJIT_PACKED_LAYOUT_FRAGMENTS;
}

static bool take_resources(const moejit_kernel_info *info, struct cost_row *row) {
    if (info->cubin == NULL || info->log == NULL || info->registers == 0) return false;
    row->registers = info->registers;
    row->spilled_bytes = info->spill_bytes;
    row->shared_bytes = info->static_shared_bytes + info->dynamic_shared_bytes;
    row->serialised = strstr(info->log, "wgmma") != NULL && strstr(info->log, "serialized") != NULL;
    row->ctas_per_sm = mj_loop_cost_ctas_per_sm(row->machine, row->registers, info->num_threads, row->shared_bytes);
    row->bytes_in_flight = mj_loop_cost_bytes_in_flight(row->tile, row->ctas_per_sm);
    return true;
}

static void take_loops(struct cost_row *row) {
    for (int i = 0; i < row->loops.num_multiplying; i++) {
        const struct mj_loop *loop = &row->loops.multiplying[i];
        mj_loop_cost_block(row->machine, row->tile, loop, &row->loops.copying, row->ctas_per_sm, &row->block);
        int tokens = loop->width > 0 && loop->width < row->tile->block_tokens ? loop->width : row->tile->block_tokens;
        row->widths[row->num_widths++] =
            (struct mj_width_cost){tokens, row->block.clocks[row->block.busiest], row->block.clocks[MJ_TERM_TENSOR]};
    }
}

bool cost_row_read(const moejit_kernel_info *info, const struct mj_machine *machine, const struct mj_tile *tile,
                   enum mj_step step, const char *nvdisasm, struct cost_row *row, char *message, size_t message_bytes) {
    *row = (struct cost_row){.machine = machine, .tile = tile, .step = step};
    snprintf(row->name, sizeof(row->name), "%s %s", step_names[step], tile->name);
    if (!take_resources(info, row)) {
        snprintf(message, message_bytes,
                 "%s has no cubin, or none of ptxas's figures, in this cache: name another by --cache", info->symbol);
        return false;
    }
    char *text = sass_disassemble(nvdisasm, info->cubin, info->cubin_bytes, message, message_bytes);
    if (text == NULL) return false;
    char why[256];
    bool good = sass_read(text, &row->loops, why, sizeof(why));
    free(text);
    if (good) take_loops(row);
    if (!good) snprintf(message, message_bytes, "%s: %s", info->symbol, why);
    return good;
}

static int narrow_loads(const struct cost_row *row) {
    const struct sass_loops *loops = &row->loops;
    int sum = loops->multiplying[loops->num_multiplying - 1].narrow_loads;
    for (int i = 0; i < loops->copying.count; i++) sum += loops->copying.loops[i].narrow_loads;
    return sum;
}

void cost_row_faults(const struct cost_row *row, char *faults, size_t bytes) {
    char below[32];
    snprintf(below, sizeof(below), "below %.4g TB/s", row->machine->budget_bytes_per_s * 1e-12);
    const struct {
        bool is;
        const char *word;
    } all[] = {
        {row->spilled_bytes > 0, "spills"},
        {row->serialised, "serialised"},
        {row->ctas_per_sm == 0, "fits no SM"},
        {narrow_loads(row) > 0, "narrow loads"},
        {row->counted && row->conflicts > 0, "bank conflicts"},
        {!mj_loop_cost_meets_memory_budget(row->machine, &row->block), below},
        {!mj_loop_cost_meets_tensor_budget(row->tile, &row->block), "below 90 % tensor"},
    };
    faults[0] = '\0';
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        size_t used = strlen(faults);
        if (all[i].is) snprintf(faults + used, bytes - used, "%s%s", used > 0 ? ", " : "", all[i].word);
    }
}
