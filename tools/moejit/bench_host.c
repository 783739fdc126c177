// What a layer costs the host: forward without graphs, the driver's share of it, graph launches, and plans.
#include <stdio.h>
#include <time.h>

#include "bench_layer.h"
#include "bench_median.h"

#define CALLS 32 // between two waits: fewer than a stream queues before the host must wait
#define BATCHES 101

static double now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

typedef bool (*host_call)(struct bench *bench, void *user);

// The median time that the host spends in one call, in microseconds; the GPU is idle when a batch begins.
static bool time_host(struct bench *bench, host_call call, void *user, double *us) {
    double times[BATCHES];
    int batches = bench->gpu.emulated ? 1 : BATCHES, calls = bench->gpu.emulated ? 1 : CALLS;
    for (int b = 0; b < batches; b++) {
        double start = now_us();
        for (int i = 0; i < calls; i++) {
            if (!call(bench, user)) return false;
        }
        times[b] = (now_us() - start) / calls;
        if (!gpu_ok(&bench->gpu, bench->gpu.cuStreamSynchronize(bench->stream), "waiting"))
            return bench_fail("host", bench->gpu.error);
    }
    *us = bench_median(times, batches);
    return true;
}

struct driver_calls { // as many as one forward makes, by the bare driver
    int launches;
    bool fork;
    CUstream auxiliary;
    CUevent events[2];
};

static bool call_driver(struct bench *bench, void *user) {
    const struct driver_calls *calls = user;
    struct gpu *gpu = &bench->gpu;
    CUresult result = CUDA_SUCCESS;
    for (int i = 0; i < 2 && calls->fork && result == CUDA_SUCCESS; i++) {
        CUstream from = i == 0 ? bench->stream : calls->auxiliary, to = i == 0 ? calls->auxiliary : bench->stream;
        result = gpu->cuEventRecord(calls->events[i], from);
        if (result == CUDA_SUCCESS) result = gpu->cuStreamWaitEvent(to, calls->events[i], 0);
    }
    for (int i = 0; i < calls->launches; i++) {
        if (!bench_empty_enqueue(&bench->kernels, gpu, bench->stream)) return bench_fail("host", gpu->error);
    }
    return gpu_ok(gpu, result, "recording and waiting") || bench_fail("host", gpu->error);
}

static bool time_driver(struct bench *bench, struct driver_calls *calls, double *us) {
    struct gpu *gpu = &bench->gpu;
    CUresult result = gpu->cuStreamCreate(&calls->auxiliary, CU_STREAM_NON_BLOCKING);
    for (int i = 0; i < 2 && result == CUDA_SUCCESS; i++)
        result = gpu->cuEventCreate(&calls->events[i], CU_EVENT_DISABLE_TIMING);
    bool good = gpu_ok(gpu, result, "making a stream and events") || bench_fail("host", gpu->error);
    good = good && time_host(bench, call_driver, calls, us);
    for (int i = 0; i < 2; i++) {
        if (calls->events[i] != NULL) gpu->cuEventDestroy(calls->events[i]);
    }
    if (calls->auxiliary != NULL) gpu->cuStreamDestroy(calls->auxiliary);
    return good;
}

static bool call_forward(struct bench *bench, void *call) {
    return bench_call_forward(bench, call, 0);
}

struct replay {
    CUgraph graph;
    CUgraphExec exec;
};

static bool call_replay(struct bench *bench, void *user) {
    const struct replay *replay = user;
    return gpu_ok(&bench->gpu, bench->gpu.cuGraphLaunch(replay->exec, bench->stream), "launching a graph") ||
           bench_fail("host", bench->gpu.error);
}

