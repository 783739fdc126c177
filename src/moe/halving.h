// The fastest of a few candidates, by successive halving: every sweep takes one sample of each candidate that is left,
// so that a drifting clock hits all of them; after each round the slower half leaves. Pure: where samples come from is
// the caller's business.
#ifndef MOEJIT_MOE_HALVING_H
#define MOEJIT_MOE_HALVING_H

#include <stdbool.h>

#define MJ_MAX_CANDIDATES 16
#define MJ_MAX_SWEEPS 15 // 3, then 4 and 8 more

struct mj_timing {
    double us;       // median
    double noise_us; // how uncertain the median is (one standard error), drift common to all candidates taken out
    int num_samples;
};

// One sample of a candidate, in microseconds. False stops: out of time, cancelled, failed.
typedef bool (*mj_sample_fn)(void *user, int candidate, double *us);

// Candidates are in the order that decides among equals: the one chosen is the first whose time is within the noise of
// the fastest's. Two are equal where their medians differ by less than 1 % of the faster, or by less than twice the
// noise of the difference. Returns its index, or -1 where a sample stopped the run. timings: [num].
int mj_halving_run(int num, mj_sample_fn sample, void *user, struct mj_timing *timings);

#endif
