// What makes another layer, or another call, of a case: one change each, for tests that go through many.
#ifndef MOEJIT_TESTS_LAYER_CHANGES_H
#define MOEJIT_TESTS_LAYER_CHANGES_H

#include "layer_run.h"

static inline void no_expert_here(struct layer_case *what) {
    what->routing = ROUTING_NONE;
}

static inline void adding(struct layer_case *what) {
    what->output_mode = MOEJIT_OUTPUT_ACCUMULATE;
}

static inline void weights_on_the_input(struct layer_case *what) {
    what->layer.router_weight_on_input = 1;
}

static inline void by_graph(struct layer_case *what) {
    what->graph = true;
}

static inline void serially(struct layer_case *what) {
    what->serial_launches = true;
}

#endif
