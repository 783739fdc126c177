// Routings that stand for real use: which experts the tokens of a tuning run choose.
#ifndef MOEJIT_MOE_ROUTING_H
#define MOEJIT_MOE_ROUTING_H

#include "moe/problem.h"

struct mj_routing {
    int num_experts, top_k;
    double reached[MJ_MAX_EXPERTS]; // the share of experts up to and with this one; the last is 1
};

// Shares of experts: equal; by Zipf's law, 1 / rank^exponent, the ranks dealt out by a fixed shuffle, so that the busy
// experts are not all of one rank; or as the histogram says, [num_experts] numbers >= 0.
void mj_routing_uniform(struct mj_routing *routing, const moejit_layer *layer);
void mj_routing_zipf(struct mj_routing *routing, const moejit_layer *layer, double exponent);
// False where a number is negative or not finite, or all are zero.
bool mj_routing_histogram(struct mj_routing *routing, const moejit_layer *layer, const float *histogram);

// Global ids [num_tokens, top_k]; a token's experts differ as long as there are enough. The same seed, the same ids.
void mj_routing_draw(const struct mj_routing *routing, int num_tokens, uint64_t seed, int32_t *ids);

#endif
