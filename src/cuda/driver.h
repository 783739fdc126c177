// The table of CUDA driver functions: the one seam that the real libcuda, the emulator and a fault injector fill.
#ifndef MOEJIT_CUDA_DRIVER_H
#define MOEJIT_CUDA_DRIVER_H

#include <cuda.h>

#include "base/error.h"

// X(function as cuda.h spells it). cuda.h maps some names to newer symbols (cuMemcpyDtoH_v2); the table looks those up.
#define MJ_DRIVER_FUNCTIONS(X)                                                                                         \
    X(cuInit)                                                                                                          \
    X(cuDriverGetVersion)                                                                                              \
    X(cuGetErrorName)                                                                                                  \
    X(cuGetErrorString)                                                                                                \
    X(cuDeviceGet)                                                                                                     \
    X(cuDeviceGetName)                                                                                                 \
    X(cuDeviceGetAttribute)                                                                                            \
    X(cuDevicePrimaryCtxRetain)                                                                                        \
    X(cuDevicePrimaryCtxRelease)                                                                                       \
    X(cuCtxGetCurrent)                                                                                                 \
    X(cuCtxPushCurrent)                                                                                                \
    X(cuCtxPopCurrent)                                                                                                 \
    X(cuCtxGetDevice)                                                                                                  \
    X(cuModuleLoadDataEx)                                                                                              \
    X(cuModuleUnload)                                                                                                  \
    X(cuModuleGetFunction)                                                                                             \
    X(cuFuncSetAttribute)                                                                                              \
    X(cuFuncLoad)                                                                                                      \
    X(cuOccupancyMaxActiveBlocksPerMultiprocessor)                                                                     \
    X(cuPointerGetAttribute)                                                                                           \
    X(cuMemGetAddressRange)                                                                                            \
    X(cuMemAlloc)                                                                                                      \
    X(cuMemFree)                                                                                                       \
    X(cuLaunchKernel)                                                                                                  \
    X(cuLaunchKernelEx)                                                                                                \
    X(cuMemsetD8Async)                                                                                                 \
    X(cuMemsetD2D8Async)                                                                                               \
    X(cuMemcpyDtoHAsync)                                                                                               \
    X(cuMemcpyHtoDAsync)                                                                                               \
    X(cuMemcpyDtoDAsync)                                                                                               \
    X(cuStreamCreate)                                                                                                  \
    X(cuStreamDestroy)                                                                                                 \
    X(cuStreamSynchronize)                                                                                             \
    X(cuStreamWaitEvent)                                                                                               \
    X(cuStreamIsCapturing)                                                                                             \
    X(cuStreamBeginCapture)                                                                                            \
    X(cuStreamEndCapture)                                                                                              \
    X(cuEventCreate)                                                                                                   \
    X(cuEventRecord)                                                                                                   \
    X(cuEventDestroy)                                                                                                  \
    X(cuEventSynchronize)                                                                                              \
    X(cuEventElapsedTime)                                                                                              \
    X(cuGraphInstantiate)                                                                                              \
    X(cuGraphLaunch)                                                                                                   \
    X(cuGraphExecDestroy)                                                                                              \
    X(cuGraphDestroy)

struct mj_driver {
    void *library;
    char path[256]; // as it was asked for
#define MJ_DRIVER_FIELD(name) __typeof__(&name) name;
    MJ_DRIVER_FUNCTIONS(MJ_DRIVER_FIELD)
#undef MJ_DRIVER_FIELD
};

// Opens the library and fills the table. path: see moejit_context_options.cuda_library.
moejit_status mj_driver_open(struct mj_driver *driver, const char *path, struct mj_error *error);
void mj_driver_close(struct mj_driver *driver);

// "tried: CUDA_ERROR_X (719): what the driver says".
moejit_status mj_driver_failed(const struct mj_driver *driver, CUresult result, const char *tried,
                               struct mj_error *error);

#endif
