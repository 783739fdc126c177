#include "tune_repeat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tune_repeat_create(struct tune_repeat *repeat, int num_buckets, int num_runs) {
    repeat->num_buckets = num_buckets;
    repeat->num_runs = num_runs;
    repeat->decisions = calloc((size_t)num_buckets * (size_t)num_runs, sizeof(*repeat->decisions));
    return repeat->decisions != NULL;
}

void tune_repeat_destroy(struct tune_repeat *repeat) {
    free(repeat->decisions);
    repeat->decisions = NULL;
}

static moejit_decision *at(const struct tune_repeat *repeat, int bucket, int run) {
    return &repeat->decisions[(size_t)bucket * (size_t)repeat->num_runs + (size_t)run];
}

void tune_repeat_note(struct tune_repeat *repeat, int run, const moejit_plan *plan) {
    for (int bucket = 0; bucket < repeat->num_buckets; bucket++) {
        at(repeat, bucket, run)->struct_size = sizeof(moejit_decision);
        moejit_plan_decision(plan, bucket, at(repeat, bucket, run));
    }
}

struct spread {                   // of one bucket
    const moejit_decision *usual; // chosen by most runs
    int num_usual, num_different; // runs; decisions
    double usual_us, slowest_us;  // means over the runs that chose alike
};

// The mean time of those runs that chose as `run` did.
static double mean_us(const struct tune_repeat *repeat, int bucket, int run, int *num) {
    double sum = 0;
    *num = 0;
    for (int other = 0; other < repeat->num_runs; other++) {
        if (strcmp(at(repeat, bucket, other)->text, at(repeat, bucket, run)->text) != 0) continue;
        sum += at(repeat, bucket, other)->us;
        ++*num;
    }
    return sum / *num;
}

static bool is_first(const struct tune_repeat *repeat, int bucket, int run) {
    for (int other = 0; other < run; other++) {
        if (strcmp(at(repeat, bucket, other)->text, at(repeat, bucket, run)->text) == 0) return false;
    }
    return true;
}

static struct spread spread_of(const struct tune_repeat *repeat, int bucket, double *fastest_us) {
    struct spread spread = {0};
    *fastest_us = 0;
    for (int run = 0; run < repeat->num_runs; run++) {
        int num = 0;
        double us = mean_us(repeat, bucket, run, &num);
        if (!is_first(repeat, bucket, run)) continue;
        spread.num_different++;
        if (us > spread.slowest_us) spread.slowest_us = us;
        if (*fastest_us == 0 || us < *fastest_us) *fastest_us = us;
        if (num <= spread.num_usual) continue;
        spread.num_usual = num;
        spread.usual = at(repeat, bucket, run);
        spread.usual_us = us;
    }
    return spread;
}

void tune_repeat_print(const struct tune_repeat *repeat, bool json) {
    int differing = 0;
    double worst = 0, total = 0;
    if (!json) printf("      tokens   runs alike   decisions   costs up to        us  most often\n");
    for (int bucket = 0; bucket < repeat->num_buckets; bucket++) {
        double fastest_us = 0;
        struct spread spread = spread_of(repeat, bucket, &fastest_us);
        double cost = fastest_us > 0 ? spread.slowest_us / fastest_us - 1 : 0;
        differing += spread.num_different > 1;
        total += cost;
        if (cost > worst) worst = cost;
        char range[24];
        snprintf(range, sizeof(range), "%d-%d", spread.usual->first_num_tokens, spread.usual->last_num_tokens);
        const char *form = json ? "{\"tokens\": \"%s\", \"runs_alike\": %d, \"runs\": %d, \"decisions\": %d, "
                                  "\"cost\": %.4f, \"us\": %.3f, \"usual\": \"%s\"}\n"
                                : "%12s %6d of %3d %8d %12.2f%% %11.2f  %s\n";
        printf(form, range, spread.num_usual, repeat->num_runs, spread.num_different, json ? cost : cost * 100,
               spread.usual_us, spread.usual->text);
    }
    printf(json ? "{\"runs\": %d, \"buckets\": %d, \"buckets_that_differ\": %d, \"worst_cost\": %.4f, \"mean_cost\": "
                  "%.5f}\n"
                : "%d runs, %d buckets: in %d of them the decision differs; the slowest choice costs at most %.2f%% "
                  "(mean %.3f%%)\n",
           repeat->num_runs, repeat->num_buckets, differing, json ? worst : worst * 100,
           json ? total / repeat->num_buckets : total / repeat->num_buckets * 100);
}
