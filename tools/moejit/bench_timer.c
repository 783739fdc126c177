// Times by events: launches follow each other without a gap, each ends with an event, and the median counts.
#include "bench.h"
#include "bench_median.h"
#include "bench_range.h"

#define MIN_REPEATS 3

struct launcher { // how one launch of all units is made
    struct bench *bench;
    const struct bench_work *work;
    bool eager;
    CUgraph graph;
    CUgraphExec exec;
};

static bool enqueue_all(struct launcher *launcher) {
    const struct bench_work *work = launcher->work;
    for (int r = 0; r < work->count; r++) {
        if (!work->enqueue(launcher->bench, work->user, r)) return false;
    }
    return true;
}

static bool launcher_create(struct launcher *launcher) {
    struct bench *bench = launcher->bench;
    struct gpu *gpu = &bench->gpu;
    if (launcher->eager) return true;
    if (!gpu_ok(gpu, gpu->cuStreamBeginCapture(bench->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                "beginning a capture")) {
        return bench_fail("timing", gpu->error);
    }
    bool good = enqueue_all(launcher);
    CUresult result = gpu->cuStreamEndCapture(bench->stream, &launcher->graph);
    if (result == CUDA_SUCCESS) result = gpu->cuGraphInstantiate(&launcher->exec, launcher->graph, 0);
    if (good && !gpu_ok(gpu, result, "capturing")) good = bench_fail("timing", gpu->error);
    return good;
}

static void launcher_destroy(struct launcher *launcher) {
    struct gpu *gpu = &launcher->bench->gpu;
    if (launcher->exec != NULL) gpu->cuGraphExecDestroy(launcher->exec);
    if (launcher->graph != NULL) gpu->cuGraphDestroy(launcher->graph);
}

static bool launch(struct launcher *launcher) {
    struct bench *bench = launcher->bench;
    if (launcher->eager) return enqueue_all(launcher);
    return gpu_ok(&bench->gpu, bench->gpu.cuGraphLaunch(launcher->exec, bench->stream), "launching a graph") ||
           bench_fail("timing", bench->gpu.error);
}

static bool make_events(struct bench *bench, int num) {
    while (bench->num_events < num) {
        CUresult result = bench->gpu.cuEventCreate(&bench->events[bench->num_events], CU_EVENT_DEFAULT);
        if (!gpu_ok(&bench->gpu, result, "making an event")) return bench_fail("timing", bench->gpu.error);
        bench->num_events++;
    }
    return true;
}

// `num` launches between num + 1 events, and waits; us[i] is the time of launch i.
static bool time_launches(struct launcher *launcher, int num, double *us) {
    struct bench *bench = launcher->bench;
    struct gpu *gpu = &bench->gpu;
    if (!make_events(bench, num + 1)) return false;
    CUresult result = gpu->cuEventRecord(bench->events[0], bench->stream);
    for (int i = 0; i < num && result == CUDA_SUCCESS; i++) {
        if (!launch(launcher)) return false;
        result = gpu->cuEventRecord(bench->events[i + 1], bench->stream);
    }
    if (result == CUDA_SUCCESS) result = gpu->cuEventSynchronize(bench->events[num]);
    for (int i = 0; i < num && result == CUDA_SUCCESS; i++) {
        float ms = 0;
        result = gpu->cuEventElapsedTime(&ms, bench->events[i], bench->events[i + 1]);
        us[i] = (double)ms * 1000;
    }
    return gpu_ok(gpu, result, "timing launches") || bench_fail("timing", gpu->error);
}

static int num_repeats(const struct launcher *launcher, double estimate_us) {
    const struct bench_options *options = &launcher->bench->options;
    const struct bench_work *work = launcher->work;
    if (work->repeats > 0) return work->repeats;
    if (options->repeats > 0) return options->repeats;
    double seconds = work->seconds > 0 ? work->seconds : options->seconds;
    double num = estimate_us > 0 ? seconds * 1e6 / estimate_us : BENCH_MAX_REPEATS;
    return num < MIN_REPEATS ? MIN_REPEATS : (num > BENCH_MAX_REPEATS ? BENCH_MAX_REPEATS : (int)num);
}

static bool run(struct launcher *launcher, struct bench_timing *timing) {
    struct bench *bench = launcher->bench;
    double us[BENCH_MAX_REPEATS] = {0};
    bool emulated = bench->gpu.emulated; // one launch proves that the command works
    for (int i = 0; i < 2 && !launcher->work->cold && !emulated; i++) {
        if (!time_launches(launcher, 1, us)) return false;
    }
    int num = emulated ? 1 : num_repeats(launcher, us[0]);
    bench_nvml_start(&bench->nvml);
    bench_range_push(launcher->work->name);
    bool good = time_launches(launcher, num, us);
    bench_range_pop();
    timing->sensors = bench_nvml_stop(&bench->nvml);
    timing->us = bench_median(us, num) / launcher->work->count;
    return good;
}

bool bench_time(struct bench *bench, const struct bench_work *work, struct bench_timing *timing) {
    struct launcher launcher = {bench, work, work->eager || bench->options.eager, NULL, NULL};
    bool good = launcher_create(&launcher) && run(&launcher, timing);
    launcher_destroy(&launcher);
    return good;
}
