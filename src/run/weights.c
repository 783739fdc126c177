#include "run/weights.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/options.h"
#include "run/kernel_batch.h"

moejit_status moejit_weights_bytes(moejit_context *context, const moejit_layer *layer, size_t *bytes) {
    if (context == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    if (bytes == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT, "bytes is NULL");
    struct mj_problem problem;
    struct mj_weights_layout layout;
    moejit_status status = mj_problem_create(&problem, layer, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    problem.packed_layout = mj_packed_layout_choose(&problem, context->arch->name);
    mj_layout_weights(&problem, &layout);
    *bytes = layout.total;
    return MOEJIT_STATUS_OK;
}

static moejit_status check_memory(struct moejit_weights *weights, size_t bytes, struct mj_error *error) {
    if (weights->memory == NULL || (uintptr_t)weights->memory % MJ_MEMORY_ALIGNMENT != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "weights memory is %p, needs device memory aligned to %d bytes", (void *)weights->memory,
                            MJ_MEMORY_ALIGNMENT);
    }
    if (bytes < weights->layout.total) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "weights memory has %zu bytes, needs %zu", bytes,
                            weights->layout.total);
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status create(struct moejit_weights *weights, const moejit_layer *layer, size_t memory_bytes) {
    struct moejit_context *context = weights->context;
    moejit_status status = mj_problem_create(&weights->problem, layer, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    weights->problem.packed_layout = mj_packed_layout_choose(&weights->problem, context->arch->name);
    mj_layout_weights(&weights->problem, &weights->layout);
    status = check_memory(weights, memory_bytes, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    struct mj_entered entered;
    status = mj_context_enter(context, &entered, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = mj_loaded_kernel_describe(context, &weights->problem, mj_kernel_pack(weights->problem.packed_layout), -1,
                                       &weights->pack);
    if (status == MOEJIT_STATUS_OK) status = mj_kernel_batch_prepare(context, &weights->pack, 1, NULL, NULL);
    if (status != MOEJIT_STATUS_OK) mj_loaded_kernel_destroy(context, &weights->pack);
    mj_context_leave(context, &entered);
    return status;
}

moejit_status moejit_weights_create(moejit_context *context, const moejit_layer *layer, void *memory,
                                    size_t memory_bytes, moejit_weights **weights) {
    if (weights != NULL) *weights = NULL;
    if (context == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    if (weights == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT, "weights is NULL");
    struct moejit_weights *made = calloc(1, sizeof(*made));
    if (made == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the weights");
    made->context = context;
    made->memory = memory;
    moejit_status status = create(made, layer, memory_bytes);
    if (status == MOEJIT_STATUS_OK) {
        *weights = made;
    } else {
        free(made);
    }
    return status;
}

void moejit_weights_destroy(moejit_weights *weights) {
    if (weights == NULL) return;
    struct mj_entered entered;
    struct mj_error ignored;
    mj_context_enter(weights->context, &entered, &ignored);
    mj_loaded_kernel_destroy(weights->context, &weights->pack);
    mj_context_leave(weights->context, &entered);
    free(weights);
}

static CUresult launch(const struct moejit_weights *weights, struct mj_pack_args *args, CUstream stream) {
    bool scaled = weights->problem.packed_layout == MJ_LAYOUT_BLOCK_SCALED;
    int row_blocks = mj_ceil_div(args->rows, scaled ? MJ_SCALED_BLOCK_ROWS : MJ_BLOCK_ROWS);
    int column_blocks = mj_ceil_div(args->columns, scaled ? MJ_SCALED_BLOCK_COLUMNS : MJ_BLOCK_COLUMNS);
    unsigned blocks = (unsigned)(row_blocks * column_blocks);
    void *parameters[] = {args};
    return weights->context->driver.cuLaunchKernel(weights->pack.module.function, blocks, 1,
                                                   (unsigned)args->num_experts, (unsigned)weights->pack.num_threads, 1,
                                                   1, 0, stream, parameters, NULL);
}

// Both matrices of experts [first, first + count); the number of scales that are no scale comes back in *invalid.
static CUresult pack(struct moejit_weights *weights, const moejit_checkpoint *from, int first, int count,
                     CUstream stream, uint32_t *invalid) {
    const struct mj_driver *driver = &weights->context->driver;
    const struct mj_problem *problem = &weights->problem;
    const moejit_layer *layer = &problem->layer;
    unsigned char *counter = weights->memory + weights->layout.invalid_scales;
    struct mj_pack_args gate_up = {
        .codes = from->gate_up,
        .scales = from->gate_up_scale,
        .packed = weights->memory + (size_t)first * weights->layout.gate_up_expert,
        .invalid_scales = (uint32_t *)(void *)counter,
        .num_experts = count,
        .rows = problem->gate_up_rows,
        .columns = layer->hidden,
        .row_order = problem->gated ? (int)layer->gate_up_row_order : MJ_ROWS_PLAIN,
        .scale_layout = (int)layer->scale_layout,
    };
    struct mj_pack_args down = gate_up;
    down.codes = from->down;
    down.scales = from->down_scale;
    down.packed = weights->memory + weights->layout.down + (size_t)first * weights->layout.down_expert;
    down.rows = layer->hidden;
    down.columns = layer->intermediate;
    down.row_order = MJ_ROWS_PLAIN;
    CUresult result = driver->cuMemsetD8Async((CUdeviceptr)counter, 0, sizeof(uint32_t), stream);
    if (result == CUDA_SUCCESS) result = launch(weights, &gate_up, stream);
    if (result == CUDA_SUCCESS) result = launch(weights, &down, stream);
    if (result == CUDA_SUCCESS)
        result = driver->cuMemcpyDtoHAsync(invalid, (CUdeviceptr)counter, sizeof(*invalid), stream);
    CUresult synchronised = driver->cuStreamSynchronize(stream);
    return result == CUDA_SUCCESS ? synchronised : result;
}

static moejit_status check_checkpoint(const struct moejit_weights *weights, const moejit_checkpoint *from, int first,
                                      int count, struct mj_error *error) {
    const struct {
        const char *name;
        const void *pointer;
    } pointers[] = {{"gate_up", from->gate_up},
                    {"gate_up_scale", from->gate_up_scale},
                    {"down", from->down},
                    {"down_scale", from->down_scale}};
    int experts = weights->problem.layer.num_local_experts;
    for (size_t i = 0; i < sizeof(pointers) / sizeof(pointers[0]); i++) {
        if (pointers[i].pointer != NULL) continue;
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "checkpoint has %s = NULL, needs device memory",
                            pointers[i].name);
    }
    if (first < 0 || count < 1 || first > experts - count) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "pack is asked for experts %d to %lld; the layer has local experts 0 to %d", first,
                            (long long)first + count - 1, experts - 1);
    }
    return MOEJIT_STATUS_OK;
}

moejit_status moejit_weights_pack(moejit_weights *weights, const moejit_checkpoint *checkpoint, int32_t first,
                                  int32_t count, struct CUstream_st *stream) {
    if (weights == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    struct moejit_context *context = weights->context;
    moejit_checkpoint from = {0};
    moejit_status status = mj_options_read("checkpoint", &from, sizeof(from), checkpoint, &context->error);
    if (status == MOEJIT_STATUS_OK) status = check_checkpoint(weights, &from, first, count, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    struct mj_entered entered;
    status = mj_context_enter(context, &entered, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    uint32_t invalid = 0;
    CUresult result = pack(weights, &from, first, count, stream, &invalid);
    if (result != CUDA_SUCCESS) {
        status = mj_driver_failed(&context->driver, result, "packing weights", &context->error);
    } else if (invalid > 0) {
        status = mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                              "experts %d to %d hold %u NaN or negative block scales; e4m3 scales must be 0 to 448",
                              first, first + count - 1, invalid);
    }
    mj_context_leave(context, &entered);
    return status;
}
