// The layer in plain C and double precision (docs/numerics.md): the judge of every kernel. It shares no code with them.
#ifndef MOEJIT_MOE_REFERENCE_H
#define MOEJIT_MOE_REFERENCE_H

#include "moe/problem.h"

struct mj_reference { // host pointers, shapes as in moejit_forward_args and moejit_checkpoint (E local experts)
    const struct mj_problem *problem;
    const uint8_t *gate_up, *gate_up_scale, *down, *down_scale;
    const float *gate_up_alpha, *down_alpha;
    const void *gate_up_bias, *down_bias;
    const void *x; // bf16 [T, H] or packed e2m1, contiguous
    const uint8_t *x_scale;
    const int32_t *expert_ids;
    const float *router_weights;
    const float *input_scale, *intermediate_scale;
};

// h' of the given tokens: f32 [num_tokens, K, I] holding bf16(h), or q * sf of NVFP4(h). Rows of pairs that are not
// local are zeros. False where memory ran out.
bool mj_reference_intermediate(const struct mj_reference *reference, const int *tokens, int num_tokens, float *h);

// From h' to the output of the given tokens: y and the sum of |contributions|, both [num_tokens, H], before any
// rounding to the output's dtype. False where memory ran out.
bool mj_reference_output(const struct mj_reference *reference, const int *tokens, int num_tokens, const float *h,
                         double *y, double *magnitude);

#endif
