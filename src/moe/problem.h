// A layer description that has been checked, in the kernels' own vocabulary, with the sizes that follow from it.
#ifndef MOEJIT_MOE_PROBLEM_H
#define MOEJIT_MOE_PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "abi.h"

#define MJ_MAX_TOKENS 65536
#define MJ_MAX_TOP_K 32
#define MJ_MAX_EXPERTS 1024

struct mj_problem {
    moejit_layer layer; // as given
    bool gated;
    enum mj_sum sum;                     // resolved
    int gate_up_rows;                    // 2 I or I
    enum mj_packed_layout packed_layout; // of an arch: mj_packed_layout_choose (tile.h); until then FRAGMENTS
};

// Refuses what breaks a rule or is not offered, with a sentence.
moejit_status mj_problem_create(struct mj_problem *problem, const moejit_layer *layer, struct mj_error *error);

size_t mj_dtype_bytes(moejit_dtype dtype);
const char *mj_dtype_name(moejit_dtype dtype);
int mj_ceil_div(int a, int b);

#endif
