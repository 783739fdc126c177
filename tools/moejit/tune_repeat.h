// Tunings of one plan from scratch, beside each other: how many decisions differ, and what the differences cost.
#ifndef MOEJIT_TOOL_TUNE_REPEAT_H
#define MOEJIT_TOOL_TUNE_REPEAT_H

#include "moejit/moejit.h"
#include <stdbool.h>

#define TUNE_MAX_REPEATS 100

struct tune_repeat {
    moejit_decision *decisions; // [num_buckets, num_runs]
    int num_buckets, num_runs;
};

bool tune_repeat_create(struct tune_repeat *repeat, int num_buckets, int num_runs);
void tune_repeat_destroy(struct tune_repeat *repeat);
void tune_repeat_note(struct tune_repeat *repeat, int run, const moejit_plan *plan);
void tune_repeat_print(const struct tune_repeat *repeat, bool json);

#endif
