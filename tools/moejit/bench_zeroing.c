// What zeroing costs: all of max_num_tokens rows, as engines do that zero the whole buffer, against the live rows.
#include <stdio.h>

#include "bench_layer.h"

#define NUM_LAYERS 58 // MoE layers of DeepSeek-R1, of 61

static const int max_tokens[] = {4096, 8192, 16384, 32768};
#define NUM_MAX 4

enum zeroing { NONE, LIVE_IN_STREAM, LIVE_AUXILIARY, ALL_IN_STREAM, ALL_AUXILIARY, NUM_ZEROINGS };

struct zeroer {
    struct bench_call call;
    enum zeroing zeroing;
    int rows; // zeroed
    CUstream auxiliary;
    CUevent forked, zeroed;
};

static CUresult zero(struct bench *bench, const struct zeroer *zeroer, int r, CUstream stream) {
    const moejit_tensor *output = &zeroer->call.args[r].output;
    size_t row = (size_t)output->columns * mj_dtype_bytes(output->dtype);
    return bench->gpu.cuMemsetD8Async((CUdeviceptr)output->data, 0, (size_t)zeroer->rows * row, stream);
}

static CUresult zero_beside(struct bench *bench, const struct zeroer *zeroer, int r) {
    struct gpu *gpu = &bench->gpu;
    CUresult result = gpu->cuEventRecord(zeroer->forked, bench->stream);
    if (result == CUDA_SUCCESS) result = gpu->cuStreamWaitEvent(zeroer->auxiliary, zeroer->forked, 0);
    if (result == CUDA_SUCCESS) result = zero(bench, zeroer, r, zeroer->auxiliary);
    if (result == CUDA_SUCCESS) result = gpu->cuEventRecord(zeroer->zeroed, zeroer->auxiliary);
    return result;
}

// The layer by its steps with zeroing of our own, so that all variants differ in nothing else.
static bool enqueue(struct bench *bench, void *user, int r) {
    struct zeroer *zeroer = user;
    struct bench_call *call = &zeroer->call;
    const moejit_forward_args *args = &call->args[r];
    const moejit_weights *weights = call->layer->weights[r % call->layer->num_copies];
    bool in_stream = zeroer->zeroing == LIVE_IN_STREAM || zeroer->zeroing == ALL_IN_STREAM;
    bool beside = zeroer->zeroing == LIVE_AUXILIARY || zeroer->zeroing == ALL_AUXILIARY;
    CUresult result = in_stream ? zero(bench, zeroer, r, bench->stream) : CUDA_SUCCESS;
    if (beside) result = zero_beside(bench, zeroer, r);
    moejit_status status = moejit_route(call->plan, args, call->executor, bench->stream);
    if (status == MOEJIT_STATUS_OK) status = moejit_quantize(call->plan, args, call->executor, bench->stream);
    if (status == MOEJIT_STATUS_OK) status = moejit_gate_up(call->plan, weights, args, call->executor, bench->stream);
    if (beside && result == CUDA_SUCCESS) result = bench->gpu.cuStreamWaitEvent(bench->stream, zeroer->zeroed, 0);
    if (status == MOEJIT_STATUS_OK) status = moejit_down(call->plan, weights, args, call->executor, bench->stream);
    if (!gpu_ok(&bench->gpu, result, "zeroing")) return bench_fail("zeroing", bench->gpu.error);
    return status == MOEJIT_STATUS_OK || bench_fail("zeroing", moejit_executor_error(call->executor));
}

static bool time_variant(struct bench *bench, struct zeroer *zeroer, enum zeroing zeroing, int rows, double *us) {
    struct bench_work work = {"zeroing", enqueue, zeroer, .count = zeroer->call.num_routings};
    struct bench_timing timing = {0};
    zeroer->zeroing = zeroing;
    zeroer->rows = rows;
    bool good = bench_time(bench, &work, &timing);
    *us = timing.us;
    return good;
}

