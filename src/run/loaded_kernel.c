#include "run/loaded_kernel.h"

#include <string.h>

#include "run/image_source.h"

static moejit_status check_shared(struct moejit_context *context, const struct mj_loaded_kernel *kernel) {
    if (kernel->shared_bytes <= context->arch->shared_bytes) return MOEJIT_STATUS_OK;
    return mj_error_set(&context->error, MOEJIT_STATUS_UNSUPPORTED, "%s needs %d bytes of shared memory, %s offers %d",
                        kernel->symbol, kernel->shared_bytes, context->arch->name, context->arch->shared_bytes);
}

moejit_status mj_loaded_kernel_load(struct moejit_context *context, struct mj_loaded_kernel *kernel,
                                    struct mj_image *image, bool *refused) {
    kernel->resources = mj_compiler_resources(image->log);
    *refused = false;
    if (context->attached) {
        context->module_loads++;
        return mj_module_load(&context->driver, image, kernel->symbol, kernel->num_threads, kernel->shared_bytes,
                              context->arch->shared_bytes, &kernel->module, refused, &context->error);
    }
    kernel->image = *image;
    *image = (struct mj_image){0};
    return MOEJIT_STATUS_OK;
}

moejit_status mj_loaded_kernel_describe(struct moejit_context *context, const struct mj_problem *problem,
                                        enum mj_kernel_id id, int tile_idx, struct mj_loaded_kernel *kernel) {
    const struct mj_tile *tile = tile_idx >= 0 ? &mj_tiles[tile_idx] : NULL;
    memset(kernel, 0, sizeof(*kernel));
    kernel->id = id;
    kernel->tile_idx = tile_idx;
    kernel->num_threads = tile != NULL ? tile->num_threads : mj_kernels[id].num_threads;
    kernel->shared_bytes = tile != NULL ? mj_tile_shared_bytes(tile, problem->layer.num_local_experts) : 0;
    mj_generator_symbol(id, tile, kernel->symbol);
    mj_generator_write(id, problem, tile, context->arch->name, &kernel->unit);
    moejit_status status = check_shared(context, kernel);
    if (status == MOEJIT_STATUS_OK && !kernel->unit.failed) {
        mj_image_source_key(context->arch->name, mj_compiler_options(), &context->sources, kernel->unit.data,
                            &kernel->key);
    }
    if (status == MOEJIT_STATUS_OK && (kernel->unit.failed || kernel->key.failed)) {
        status =
            mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the unit of %s", kernel->symbol);
    }
    if (status != MOEJIT_STATUS_OK) mj_loaded_kernel_destroy(context, kernel);
    return status;
}

void mj_loaded_kernel_destroy(struct moejit_context *context, struct mj_loaded_kernel *kernel) {
    if (context->attached) mj_module_unload(&context->driver, &kernel->module);
    mj_text_free(&kernel->unit);
    mj_text_free(&kernel->key);
    mj_image_free(&kernel->image);
    memset(kernel, 0, sizeof(*kernel));
}
