// Whether an output is as near to the reference as docs/numerics.md asks.
#ifndef MOEJIT_MOE_ACCURACY_H
#define MOEJIT_MOE_ACCURACY_H

#include "moe/problem.h"

struct mj_accuracy_case {
    const struct mj_problem *problem;
    bool accumulate;       // the output was added to
    bool own_intermediate; // the reference was given the kernel's own h'; false: end to end
};

struct mj_accuracy {
    double bound;
    double total, worst_row, worst_element; // errors as fractions of the bound's scale; worst_element of its own limit
    int bad_row, bad_column;                // the first place past a limit, or -1
    bool good;
};

// The relative L2 bound of docs/numerics.md's table.
double mj_accuracy_bound(const struct mj_accuracy_case *what);

// got, want and magnitude are [num_rows, H]; got in f64 as read from the output's dtype.
void mj_accuracy_check(const struct mj_accuracy_case *what, int num_rows, const double *got, const double *want,
                       const double *magnitude, struct mj_accuracy *result);

#endif