static bool time_replay(struct bench *bench, struct bench_call *call, double *us) {
    struct gpu *gpu = &bench->gpu;
    struct replay replay = {NULL, NULL};
    CUresult result = gpu->cuStreamBeginCapture(bench->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
    if (!gpu_ok(gpu, result, "beginning a capture")) return bench_fail("host", gpu->error);
    bool good = bench_call_forward(bench, call, 0);
    result = gpu->cuStreamEndCapture(bench->stream, &replay.graph);
    if (result == CUDA_SUCCESS) result = gpu->cuGraphInstantiate(&replay.exec, replay.graph, 0);
    if (good && !gpu_ok(gpu, result, "capturing")) good = bench_fail("host", gpu->error);
    good = good && time_host(bench, call_replay, &replay, us);
    if (replay.exec != NULL) gpu->cuGraphExecDestroy(replay.exec);
    if (replay.graph != NULL) gpu->cuGraphDestroy(replay.graph);
    return good;
}

// Graphs of one forward back to back against the same forwards in one graph: what a replay adds on the GPU.
static bool time_gap(struct bench *bench, struct bench_call *call, double *gap_us) {
    struct bench_work many = {"one graph", bench_call_enqueue, call, .count = call->num_routings};
    struct bench_work one = {"a graph each", bench_call_enqueue, call, .count = 1};
    struct bench_timing all = {0}, single = {0};
    moejit_forward_args kept[BENCH_MAX_ROUTINGS];
    for (int r = 0; r < call->num_routings;
         r++) { // the same forward again and again, so that both find the same caches
        kept[r] = call->args[r];
        call->args[r] = call->args[0];
    }
    bool good = bench_time(bench, &many, &all) && bench_time(bench, &one, &single);
    for (int r = 0; r < call->num_routings; r++) call->args[r] = kept[r];
    *gap_us = single.us - all.us;
    return good;
}

// The plan of `call` made again: in a context without a cache, then in the one at work, whose kernels are cached.
static bool time_plans(struct bench *bench, const struct bench_call *call, const struct bench_variant *variant,
                       double ms[2]) {
    moejit_layer description = call->layer->problem.layer;
    moejit_context *cold = NULL;
    moejit_context_options context_options;
    moejit_plan_options options;
    char message[1024];
    moejit_context_options_init(&context_options);
    context_options.cuda_library = bench->gpu.path;
    context_options.cache_path = "";
    if (moejit_context_create(&context_options, &cold, message, sizeof(message)) != MOEJIT_STATUS_OK)
        return bench_fail("host", message);
    description.sum = variant->sum;
    moejit_plan_options_init(&options);
    options.max_num_tokens = variant->num_tokens;
    options.family = variant->family;
    moejit_context *contexts[2] = {cold, bench->context};
    bool good = true;
    for (int i = 0; i < 2 && good; i++) {
        moejit_plan *plan = NULL;
        double start = now_us();
        good = moejit_plan_create(contexts[i], &description, &options, &plan) == MOEJIT_STATUS_OK ||
               bench_fail("host", moejit_context_error(contexts[i]));
        ms[i] = (now_us() - start) * 1e-3;
        moejit_plan_destroy(plan);
    }
    moejit_context_destroy(cold);
    return good;
}

struct figures {
    int launches, kernels;
    double forward_us, single_stream_us, driver_us, replay_us, gap_us, plan_ms[2];
};

static int launches_of_forward(struct bench *bench, struct bench_call *call) {
    moejit_executor_counters before = {.struct_size = sizeof(before)}, after = {.struct_size = sizeof(after)};
    moejit_executor_counters_read(call->executor, &before);
    bool good = bench_call_forward(bench, call, 0);
    moejit_executor_counters_read(call->executor, &after);
    return good ? (int)(after.launches - before.launches) : -1;
}

static bool time_single_stream(struct bench *bench, struct bench_call *call, double *us) {
    moejit_executor_options options;
    moejit_executor *executor = NULL;
    moejit_executor_options_init(&options);
    options.single_stream = 1;
    if (moejit_executor_create(bench->context, &options, &executor) != MOEJIT_STATUS_OK)
        return bench_fail("host", moejit_context_error(bench->context));
    call->executor = executor;
    bool good = time_host(bench, call_forward, call, us);
    call->executor = bench->executor;
    moejit_executor_destroy(executor);
    return good;
}

static bool measure(struct bench *bench, struct bench_call *call, const struct bench_variant *variant,
                    struct figures *figures) {
    figures->launches = launches_of_forward(bench, call);
    figures->kernels = moejit_plan_num_kernels(call->plan);
    if (figures->launches < 0) return false;
    // With few pairs gate_up zeroes and nothing is forked off; else zero, route, gate_up and down are four.
    bool fork = moejit_plan_sum(call->plan) == MOEJIT_SUM_ATOMIC && figures->launches >= 4;
    struct driver_calls driver = {.launches = figures->launches, .fork = fork};
    return time_host(bench, call_forward, call, &figures->forward_us) &&
           time_single_stream(bench, call, &figures->single_stream_us) &&
           time_driver(bench, &driver, &figures->driver_us) && time_replay(bench, call, &figures->replay_us) &&
           time_gap(bench, call, &figures->gap_us) && time_plans(bench, call, variant, figures->plan_ms);
}

static void print_row(const struct bench *bench, const struct bench_call *call, const struct figures *figures) {
    static const char *const sums[] = {"default", "atomic", "deterministic", "batch-invariant"};
    const char *sum = sums[moejit_plan_sum(call->plan)];
    if (bench->options.json) {
        printf("{\"model\": \"%s\", \"sum\": \"%s\", \"tokens\": %d, \"launches\": %d, \"forward_us\": %.2f, "
               "\"single_stream_us\": %.2f, \"driver_us\": %.2f, \"graph_launch_us\": %.2f, \"replay_gap_us\": %.2f, "
               "\"kernels\": %d, \"plan_cold_ms\": %.1f, \"plan_warm_ms\": %.2f}\n",
               call->layer->name, sum, call->num_tokens, figures->launches, figures->forward_us,
               figures->single_stream_us, figures->driver_us, figures->replay_us, figures->gap_us, figures->kernels,
               figures->plan_ms[0], figures->plan_ms[1]);
    } else {
        printf("%6d %-15s %8d %10.2f %10.2f %10.2f %10.2f %10.2f %8d %10.1f %10.2f\n", call->num_tokens, sum,
               figures->launches, figures->forward_us, figures->single_stream_us, figures->driver_us,
               figures->replay_us, figures->gap_us, figures->kernels, figures->plan_ms[0], figures->plan_ms[1]);
    }
    fflush(stdout);
}

static bool run_variant(struct bench *bench, struct bench_layer *layer, const struct bench_variant *variant) {
    static struct bench_call call;
    struct figures figures = {0};
    bench_progress(bench, layer->name);
    bool good = bench_call_create(bench, layer, variant, &call) && measure(bench, &call, variant, &figures);
    bench_progress(bench, NULL);
    if (good) print_row(bench, &call, &figures);
    bench_call_destroy(bench, &call);
    return good;
}

static bool run_layer(struct bench *bench, struct bench_layer *layer) {
    const struct bench_options *options = &bench->options;
    if (!options->json) {
        printf("%s; microseconds of the host a call, plans in milliseconds; driver: as many launches, and the fork and "
               "join\n"
               "%6s %-15s %8s %10s %10s %10s %10s %10s %8s %10s %10s\n",
               layer->name, "tokens", "sum", "launches", "forward", "one stream", "driver", "replay", "replay gap",
               "kernels", "plan cold", "plan warm");
    }
    for (int s = 0; s < options->num_sums; s++) {
        for (int t = 0; t < options->num_tokens; t++) {
            struct bench_variant variant = {options->sums[s], options->families[0], options->tokens[t], 0};
            if (!run_variant(bench, layer, &variant)) return false;
        }
    }
    return true;
}

bool bench_host_run(struct bench *bench) {
    const struct bench_options *options = &bench->options;
    bench->total = (options->num_models > 0 ? options->num_models : 1) * options->num_sums * options->num_tokens;
    return bench_each_layer(bench, run_layer);
}
