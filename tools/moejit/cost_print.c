#include <stdio.h>
#include <string.h>

#include "cost_row.h"

static double predicted_us(const struct cost_row *row, const struct mj_problem *problem, int tokens) {
    struct mj_step_time time;
    mj_loop_cost_step(row->machine, problem, row->tile, row->step, row->widths, row->num_widths, tokens, &time);
    return mj_loop_cost_step_us(&time);
}

// ---- Tables

static void print_kernel(const struct cost_row *row) {
    char counted[32] = "       -         -";
    if (row->counted) snprintf(counted, sizeof(counted), "%8.1f %9.2f", row->sectors, row->conflicts);
    printf("%-32s %9d %7d %10s %7d %4d %9d %s\n", row->name, row->registers, row->spilled_bytes,
           row->serialised ? "yes" : "no", row->shared_bytes, row->ctas_per_sm, row->bytes_in_flight, counted);
}

static void print_loop(const struct cost_row *row) {
    const struct mj_block_cost *block = &row->block;
    const double *n = block->multiplying;
    printf("%-32s %7.1f %5.1f %5.1f %7.1f %6.1f %6.1f %6.1f %7.1f %7.1f %6.1f\n", row->name, n[MJ_PIPE_INTEGER],
           n[MJ_PIPE_MULTIPLY], n[MJ_PIPE_FMA], n[MJ_PIPE_CONVERT] + n[MJ_PIPE_SPECIAL], n[MJ_PIPE_SHARED],
           n[MJ_PIPE_GLOBAL], n[MJ_PIPE_TENSOR], n[MJ_PIPE_UNIFORM] + n[MJ_PIPE_CONTROL],
           mj_loop_cost_instructions(block->copying),
           mj_loop_cost_instructions(n) + mj_loop_cost_instructions(block->copying));
}

static void print_clocks(const struct cost_row *row) {
    const struct mj_block_cost *block = &row->block;
    const double *clocks = block->clocks;
    char faults[128];
    cost_row_faults(row, faults, sizeof(faults));
    printf("%-32s %6.1f %7.1f %5.1f %7.1f %6.1f %6.1f %6.1f %6.2f %11.0f%%  %s\n", row->name, clocks[MJ_TERM_ISSUE],
           clocks[MJ_TERM_INTEGER], clocks[MJ_TERM_FMA], clocks[MJ_TERM_CONVERT], clocks[MJ_TERM_SHARED],
           clocks[MJ_TERM_TENSOR], clocks[MJ_TERM_MEMORY],
           mj_loop_cost_terabytes_per_s(row->machine, clocks[block->busiest]), 100 * mj_loop_cost_tensor_share(block),
           faults[0] != '\0' ? faults : "met");
}

static void print_widths(const struct cost_row *row) {
    printf("%-32s", row->name);
    for (int i = 0; i < row->num_widths; i++) {
        const struct mj_width_cost *width = &row->widths[i];
        printf(" %d:%.1f/%.1f", width->tokens, width->instruction_clocks, width->tensor_clocks);
    }
    printf("\n");
}

static void print_times(const struct cost_row *rows, int num_rows, const struct mj_problem *problem, const int *tokens,
                        int num_tokens) {
    printf("\n%-32s", "predicted us at T tokens");
    for (int t = 0; t < num_tokens; t++) printf(" %8d", tokens[t]);
    printf("\n");
    for (int i = 0; i < num_rows; i++) {
        printf("%-32s", rows[i].name);
        for (int t = 0; t < num_tokens; t++) printf(" %8.1f", predicted_us(&rows[i], problem, tokens[t]));
        printf("\n");
    }
}

void cost_print_tables(const struct cost_row *rows, int num_rows, const struct mj_problem *problem, const int *tokens,
                       int num_tokens) {
    printf("%-32s registers spilled serialised  shared CTAs in-flight  sectors conflicts\n", "kernel");
    for (int i = 0; i < num_rows; i++) print_kernel(&rows[i]);
    printf("\n%-32s integer   mul   fma convert shared global tensor control copying    all\n",
           "warp instructions a block");
    for (int i = 0; i < num_rows; i++) print_loop(&rows[i]);
    printf("\n%-32s  issue integer   fma convert shared tensor memory   TB/s tensor-share  budget\n", "clocks a block");
    for (int i = 0; i < num_rows; i++) print_clocks(&rows[i]);
    printf("\n%-32s tokens:instructions/tensor\n", "clocks of each width");
    for (int i = 0; i < num_rows; i++) print_widths(&rows[i]);
    if (num_tokens > 0) print_times(rows, num_rows, problem, tokens, num_tokens);
}

// ---- JSON

static void print_pipes(const char *name, const double *pipes) {
    printf(", \"%s\": {", name);
    for (enum mj_pipe pipe = 0; pipe < MJ_NUM_PIPES; pipe++) {
        printf("%s\"%s\": %.2f", pipe > 0 ? ", " : "", mj_pipe_name(pipe), pipes[pipe]);
    }
    printf("}");
}

void cost_print_json(const struct cost_row *row, const struct mj_problem *problem, const int *tokens, int num_tokens) {
    const struct mj_block_cost *block = &row->block;
    char faults[128];
    cost_row_faults(row, faults, sizeof(faults));
    printf("{\"kernel\": \"%s\", \"gpu\": \"%s\", \"registers\": %d, \"spilled_bytes\": %d, \"serialised\": %s, "
           "\"shared_bytes\": %d, "
           "\"ctas_per_sm\": %d, \"bytes_in_flight\": %d",
           row->name, row->machine->gpu, row->registers, row->spilled_bytes, row->serialised ? "true" : "false",
           row->shared_bytes, row->ctas_per_sm, row->bytes_in_flight);
    if (row->counted) {
        printf(", \"sectors_a_step\": %.2f, \"bank_conflicts_a_step\": %.2f", row->sectors, row->conflicts);
    }
    print_pipes("multiplying", block->multiplying);
    print_pipes("copying", block->copying);
    printf(", \"clocks\": {");
    for (enum mj_term term = 0; term < MJ_NUM_TERMS; term++) {
        printf("%s\"%s\": %.2f", term > 0 ? ", " : "", mj_term_name(term), block->clocks[term]);
    }
    printf("}, \"busiest\": \"%s\", \"instructions_tb_s\": %.3f, \"tensor_share\": %.3f, \"broken\": \"%s\"",
           mj_term_name(block->busiest), mj_loop_cost_terabytes_per_s(row->machine, block->clocks[block->busiest]),
           mj_loop_cost_tensor_share(block), faults);
    printf(", \"widths\": {");
    for (int i = 0; i < row->num_widths; i++) {
        printf("%s\"%d\": {\"instructions\": %.2f, \"tensor\": %.2f}", i > 0 ? ", " : "", row->widths[i].tokens,
               row->widths[i].instruction_clocks, row->widths[i].tensor_clocks);
    }
    printf("}, \"predicted_us\": {");
    for (int t = 0; t < num_tokens; t++) {
        printf("%s\"%d\": %.2f", t > 0 ? ", " : "", tokens[t], predicted_us(row, problem, tokens[t]));
    }
    printf("}}\n");
}
