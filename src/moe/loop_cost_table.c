#include <string.h>

#include "moe/loop_cost.h"

static const struct {
    const char *tile;
    enum mj_step step;
    struct mj_width_cost width;
} table[] = {
#define TILE_COST(tile, step, tokens, instructions, tensor) {tile, MJ_STEP_##step, {tokens, instructions, tensor}},
#include "moe/tile_costs.def"
#undef TILE_COST
};

int mj_loop_cost_widths(const char *tile_name, enum mj_step step, struct mj_width_cost *widths) {
    int num = 0;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]) && num < MJ_LOOP_COST_MAX_WIDTHS; i++) {
        if (table[i].step == step && strcmp(table[i].tile, tile_name) == 0) widths[num++] = table[i].width;
    }
    return num;
}

double mj_loop_cost_tile_us(const struct mj_problem *problem, const struct mj_tile *tile, int num_tokens) {
    double us = 0;
    for (enum mj_step step = MJ_STEP_GATE_UP; step <= MJ_STEP_DOWN; step++) {
        struct mj_width_cost widths[MJ_LOOP_COST_MAX_WIDTHS];
        struct mj_step_time time;
        int num = mj_loop_cost_widths(tile->name, step, widths);
        if (num == 0) return 0;
        mj_loop_cost_step(mj_machine_find("sm_90a"), problem, tile, step, widths, num, num_tokens, &time);
        us += mj_loop_cost_step_us(&time);
    }
    return us;
}
