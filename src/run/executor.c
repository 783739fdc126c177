#include "run/executor.h"

#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "moe/tile_split.h"

void moejit_executor_options_init(moejit_executor_options *options) {
    if (options == NULL) return;
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
}

static CUresult make_stream_and_events(struct moejit_executor *executor) {
    const struct mj_driver *driver = &executor->context->driver;
    CUresult result = CUDA_SUCCESS;
    if (executor->auxiliary == NULL) {
        result = driver->cuStreamCreate(&executor->auxiliary, CU_STREAM_NON_BLOCKING);
        executor->owns_stream = result == CUDA_SUCCESS;
    }
    if (result == CUDA_SUCCESS) result = driver->cuEventCreate(&executor->forked, CU_EVENT_DISABLE_TIMING);
    if (result == CUDA_SUCCESS) result = driver->cuEventCreate(&executor->zeroed, CU_EVENT_DISABLE_TIMING);
    return result;
}

static moejit_status create(struct moejit_executor *executor, const moejit_executor_options *given) {
    struct moejit_context *context = executor->context;
    moejit_executor_options options = {0};
    moejit_status status = mj_options_read("executor options", &options, sizeof(options), given, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    executor->single_stream = options.single_stream != 0;
    executor->overlaps_launches = context->arch->capability >= 90 && options.serial_launches == 0;
    executor->routes_apart = options.separate_route != 0;
    executor->auxiliary = options.auxiliary_stream;
    executor->max_tile_ctas = options.max_tile_ctas;
    if (options.max_tile_ctas < 0 || options.max_tile_ctas > MJ_SPLIT_LARGEST) {
        return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "executor has max_tile_ctas = %d, needs 0 to %d", options.max_tile_ctas, MJ_SPLIT_LARGEST);
    }
    if (executor->single_stream && executor->auxiliary != NULL) {
        return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "executor has single_stream = %d and an auxiliary_stream; one of them must be zero",
                            options.single_stream);
    }
    struct mj_entered entered;
    status = mj_context_enter(context, &entered, &context->error);
    if (status != MOEJIT_STATUS_OK || executor->single_stream) {
        mj_context_leave(context, &entered);
        return status;
    }
    CUresult result = make_stream_and_events(executor);
    if (result != CUDA_SUCCESS) {
        status = mj_driver_failed(&context->driver, result, "making the executor's stream and events", &context->error);
    }
    mj_context_leave(context, &entered);
    return status;
}

moejit_status moejit_executor_create(moejit_context *context, const moejit_executor_options *options,
                                     moejit_executor **executor) {
    if (executor != NULL) *executor = NULL;
    if (context == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    if (executor == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT, "executor is NULL");
    struct moejit_executor *made = calloc(1, sizeof(*made));
    if (made == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the executor");
    made->context = context;
    moejit_status status = create(made, options);
    if (status == MOEJIT_STATUS_OK) {
        *executor = made;
    } else {
        moejit_executor_destroy(made);
    }
    return status;
}

void moejit_executor_destroy(moejit_executor *executor) {
    if (executor == NULL) return;
    const struct mj_driver *driver = &executor->context->driver;
    struct mj_entered entered;
    struct mj_error ignored;
    mj_context_enter(executor->context, &entered, &ignored);
    if (executor->forked != NULL) driver->cuEventDestroy(executor->forked);
    if (executor->zeroed != NULL) driver->cuEventDestroy(executor->zeroed);
    if (executor->owns_stream) driver->cuStreamDestroy(executor->auxiliary);
    mj_context_leave(executor->context, &entered);
    free(executor);
}

const char *moejit_executor_error(const moejit_executor *executor) {
    return executor != NULL ? executor->error.message : "executor is NULL";
}

void moejit_executor_counters_read(const moejit_executor *executor, moejit_executor_counters *counters) {
    if (executor == NULL || counters == NULL) return;
    moejit_executor_counters ours = {
        .struct_size = counters->struct_size,
        .forwards = executor->forwards,
        .launches = executor->launches,
        .bytes_zeroed = executor->bytes_zeroed,
    };
    memcpy(counters, &ours, counters->struct_size < sizeof(ours) ? counters->struct_size : sizeof(ours));
}
