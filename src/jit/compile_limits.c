#define _GNU_SOURCE // sched_getaffinity
#include "jit/compile_limits.h"

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORKER_BYTES ((int64_t)256 << 20) // seen at its largest: 115 MB (docs/benchmarks.md)

static int count_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (int)cores : 1;
}

// The first line of a file; false where there is none.
static bool read_line(const char *path, char *line, int bytes) {
    FILE *file = fopen(path, "re");
    if (file == NULL) return false;
    bool good = fgets(line, bytes, file) != NULL;
    fclose(file);
    return good;
}

// Kubernetes' limits: "quota period" in microseconds, or "max period" (cgroup v2, as seen in a container).
static int count_shares(int cores) {
    char line[128];
    long long quota, period;
    if (!read_line("/sys/fs/cgroup/cpu.max", line, sizeof(line))) return cores;
    if (sscanf(line, "%lld %lld", &quota, &period) != 2 || quota <= 0 || period <= 0) return cores;
    long long shares = (quota + period - 1) / period;
    return shares < cores ? (int)shares : cores;
}

static int64_t read_bytes(const char *path, int64_t otherwise) {
    char line[128];
    long long bytes;
    return read_line(path, line, sizeof(line)) && sscanf(line, "%lld", &bytes) == 1 ? bytes : otherwise;
}

// -1: not known.
static int64_t free_bytes(void) {
    char line[128];
    long long available = -1;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && available < 0 && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "MemAvailable: %lld kB", &available) == 1) available *= 1024;
    }
    if (file != NULL) fclose(file);
    int64_t limit = read_bytes("/sys/fs/cgroup/memory.max", -1);
    int64_t used = read_bytes("/sys/fs/cgroup/memory.current", 0);
    if (limit >= 0 && (available < 0 || limit - used < available)) available = limit > used ? limit - used : 0;
    return available;
}

int mj_compile_limits_workers(void) {
    int workers = count_shares(count_cores());
    int64_t bytes = free_bytes();
    if (bytes >= 0 && bytes / WORKER_BYTES < workers) workers = (int)(bytes / WORKER_BYTES);
    return workers > 1 ? workers : 1;
}
