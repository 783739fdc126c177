// Tuning as a plan's host asks for it.
#include "run/autotune.h"
#include "run/tuning_options.h"
#include "run/tuning_record.h"
#include "run/tuning_scratch.h"

moejit_status moejit_plan_tune(moejit_plan *plan, const moejit_tune_options *options) {
    if (plan == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    return mj_autotune(plan, options, NULL);
}

moejit_status moejit_plan_tune_bytes(const moejit_plan *plan, const moejit_tune_options *options, size_t *bytes) {
    if (plan == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    struct moejit_context *context = plan->context;
    if (bytes == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT, "bytes is NULL");
    moejit_tune_options read;
    struct mj_tuning_layout layout;
    struct mj_entered entered;
    int l2_bytes = 0;
    moejit_status status = mj_tuning_options_read(&plan->problem.layer, options, &read, &context->error);
    if (status == MOEJIT_STATUS_OK) status = mj_context_enter(context, &entered, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    CUresult result =
        context->driver.cuDeviceGetAttribute(&l2_bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, context->device);
    mj_context_leave(context, &entered);
    if (result != CUDA_SUCCESS)
        return mj_driver_failed(&context->driver, result, "asking for the L2 cache's size", &context->error);
    mj_tuning_layout(plan, (size_t)l2_bytes, &layout);
    *bytes = layout.total;
    return MOEJIT_STATUS_OK;
}

moejit_status mj_autotune_adopt(struct moejit_plan *plan, const moejit_tune_options *given) {
    struct mj_tuning_record record = {0};
    struct mj_entered entered;
    moejit_tune_options options;
    struct mj_error *error = &plan->context->error;
    moejit_status status = mj_tuning_options_read(&plan->problem.layer, given, &options, error);
    if (status == MOEJIT_STATUS_OK) status = mj_context_enter(plan->context, &entered, error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = mj_tuning_record_open(&record, plan, &options);
    for (int i = 0; status == MOEJIT_STATUS_OK && i < plan->num_buckets; i++) mj_tuning_record_adopt(&record, plan, i);
    mj_tuning_record_close(&record);
    mj_context_leave(plan->context, &entered);
    return status;
}
