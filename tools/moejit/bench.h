// What the files of `moejit bench` share: the command line, the GPU at work and the ceilings of this run.
#ifndef MOEJIT_TOOL_BENCH_H
#define MOEJIT_TOOL_BENCH_H

#include "bench_cublas.h"
#include "bench_kernels.h"
#include "bench_nvml.h"
#include "layer_data.h"
#include "layer_options.h"

#define BENCH_MAX_MODELS 16
#define BENCH_MAX_TOKENS 32
#define BENCH_MAX_FAMILIES 4
#define BENCH_MAX_REPEATS 1001

enum bench_mode { BENCH_STEPS, BENCH_CEILINGS, BENCH_ZEROING, BENCH_OVERLAP, BENCH_HOST };

struct bench_options {
    enum bench_mode mode;
    struct layer_options layer; // what all models share
    const char *models[BENCH_MAX_MODELS];
    int num_models; // 0: the layer's sizes say it all
    moejit_sum sums[4];
    int num_sums;
    moejit_family families[BENCH_MAX_FAMILIES];
    int num_families;
    bool all_families; // that run here; filled in by bench_open
    int tokens[BENCH_MAX_TOKENS];
    int num_tokens;
    int repeats;       // launches that are timed; 0: as many as take `seconds`
    double seconds;    // of each figure
    int tile;          // as in moejit_plan_options
    int max_tile_ctas; // as in moejit_executor_options
    moejit_tune tune;
    enum layer_routing routing;
    bool json, check, eager, no_ceilings;
    const char *cuda_library, *cublas_library;
};

// The command line; false, with the sentence printed or help shown (*exit_status says which).
bool bench_options_parse(struct bench_options *options, int argc, char **argv, int *exit_status);

struct bench_timing {
    double us; // of one unit: the median
    struct bench_sensors sensors;
};

struct bench_ceiling {
    double rate; // TB/s or TFLOP/s; 0: not measured
    struct bench_sensors sensors;
};

struct bench_ceilings {
    struct bench_ceiling read, copy, fill, sustained, burst;
};

struct bench {
    struct bench_options options;
    struct gpu gpu;
    moejit_context *context;
    moejit_executor *executor;
    CUstream stream;
    CUevent events[BENCH_MAX_REPEATS + 1];
    int num_events;
    struct bench_kernels kernels;
    struct bench_nvml nvml;
    struct bench_cublas cublas;
    struct bench_ceilings ceilings;
    void *memory[256]; // device; the latest are released first
    int num_memory;
    int done, total; // rows, for the progress bar
    int checks_failed;
};

bool bench_open(struct bench *bench);
void bench_close(struct bench *bench);
// Prints "moejit bench: what: why"; false.
bool bench_fail(const char *what, const char *why);
// Device memory with a copy of data (NULL: poison), released by bench_release down to a former num_memory.
void *bench_upload(struct bench *bench, const void *data, size_t bytes);
void bench_release(struct bench *bench, int kept);
// Draws the progress bar, or takes it away where `current` is NULL, before a row is printed.
void bench_progress(struct bench *bench, const char *current);

// ---- bench_timer.c

struct bench_work {   // enqueues `count` units on bench->stream, unit r by one call
    const char *name; // of the range that a profiler shows
    bool (*enqueue)(struct bench *bench, void *user, int r);
    void *user;
    int count;
    bool eager;     // not as a CUDA graph
    double seconds; // 0: the option's
    int repeats;    // 0: the option's, or as many as take `seconds`
    bool cold;      // without launches to warm up (needs repeats)
};

// Times back-to-back launches of all units by events; clocks and power are read meanwhile.
bool bench_time(struct bench *bench, const struct bench_work *work, struct bench_timing *timing);

// ---- One file each

bool bench_ceilings_measure(struct bench *bench);
void bench_ceilings_print(const struct bench *bench);
bool bench_steps_run(struct bench *bench);   // the layer and its steps
bool bench_zeroing_run(struct bench *bench); // all of max_num_tokens against the live rows
bool bench_overlap_run(struct bench *bench); // fork, join, graph, eager
bool bench_host_run(struct bench *bench);    // time of the host

#endif
