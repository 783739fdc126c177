// moejit_tune_options: read, checked, and the routing that they mean.
#ifndef MOEJIT_RUN_TUNING_OPTIONS_H
#define MOEJIT_RUN_TUNING_OPTIONS_H

#include "moe/routing.h"

// given: NULL for the defaults.
moejit_status mj_tuning_options_read(const moejit_layer *layer, const moejit_tune_options *given,
                                     moejit_tune_options *options, struct mj_error *error);
// options: checked.
void mj_tuning_options_routing(const moejit_layer *layer, const moejit_tune_options *options,
                               struct mj_routing *routing);

#endif
