// The table of NVRTC functions.
#ifndef MOEJIT_CUDA_NVRTC_H
#define MOEJIT_CUDA_NVRTC_H

#include <nvrtc.h>

#include "base/error.h"

#define MJ_NVRTC_FUNCTIONS(X)                                                                                          \
    X(nvrtcVersion)                                                                                                    \
    X(nvrtcGetErrorString)                                                                                             \
    X(nvrtcCreateProgram)                                                                                              \
    X(nvrtcDestroyProgram)                                                                                             \
    X(nvrtcCompileProgram)                                                                                             \
    X(nvrtcGetPTXSize)                                                                                                 \
    X(nvrtcGetPTX)                                                                                                     \
    X(nvrtcGetCUBINSize)                                                                                               \
    X(nvrtcGetCUBIN)                                                                                                   \
    X(nvrtcGetProgramLogSize)                                                                                          \
    X(nvrtcGetProgramLog)

struct mj_nvrtc {
    void *library;
    char path[256]; // what was opened
    int major, minor;
    char
        build[64]; // "nvrtc 13.0 107435296": the version and the bytes of the file, which builds of a version differ in
#define MJ_NVRTC_FIELD(name) __typeof__(&name) name;
    MJ_NVRTC_FUNCTIONS(MJ_NVRTC_FIELD)
#undef MJ_NVRTC_FIELD
};

// Opens the library and asks its version; a five-line compile proves that it works. path: see
// moejit_context_options.nvrtc_library.
moejit_status mj_nvrtc_open(struct mj_nvrtc *nvrtc, const char *path, struct mj_error *error);
void mj_nvrtc_close(struct mj_nvrtc *nvrtc);

#endif
