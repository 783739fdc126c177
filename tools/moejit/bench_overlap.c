// Where the output is zeroed and how the layer's launches reach the GPU: the table of fork, join and graphs.
#include <stdio.h>

#include "bench_layer.h"

// One row of the table a variant: what an executor and a call can choose today.
static const struct variant {
    const char *key, *what;
    bool single_stream, serial_launches, separate_route;
    moejit_output_mode mode;
    int max_tile_ctas;
} variants[] = {
    {"default", "as forward does by itself", false, false, false, MOEJIT_OUTPUT_OVERWRITE, 0},
    {"unshared", "by itself, a CTA for each tile", false, false, false, MOEJIT_OUTPUT_OVERWRITE, 1},
    {"none", "none (ASSUME_ZERO)", true, false, true, MOEJIT_OUTPUT_ASSUME_ZERO, 0},
    {"auxiliary", "auxiliary stream, fork and join", false, false, true, MOEJIT_OUTPUT_OVERWRITE, 0},
    {"in_stream", "same stream, before route", true, false, true, MOEJIT_OUTPUT_OVERWRITE, 0},
    {"default_serial", "by itself, serial launches", false, true, false, MOEJIT_OUTPUT_OVERWRITE, 0},
    {"none_serial", "none, serial launches", true, true, true, MOEJIT_OUTPUT_ASSUME_ZERO, 0},
    {"auxiliary_serial", "auxiliary stream, serial launches", false, true, true, MOEJIT_OUTPUT_OVERWRITE, 0},
    {"in_stream_serial", "same stream, serial launches", true, true, true, MOEJIT_OUTPUT_OVERWRITE, 0},
};
#define NUM_VARIANTS ((int)(sizeof(variants) / sizeof(variants[0])))

static moejit_executor *make_executor(struct bench *bench, const struct variant *variant) {
    moejit_executor_options options;
    moejit_executor *executor = NULL;
    moejit_executor_options_init(&options);
    options.single_stream = variant->single_stream;
    options.serial_launches = variant->serial_launches;
    options.separate_route = variant->separate_route;
    options.max_tile_ctas = variant->max_tile_ctas;
    if (moejit_executor_create(bench->context, &options, &executor) != MOEJIT_STATUS_OK)
        bench_fail("overlap", moejit_context_error(bench->context));
    return executor;
}

static bool time_variant(struct bench *bench, struct bench_call *call, const struct variant *variant, double us[2]) {
    moejit_executor *executor = make_executor(bench, variant);
    bool good = executor != NULL;
    call->executor = executor;
    for (int r = 0; r < call->num_routings; r++) call->args[r].output_mode = variant->mode;
    for (int graph = 0; graph < 2 && good; graph++) {
        struct bench_work work = {variant->key, bench_call_enqueue, call, .count = call->num_routings, .eager = !graph};
        struct bench_timing timing = {0};
        good = bench_time(bench, &work, &timing);
        us[graph] = timing.us;
    }
    call->executor = bench->executor;
    moejit_executor_destroy(executor);
    return good;
}

static void print_row(const struct bench *bench, const struct bench_call *call, const struct variant *variant,
                      const double us[2]) {
    if (bench->options.json) {
        printf("{\"model\": \"%s\", \"tokens\": %d, \"zeroing\": \"%s\", \"eager_us\": %.2f, \"graph_us\": %.2f}\n",
               call->layer->name, call->num_tokens, variant->key, us[0], us[1]);
    } else {
        printf("%6d  %-32s %10.2f %10.2f\n", call->num_tokens, variant->what, us[0], us[1]);
    }
    fflush(stdout);
}

static bool run_tokens(struct bench *bench, struct bench_layer *layer, int num_tokens) {
    static struct bench_call call;
    struct bench_variant what = {MOEJIT_SUM_ATOMIC, bench->options.families[0], num_tokens, 0};
    bool good = bench_call_create(bench, layer, &what, &call);
    for (int v = 0; v < NUM_VARIANTS && good; v++) {
        double us[2] = {0};
        bench_progress(bench, layer->name);
        good = time_variant(bench, &call, &variants[v], us);
        bench_progress(bench, NULL);
        if (good) print_row(bench, &call, &variants[v], us);
    }
    bench_call_destroy(bench, &call);
    return good;
}

static bool run_layer(struct bench *bench, struct bench_layer *layer) {
    if (!bench->options.json)
        printf("%s, atomic sum; microseconds a forward, back to back\ntokens  %-32s %10s %10s\n", layer->name,
               "zeroing", "eager", "graph");
    for (int t = 0; t < bench->options.num_tokens; t++) {
        if (!run_tokens(bench, layer, bench->options.tokens[t])) return false;
    }
    return true;
}

bool bench_overlap_run(struct bench *bench) {
    const struct bench_options *options = &bench->options;
    bench->total = (options->num_models > 0 ? options->num_models : 1) * options->num_tokens * NUM_VARIANTS;
    return bench_each_layer(bench, run_layer);
}