static void print_rows(const struct bench *bench, const struct zeroer *zeroer, int rows,
                       const double us[NUM_ZEROINGS]) {
    double in_stream = us[ALL_IN_STREAM] - us[LIVE_IN_STREAM], beside = us[ALL_AUXILIARY] - us[LIVE_AUXILIARY];
    if (bench->options.json) {
        printf(
            "{\"model\": \"%s\", \"tokens\": %d, \"max_num_tokens\": %d, \"none_us\": %.2f, \"live_in_stream_us\": "
            "%.2f, "
            "\"live_auxiliary_us\": %.2f, \"all_in_stream_us\": %.2f, \"all_auxiliary_us\": %.2f, \"num_layers\": %d, "
            "\"wasted_in_stream_ms\": %.3f, \"wasted_auxiliary_ms\": %.3f}\n",
            zeroer->call.layer->name, zeroer->call.num_tokens, rows, us[NONE], us[LIVE_IN_STREAM], us[LIVE_AUXILIARY],
            us[ALL_IN_STREAM], us[ALL_AUXILIARY], NUM_LAYERS, in_stream * NUM_LAYERS * 1e-3,
            beside * NUM_LAYERS * 1e-3);
    } else {
        printf("%6d %9d %9.2f | %9.2f %9.2f %8.2f %9.3f | %9.2f %9.2f %8.2f %9.3f\n", zeroer->call.num_tokens, rows,
               us[NONE], us[LIVE_IN_STREAM], us[ALL_IN_STREAM], in_stream, in_stream * NUM_LAYERS * 1e-3,
               us[LIVE_AUXILIARY], us[ALL_AUXILIARY], beside, beside * NUM_LAYERS * 1e-3);
    }
    fflush(stdout);
}

static bool run_tokens(struct bench *bench, struct bench_layer *layer, struct zeroer *zeroer, int num_tokens) {
    struct bench_variant variant = {MOEJIT_SUM_ATOMIC, bench->options.families[0], num_tokens, max_tokens[NUM_MAX - 1]};
    double us[NUM_ZEROINGS] = {0};
    bench_progress(bench, layer->name);
    bool good = bench_call_create(bench, layer, &variant, &zeroer->call);
    for (int r = 0; r < zeroer->call.num_routings; r++) zeroer->call.args[r].output_mode = MOEJIT_OUTPUT_ASSUME_ZERO;
    for (int z = NONE; z <= LIVE_AUXILIARY && good; z++)
        good = time_variant(bench, zeroer, (enum zeroing)z, num_tokens, &us[z]);
    for (int m = 0; m < NUM_MAX && good; m++) {
        for (int z = ALL_IN_STREAM; z <= ALL_AUXILIARY && good; z++)
            good = time_variant(bench, zeroer, (enum zeroing)z, max_tokens[m], &us[z]);
        bench_progress(bench, NULL);
        if (good) print_rows(bench, zeroer, max_tokens[m], us);
    }
    bench_call_destroy(bench, &zeroer->call);
    return good;
}

static bool run_list(struct bench *bench, struct bench_layer *layer, struct zeroer *zeroer) {
    const moejit_layer *description = &layer->problem.layer;
    if (!bench->options.json) {
        printf(
            "%s, H %d, %d experts, atomic sum; microseconds a layer in a graph; wasted ms over %d layers\n"
            "tokens  max rows      none | in stream:live     all   wasted  x layers | auxiliary:live     all   wasted  "
            "x layers\n",
            layer->name, description->hidden, description->num_local_experts, NUM_LAYERS);
    }
    for (int t = 0; t < bench->options.num_tokens; t++) {
        if (!run_tokens(bench, layer, zeroer, bench->options.tokens[t])) return false;
    }
    return true;
}

static bool run_layer(struct bench *bench, struct bench_layer *layer) {
    static struct zeroer zeroer;
    struct gpu *gpu = &bench->gpu;
    CUresult result = gpu->cuStreamCreate(&zeroer.auxiliary, CU_STREAM_NON_BLOCKING);
    if (result == CUDA_SUCCESS) result = gpu->cuEventCreate(&zeroer.forked, CU_EVENT_DISABLE_TIMING);
    if (result == CUDA_SUCCESS) result = gpu->cuEventCreate(&zeroer.zeroed, CU_EVENT_DISABLE_TIMING);
    bool good = gpu_ok(gpu, result, "making a stream and events") || bench_fail("zeroing", gpu->error);
    good = good && run_list(bench, layer, &zeroer);
    if (zeroer.forked != NULL) gpu->cuEventDestroy(zeroer.forked);
    if (zeroer.zeroed != NULL) gpu->cuEventDestroy(zeroer.zeroed);
    if (zeroer.auxiliary != NULL) gpu->cuStreamDestroy(zeroer.auxiliary);
    zeroer = (struct zeroer){.zeroing = NONE};
    return good;
}

bool bench_zeroing_run(struct bench *bench) {
    const struct bench_options *options = &bench->options;
    bench->total = (options->num_models > 0 ? options->num_models : 1) * options->num_tokens * NUM_MAX;
    return bench_each_layer(bench, run_layer);
}
