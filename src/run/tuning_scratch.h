// What a tuning run reads and writes: device memory of its own, filled with numbers such as a layer has.
#ifndef MOEJIT_RUN_TUNING_SCRATCH_H
#define MOEJIT_RUN_TUNING_SCRATCH_H

#include "moe/routing.h"
#include "run/plan.h"
#include "run/weights.h"

#define MJ_TUNING_ROUTINGS 8                // forwards of a graph, each with other ids
#define MJ_CHECK_ROUTING MJ_TUNING_ROUTINGS // and one for the check

struct mj_tuning_layout {           // byte offsets
    size_t weights, weights_stride; // a layer's packed weights, and the next layer's
    size_t x, x_scale, output, ids, ids_stride, router_weights, scales, zeros, workspace, codes, code_scales, total;
    size_t x_bytes, x_scale_bytes, output_bytes, zeros_bytes, codes_bytes, code_scales_bytes;
    int num_layers; // as many as leave the L2 cache nothing to keep
};

void mj_tuning_layout(const struct moejit_plan *plan, size_t l2_bytes, struct mj_tuning_layout *layout);

struct mj_tuning_scratch {
    const struct moejit_plan *plan;
    struct mj_tuning_layout layout;
    unsigned char *memory;
    bool allocated; // here
    struct moejit_weights weights[MJ_TUNING_ROUTINGS];
};

// given: the caller's memory, or NULL. The context must be entered.
moejit_status mj_tuning_scratch_create(struct mj_tuning_scratch *scratch, const struct moejit_plan *plan, void *given,
                                       size_t given_bytes, CUstream stream, struct mj_error *error);
void mj_tuning_scratch_destroy(struct mj_tuning_scratch *scratch);

// Ids of MJ_TUNING_ROUTINGS routings of so many tokens, and of the check's, where every token has at least one local
// expert. expert_tokens [num_local_experts]: the first routing's tokens of each.
moejit_status mj_tuning_scratch_route(struct mj_tuning_scratch *scratch, const struct mj_routing *routing,
                                      int num_tokens, CUstream stream, int *expert_tokens, struct mj_error *error);

// Arguments of a forward, the ids being routing `r`'s.
moejit_forward_args mj_tuning_scratch_args(const struct mj_tuning_scratch *scratch, int num_tokens, int r);

#endif
