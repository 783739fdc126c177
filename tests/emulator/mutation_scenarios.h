// Small forwards in which every line of a kernel that orders something matters, for mutations.c.
#ifndef MOEJIT_TESTS_MUTATION_SCENARIOS_H
#define MOEJIT_TESTS_MUTATION_SCENARIOS_H

#include "../kernels/forward_rig.h"

#define NUM_OUTPUTS 2

struct scenario {
    const char *name, *tile;
    moejit_family family;
    int hidden, intermediate, num_tokens;
    moejit_sum sum;
    const char *only; // this kernel, and no calls
    bool folded;      // gate_up and down route
    bool in_stream;   // zeroing there, of the rows that are live
    int times; // forwards that follow each other with no copy between them; 0: never one, each has its own output
    const int *pairs; // of each expert; NULL: four experts, a skewed routing
    bool shared;      // tiles, by CTAs of a cluster
};

extern const struct scenario scenarios[];
extern const size_t num_scenarios;

moejit_layer scenario_layer(const struct scenario *scenario);
moejit_plan_options scenario_plan_options(const struct scenario *scenario);
// packed: as for rig_create_planned.
moejit_status scenario_create(struct rig *rig, struct gpu *gpu, const struct scenario *scenario, const void *packed);
// Forwards of two calls in turn, `rounds` times each. output: NULL, or NUM_OUTPUTS outputs of f32 [tokens, H].
bool scenario_run(const struct scenario *scenario, struct rig *rig, int rounds, float *output);

#endif
