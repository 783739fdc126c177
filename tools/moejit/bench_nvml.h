// SM clock and power while something runs, from NVML where it is present (opened at run time).
#ifndef MOEJIT_TOOL_BENCH_NVML_H
#define MOEJIT_TOOL_BENCH_NVML_H

#include <pthread.h>
#include <stdatomic.h>

#include "gpu.h"

struct bench_sensors { // medians; 0: not known
    double sm_mhz, watts;
};

#define BENCH_NVML_MAX_SAMPLES 4096

struct bench_nvml {
    void *library; // NULL: not here
    void *device;
    int (*clock)(void *device, int kind, unsigned *mhz);
    int (*power)(void *device, unsigned *milliwatts);
    int (*fields)(void *device, int count, void *values);
    int (*shutdown)(void);
    pthread_t thread;
    atomic_bool stop;
    bool running;
    int num_samples;
    double sm_mhz[BENCH_NVML_MAX_SAMPLES], watts[BENCH_NVML_MAX_SAMPLES];
};

// path: "libnvidia-ml.so.1". Finds the GPU by its PCI address. False where NVML is not here or does not know it;
// everything else then gives zeros.
bool bench_nvml_open(struct bench_nvml *nvml, struct gpu *gpu, const char *path);
void bench_nvml_close(struct bench_nvml *nvml);
// A thread reads the sensors every few milliseconds until stop, which gives their medians.
void bench_nvml_start(struct bench_nvml *nvml);
struct bench_sensors bench_nvml_stop(struct bench_nvml *nvml);
// Two columns; dashes where nothing is known.
void bench_sensors_print(const struct bench_sensors *sensors);

#endif
