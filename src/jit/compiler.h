// One unit through NVRTC: cubin, PTX, log and what the kernel uses.
#ifndef MOEJIT_JIT_COMPILER_H
#define MOEJIT_JIT_COMPILER_H

#include "cuda/arch.h"
#include "cuda/nvrtc.h"
#include "jit/source_set.h"

struct mj_image { // each of the two may be missing (NULL) in one that comes from elsewhere
    void *cubin;
    size_t cubin_bytes;
    char *ptx; // terminated; ptx_bytes counts the terminator
    size_t ptx_bytes;
    char *log; // terminated: what NVRTC and ptxas said, resources included
};

struct mj_resources { // of one kernel, from ptxas
    int registers, spill_bytes, static_shared_bytes;
};

void mj_image_free(struct mj_image *image);
// Zeros where the log does not tell.
struct mj_resources mj_compiler_resources(const char *log);

// The options that change code, in a fixed order, "\n"-separated: part of the key.
const char *mj_compiler_options(void);

#define MJ_MAX_COMPILE_OPTIONS 8
// All that NVRTC is given. The texts are somebody else's.
struct mj_compile_request {
    const char *symbol, *unit;
    char arch[16];                // "sm_90a", or "compute_90a" for PTX alone
    int nvrtc_major, nvrtc_minor; // the first that knows the arch
    const char *options[MJ_MAX_COMPILE_OPTIONS];
    int num_options;
    const char *header_names[MJ_MAX_SOURCES], *header_texts[MJ_MAX_SOURCES]; // those that the unit includes
    int num_headers;
};

// ptx_only: the image has no cubin.
void mj_compiler_request(const struct mj_source_set *sources, const char *unit, const char *symbol,
                         const struct mj_arch *arch, bool ptx_only, struct mj_compile_request *request);
// On failure the error holds the first part of NVRTC's log.
moejit_status mj_compiler_compile(const struct mj_nvrtc *nvrtc, const struct mj_compile_request *request,
                                  struct mj_image *image, struct mj_error *error);

#endif
