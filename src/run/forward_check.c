#include "run/forward_check.h"

#include <string.h>

#include "base/options.h"

#define TENSOR_ALIGNMENT 16 // cp.async and vector stores move 16 bytes

void moejit_forward_args_init(moejit_forward_args *args) {
    if (args == NULL) return;
    memset(args, 0, sizeof(*args));
    args->struct_size = sizeof(*args);
}

static moejit_status refuse(struct mj_error *error, const char *name, const char *met, long long value,
                            const char *needed, long long rule) {
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has %s %lld, needs %s%lld", name, met, value, needed,
                        rule);
}

static moejit_status check_tensor(const char *name, moejit_tensor *tensor, moejit_dtype dtype, int num_tokens,
                                  int hidden, struct mj_error *error) {
    if (tensor->dtype != dtype) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has dtype %s, needs %s", name,
                            mj_dtype_name(tensor->dtype), mj_dtype_name(dtype));
    }
    if (tensor->columns != hidden) return refuse(error, name, "columns =", tensor->columns, "hidden = ", hidden);
    if (tensor->rows < num_tokens)
        return refuse(error, name, "rows =", tensor->rows, "at least num_tokens = ", num_tokens);
    if (tensor->row_stride == 0) tensor->row_stride = tensor->columns;
    if (tensor->row_stride < tensor->columns) {
        return refuse(error, name, "row_stride =", tensor->row_stride, "at least columns = ", tensor->columns);
    }
    // Half a byte for NVFP4: strides are in elements, checked in half bytes.
    long long half_bytes = dtype == MOEJIT_DTYPE_NVFP4 ? 1 : 2 * (long long)mj_dtype_bytes(dtype);
    if (tensor->row_stride > INT64_MAX / 16 / (num_tokens > 0 ? num_tokens : 1)) {
        return refuse(error, name, "row_stride =", tensor->row_stride,
                      "one whose rows fit 64 bits, num_tokens = ", num_tokens);
    }
    if (tensor->row_stride * half_bytes % (2 * TENSOR_ALIGNMENT) != 0 && dtype != MOEJIT_DTYPE_NVFP4) {
        return refuse(error, name, "row_stride in bytes =", tensor->row_stride * half_bytes / 2, "a multiple of ",
                      TENSOR_ALIGNMENT);
    }
    if (dtype == MOEJIT_DTYPE_NVFP4 && tensor->row_stride % 2 != 0) {
        return refuse(error, name, "row_stride =", tensor->row_stride, "a multiple of ", 2);
    }
    if (num_tokens == 0) return MOEJIT_STATUS_OK;
    if (tensor->data == NULL || (uintptr_t)tensor->data % TENSOR_ALIGNMENT != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "%s has data = %p, needs device memory aligned to %d bytes", name, tensor->data,
                            TENSOR_ALIGNMENT);
    }
    return MOEJIT_STATUS_OK;
}

struct buffer { // an argument beside x and output: what it must be, and how long
    const char *name;
    const void *pointer;
    bool needed, allowed;
    unsigned alignment;
    size_t bytes;
};

#define MAX_BUFFERS 12

static int list_buffers(const struct moejit_plan *plan, const moejit_forward_args *args, struct buffer *list) {
    const moejit_layer *layer = &plan->problem.layer;
    size_t pairs = (size_t)args->num_tokens * (size_t)layer->top_k, experts = (size_t)layer->num_local_experts;
    size_t rows = (size_t)plan->problem.gate_up_rows, hidden = (size_t)layer->hidden;
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4, nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    size_t gate_up_bias = mj_dtype_bytes(layer->gate_up_bias_dtype), down_bias = mj_dtype_bytes(layer->down_bias_dtype);
    size_t intermediate_scales = layer->per_expert_intermediate_scale ? experts : 1;
    const struct buffer buffers[] = {
        {"x_scale", args->x_scale, nvfp4_x, nvfp4_x, 1, (size_t)args->num_tokens * hidden / 16},
        {"expert_ids", args->expert_ids, true, true, 4, pairs * 4},
        {"router_weights", args->router_weights, true, true, 4, pairs * 4},
        {"live_tokens", args->live_tokens, false, true, 4, 4},
        {"gate_up_alpha", args->gate_up_alpha, true, true, 4, experts * (layer->split_gate_up_alpha ? 8 : 4)},
        {"down_alpha", args->down_alpha, true, true, 4, experts * 4},
        {"gate_up_bias", args->gate_up_bias, gate_up_bias > 0, gate_up_bias > 0, (unsigned)gate_up_bias,
         experts * rows * gate_up_bias},
        {"down_bias", args->down_bias, down_bias > 0, down_bias > 0, (unsigned)down_bias, experts * hidden * down_bias},
        {"input_scale", args->input_scale, nvfp4 && !nvfp4_x, nvfp4 && !nvfp4_x, 4, 4},
        {"intermediate_scale", args->intermediate_scale, nvfp4, nvfp4, 4, intermediate_scales * 4},
        {"workspace", args->workspace, true, true, MJ_MEMORY_ALIGNMENT, plan->workspace.total},
    };
    int num = (int)(sizeof(buffers) / sizeof(buffers[0]));
    memcpy(list, buffers, sizeof(buffers));
    return num;
}

