#include "run/tuning_bench.h"

#include <stdlib.h>
#include <string.h>

#define FEW_TOKENS 64 // up to which a graph holds all forwards: short ones, and few experts each

int mj_tuning_reference_tile(const struct moejit_plan *plan) {
    return mj_tile_choose(&plan->problem, MOEJIT_FAMILY_PORTABLE, plan->max_num_tokens);
}

static CUresult make_stream_and_events(struct mj_tuning_bench *bench) {
    const struct mj_driver *driver = &bench->plan->context->driver;
    CUresult result = driver->cuStreamCreate(&bench->stream, CU_STREAM_NON_BLOCKING);
    if (result == CUDA_SUCCESS) result = driver->cuEventCreate(&bench->started, CU_EVENT_DEFAULT);
    if (result == CUDA_SUCCESS) result = driver->cuEventCreate(&bench->ended, CU_EVENT_DEFAULT);
    return result;
}

static size_t largest_row(const struct moejit_plan *plan) {
    size_t intermediate = (size_t)plan->problem.layer.intermediate * 2;
    size_t output = (size_t)plan->problem.layer.hidden * mj_dtype_bytes(plan->problem.layer.output_dtype);
    return intermediate > output ? intermediate : output;
}

static moejit_status open_all(struct mj_tuning_bench *bench, void *scratch, size_t scratch_bytes) {
    struct moejit_context *context = bench->plan->context;
    moejit_executor_options options;
    CUresult result = make_stream_and_events(bench);
    if (result != CUDA_SUCCESS)
        return mj_driver_failed(&context->driver, result, "making a stream and events to tune with", bench->error);
    moejit_executor_options_init(&options);
    moejit_status status = moejit_executor_create(context, &options, &bench->executor);
    if (status != MOEJIT_STATUS_OK) return status;
    size_t bytes = MJ_CHECK_ROWS * largest_row(bench->plan);
    bench->candidate_rows = malloc(bytes);
    bench->intermediate.rows = malloc(bytes);
    bench->output.rows = malloc(bytes);
    if (bench->candidate_rows == NULL || bench->intermediate.rows == NULL || bench->output.rows == NULL)
        return mj_error_set(bench->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for %zu bytes to compare", 3 * bytes);
    return mj_tuning_scratch_create(&bench->scratch, bench->plan, scratch, scratch_bytes, bench->stream, bench->error);
}

moejit_status mj_tuning_bench_open(struct mj_tuning_bench *bench, struct moejit_plan *plan, void *scratch,
                                   size_t scratch_bytes) {
    memset(bench, 0, sizeof(*bench));
    bench->plan = plan;
    bench->error = &plan->context->error;
    bench->reference_tile = mj_tuning_reference_tile(plan);
    moejit_status status = open_all(bench, scratch, scratch_bytes);
    if (status != MOEJIT_STATUS_OK) mj_tuning_bench_close(bench);
    return status;
}

static void destroy_graphs(struct mj_tuning_bench *bench) {
    for (int i = 0; i < bench->num_graphs; i++) bench->plan->context->driver.cuGraphExecDestroy(bench->graphs[i].exec);
    bench->num_graphs = 0;
}

void mj_tuning_bench_close(struct mj_tuning_bench *bench) {
    const struct mj_driver *driver = &bench->plan->context->driver;
    if (bench->stream != NULL) driver->cuStreamSynchronize(bench->stream);
    destroy_graphs(bench);
    mj_tuning_scratch_destroy(&bench->scratch);
    moejit_executor_destroy(bench->executor);
    if (bench->ended != NULL) driver->cuEventDestroy(bench->ended);
    if (bench->started != NULL) driver->cuEventDestroy(bench->started);
    if (bench->stream != NULL) driver->cuStreamDestroy(bench->stream);
    free(bench->candidate_rows);
    free(bench->intermediate.rows);
    free(bench->output.rows);
    memset(bench, 0, sizeof(*bench));
}

moejit_status mj_tuning_bench_begin(struct mj_tuning_bench *bench, const struct mj_routing *routing, int num_tokens,
                                    int *expert_tokens) {
    destroy_graphs(bench);
    bench->num_tokens = num_tokens;
    bench->num_forwards = num_tokens <= FEW_TOKENS ? MJ_TUNING_ROUTINGS : MJ_TUNING_ROUTINGS / 2;
    bench->intermediate.num_rows = bench->output.num_rows = -1; // not made yet
    return mj_tuning_scratch_route(&bench->scratch, routing, num_tokens, bench->stream, expert_tokens, bench->error);
}

const struct moejit_plan *mj_tuning_bench_under(struct mj_tuning_bench *bench, const struct mj_decision *decision) {
    bench->decision = *decision;
    bench->trial = *bench->plan; // kernels may have come
    bench->trial.trial = &bench->decision;
    return &bench->trial;
}

static moejit_status enqueue_all(struct mj_tuning_bench *bench, const struct moejit_plan *trial) {
    moejit_status status = MOEJIT_STATUS_OK;
    for (int r = 0; r < bench->num_forwards && status == MOEJIT_STATUS_OK; r++) {
        const moejit_forward_args args = mj_tuning_scratch_args(&bench->scratch, bench->num_tokens, r);
        const struct moejit_weights *weights = &bench->scratch.weights[r % bench->scratch.layout.num_layers];
        status = moejit_forward(trial, weights, &args, bench->executor, bench->stream);
    }
    if (status != MOEJIT_STATUS_OK) *bench->error = bench->executor->error;
    return status;
}

// One launch warms up what is lazy in driver and device.
static moejit_status capture(struct mj_tuning_bench *bench, const struct mj_decision *decision,
                             struct mj_tuning_graph *made) {
    const struct mj_driver *driver = &bench->plan->context->driver;
    const struct moejit_plan *trial = mj_tuning_bench_under(bench, decision);
    CUgraph graph = NULL;
    CUresult result = driver->cuStreamBeginCapture(bench->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (result != CUDA_SUCCESS) return mj_driver_failed(driver, result, "beginning a capture to tune", bench->error);
    moejit_status status = enqueue_all(bench, trial);
    result = driver->cuStreamEndCapture(bench->stream, &graph);
    made->decision = *decision;
    made->exec = NULL;
    if (status == MOEJIT_STATUS_OK) {
        if (result == CUDA_SUCCESS) result = driver->cuGraphInstantiate(&made->exec, graph, 0);
        if (result == CUDA_SUCCESS) result = driver->cuGraphLaunch(made->exec, bench->stream);
        if (result == CUDA_SUCCESS) result = driver->cuStreamSynchronize(bench->stream);
        if (result != CUDA_SUCCESS)
            status = mj_driver_failed(driver, result, "capturing a layer to tune", bench->error);
    }
    if (graph != NULL) driver->cuGraphDestroy(graph);
    if (status != MOEJIT_STATUS_OK && made->exec != NULL) driver->cuGraphExecDestroy(made->exec);
    return status;
}

static moejit_status find_graph(struct mj_tuning_bench *bench, const struct mj_decision *decision, CUgraphExec *exec) {
    for (int i = 0; i < bench->num_graphs; i++) {
        if (!mj_decision_equal(&bench->graphs[i].decision, decision)) continue;
        *exec = bench->graphs[i].exec;
        return MOEJIT_STATUS_OK;
    }
    if (bench->num_graphs == MJ_MAX_SEARCHED) destroy_graphs(bench);
    moejit_status status = capture(bench, decision, &bench->graphs[bench->num_graphs]);
    if (status != MOEJIT_STATUS_OK) return status;
    *exec = bench->graphs[bench->num_graphs++].exec;
    return status;
}

moejit_status mj_tuning_bench_sample(struct mj_tuning_bench *bench, const struct mj_decision *decision, double *us) {
    const struct mj_driver *driver = &bench->plan->context->driver;
    CUgraphExec exec = NULL;
    float ms = 0;
    moejit_status status = find_graph(bench, decision, &exec);
    if (status != MOEJIT_STATUS_OK) return status;
    CUresult result = driver->cuEventRecord(bench->started, bench->stream);
    if (result == CUDA_SUCCESS) result = driver->cuGraphLaunch(exec, bench->stream);
    if (result == CUDA_SUCCESS) result = driver->cuEventRecord(bench->ended, bench->stream);
    if (result == CUDA_SUCCESS) result = driver->cuEventSynchronize(bench->ended);
    if (result == CUDA_SUCCESS) result = driver->cuEventElapsedTime(&ms, bench->started, bench->ended);
    if (result != CUDA_SUCCESS) return mj_driver_failed(driver, result, "timing a layer", bench->error);
    *us = (double)ms * 1000 / bench->num_forwards;
    return MOEJIT_STATUS_OK;
}
