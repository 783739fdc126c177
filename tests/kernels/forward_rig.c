#include "forward_rig.h"

#include <stdlib.h>
#include <string.h>

moejit_layer rig_layer(void) {
    moejit_layer layer;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 64;
    layer.intermediate = 32;
    layer.num_experts = layer.num_local_experts = 4;
    layer.top_k = 2;
    layer.output_dtype = MOEJIT_DTYPE_F32;
    return layer;
}

static void *upload(struct rig *rig, const void *data, size_t bytes) {
    void *memory = gpu_upload(rig->gpu, data, bytes);
    if (memory != NULL) rig->memory[rig->num_memory++] = memory;
    return memory;
}

// What NVFP4 activations ask for beside the rest.
static bool upload_nvfp4(struct rig *rig) {
    const struct layer_data *data = &rig->data;
    const moejit_layer *layer = &data->problem.layer;
    moejit_forward_args *args = &rig->args;
    if (layer->activation_format != MOEJIT_FORMAT_NVFP4) return true;
    args->intermediate_scale = upload(rig, data->intermediate_scale, data->intermediate_scale_count * 4);
    if (layer->input_format == MOEJIT_FORMAT_NVFP4) {
        args->x.dtype = MOEJIT_DTYPE_NVFP4;
        args->x_scale = upload(rig, data->x_scale, data->x_scale_bytes);
        return args->intermediate_scale != NULL && args->x_scale != NULL;
    }
    args->input_scale = upload(rig, &data->input_scale, 4);
    return args->intermediate_scale != NULL && args->input_scale != NULL;
}

static bool upload_all(struct rig *rig) {
    const struct layer_data *data = &rig->data;
    const moejit_layer *layer = &data->problem.layer;
    size_t pairs = (size_t)rig->data.num_tokens * (size_t)layer->top_k, experts = (size_t)layer->num_local_experts;
    int64_t hidden = layer->hidden;
    moejit_forward_args *args = &rig->args;
    rig->checkpoint = (moejit_checkpoint){sizeof(rig->checkpoint), upload(rig, data->gate_up, data->gate_up_bytes),
                                          upload(rig, data->gate_up_scale, data->gate_up_scale_bytes),
                                          upload(rig, data->down, data->down_bytes),
                                          upload(rig, data->down_scale, data->down_scale_bytes)};
    moejit_forward_args_init(args);
    args->num_tokens = rig->data.num_tokens;
    args->x = (moejit_tensor){upload(rig, data->x, data->x_bytes), MOEJIT_DTYPE_BF16, rig->data.num_tokens, hidden, 0};
    args->expert_ids = upload(rig, data->expert_ids, pairs * 4);
    args->router_weights = upload(rig, data->router_weights, pairs * 4);
    args->gate_up_alpha = upload(rig, data->gate_up_alpha, data->gate_up_alpha_count * 4);
    args->down_alpha = upload(rig, data->down_alpha, experts * 4);
    args->output = (moejit_tensor){upload(rig, NULL, (size_t)rig->data.num_tokens * (size_t)hidden * 4),
                                   layer->output_dtype, rig->data.num_tokens, hidden, 0};
    return rig->num_memory == 10 && upload_nvfp4(rig);
}

static moejit_status create_weights(struct rig *rig, const moejit_layer *layer, const void *packed) {
    moejit_status status = moejit_weights_bytes(rig->context, layer, &rig->packed_bytes);
    if (status != MOEJIT_STATUS_OK) return status;
    rig->packed = upload(rig, packed, rig->packed_bytes);
    if (rig->packed == NULL) return MOEJIT_STATUS_INTERNAL;
    status = moejit_weights_create(rig->context, layer, rig->packed, rig->packed_bytes, &rig->weights);
    if (status != MOEJIT_STATUS_OK || packed != NULL) return status;
    return moejit_weights_pack(rig->weights, &rig->checkpoint, 0, layer->num_local_experts, rig->stream);
}

