// A loaded kernel.
#ifndef MOEJIT_JIT_MODULE_H
#define MOEJIT_JIT_MODULE_H

#include "cuda/driver.h"
#include "jit/compiler.h"

struct mj_module {
    CUmodule module;
    CUfunction function;
    int blocks_per_sm;
};

// Offers the cubin, and where the driver refuses its binary the PTX. Allows up to most_shared_bytes of dynamic shared
// memory, and asks how many CTAs of num_threads and shared_bytes fit a multiprocessor. The context must be current.
// *refused: the driver takes neither, or there is no such kernel in them; another image may do.
moejit_status mj_module_load(const struct mj_driver *driver, const struct mj_image *image, const char *symbol,
                             int num_threads, int shared_bytes, int most_shared_bytes, struct mj_module *module,
                             bool *refused, struct mj_error *error);
void mj_module_unload(const struct mj_driver *driver, struct mj_module *module);

#endif
