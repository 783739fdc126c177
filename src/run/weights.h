#ifndef MOEJIT_RUN_WEIGHTS_H
#define MOEJIT_RUN_WEIGHTS_H

#include "moe/layout.h"
#include "run/loaded_kernel.h"

struct moejit_weights {
    struct moejit_context *context;
    struct mj_problem problem;
    struct mj_weights_layout layout;
    struct mj_loaded_kernel pack;
    unsigned char *memory; // device, the caller's
};

#endif
