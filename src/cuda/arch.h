// The GPU architectures that moejit writes kernels for.
#ifndef MOEJIT_CUDA_ARCH_H
#define MOEJIT_CUDA_ARCH_H

#include "base/error.h"

struct mj_arch {
    const char *name;             // "sm_90a"
    int capability;               // 90
    int nvrtc_major, nvrtc_minor; // the first NVRTC that knows it
    int shared_bytes; // dynamic shared memory a CTA may opt in to (CUDA programming guide, technical specifications)
};

extern const struct mj_arch mj_archs[];
extern const int mj_num_archs;

// By name, or NULL.
const struct mj_arch *mj_arch_find(const char *name);
// The arch of a device of that compute capability (major * 10 + minor): its own, else the newest of the same major
// version below it, else NULL.
const struct mj_arch *mj_arch_of_capability(int capability);
moejit_status mj_arch_unknown(const char *name, struct mj_error *error);

#endif
