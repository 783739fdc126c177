#include "layer_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layer_state.h"

void layer_case_init(struct layer_case *what) {
    moejit_layer layer = what->layer;
    int num_tokens = what->num_tokens;
    memset(what, 0, sizeof(*what));
    what->layer = layer;
    what->num_tokens = num_tokens;
    what->live_tokens = LAYER_ALL_LIVE;
    what->extra_rows = 1;
}

static bool forward(struct layer_state *state) {
    moejit_status status = moejit_forward(state->plan, state->weights, &state->args, state->executor, state->stream);
    return status == MOEJIT_STATUS_OK || layer_state_fail(state, "forward: %s", moejit_executor_error(state->executor));
}

static bool forward_by_graph(struct layer_state *state) {
    struct gpu *gpu = state->gpu;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    if (!gpu_ok(gpu, gpu->cuStreamBeginCapture(state->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                "beginning a capture")) {
        return layer_state_fail_gpu(state);
    }
    bool good = forward(state);
    CUresult result = gpu->cuStreamEndCapture(state->stream, &graph);
    if (result == CUDA_SUCCESS) result = gpu->cuGraphInstantiate(&exec, graph, 0);
    if (result == CUDA_SUCCESS) result = gpu->cuGraphLaunch(exec, state->stream);
    if (result == CUDA_SUCCESS) result = gpu->cuStreamSynchronize(state->stream);
    if (good && !gpu_ok(gpu, result, "capturing and launching forward")) good = layer_state_fail_gpu(state);
    if (exec != NULL) gpu->cuGraphExecDestroy(exec);
    if (graph != NULL) gpu->cuGraphDestroy(graph);
    return good;
}

static bool run_once(struct layer_state *state) {
    if (state->what->graph ? !forward_by_graph(state) : !forward(state)) return false;
    if (!gpu_ok(state->gpu, state->gpu->cuStreamSynchronize(state->stream), "waiting for forward"))
        return layer_state_fail_gpu(state);
    return gpu_download(state->gpu, state->after, state->device[OUTPUT], state->output_bytes) ||
           layer_state_fail_gpu(state);
}

static uint64_t digest(const unsigned char *bytes, size_t count) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

// Not one byte outside rows [0, live) and columns [0, hidden).
static bool check_untouched(struct layer_state *state) {
    size_t row_bytes = state->output_stride * state->element, used = (size_t)state->what->layer.hidden * state->element;
    for (size_t i = 0; i < state->output_bytes; i++) {
        bool ours = i / row_bytes < (size_t)state->live && i % row_bytes < used;
        if (ours || state->before[i] == state->after[i]) continue;
        return layer_state_fail(
            state, "the output's byte %zu of row %zu was changed; only rows [0, %d) and bytes [0, %zu) may be",
            i % row_bytes, i / row_bytes, state->live, used);
    }
    return true;
}

// The counter of the output contract: T * H * sizeof(dtype) where the sum adds into zeros, nothing elsewhere.
static bool check_zeroed(struct layer_state *state, uint64_t forwards) {
    moejit_executor_counters counters = {.struct_size = sizeof(counters)};
    moejit_executor_counters_read(state->executor, &counters);
    bool zeroes =
        moejit_plan_sum(state->plan) == MOEJIT_SUM_ATOMIC && state->what->output_mode == MOEJIT_OUTPUT_OVERWRITE;
    uint64_t row = (uint64_t)state->what->layer.hidden * state->element;
    uint64_t want = zeroes ? forwards * (uint64_t)state->what->num_tokens * row : 0;
    state->result->bytes_zeroed = forwards > 0 ? counters.bytes_zeroed / forwards : 0;
    state->result->launches = forwards > 0 ? (int)(counters.launches / forwards) : 0;
    if (counters.bytes_zeroed == want) return true;
    return layer_state_fail(state, "%llu bytes were zeroed, needs %llu", (unsigned long long)counters.bytes_zeroed,
                            (unsigned long long)want);
}

// Again with poisoned workspace and output: in a deterministic sum every bit must come back.
static bool check_repeats(struct layer_state *state) {
    struct gpu *gpu = state->gpu;
    bool deterministic = moejit_plan_sum(state->plan) != MOEJIT_SUM_ATOMIC;
    unsigned char *first = malloc(state->output_bytes + 1);
    bool good = first != NULL || layer_state_fail(state, "no memory for the output");
    if (good) memcpy(first, state->after, state->output_bytes);
    for (int i = 0; good && i < state->what->repeats; i++) {
        CUresult result = gpu->cuMemcpyHtoD((CUdeviceptr)state->device[OUTPUT], state->before, state->output_bytes);
        if (result == CUDA_SUCCESS) {
            result =
                gpu->cuMemsetD8((CUdeviceptr)state->device[WORKSPACE], 0xff, moejit_plan_workspace_bytes(state->plan));
        }
        if (result == CUDA_SUCCESS) result = gpu->cuCtxSynchronize(); // the stream does not wait for a memset elsewhere
        good = gpu_ok(gpu, result, "poisoning") ? run_once(state) : layer_state_fail_gpu(state);
        if (good && deterministic && memcmp(first, state->after, state->output_bytes) != 0) {
            good = layer_state_fail(state, "the deterministic sum gave other bits in run %d", i + 2);
        }
    }
    free(first);
    return good;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#define NUM_TIMINGS 5
// Warm caches and launch cost included: a hint, not a measurement (that is `moejit bench`).
static bool time_forward(struct layer_state *state) {
    struct gpu *gpu = state->gpu;
    CUevent events[2] = {NULL, NULL};
    double times[NUM_TIMINGS];
    CUresult result = gpu->cuEventCreate(&events[0], CU_EVENT_DEFAULT);
    if (result == CUDA_SUCCESS) result = gpu->cuEventCreate(&events[1], CU_EVENT_DEFAULT);
    bool good = true;
    int num = gpu->emulated ? 1 : NUM_TIMINGS;
    for (int i = 0; good && result == CUDA_SUCCESS && i < num; i++) {
        float ms = 0;
        result = gpu->cuEventRecord(events[0], state->stream);
        good = forward(state);
        if (result == CUDA_SUCCESS) result = gpu->cuEventRecord(events[1], state->stream);
        if (result == CUDA_SUCCESS) result = gpu->cuEventSynchronize(events[1]);
        if (result == CUDA_SUCCESS) result = gpu->cuEventElapsedTime(&ms, events[0], events[1]);
        times[i] = (double)ms * 1000;
    }
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL) gpu->cuEventDestroy(events[i]);
    }
    if (!good || !gpu_ok(gpu, result, "timing forward")) return good ? layer_state_fail_gpu(state) : false;
    qsort(times, (size_t)num, sizeof(times[0]), compare_doubles);
    state->result->forward_us = times[num / 2];
    return true;
}

