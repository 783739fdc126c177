// One kernel of a plan, or the pack kernel of weights: described, then loaded (kernel_batch.h).
#ifndef MOEJIT_RUN_LOADED_KERNEL_H
#define MOEJIT_RUN_LOADED_KERNEL_H

#include "jit/generator.h"
#include "jit/module.h"
#include "run/context.h"

struct mj_loaded_kernel {
    enum mj_kernel_id id;
    int tile_idx; // -1: the kernel has no tile
    char symbol[MJ_SYMBOL_BYTES];
    struct mj_text unit, key;
    struct mj_image image; // kept only where there is no GPU to load on
    struct mj_resources resources;
    struct mj_module module;
    int num_threads, shared_bytes;
    bool cached; // the cache had it
};

// Generates the unit and its key. On failure nothing is left.
moejit_status mj_loaded_kernel_describe(struct moejit_context *context, const struct mj_problem *problem,
                                        enum mj_kernel_id id, int tile_idx, struct mj_loaded_kernel *kernel);
// The context must be entered where it is attached; otherwise the image is kept, and *image left empty. *refused: the
// driver does not take the image, another may do.
moejit_status mj_loaded_kernel_load(struct moejit_context *context, struct mj_loaded_kernel *kernel,
                                    struct mj_image *image, bool *refused);
void mj_loaded_kernel_destroy(struct moejit_context *context, struct mj_loaded_kernel *kernel);

#endif
