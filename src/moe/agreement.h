// Whether a candidate's numbers are the portable kernel's, up to what another order of sums may change.
#ifndef MOEJIT_MOE_AGREEMENT_H
#define MOEJIT_MOE_AGREEMENT_H

#include <stddef.h>

#include "moe/problem.h"

struct mj_agreement {
    double worst; // of a row or an element, as a share of what is allowed; NaN: something was not a number
    long long row;
    bool good;
};

// One row of `columns` values of dtype BF16, F16 or F32 each. rounding: the relative L2 error that either may have
// (mj_accuracy_bound). A row may differ by four times that, an element by 64 times that of the row's root mean square.
void mj_agreement_row(struct mj_agreement *agreement, long long row, const void *got, const void *want,
                      moejit_dtype dtype, size_t columns, double rounding);

#endif