static bool run(struct layer_state *state) {
    if (!layer_state_create(state) || !run_once(state)) return false;
    state->result->output_digest = digest(state->after, state->output_bytes);
    if (!check_untouched(state) || !check_zeroed(state, 1)) return false;
    if (!layer_check_reference(state) || !check_repeats(state)) return false;
    return state->gpu->emulated || state->what->output_mode != MOEJIT_OUTPUT_OVERWRITE || time_forward(state);
}

static int live_rows(const struct layer_case *what) {
    if (what->live_tokens == LAYER_ALL_LIVE || what->live_tokens > what->num_tokens) return what->num_tokens;
    return what->live_tokens > 0 ? what->live_tokens : 0;
}

void layer_run_data(struct gpu *gpu, moejit_context *context, const struct layer_case *what,
                    const struct layer_data *data, struct layer_result *result) {
    struct layer_state state = {.gpu = gpu, .context = context, .what = what, .data = data, .result = result};
    memset(result, 0, sizeof(*result));
    result->good = true;
    state.live = live_rows(what);
    run(&state);
    layer_state_destroy(&state);
    moejit_context_counters counters = {.struct_size = sizeof(counters)};
    moejit_context_counters_read(context, &counters);
    result->compiles = counters.compiles;
    result->cache_hits = counters.cache_hits;
}

void layer_run(struct gpu *gpu, moejit_context *context, const struct layer_case *what, struct layer_result *result) {
    struct mj_problem problem;
    struct mj_error error = {0};
    struct layer_data data;
    memset(result, 0, sizeof(*result));
    if (mj_problem_create(&problem, &what->layer, &error) != MOEJIT_STATUS_OK) {
        snprintf(result->message, sizeof(result->message), "%s", error.message);
    } else if (!layer_data_create(&data, &problem, what->num_tokens, what->routing, what->exact, what->seed)) {
        snprintf(result->message, sizeof(result->message), "no memory for a layer's random tensors");
    } else {
        layer_run_data(gpu, context, what, &data, result);
        layer_data_destroy(&data);
    }
}