moejit_status rig_create(struct rig *rig, struct gpu *gpu, const moejit_layer *layer, const struct layer_data *data) {
    moejit_plan_options plan_options;
    moejit_plan_options_init(&plan_options);
    return rig_create_planned(rig, gpu, layer, data, &plan_options, NULL);
}

moejit_status rig_create_planned(struct rig *rig, struct gpu *gpu, const moejit_layer *layer,
                                 const struct layer_data *data, const moejit_plan_options *wanted, const void *packed) {
    moejit_plan_options plan_options = *wanted;
    memset(rig, 0, sizeof(*rig));
    rig->gpu = gpu;
    rig->data = *data;
    moejit_context_options options;
    moejit_context_options_init(&options);
    options.cuda_library = gpu->path;
    moejit_status status = moejit_context_create(&options, &rig->context, NULL, 0);
    if (status != MOEJIT_STATUS_OK) return status;
    if (!upload_all(rig) || gpu->cuStreamCreate(&rig->stream, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS)
        return MOEJIT_STATUS_INTERNAL;
    status = create_weights(rig, layer, packed);
    plan_options.max_num_tokens = rig->data.num_tokens;
    if (status == MOEJIT_STATUS_OK) status = moejit_plan_create(rig->context, layer, &plan_options, &rig->plan);
    moejit_executor_options executor_options;
    moejit_executor_options_init(&executor_options);
    if (status == MOEJIT_STATUS_OK) status = moejit_executor_create(rig->context, &executor_options, &rig->executor);
    if (status != MOEJIT_STATUS_OK) return status;
    rig->args.workspace_bytes = moejit_plan_workspace_bytes(rig->plan);
    rig->args.workspace = upload(rig, NULL, rig->args.workspace_bytes);
    return rig->args.workspace != NULL ? MOEJIT_STATUS_OK : MOEJIT_STATUS_INTERNAL;
}

moejit_status rig_change_executor(struct rig *rig, const moejit_executor_options *options) {
    moejit_executor_destroy(rig->executor);
    return moejit_executor_create(rig->context, options, &rig->executor);
}

void rig_destroy(struct rig *rig) {
    moejit_executor_destroy(rig->executor);
    moejit_plan_destroy(rig->plan);
    moejit_weights_destroy(rig->weights);
    moejit_context_destroy(rig->context);
    if (rig->stream != NULL) rig->gpu->cuStreamDestroy(rig->stream);
    for (int i = 0; i < rig->num_memory; i++) gpu_free(rig->gpu, rig->memory[i]);
    layer_data_destroy(&rig->data);
    memset(rig, 0, sizeof(*rig));
}

moejit_status rig_forward(struct rig *rig) {
    moejit_status status = moejit_forward(rig->plan, rig->weights, &rig->args, rig->executor, rig->stream);
    bool waited = rig->gpu->cuStreamSynchronize(rig->stream) == CUDA_SUCCESS;
    return status == MOEJIT_STATUS_OK && !waited ? MOEJIT_STATUS_INTERNAL : status;
}

bool rig_output(struct rig *rig, float *output) {
    size_t bytes = (size_t)rig->data.num_tokens * (size_t)rig->data.problem.layer.hidden * sizeof(float);
    return gpu_download(rig->gpu, output, rig->args.output.data, bytes);
}

bool rig_fill_output(struct rig *rig, float value) {
    size_t count = (size_t)rig->data.num_tokens * (size_t)rig->data.problem.layer.hidden;
    float *values = malloc(count * sizeof(float));
    if (values == NULL) return false;
    for (size_t i = 0; i < count; i++) values[i] = value;
    bool good =
        rig->gpu->cuMemcpyHtoD((CUdeviceptr)rig->args.output.data, values, count * sizeof(float)) == CUDA_SUCCESS &&
        rig->gpu->cuCtxSynchronize() == CUDA_SUCCESS;
    free(values);
    return good;
}
