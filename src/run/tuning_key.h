// Under what a tuning's result is stored: everything that it depends on, as canonical text.
#ifndef MOEJIT_RUN_TUNING_KEY_H
#define MOEJIT_RUN_TUNING_KEY_H

#include "run/plan.h"

// All but the token count: problem, family, GPU, driver, the source of every kernel that may be chosen, and the routing
// (options are checked). The context must be entered.
moejit_status mj_tuning_key_write(const struct moejit_plan *plan, const moejit_tune_options *options,
                                  struct mj_text *key, struct mj_error *error);
// Appends a bucket's.
void mj_tuning_key_append_tokens(struct mj_text *key, int num_tokens);

#endif
