#include "moe/routing.h"

#include <math.h>

#include "base/random.h"

#define MAX_TRIES 32 // to draw an expert that the token does not have; then the next free one is taken

static void begin(struct mj_routing *routing, const moejit_layer *layer) {
    routing->num_experts = layer->num_experts;
    routing->top_k = layer->top_k;
}

// From weights to shares.
static void accumulate(struct mj_routing *routing) {
    double sum = 0, reached = 0;
    for (int e = 0; e < routing->num_experts; e++) sum += routing->reached[e];
    for (int e = 0; e < routing->num_experts; e++) {
        reached += routing->reached[e] / sum;
        routing->reached[e] = reached;
    }
    routing->reached[routing->num_experts - 1] = 1;
}

void mj_routing_uniform(struct mj_routing *routing, const moejit_layer *layer) {
    begin(routing, layer);
    for (int e = 0; e < routing->num_experts; e++) routing->reached[e] = 1;
    accumulate(routing);
}

void mj_routing_zipf(struct mj_routing *routing, const moejit_layer *layer, double exponent) {
    struct mj_random random = {1};
    begin(routing, layer);
    for (int e = 0; e < routing->num_experts; e++) routing->reached[e] = pow(e + 1, -exponent);
    for (int e = routing->num_experts - 1; e > 0; e--) { // Fisher and Yates
        int other = (int)(mj_random_next(&random) % (uint64_t)(e + 1));
        double weight = routing->reached[e];
        routing->reached[e] = routing->reached[other];
        routing->reached[other] = weight;
    }
    accumulate(routing);
}

bool mj_routing_histogram(struct mj_routing *routing, const moejit_layer *layer, const float *histogram) {
    double sum = 0;
    begin(routing, layer);
    for (int e = 0; e < routing->num_experts; e++) {
        double weight = (double)histogram[e];
        if (!isfinite(weight) || weight < 0) return false;
        routing->reached[e] = weight;
        sum += weight;
    }
    if (sum <= 0) return false;
    accumulate(routing);
    return true;
}

static int draw(const struct mj_routing *routing, struct mj_random *random) {
    double u = mj_random_uniform(random);
    int low = 0, high = routing->num_experts - 1;
    while (low < high) { // the first expert whose reach is past u
        int middle = (low + high) / 2;
        if (routing->reached[middle] > u) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static bool has(const int32_t *ids, int num, int id) {
    for (int k = 0; k < num; k++) {
        if (ids[k] == id) return true;
    }
    return false;
}

void mj_routing_draw(const struct mj_routing *routing, int num_tokens, uint64_t seed, int32_t *ids) {
    struct mj_random random = {seed * 0x100000001b3u + 7};
    bool enough = routing->top_k <= routing->num_experts;
    for (int t = 0; t < num_tokens; t++, ids += routing->top_k) {
        for (int k = 0; k < routing->top_k; k++) {
            int id = draw(routing, &random);
            for (int tries = 0; enough && has(ids, k, id); tries++) {
                id = tries < MAX_TRIES ? draw(routing, &random) : (id + 1) % routing->num_experts;
            }
            ids[k] = id;
        }
    }
}
