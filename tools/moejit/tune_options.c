#include "tune_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_EXPERTS 1024

const char tune_options_help[] =
    "Measuring:\n"
    "  --routing R              which experts tokens choose: uniform (default), zipf, histogram\n"
    "  --zipf S                 the n-th busiest expert has a share of 1 / n^S (default 1); means --routing zipf\n"
    "  --histogram FILE         a number for each expert of the layer, as text; means --routing histogram\n"
    "  --budget SECONDS         the longest that measuring may take (default 60)\n";

void tune_options_init(struct tune_options *options) {
    memset(options, 0, sizeof(*options));
    moejit_tune_options_init(&options->options);
}

void tune_options_destroy(struct tune_options *options) {
    free(options->histogram);
    options->histogram = NULL;
}

static int read_histogram(struct tune_options *options, const char *command, const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        command_usage(command, "--histogram %s: %s", path, strerror(errno));
        return -1;
    }
    free(options->histogram);
    options->histogram = calloc(MAX_EXPERTS, sizeof(float));
    options->num_shares = 0;
    int read = 1;
    while (options->histogram != NULL && options->num_shares < MAX_EXPERTS &&
           (read = fscanf(file, "%f", &options->histogram[options->num_shares])) == 1) {
        options->num_shares++;
    }
    bool ended = feof(file) != 0;
    fclose(file);
    options->options.routing = MOEJIT_ROUTING_HISTOGRAM;
    options->options.histogram = options->histogram;
    if (read != 0 && (ended || options->num_shares == MAX_EXPERTS)) return 1;
    command_usage(command, "--histogram %s: what follows number %d is no number", path, options->num_shares);
    return -1;
}

static int take_exponent(struct tune_options *options, const char *command, const char *text) {
    char *end = NULL;
    float value = strtof(text, &end);
    if (end == text || *end != '\0' || !(value > 0 && value <= 10)) {
        command_usage(command, "--zipf is \"%s\", needs a number above 0 and up to 10", text);
        return -1;
    }
    options->options.routing = MOEJIT_ROUTING_ZIPF;
    options->options.zipf_exponent = value;
    return 1;
}

int tune_options_take(struct tune_options *options, const char *command, int option, const char *value) {
    static const char *const routings[] = {"uniform", "zipf", "histogram", NULL};
    int choice = 0;
    long long seconds = 0;
    switch (option) {
    case 'R':
        if (!command_choice(command, "routing", value, routings, &choice)) return -1;
        options->options.routing = (moejit_routing)choice;
        return 1;
    case 'z': return take_exponent(options, command, value);
    case 'h': return read_histogram(options, command, value);
    case 'B':
        if (!command_number(command, "budget", value, 1, 1000000, &seconds)) return -1;
        options->options.budget_ms = seconds * 1000;
        return 1;
    default: return 0;
    }
}

bool tune_options_check(const struct tune_options *options, const char *command, const moejit_layer *layer) {
    bool histogram = options->options.routing == MOEJIT_ROUTING_HISTOGRAM;
    if (!histogram || (options->histogram != NULL && options->num_shares == layer->num_experts)) return true;
    command_usage(command, "--routing histogram needs --histogram FILE with %d numbers, one an expert; there are %d",
                  layer->num_experts, options->num_shares);
    return false;
}
