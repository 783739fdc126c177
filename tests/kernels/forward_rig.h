// A small layer with everything that forward needs, for tests of the contract; numbers are test_kernels' business.
#ifndef MOEJIT_TESTS_FORWARD_RIG_H
#define MOEJIT_TESTS_FORWARD_RIG_H

#include "gpu.h"
#include "layer_data.h"

#define RIG_MAX_TOKENS 8 // of the contract's tests

struct rig {
    struct gpu *gpu;
    moejit_context *context;
    struct layer_data data; // its tokens are the most that the plan takes
    moejit_weights *weights;
    void *packed; // their memory
    size_t packed_bytes;
    moejit_plan *plan;
    moejit_executor *executor;
    CUstream stream;
    void *memory[16]; // device
    int num_memory;
    moejit_checkpoint checkpoint;
    moejit_forward_args args; // f32 output, a row for each token
};

// H 64, I 32, 4 experts, 2 chosen, bf16 activations, f32 output.
moejit_layer rig_layer(void);
// Takes over `data`. The status of the first call of moejit that fails; INTERNAL where the rig's own calls do.
moejit_status rig_create(struct rig *rig, struct gpu *gpu, const moejit_layer *layer, const struct layer_data *data);
// The same with plan options of the caller's, whose max_num_tokens is set here. packed: what is in the memory of such
// weights when they have been packed, or NULL: they are packed.
moejit_status rig_create_planned(struct rig *rig, struct gpu *gpu, const moejit_layer *layer,
                                 const struct layer_data *data, const moejit_plan_options *plan_options,
                                 const void *packed);
// Another executor in place of the one with default options.
moejit_status rig_change_executor(struct rig *rig, const moejit_executor_options *options);
void rig_destroy(struct rig *rig);
moejit_status rig_forward(struct rig *rig); // and waits
// The output's rows, f32 [tokens, H].
bool rig_output(struct rig *rig, float *output);
bool rig_fill_output(struct rig *rig, float value);

#endif