static moejit_status check_buffer(const struct buffer *buffer, struct mj_error *error) {
    if (buffer->pointer == NULL) {
        if (!buffer->needed) return MOEJIT_STATUS_OK;
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is NULL, the layer needs it (%zu bytes)",
                            buffer->name, buffer->bytes);
    }
    if (!buffer->allowed) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is %p, but the layer takes none; needs NULL",
                            buffer->name, buffer->pointer);
    }
    if ((uintptr_t)buffer->pointer % buffer->alignment != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is %p, needs an address aligned to %u bytes",
                            buffer->name, buffer->pointer, buffer->alignment);
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status check_pointer(const struct moejit_context *context, const char *name, const void *pointer,
                                   size_t bytes, struct mj_error *error) {
    if (pointer == NULL || bytes == 0) return MOEJIT_STATUS_OK;
    const struct mj_driver *driver = &context->driver;
    int device = -1;
    CUdeviceptr base = 0;
    size_t size = 0;
    CUresult result = driver->cuPointerGetAttribute(&device, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, (CUdeviceptr)pointer);
    if (result != CUDA_SUCCESS) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is %p, which is no memory that CUDA knows", name,
                            pointer);
    }
    if (device != context->device) return refuse(error, name, "memory of device", device, "device ", context->device);
    result = driver->cuMemGetAddressRange(&base, &size, (CUdeviceptr)pointer);
    if (result != CUDA_SUCCESS) return mj_driver_failed(driver, result, "asking for an allocation's size", error);
    size_t left = size - (size_t)((CUdeviceptr)pointer - base);
    if (left >= bytes) return MOEJIT_STATUS_OK;
    return refuse(error, name, "bytes left in its allocation =", (long long)left, "", (long long)bytes);
}

static size_t tensor_bytes(const moejit_tensor *tensor, int num_tokens) {
    if (num_tokens == 0) return 0;
    size_t elements = (size_t)(num_tokens - 1) * (size_t)tensor->row_stride + (size_t)tensor->columns;
    return tensor->dtype == MOEJIT_DTYPE_NVFP4 ? elements / 2 : elements * mj_dtype_bytes(tensor->dtype);
}

