// What one run of a layer holds: shared by the files of layer_run.h's functions.
#ifndef MOEJIT_TOOL_LAYER_STATE_H
#define MOEJIT_TOOL_LAYER_STATE_H

#include "layer_run.h"

enum device_tensor { // what is uploaded
    GATE_UP,
    GATE_UP_SCALE,
    DOWN,
    DOWN_SCALE,
    X,
    X_SCALE,
    GATE_UP_ALPHA,
    DOWN_ALPHA,
    GATE_UP_BIAS,
    DOWN_BIAS,
    EXPERT_IDS,
    ROUTER_WEIGHTS,
    INPUT_SCALE,
    INTERMEDIATE_SCALE,
    LIVE_TOKENS,
    OUTPUT,
    WORKSPACE,
    PACKED,
    NUM_TENSORS
};

struct layer_state { // of one run; everything is released at its end
    struct gpu *gpu;
    moejit_context *context;
    const struct layer_case *what;
    const struct layer_data *data;
    struct layer_result *result;
    void *device[NUM_TENSORS];
    moejit_weights *weights;
    moejit_plan *plan;
    moejit_executor *executor;
    CUstream stream;
    moejit_forward_args args;
    size_t output_stride, output_rows, element; // elements, rows, bytes
    unsigned char *before, *after;              // the output's bytes
    size_t output_bytes;
    int live; // tokens that count
};

// Records the sentence as the result's; false.
__attribute__((format(printf, 2, 3))) bool layer_state_fail(struct layer_state *state, const char *format, ...);
bool layer_state_fail_gpu(struct layer_state *state); // with the gpu's sentence

// Uploads, packs, prepares: all that forward needs, the output filled with what must not stay or must not change.
bool layer_state_create(struct layer_state *state);
void layer_state_destroy(struct layer_state *state);

// layer_check.c: the output against the reference, end to end and given the kernel's own h', and against an expected
// one.
bool layer_check_reference(struct layer_state *state);

#endif
