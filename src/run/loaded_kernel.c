#include "run/loaded_kernel.h"

#include <stdlib.h>
#include <string.h>

#include "run/image_source.h"

static moejit_status check_shared(struct moejit_context *context, const struct mj_loaded_kernel *kernel) {
    if (kernel->shared_bytes <= context->arch->shared_bytes) return MOEJIT_STATUS_OK;
    return mj_error_set(&context->error, MOEJIT_STATUS_UNSUPPORTED, "%s needs %d bytes of shared memory, %s offers %d",
                        kernel->symbol, kernel->shared_bytes, context->arch->name, context->arch->shared_bytes);
}

static moejit_status load(struct moejit_context *context, struct mj_loaded_kernel *kernel, struct mj_image *image,
                          bool *refused) {
    kernel->resources = mj_compiler_resources(image->log);
    if (context->attached) {
        context->module_loads++;
        return mj_module_load(&context->driver, image, kernel->symbol, kernel->num_threads, kernel->shared_bytes,
                              &kernel->module, refused, &context->error);
    }
    kernel->ptx = image->ptx;
    image->ptx = NULL;
    return MOEJIT_STATUS_OK;
}

static moejit_status prepare(struct moejit_context *context, struct mj_loaded_kernel *kernel) {
    struct mj_image_request request = {kernel->unit.data, kernel->symbol, &kernel->key, 0};
    struct mj_image image = {0};
    mj_image_source_key(context->arch->name, mj_compiler_options(), &context->sources, kernel->unit.data, &kernel->key);
    if (kernel->unit.failed || kernel->key.failed) {
        return mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the unit of %s",
                            kernel->symbol);
    }
    // An image of the cache that the driver refuses is a miss: the next one, and in the end one compiled here, which
    // takes the place of the refused one of the same toolchain.
    for (;;) {
        bool cached = false, refused = false;
        moejit_status status = mj_image_source_get(context, &request, &image, &cached);
        if (status == MOEJIT_STATUS_OK) status = load(context, kernel, &image, &refused);
        mj_image_free(&image);
        if (!refused || !cached) return status;
        context->refusals++;
        request.num_refused++;
    }
}

moejit_status mj_loaded_kernel_create(struct moejit_context *context, const struct mj_problem *problem,
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
    if (status == MOEJIT_STATUS_OK) status = prepare(context, kernel);
    if (status != MOEJIT_STATUS_OK) mj_loaded_kernel_destroy(context, kernel);
    return status;
}

void mj_loaded_kernel_destroy(struct moejit_context *context, struct mj_loaded_kernel *kernel) {
    if (context->attached) mj_module_unload(&context->driver, &kernel->module);
    mj_text_free(&kernel->unit);
    mj_text_free(&kernel->key);
    free(kernel->ptx);
    memset(kernel, 0, sizeof(*kernel));
}
