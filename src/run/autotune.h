// Decisions from measurement: found in the store, or measured and kept there.
#ifndef MOEJIT_RUN_AUTOTUNE_H
#define MOEJIT_RUN_AUTOTUNE_H

#include "run/plan.h"

// Where time comes from: the GPU and the system's clock, or a test's tables.
struct mj_timing_source {
    // Microseconds of one forward; false fails.
    bool (*sample)(void *user, int num_tokens, const struct mj_decision *decision, double *us);
    double (*now_ms)(void *user);
    void *user;
};

// moejit_plan_tune with another source of time; NULL: the GPU's.
moejit_status mj_autotune(struct moejit_plan *plan, const moejit_tune_options *options,
                          const struct mj_timing_source *source);

// Takes over what is stored, before any kernel is prepared. options: the caller's, or NULL. Must not be entered.
moejit_status mj_autotune_adopt(struct moejit_plan *plan, const moejit_tune_options *options);

#endif
