// The compute ceiling: a large bf16 matrix product by cuBLAS, where that library is present (opened at run time).
#ifndef MOEJIT_TOOL_BENCH_CUBLAS_H
#define MOEJIT_TOOL_BENCH_CUBLAS_H

#include "gpu.h"

struct bench_cublas {
    void *library; // NULL: not here
    void *handle;
    char path[512];
    int (*destroy)(void *handle);
    int (*multiply)(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha,
                    const void *a, int a_type, int a_stride, const void *b, int b_type, int b_stride, const void *beta,
                    void *c, int c_type, int c_stride, int compute_type, int algorithm);
};

// path: of libcublas.so.N, or NULL: libcublas.so.13 or .12 where the loader finds one, or in /usr/local/cuda/lib64.
// False where there is none or it refuses; `why` then holds a sentence.
bool bench_cublas_open(struct bench_cublas *cublas, const char *path, CUstream stream, char why[512]);
void bench_cublas_close(struct bench_cublas *cublas);
// c = a b of bf16 [size, size] matrices, f32 sums, bf16 result, on the stream given to open.
bool bench_cublas_enqueue(struct bench_cublas *cublas, int size, const void *a, const void *b, void *c);

#endif
