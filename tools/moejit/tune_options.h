// The options of a measurement, shared by tune and bench.
#ifndef MOEJIT_TOOL_TUNE_OPTIONS_H
#define MOEJIT_TOOL_TUNE_OPTIONS_H

#include "command.h"

struct tune_options {
    moejit_tune_options options;
    float *histogram; // owned; of num_shares numbers
    int num_shares;
};

#define TUNE_OPTIONS_LONG                                                                                              \
    {"routing", required_argument, NULL, 'R'}, {"zipf", required_argument, NULL, 'z'},                                 \
        {"histogram", required_argument, NULL, 'h'}, {                                                                 \
        "budget", required_argument, NULL, 'B'                                                                         \
    }

extern const char tune_options_help[];

void tune_options_init(struct tune_options *options);
void tune_options_destroy(struct tune_options *options);
// 1: the option was one of ours and good; 0: not ours; -1: bad, and said so.
int tune_options_take(struct tune_options *options, const char *command, int option, const char *value);
// False, with the sentence printed, where the histogram does not fit the layer.
bool tune_options_check(const struct tune_options *options, const char *command, const moejit_layer *layer);

#endif
