// Host tensors of one layer: random, or exact (sums that f32 holds exactly in any order).
#ifndef MOEJIT_TOOL_LAYER_DATA_H
#define MOEJIT_TOOL_LAYER_DATA_H

#include "moe/reference.h"

enum layer_routing {
    ROUTING_UNIFORM, // top_k different experts of all, each as likely
    ROUTING_SKEWED,  // low ids far likelier, the same expert may come twice, some -1
    ROUTING_NONE,    // no id is local
};

struct layer_data { // shapes as in struct mj_reference
    struct mj_problem problem;
    int num_tokens;
    uint8_t *gate_up, *gate_up_scale, *down, *down_scale, *x_scale;
    size_t gate_up_bytes, gate_up_scale_bytes, down_bytes, down_scale_bytes, x_bytes, x_scale_bytes;
    float *gate_up_alpha, *down_alpha, *router_weights, *intermediate_scale;
    float input_scale;
    size_t gate_up_alpha_count, intermediate_scale_count;
    void *gate_up_bias, *down_bias, *x;
    size_t gate_up_bias_bytes, down_bias_bytes;
    int32_t *expert_ids;
    float *expected; // [T, H], somebody else's output; or NULL
};

// False where memory ran out. The same seed gives the same bytes on every machine.
bool layer_data_create(struct layer_data *data, const struct mj_problem *problem, int num_tokens,
                       enum layer_routing routing, bool exact, uint64_t seed);
// x, ids and router weights as above; weights and their scales are zero, for others to fill.
bool layer_data_create_inputs(struct layer_data *data, const struct mj_problem *problem, int num_tokens,
                              enum layer_routing routing, uint64_t seed);
void layer_data_destroy(struct layer_data *data);
// A routing alone: expert_ids [num_tokens, top_k].
void layer_data_route(const moejit_layer *layer, int num_tokens, enum layer_routing routing, uint64_t seed,
                      int32_t *expert_ids);
struct mj_reference layer_data_reference(const struct layer_data *data);

#endif
