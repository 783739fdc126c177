#include "gpu.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPANDED_NAME(name) #name
#define POISON 0xff // NaN in every float format of ours

static bool fail(struct gpu *gpu, const char *tried, const char *why) {
    snprintf(gpu->error, sizeof(gpu->error), "%s: %s", tried, why);
    return false;
}

static bool open_library(struct gpu *gpu, const char *option) {
    const char *variable = getenv("MOEJIT_CUDA_LIBRARY");
    const char *path = option != NULL ? option : (variable != NULL && variable[0] != '\0' ? variable : "libcuda.so.1");
    snprintf(gpu->path, sizeof(gpu->path), "%s", path);
    gpu->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (gpu->library == NULL) return fail(gpu, "no CUDA driver", dlerror());
#define RESOLVE(function)                                                                                              \
    *(void **)(void *)&gpu->function = dlsym(gpu->library, EXPANDED_NAME(function));                                   \
    if (gpu->function == NULL) return fail(gpu, gpu->path, "lacks " EXPANDED_NAME(function));
    GPU_FUNCTIONS(RESOLVE)
#undef RESOLVE
    gpu->emulated = dlsym(gpu->library, "moejit_emulator_version") != NULL;
    return true;
}

bool gpu_open(struct gpu *gpu, const char *path) {
    int major = 0, minor = 0;
    memset(gpu, 0, sizeof(*gpu));
    if (!open_library(gpu, path)) return false;
    if (!gpu_ok(gpu, gpu->cuInit(0), "initialising the CUDA driver")) return false;
    if (!gpu_ok(gpu, gpu->cuDeviceGet(&gpu->device, 0), "asking for device 0")) return false;
    gpu->cuDriverGetVersion(&gpu->driver_version);
    gpu->cuDeviceGetName(gpu->name, (int)sizeof(gpu->name), gpu->device);
    gpu->cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, gpu->device);
    gpu->cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, gpu->device);
    gpu->cuDeviceGetAttribute(&gpu->num_sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, gpu->device);
    gpu->cuDeviceTotalMem(&gpu->memory_bytes, gpu->device);
    gpu->capability = major * 10 + minor;
    if (!gpu_ok(gpu, gpu->cuDevicePrimaryCtxRetain(&gpu->context, gpu->device), "retaining the primary context"))
        return false;
    return gpu_ok(gpu, gpu->cuCtxSetCurrent(gpu->context), "making the primary context current");
}

void gpu_close(struct gpu *gpu) {
    if (gpu->context != NULL) {
        gpu->cuCtxSetCurrent(NULL);
        gpu->cuDevicePrimaryCtxRelease(gpu->device);
    }
    if (gpu->library != NULL) dlclose(gpu->library);
    gpu->library = NULL;
    gpu->context = NULL;
}

bool gpu_ok(struct gpu *gpu, CUresult result, const char *tried) {
    const char *name = NULL;
    if (result == CUDA_SUCCESS) return true;
    if (gpu->cuGetErrorName(result, &name) != CUDA_SUCCESS || name == NULL) name = "an unknown error";
    return fail(gpu, tried, name);
}

void *gpu_upload(struct gpu *gpu, const void *data, size_t bytes) {
    char tried[96];
    CUdeviceptr memory = 0;
    snprintf(tried, sizeof(tried), "allocating and filling %zu bytes", bytes);
    if (!gpu_ok(gpu, gpu->cuMemAlloc(&memory, bytes > 0 ? bytes : 256), tried)) return NULL;
    CUresult result = CUDA_SUCCESS;
    if (bytes > 0)
        result = data != NULL ? gpu->cuMemcpyHtoD(memory, data, bytes) : gpu->cuMemsetD8(memory, POISON, bytes);
    // A memset, and the end of a copy from pageable memory, may still be under way; streams of ours do not wait for
    // them.
    if (result == CUDA_SUCCESS) result = gpu->cuCtxSynchronize();
    if (gpu_ok(gpu, result, tried)) return (void *)memory;
    gpu->cuMemFree(memory);
    return NULL;
}

bool gpu_download(struct gpu *gpu, void *host, const void *device, size_t bytes) {
    if (bytes == 0) return true;
    return gpu_ok(gpu, gpu->cuMemcpyDtoH(host, (CUdeviceptr)device, bytes), "copying from the GPU");
}

void gpu_free(struct gpu *gpu, void *memory) {
    if (memory != NULL) gpu->cuMemFree((CUdeviceptr)memory);
}
