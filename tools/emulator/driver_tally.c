#include "driver_tally.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "driver_random.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    uint64_t launches;
    struct emu_counters sums, last;
    char last_kernel[256];
    uint64_t trace, resets;
} tally;

static void add(struct emu_counters *sums, const struct emu_counters *more) {
    sums->warp_instructions += more->warp_instructions;
    sums->thread_instructions += more->thread_instructions;
    sums->integer_ops += more->integer_ops;
    sums->float_ops += more->float_ops;
    sums->control_ops += more->control_ops;
    sums->tensor_ops += more->tensor_ops;
    sums->global_load_bytes += more->global_load_bytes;
    sums->global_store_bytes += more->global_store_bytes;
    sums->global_sectors += more->global_sectors;
    sums->atomics += more->atomics;
    sums->shared_accesses += more->shared_accesses;
    sums->shared_bank_conflicts += more->shared_bank_conflicts;
    sums->barrier_waits += more->barrier_waits;
    sums->async_copies += more->async_copies;
    sums->async_copy_bytes += more->async_copy_bytes;
}
_Static_assert(sizeof(struct emu_counters) == 15 * sizeof(uint64_t), "add() sums each of the counters");

void emu_tally_launch(const char *kernel, const struct emu_counters *counters) {
    pthread_mutex_lock(&lock);
    tally.launches++;
    add(&tally.sums, counters);
    tally.last = *counters;
    snprintf(tally.last_kernel, sizeof(tally.last_kernel), "%s", kernel);
    pthread_mutex_unlock(&lock);
}

uint64_t emu_tally_sums(struct emu_counters *counters) {
    pthread_mutex_lock(&lock);
    uint64_t launches = tally.launches;
    if (counters != NULL) *counters = tally.sums;
    pthread_mutex_unlock(&lock);
    return launches;
}

void emu_tally_last(struct emu_counters *counters, char *kernel, size_t kernel_bytes) {
    pthread_mutex_lock(&lock);
    if (counters != NULL) *counters = tally.last;
    if (kernel != NULL && kernel_bytes > 0) snprintf(kernel, kernel_bytes, "%s", tally.last_kernel);
    pthread_mutex_unlock(&lock);
}

void emu_tally_reset(void) {
    pthread_mutex_lock(&lock);
    uint64_t resets = tally.resets + 1;
    memset(&tally, 0, sizeof(tally));
    tally.resets = resets;
    pthread_mutex_unlock(&lock);
}

void emu_tally_trace(struct emu_trace *trace, uint64_t operation) {
    pthread_mutex_lock(&lock);
    if (trace->resets != tally.resets) *trace = (struct emu_trace){.hash = 0, .resets = tally.resets};
    uint64_t hash = emu_random_mix(trace->hash ^ emu_random_mix(operation + 1));
    tally.trace += hash - trace->hash;
    trace->hash = hash;
    pthread_mutex_unlock(&lock);
}

uint64_t emu_tally_trace_hash(void) {
    pthread_mutex_lock(&lock);
    uint64_t trace = tally.trace;
    pthread_mutex_unlock(&lock);
    return trace;
}
