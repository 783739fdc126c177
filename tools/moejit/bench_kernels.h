// Kernels of the benchmark's own: one that only reads, the floor of a memory-bound layer, and one that fills memory
// with random bits, so that weights of gigabytes take milliseconds.
#ifndef MOEJIT_TOOL_BENCH_KERNELS_H
#define MOEJIT_TOOL_BENCH_KERNELS_H

#include <stdint.h>

#include "gpu.h"

struct bench_kernels {
    CUmodule modules[3];
    CUfunction read, fill, empty;
    void *sink;
};

bool bench_kernels_create(struct bench_kernels *kernels, struct gpu *gpu);
void bench_kernels_destroy(struct bench_kernels *kernels, struct gpu *gpu);

// Reads `bytes` (a multiple of 16) of device memory, 16 bytes a thread at a time.
bool bench_read_enqueue(struct bench_kernels *kernels, struct gpu *gpu, const void *memory, size_t bytes,
                        CUstream stream);

struct bench_pattern { // of each 32-bit word: random & mask | fixed
    uint32_t mask, fixed;
};

extern const struct bench_pattern bench_random_codes;  // e2m1: all codes
extern const struct bench_pattern bench_random_scales; // e4m3: 0.5 to 1.875
extern const struct bench_pattern bench_random_bf16;   // both signs, 0.125 to 2, as many in each binade

// Fills `bytes` (a multiple of 16) of device memory; equal seeds give equal bytes.
bool bench_fill_enqueue(struct bench_kernels *kernels, struct gpu *gpu, void *memory, size_t bytes,
                        struct bench_pattern pattern, uint32_t seed, CUstream stream);
// A kernel of one thread that does nothing.
bool bench_empty_enqueue(struct bench_kernels *kernels, struct gpu *gpu, CUstream stream);

#endif