static moejit_status check_pointers(const struct moejit_plan *plan, const moejit_forward_args *args,
                                    const struct buffer *buffers, int num_buffers, struct mj_error *error) {
    const struct moejit_context *context = plan->context;
    struct mj_entered entered;
    moejit_status status = mj_context_enter(context, &entered, error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = check_pointer(context, "x", args->x.data, tensor_bytes(&args->x, args->num_tokens), error);
    if (status == MOEJIT_STATUS_OK) {
        status =
            check_pointer(context, "output", args->output.data, tensor_bytes(&args->output, args->num_tokens), error);
    }
    for (int i = 0; i < num_buffers && status == MOEJIT_STATUS_OK; i++) {
        status = check_pointer(context, buffers[i].name, buffers[i].pointer, buffers[i].bytes, error);
    }
    mj_context_leave(context, &entered);
    return status;
}

// Weights of another sum, dtype or size of the plan's description are fine as long as the packed bytes are the same.
static moejit_status check_weights(const struct moejit_plan *plan, const struct moejit_weights *weights,
                                   struct mj_error *error) {
    const moejit_layer *a = &weights->problem.layer, *b = &plan->problem.layer;
    if (weights->context != plan->context) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "weights and plan belong to different contexts");
    }
    if (a->hidden != b->hidden) return refuse(error, "weights", "hidden =", a->hidden, "the plan's ", b->hidden);
    if (a->intermediate != b->intermediate) {
        return refuse(error, "weights", "intermediate =", a->intermediate, "the plan's ", b->intermediate);
    }
    if (a->num_local_experts != b->num_local_experts) {
        return refuse(error, "weights", "num_local_experts =", a->num_local_experts, "the plan's ",
                      b->num_local_experts);
    }
    if (weights->problem.packed_layout != plan->problem.packed_layout) {
        return mj_error_set(
            error, MOEJIT_STATUS_INVALID_ARGUMENT, "weights are packed as %s, the plan's kernels read %s",
            mj_packed_layout_name(weights->problem.packed_layout), mj_packed_layout_name(plan->problem.packed_layout));
    }
    if (weights->problem.gated != plan->problem.gated) {
        return refuse(error, "weights", "gated =", weights->problem.gated, "the plan's ", plan->problem.gated);
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status check_numbers(const struct moejit_plan *plan, const moejit_forward_args *args,
                                   struct mj_error *error) {
    if (args->num_tokens < 0) return refuse(error, "forward", "num_tokens =", args->num_tokens, "at least ", 0);
    if (plan->describe_only) {
        return mj_error_set(error, MOEJIT_STATUS_NOT_PREPARED,
                            "the plan was made with describe_only = 1: it has no loaded kernel");
    }
    if (args->num_tokens > plan->max_num_tokens) {
        return mj_error_set(error, MOEJIT_STATUS_NOT_PREPARED,
                            "forward has num_tokens = %d, the plan was made for at most max_num_tokens = %d",
                            args->num_tokens, plan->max_num_tokens);
    }
    if ((unsigned)args->output_mode > MOEJIT_OUTPUT_ASSUME_ZERO) {
        return refuse(error, "forward", "output_mode =", (long long)args->output_mode, "0 to ",
                      MOEJIT_OUTPUT_ASSUME_ZERO);
    }
    if (args->workspace_bytes < plan->workspace.total && args->num_tokens > 0) {
        return refuse(error, "workspace", "bytes =", (long long)args->workspace_bytes, "",
                      (long long)plan->workspace.total);
    }
    return MOEJIT_STATUS_OK;
}

moejit_status mj_forward_check(const struct moejit_plan *plan, const struct moejit_weights *weights,
                               const moejit_forward_args *given, moejit_forward_args *args, struct mj_error *error) {
    memset(args, 0, sizeof(*args));
    moejit_status status = mj_options_read("forward args", args, sizeof(*args), given, error);
    if (status != MOEJIT_STATUS_OK) return status;
    const moejit_layer *layer = &plan->problem.layer;
    moejit_dtype x_dtype = layer->input_format == MOEJIT_FORMAT_NVFP4 ? MOEJIT_DTYPE_NVFP4 : MOEJIT_DTYPE_BF16;
    status = check_numbers(plan, args, error);
    if (status == MOEJIT_STATUS_OK && weights != NULL) status = check_weights(plan, weights, error);
    if (status == MOEJIT_STATUS_OK)
        status = check_tensor("x", &args->x, x_dtype, args->num_tokens, layer->hidden, error);
    if (status == MOEJIT_STATUS_OK) {
        status = check_tensor("output", &args->output, layer->output_dtype, args->num_tokens, layer->hidden, error);
    }
    if (status != MOEJIT_STATUS_OK || args->num_tokens == 0) return status;
    struct buffer buffers[MAX_BUFFERS];
    int num = list_buffers(plan, args, buffers);
    for (int i = 0; i < num && status == MOEJIT_STATUS_OK; i++) status = check_buffer(&buffers[i], error);
    if (status == MOEJIT_STATUS_OK && args->check_pointers) status = check_pointers(plan, args, buffers, num, error);
    return status;
}
