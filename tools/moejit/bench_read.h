// The floor of a memory-bound layer: a kernel that only reads.
#ifndef MOEJIT_TOOL_BENCH_READ_H
#define MOEJIT_TOOL_BENCH_READ_H

#include "gpu.h"

struct bench_read {
    CUmodule module;
    CUfunction function;
    void *sink;
};

bool bench_read_create(struct bench_read *read, struct gpu *gpu);
void bench_read_destroy(struct bench_read *read, struct gpu *gpu);
// Reads `bytes` (a multiple of 4096) of device memory, 16 bytes a thread at a time.
bool bench_read_enqueue(struct bench_read *read, struct gpu *gpu, const void *memory, size_t bytes, CUstream stream);

#endif
