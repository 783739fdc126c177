#include "bench_cublas.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

// What cublas_api.h and library_types.h declare, as far as it is used here. No header, no link.
#define SUCCESS 0
#define NO_TRANSPOSE 0
#define TRANSPOSE 1
#define TYPE_BF16 14           // CUDA_R_16BF
#define COMPUTE_F32 68         // CUBLAS_COMPUTE_32F
#define ALGORITHM_DEFAULT (-1) // CUBLAS_GEMM_DEFAULT

static bool open_library(struct bench_cublas *cublas, const char *path) {
    snprintf(cublas->path, sizeof(cublas->path), "%s", path);
    cublas->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    return cublas->library != NULL;
}

static bool find_library(struct bench_cublas *cublas, const char *path, char why[512]) {
    static const char *const paths[] = {"libcublas.so.13", "libcublas.so.12", "/usr/local/cuda/lib64/libcublas.so.13",
                                        "/usr/local/cuda/lib64/libcublas.so.12"};
    if (path != NULL) {
        if (open_library(cublas, path)) return true;
        snprintf(why, 512, "%s", dlerror());
        return false;
    }
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (open_library(cublas, paths[i])) return true;
    }
    snprintf(why, 512, "no libcublas.so.13 or .12 where the loader looks; --cublas-library names one");
    return false;
}

static bool resolve(struct bench_cublas *cublas, void *function, const char *name, char why[512]) {
    void *address = dlsym(cublas->library, name);
    memcpy(function, &address, sizeof(address));
    if (address == NULL) snprintf(why, 512, "%s lacks %s", cublas->path, name);
    return address != NULL;
}

bool bench_cublas_open(struct bench_cublas *cublas, const char *path, CUstream stream, char why[512]) {
    int (*create)(void **handle) = NULL;
    int (*set_stream)(void *handle, CUstream stream) = NULL;
    memset(cublas, 0, sizeof(*cublas));
    if (!find_library(cublas, path, why)) return false;
    if (resolve(cublas, &create, "cublasCreate_v2", why) && resolve(cublas, &set_stream, "cublasSetStream_v2", why) &&
        resolve(cublas, &cublas->destroy, "cublasDestroy_v2", why) &&
        resolve(cublas, &cublas->multiply, "cublasGemmEx", why)) {
        int status = create(&cublas->handle);
        if (status == SUCCESS) status = set_stream(cublas->handle, stream);
        if (status == SUCCESS) return true;
        snprintf(why, 512, "%s: cublasCreate or cublasSetStream gave status %d", cublas->path, status);
    }
    bench_cublas_close(cublas);
    return false;
}

void bench_cublas_close(struct bench_cublas *cublas) {
    if (cublas->handle != NULL) cublas->destroy(cublas->handle);
    // The library stays open: the CUDA runtime inside it has work to do at exit.
    cublas->handle = cublas->library = NULL;
}

bool bench_cublas_enqueue(struct bench_cublas *cublas, int size, const void *a, const void *b, void *c) {
    float one = 1, zero = 0;
    return cublas->multiply(cublas->handle, TRANSPOSE, NO_TRANSPOSE, size, size, size, &one, a, TYPE_BF16, size, b,
                            TYPE_BF16, size, &zero, c, TYPE_BF16, size, COMPUTE_F32, ALGORITHM_DEFAULT) == SUCCESS;
}
