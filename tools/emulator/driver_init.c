// The entry points that need no device: start, version, names of errors, profiler.
#include <cuda.h>

#include "driver_aliases.h"
#include <stddef.h>

#include "driver_device.h"
#include "driver_entry.h"

#define DRIVER_VERSION 13000

CUresult CUDAAPI cuInit(unsigned int Flags) {
    EMU_BEGIN_BARE(cuInit);
    CUresult result = Flags != 0 ? CUDA_ERROR_INVALID_VALUE : emu_device_read();
    if (result == CUDA_SUCCESS) emu_entry_set_initialised();
    return emu_leave(result);
}

CUresult CUDAAPI cuDriverGetVersion(int *driverVersion) {
    EMU_BEGIN_BARE(cuDriverGetVersion);
    if (driverVersion == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *driverVersion = DRIVER_VERSION;
    return emu_leave(CUDA_SUCCESS);
}

static const struct {
    CUresult result;
    const char *name, *sentence;
} results[] = {
#define RESULT(name, sentence) {name, #name, sentence},
#include "driver_errors.def"
#undef RESULT
};

static CUresult look_up(CUresult error, const char **text, size_t field) {
    if (text == NULL) return CUDA_ERROR_INVALID_VALUE;
    *text = NULL;
    for (size_t i = 0; i < sizeof(results) / sizeof(results[0]); i++) {
        if (results[i].result == error) *text = field == 0 ? results[i].name : results[i].sentence;
    }
    return *text == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetErrorName(CUresult error, const char **pStr) {
    EMU_BEGIN_BARE(cuGetErrorName);
    return emu_leave(look_up(error, pStr, 0));
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char **pStr) {
    EMU_BEGIN_BARE(cuGetErrorString);
    return emu_leave(look_up(error, pStr, 1));
}

CUresult CUDAAPI cuProfilerStart(void) {
    EMU_BEGIN_DRIVER(cuProfilerStart);
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuProfilerStop(void) {
    EMU_BEGIN_DRIVER(cuProfilerStop);
    return emu_leave(CUDA_SUCCESS);
}
