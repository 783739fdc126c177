// Everything about forward's arguments that can be told before anything is launched.
#ifndef MOEJIT_RUN_FORWARD_CHECK_H
#define MOEJIT_RUN_FORWARD_CHECK_H

#include "run/plan.h"
#include "run/weights.h"

// Copies the caller's struct into *args and checks it; weights may be NULL for steps that use none.
moejit_status mj_forward_check(const struct moejit_plan *plan, const struct moejit_weights *weights,
                               const moejit_forward_args *given, moejit_forward_args *args, struct mj_error *error);

#endif
