// All rows of a timed layer's output against another way to compute it.
#ifndef MOEJIT_TOOL_BENCH_CHECK_H
#define MOEJIT_TOOL_BENCH_CHECK_H

#include "bench_layer.h"

struct bench_check {
    bool done, good, exact; // exact: the ordered sums of two families, which must agree to the bit
    const char *against;
    double total, worst_row; // L2 errors, of the whole output's norm and of the root mean square row's
    double limit;            // of total; a row's is three times as much
    long long differing;     // elements with other bits
};

// Forward of routing 0 once more, and once by the other family with the same sum; where there is one family, by the
// deterministic sum instead; without sharing tiles where bits are compared. False where something could not be run.
bool bench_check_run(struct bench *bench, struct bench_call *call, const struct bench_variant *variant,
                     struct bench_check *check);
// Fills all of check but `exact` and `against`. ours and others: host copies of [rows, H] of the layer's output dtype.
// Each may be off by the bound of its row's contributions, whose norm is about sqrt(K) times the row's own.
void bench_check_compare(const struct mj_problem *problem, size_t rows, const void *ours, const void *others,
                         struct bench_check *check);
void bench_check_print(const struct bench_check *check);
void bench_check_print_json(const struct bench_check *check);

#endif
