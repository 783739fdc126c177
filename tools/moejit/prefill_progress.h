// How far a prefill is: a line drawn again and again on a terminal, a line now and then in a log, or JSON events.
#ifndef MOEJIT_TOOL_PREFILL_PROGRESS_H
#define MOEJIT_TOOL_PREFILL_PROGRESS_H

#include "command.h"

struct prefill_progress {
    bool json, terminal;
    int total, done; // kernels to compile
    char running[512];
    double start_s, told_s, drawn_s;
};

void prefill_progress_start(struct prefill_progress *progress, int total, bool json);
// running: the kernels at work, comma-separated, of `title`.
void prefill_progress_update(struct prefill_progress *progress, const char *title, int done, const char *running);
// Takes the drawn line away, so that something else can be printed.
void prefill_progress_clear(const struct prefill_progress *progress);
double prefill_progress_seconds(const struct prefill_progress *progress);

#endif
