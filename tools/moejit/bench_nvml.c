#include "bench_nvml.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench_median.h"

// What nvml.h declares, as far as it is used here (NVML API reference, "Field Value Queries"). No header, no link.
#define SUCCESS 0
#define CLOCK_SM 1
#define FIELD_POWER_INSTANT 186 // milliwatts now; nvmlDeviceGetPowerUsage is an average over a second

struct field_value {
    unsigned id, scope;
    long long timestamp, latency_us;
    int type, status;
    union {
        double real;
        unsigned number;
        unsigned long long wide;
    } value;
};

static bool resolve(struct bench_nvml *nvml, void *function, const char *name) {
    void *address = dlsym(nvml->library, name);
    memcpy(function, &address, sizeof(address));
    return address != NULL;
}

static bool open_device(struct bench_nvml *nvml, struct gpu *gpu) {
    int (*init)(void) = NULL;
    int (*by_address)(const char *address, void **device) = NULL;
    char address[64];
    if (!resolve(nvml, &init, "nvmlInit_v2") || !resolve(nvml, &by_address, "nvmlDeviceGetHandleByPciBusId_v2") ||
        !resolve(nvml, &nvml->clock, "nvmlDeviceGetClockInfo") || !resolve(nvml, &nvml->shutdown, "nvmlShutdown") ||
        !resolve(nvml, &nvml->power, "nvmlDeviceGetPowerUsage")) {
        return false;
    }
    resolve(nvml, &nvml->fields, "nvmlDeviceGetFieldValues");
    if (init() != SUCCESS) return false;
    if (gpu->cuDeviceGetPCIBusId(address, (int)sizeof(address), gpu->device) == CUDA_SUCCESS &&
        by_address(address, &nvml->device) == SUCCESS) {
        return true;
    }
    nvml->shutdown();
    return false;
}

bool bench_nvml_open(struct bench_nvml *nvml, struct gpu *gpu, const char *path) {
    nvml->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (nvml->library != NULL && open_device(nvml, gpu)) return true;
    if (nvml->library != NULL) dlclose(nvml->library);
    nvml->library = NULL;
    return false;
}

void bench_nvml_close(struct bench_nvml *nvml) {
    if (nvml->library == NULL) return;
    bench_nvml_stop(nvml);
    nvml->shutdown();
    dlclose(nvml->library);
    nvml->library = NULL;
}

static double read_watts(const struct bench_nvml *nvml) {
    unsigned milliwatts = 0;
    struct field_value field = {.id = FIELD_POWER_INSTANT};
    if (nvml->fields != NULL && nvml->fields(nvml->device, 1, &field) == SUCCESS && field.status == SUCCESS)
        return field.value.number * 1e-3;
    return nvml->power(nvml->device, &milliwatts) == SUCCESS ? milliwatts * 1e-3 : 0;
}

static void *sample(void *user) {
    struct bench_nvml *nvml = user;
    while (!atomic_load(&nvml->stop) && nvml->num_samples < BENCH_NVML_MAX_SAMPLES) {
        unsigned mhz = 0;
        nvml->sm_mhz[nvml->num_samples] = nvml->clock(nvml->device, CLOCK_SM, &mhz) == SUCCESS ? mhz : 0;
        nvml->watts[nvml->num_samples++] = read_watts(nvml);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    return NULL;
}

void bench_nvml_start(struct bench_nvml *nvml) {
    if (nvml->library == NULL || nvml->running) return;
    nvml->num_samples = 0;
    atomic_store(&nvml->stop, false);
    nvml->running = pthread_create(&nvml->thread, NULL, sample, nvml) == 0;
}

struct bench_sensors bench_nvml_stop(struct bench_nvml *nvml) {
    struct bench_sensors sensors = {0, 0};
    if (!nvml->running) return sensors;
    atomic_store(&nvml->stop, true);
    pthread_join(nvml->thread, NULL);
    nvml->running = false;
    if (nvml->num_samples == 0) return sensors;
    sensors.sm_mhz = bench_median(nvml->sm_mhz, nvml->num_samples);
    sensors.watts = bench_median(nvml->watts, nvml->num_samples);
    return sensors;
}

void bench_sensors_print(const struct bench_sensors *sensors) {
    if (sensors->sm_mhz > 0) {
        printf(" %7.0f %6.0f", sensors->sm_mhz, sensors->watts);
    } else {
        printf(" %7s %6s", "-", "-");
    }
}
