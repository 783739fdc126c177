// One alpha for gate and up whose global scales differ: exact, or not at all.
#ifndef MOEJIT_CHECKPOINT_FOLD_H
#define MOEJIT_CHECKPOINT_FOLD_H

#include "expert_matrix.h"

struct mj_fold {
    double alpha;       // of both
    bool gate, up;      // whose block scales are multiplied
    uint8_t scale[256]; // e4m3 -> e4m3
};

// False where the ratio is no power of two, or a block scale times it is no e4m3 number for either of the two. A file
// that was cut short counts as false here: reading its matrices tells why.
bool mj_fold_find(const struct mj_expert_matrix *gate, const struct mj_expert_matrix *up, struct mj_fold *fold);
void mj_fold_apply(const struct mj_fold *fold, uint8_t *scales, size_t count);

#endif
