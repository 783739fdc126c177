// The driver as a host program uses it: the tool and the tests own context, memory and streams; moejit is their guest.
#ifndef MOEJIT_TOOL_GPU_H
#define MOEJIT_TOOL_GPU_H

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>

#define GPU_FUNCTIONS(X)                                                                                               \
    X(cuInit)                                                                                                          \
    X(cuDriverGetVersion)                                                                                              \
    X(cuGetErrorName)                                                                                                  \
    X(cuDeviceGet)                                                                                                     \
    X(cuDeviceGetCount)                                                                                                \
    X(cuDeviceGetName)                                                                                                 \
    X(cuDeviceGetAttribute)                                                                                            \
    X(cuDeviceTotalMem)                                                                                                \
    X(cuDeviceGetPCIBusId)                                                                                             \
    X(cuDevicePrimaryCtxRetain)                                                                                        \
    X(cuDevicePrimaryCtxRelease)                                                                                       \
    X(cuCtxSetCurrent)                                                                                                 \
    X(cuCtxGetCurrent)                                                                                                 \
    X(cuCtxSynchronize)                                                                                                \
    X(cuMemAlloc)                                                                                                      \
    X(cuMemFree)                                                                                                       \
    X(cuMemGetInfo)                                                                                                    \
    X(cuMemcpyHtoD)                                                                                                    \
    X(cuMemcpyDtoH)                                                                                                    \
    X(cuMemsetD8)                                                                                                      \
    X(cuMemcpyHtoDAsync)                                                                                               \
    X(cuMemcpyDtoDAsync)                                                                                               \
    X(cuMemsetD8Async)                                                                                                 \
    X(cuMemsetD32Async)                                                                                                \
    X(cuStreamCreate)                                                                                                  \
    X(cuStreamDestroy)                                                                                                 \
    X(cuStreamSynchronize)                                                                                             \
    X(cuStreamWaitEvent)                                                                                               \
    X(cuStreamBeginCapture)                                                                                            \
    X(cuStreamEndCapture)                                                                                              \
    X(cuStreamIsCapturing)                                                                                             \
    X(cuGraphInstantiate)                                                                                              \
    X(cuGraphLaunch)                                                                                                   \
    X(cuGraphExecDestroy)                                                                                              \
    X(cuGraphDestroy)                                                                                                  \
    X(cuEventCreate)                                                                                                   \
    X(cuEventDestroy)                                                                                                  \
    X(cuEventRecord)                                                                                                   \
    X(cuEventSynchronize)                                                                                              \
    X(cuEventElapsedTime)                                                                                              \
    X(cuModuleLoadData)                                                                                                \
    X(cuModuleUnload)                                                                                                  \
    X(cuModuleGetFunction)                                                                                             \
    X(cuLaunchKernel)

struct gpu {
    void *library;
    char path[512], name[128], error[1024];
    bool emulated;
    CUdevice device;
    CUcontext context;
    int capability, num_sms, driver_version;
    size_t memory_bytes;
#define GPU_FIELD(function) __typeof__(&function) function;
    GPU_FUNCTIONS(GPU_FIELD)
#undef GPU_FIELD
};

// Opens the driver (path, or MOEJIT_CUDA_LIBRARY, or libcuda.so.1), retains the primary context of device 0 and makes
// it current. On failure `error` holds a sentence.
bool gpu_open(struct gpu *gpu, const char *path);
void gpu_close(struct gpu *gpu);

// False, with a sentence in gpu->error, unless result is a success.
bool gpu_ok(struct gpu *gpu, CUresult result, const char *tried);

// Device memory holding a copy of `data` (or poison where data is NULL); NULL on failure. A request of 0 bytes gives
// 256.
void *gpu_upload(struct gpu *gpu, const void *data, size_t bytes);
bool gpu_download(struct gpu *gpu, void *host, const void *device, size_t bytes);
void gpu_free(struct gpu *gpu, void *memory);

#endif
