// A libcublas that multiplies nothing, but refuses what the benchmark should not ask for.
#include <stddef.h>

int cublasCreate_v2(void **handle);
int cublasDestroy_v2(void *handle);
int cublasSetStream_v2(void *handle, void *stream);
int cublasGemmEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a,
                 int a_type, int a_stride, const void *b, int b_type, int b_stride, const void *beta, void *c,
                 int c_type, int c_stride, int compute_type, int algorithm);

#define INVALID_VALUE 7

static int handles;

int cublasCreate_v2(void **handle) {
    *handle = &handles;
    return 0;
}

int cublasDestroy_v2(void *handle) {
    return handle == &handles ? 0 : INVALID_VALUE;
}

int cublasSetStream_v2(void *handle, void *stream) {
    return handle == &handles && stream != NULL ? 0 : INVALID_VALUE;
}

int cublasGemmEx(void *handle, int transpose_a, int transpose_b, int m, int n, int k, const void *alpha, const void *a,
                 int a_type, int a_stride, const void *b, int b_type, int b_stride, const void *beta, void *c,
                 int c_type, int c_stride, int compute_type, int algorithm) {
    int good = handle == &handles && transpose_a == 1 && transpose_b == 0 && m > 0 && n == m && k == m;
    good = good && *(const float *)alpha == 1 && *(const float *)beta == 0 && a != NULL && b != NULL && c != NULL;
    good = good && a_type == 14 && b_type == 14 && c_type == 14 && compute_type == 68 && algorithm == -1;
    return good && a_stride == m && b_stride == m && c_stride == m ? 0 : INVALID_VALUE;
}
