#include <math.h>

#include "moe/loop_cost.h"

// Expected over the tokens of one expert.
struct expected {
    double hit;                  // the share of experts that have any
    double tiles;                // along the tokens
    double instructions, tensor; // clocks of one weight block times all these tiles
};

static const struct mj_width_cost *width_for(const struct mj_width_cost *widths, int num_widths, int tokens) {
    int i = 0;
    while (i + 1 < num_widths && widths[i].tokens < tokens) i++;
    return &widths[i];
}

static void add_tokens(const struct mj_tile *tile, const struct mj_width_cost *widths, int num_widths, int tokens,
                       double probability, struct expected *sum) {
    int full = tokens / tile->block_tokens, rest = tokens % tile->block_tokens;
    const struct mj_width_cost *widest = &widths[num_widths - 1], *last = width_for(widths, num_widths, rest);
    sum->hit += probability;
    sum->tiles += probability * (full + (rest > 0));
    sum->instructions += probability * (full * widest->instruction_clocks + (rest > 0) * last->instruction_clocks);
    sum->tensor += probability * (full * widest->tensor_clocks + (rest > 0) * last->tensor_clocks);
}

// log of the binomial probability of n among T.
static double log_binomial(int total, int n, double p) {
    return lgamma(total + 1.0) - lgamma(n + 1.0) - lgamma(total - n + 1.0) + n * log(p) + (total - n) * log1p(-p);
}

static struct expected expect(const struct mj_problem *problem, const struct mj_tile *tile,
                              const struct mj_width_cost *widths, int num_widths, int num_tokens) {
    struct expected sum = {0};
    double p = (double)problem->layer.top_k / problem->layer.num_experts;
    if (p >= 1) {
        add_tokens(tile, widths, num_widths, num_tokens, 1, &sum);
        return sum;
    }
    for (int n = 1; n <= num_tokens; n++) {
        double probability = exp(log_binomial(num_tokens, n, p));
        if (probability > 0) add_tokens(tile, widths, num_widths, n, probability, &sum);
    }
    return sum;
}

// Rows in and rows out, once each.
static double row_bytes(const struct mj_problem *problem, const struct mj_tile *tile, enum mj_step step,
                        int num_tokens) {
    const moejit_layer *layer = &problem->layer;
    double pairs = (double)num_tokens * layer->top_k * layer->num_local_experts / layer->num_experts;
    double value = mj_loop_cost_value_bits(tile) / 8.0, intermediate = pairs * layer->intermediate * value;
    double hidden = layer->hidden;
    if (step == MJ_STEP_GATE_UP) return num_tokens * hidden * value + intermediate;
    size_t out = problem->sum == MJ_SUM_ATOMIC ? mj_dtype_bytes(layer->output_dtype) : sizeof(float);
    return intermediate + pairs * hidden * (double)out;
}

void mj_loop_cost_step(const struct mj_machine *machine, const struct mj_problem *problem, const struct mj_tile *tile,
                       enum mj_step step, const struct mj_width_cost *widths, int num_widths, int num_tokens,
                       struct mj_step_time *time) {
    int rows = step == MJ_STEP_GATE_UP ? problem->gate_up_rows : problem->layer.hidden;
    int reduced = step == MJ_STEP_GATE_UP ? problem->layer.hidden : problem->layer.intermediate;
    int row_blocks = mj_ceil_div(rows, MJ_BLOCK_ROWS), row_tiles = mj_ceil_div(rows, tile->block_rows);
    double blocks = (double)row_blocks * mj_ceil_div(reduced, MJ_BLOCK_COLUMNS) * 4; // of one expert
    double experts = problem->layer.num_local_experts;
    struct expected expert = expect(problem, tile, widths, num_widths, num_tokens);

    double bytes = experts * expert.hit * blocks * MJ_LOOP_COST_BLOCK_BYTES;
    double tiles = experts * expert.tiles * row_tiles, fair = tiles / machine->num_sms;
    double unbalanced = fair > 0 ? ceil(fair) / fair : 0; // the multiprocessor with most tiles
    double us = experts * blocks * unbalanced / machine->num_sms / machine->clock_hz * 1e6;
    time->memory = (bytes + row_bytes(problem, tile, step, num_tokens)) / machine->memory_bytes_per_s * 1e6;
    time->instructions = us * expert.instructions;
    time->tensor = us * expert.tensor;
}

double mj_loop_cost_step_us(const struct mj_step_time *time) {
    return fmax(time->memory, fmax(time->instructions, time->tensor));
}
