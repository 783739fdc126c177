// Kernels from their units to their modules, many at once: found in the cache, or compiled by as many processes as
// there are, each key by one process of all that share the database.
#ifndef MOEJIT_RUN_KERNEL_BATCH_H
#define MOEJIT_RUN_KERNEL_BATCH_H

#include "run/loaded_kernel.h"

// Loads described kernels; the context must be entered where it is attached. progress may be NULL. A kernel that cannot
// be compiled does not keep the others from the cache: the first one's error is the result. The kernels are the
// caller's to destroy, loaded or not.
moejit_status mj_kernel_batch_prepare(struct moejit_context *context, struct mj_loaded_kernel *kernels, int num_kernels,
                                      moejit_progress_fn progress, void *user);

// Only tells of each kernel whether the cache has it, and by its log what it uses.
void mj_kernel_batch_look_up(struct moejit_context *context, struct mj_loaded_kernel *kernels, int num_kernels);

#endif
