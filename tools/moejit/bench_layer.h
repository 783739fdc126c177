// The layer that a benchmark times: random weights and tensors made on the device, and a forward call for each routing.
#ifndef MOEJIT_TOOL_BENCH_LAYER_H
#define MOEJIT_TOOL_BENCH_LAYER_H

#include "bench.h"
#include "moe/layout.h"

#define BENCH_MAX_ROUTINGS 16

struct bench_layer {
    const char *name; // of the model
    struct mj_problem problem;
    struct mj_weights_layout layout;
    moejit_weights *weights[BENCH_MAX_ROUTINGS];
    void *packed[BENCH_MAX_ROUTINGS];
    int num_copies; // of the weights, as memory allows: forwards take turns, so that weights come from memory
};

struct bench_call { // one plan and what forward needs, for each routing
    const struct bench_layer *layer;
    moejit_plan *plan;
    moejit_executor *executor; // not owned
    moejit_forward_args args[BENCH_MAX_ROUTINGS];
    int num_tokens, num_routings;
    double mean_experts, mean_pairs; // local ones, of a forward
    int kept;                        // of bench->num_memory
};

struct bench_variant { // what one description may be run as
    moejit_sum sum;
    moejit_family family;
    int num_tokens;
    int output_rows; // 0: num_tokens
};

bool bench_layer_create(struct bench *bench, const char *name, const moejit_layer *description,
                        struct bench_layer *layer);
void bench_layer_destroy(struct bench *bench, struct bench_layer *layer);

bool bench_call_create(struct bench *bench, const struct bench_layer *layer, const struct bench_variant *variant,
                       struct bench_call *call);
void bench_call_destroy(struct bench *bench, struct bench_call *call);
// Runs forward of routing r; false, with the sentence printed.
bool bench_call_forward(struct bench *bench, struct bench_call *call, int r);
// The same, as struct bench_work wants it.
bool bench_call_enqueue(struct bench *bench, void *call, int r);

// Multiply-adds times two, and bytes of packed weights, of a mean forward: of gate_up and of down.
struct bench_amount {
    double operations, bytes;
};
struct bench_amount bench_call_gate_up(const struct bench_call *call);
struct bench_amount bench_call_down(const struct bench_call *call);

// Calls `run` for each model of the command line with its layer made.
bool bench_each_layer(struct bench *bench, bool (*run)(struct bench *bench, struct bench_layer *layer));

#endif
