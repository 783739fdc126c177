#include "layer_state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe/nvfp4.h"

bool layer_state_fail(struct layer_state *state, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(state->result->message, sizeof(state->result->message), format, arguments);
    va_end(arguments);
    state->result->good = false;
    return false;
}

bool layer_state_fail_gpu(struct layer_state *state) {
    return layer_state_fail(state, "%s", state->gpu->error);
}

static bool fail_context(struct layer_state *state, const char *tried) {
    return layer_state_fail(state, "%s: %s", tried, moejit_context_error(state->context));
}

static bool upload(struct layer_state *state, enum device_tensor which, const void *data, size_t bytes) {
    state->device[which] = gpu_upload(state->gpu, data, bytes);
    return state->device[which] != NULL || layer_state_fail_gpu(state);
}

// x with the case's row stride; what lies between rows is NaN.
static bool upload_x(struct layer_state *state) {
    const moejit_layer *layer = &state->data->problem.layer;
    size_t rows = (size_t)state->data->num_tokens, hidden = (size_t)layer->hidden;
    size_t stride = hidden + (size_t)state->what->extra_stride;
    if (layer->input_format == MOEJIT_FORMAT_NVFP4) return upload(state, X, state->data->x, state->data->x_bytes);
    uint16_t *padded = malloc(rows * stride * 2 + 2);
    if (padded == NULL) return layer_state_fail(state, "no memory for x");
    memset(padded, 0xff, rows * stride * 2 + 2);
    for (size_t r = 0; r < rows; r++)
        memcpy(padded + r * stride, (const uint16_t *)state->data->x + r * hidden, hidden * 2);
    bool good = upload(state, X, padded, rows * stride * 2);
    free(padded);
    return good;
}

static bool upload_inputs(struct layer_state *state) {
    const struct layer_data *data = state->data;
    const moejit_layer *layer = &data->problem.layer;
    size_t pairs = (size_t)data->num_tokens * (size_t)layer->top_k, experts = (size_t)layer->num_local_experts;
    int32_t live = state->what->live_tokens;
    return upload_x(state) && upload(state, X_SCALE, data->x_scale, data->x_scale_bytes) &&
           upload(state, GATE_UP_ALPHA, data->gate_up_alpha, data->gate_up_alpha_count * 4) &&
           upload(state, DOWN_ALPHA, data->down_alpha, experts * 4) &&
           upload(state, GATE_UP_BIAS, data->gate_up_bias, data->gate_up_bias_bytes) &&
           upload(state, DOWN_BIAS, data->down_bias, data->down_bias_bytes) &&
           upload(state, EXPERT_IDS, data->expert_ids, pairs * 4) &&
           upload(state, ROUTER_WEIGHTS, data->router_weights, pairs * 4) &&
           upload(state, INPUT_SCALE, &data->input_scale, 4) &&
           upload(state, INTERMEDIATE_SCALE, data->intermediate_scale, data->intermediate_scale_count * 4) &&
           upload(state, LIVE_TOKENS, &live, sizeof(live));
}

static bool upload_and_pack(struct layer_state *state) {
    const struct layer_data *data = state->data;
    if (!upload(state, GATE_UP, data->gate_up, data->gate_up_bytes) ||
        !upload(state, GATE_UP_SCALE, data->gate_up_scale, data->gate_up_scale_bytes) ||
        !upload(state, DOWN, data->down, data->down_bytes) ||
        !upload(state, DOWN_SCALE, data->down_scale, data->down_scale_bytes)) {
        return false;
    }
    moejit_checkpoint checkpoint = {sizeof(checkpoint), state->device[GATE_UP], state->device[GATE_UP_SCALE],
                                    state->device[DOWN], state->device[DOWN_SCALE]};
    if (moejit_weights_pack(state->weights, &checkpoint, 0, state->what->layer.num_local_experts, state->stream) !=
        MOEJIT_STATUS_OK) {
        return fail_context(state, "weights_pack");
    }
    for (int i = GATE_UP; i <= DOWN_SCALE; i++) { // packed out of place: the checkpoint's copy is done with
        gpu_free(state->gpu, state->device[i]);
        state->device[i] = NULL;
    }
    return true;
}

static bool pack_and_keep(struct layer_state *state, uint64_t key, size_t bytes) {
    if (!upload_and_pack(state)) return false;
    void *memory = malloc(bytes);
    if (memory == NULL) return layer_state_fail(state, "no memory for packed weights");
    if (!gpu_download(state->gpu, memory, state->device[PACKED], bytes)) {
        free(memory);
        return layer_state_fail_gpu(state);
    }
    layer_packs_keep(state->what->packs, key, memory, bytes);
    return true;
}

static bool make_weights(struct layer_state *state) {
    size_t bytes = 0;
    const struct layer_case *what = state->what;
    uint64_t key = what->packs != NULL ? layer_packs_key(state->data) : 0;
    char why[1024];
    if (moejit_weights_bytes(state->context, &what->layer, &bytes) != MOEJIT_STATUS_OK)
        return fail_context(state, "weights_bytes");
    const void *packed_before = what->packs != NULL ? layer_packs_find(what->packs, key, bytes) : NULL;
    if (!upload(state, PACKED, packed_before, bytes)) return false;
    if (moejit_weights_create(state->context, &what->layer, state->device[PACKED], bytes, &state->weights) !=
        MOEJIT_STATUS_OK) {
        return fail_context(state, "weights_create");
    }
    if (packed_before != NULL) return true;
    if (what->packs != NULL) return pack_and_keep(state, key, bytes);
    if (what->pack == NULL) return upload_and_pack(state);
    bool packed = what->pack(what->pack_user, state->gpu, state->weights, state->stream, why, sizeof(why));
    return packed || layer_state_fail(state, "%s", why);
}

static bool make_objects(struct layer_state *state) {
    const struct layer_case *what = state->what;
    if (!gpu_ok(state->gpu, state->gpu->cuStreamCreate(&state->stream, CU_STREAM_NON_BLOCKING), "making a stream")) {
        return layer_state_fail_gpu(state);
    }
    if (!make_weights(state)) return false;
    moejit_plan_options options;
    moejit_plan_options_init(&options);
    options.max_num_tokens =
        what->max_num_tokens > 0 ? what->max_num_tokens : (what->num_tokens > 0 ? what->num_tokens : 1);
    options.tile = what->tile;
    options.family = what->family;
    options.partials_cap_bytes = what->partials_cap_bytes;
    if (moejit_plan_create(state->context, &what->layer, &options, &state->plan) != MOEJIT_STATUS_OK) {
        return fail_context(state, "plan_create");
    }
    state->result->num_kernels = moejit_plan_num_kernels(state->plan);
    moejit_executor_options executor;
    moejit_executor_options_init(&executor);
    executor.single_stream = what->single_stream;
    executor.serial_launches = what->serial_launches;
    executor.separate_route = what->separate_route;
    executor.max_tile_ctas = what->max_tile_ctas;
    if (moejit_executor_create(state->context, &executor, &state->executor) != MOEJIT_STATUS_OK) {
        return fail_context(state, "executor_create");
    }
    return upload(state, WORKSPACE, NULL, moejit_plan_workspace_bytes(state->plan));
}

// What the output holds before: NaN everywhere, or small numbers in the rows that are added to, or zeros.
static bool make_output(struct layer_state *state) {
    const struct layer_case *what = state->what;
    state->element = mj_dtype_bytes(what->layer.output_dtype);
    state->output_stride = (size_t)what->layer.hidden + (size_t)what->extra_stride;
    state->output_rows = (size_t)what->num_tokens + (size_t)what->extra_rows;
    state->output_bytes = state->output_rows * state->output_stride * state->element;
    state->before = malloc(state->output_bytes + 1);
    state->after = malloc(state->output_bytes + 1);
    if (state->before == NULL || state->after == NULL) return layer_state_fail(state, "no memory for the output");
    memset(state->before, 0xff, state->output_bytes);
    for (size_t r = 0; what->output_mode != MOEJIT_OUTPUT_OVERWRITE && r < (size_t)what->num_tokens; r++) {
        for (size_t c = 0; c < (size_t)what->layer.hidden; c++) {
            unsigned char *at = state->before + (r * state->output_stride + c) * state->element;
            double value = what->output_mode == MOEJIT_OUTPUT_ASSUME_ZERO ? 0 : 0.25 * (double)((r + c) % 9) - 1;
            float single = (float)value;
            uint16_t half = what->layer.output_dtype == MOEJIT_DTYPE_BF16 ? mj_bf16_round(value) : mj_f16_round(value);
            memcpy(at, state->element == 4 ? (void *)&single : (void *)&half, state->element);
        }
    }
    return upload(state, OUTPUT, state->before, state->output_bytes);
}

static void fill_args(struct layer_state *state) {
    const struct layer_case *what = state->what;
    const moejit_layer *layer = &what->layer;
    moejit_forward_args *args = &state->args;
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4, nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    void **device = state->device;
    moejit_forward_args_init(args);
    args->num_tokens = what->num_tokens;
    args->x = (moejit_tensor){device[X], nvfp4_x ? MOEJIT_DTYPE_NVFP4 : MOEJIT_DTYPE_BF16, what->num_tokens,
                              layer->hidden, nvfp4_x ? 0 : layer->hidden + what->extra_stride};
    args->x_scale = nvfp4_x ? device[X_SCALE] : NULL;
    args->expert_ids = device[EXPERT_IDS];
    args->router_weights = device[ROUTER_WEIGHTS];
    args->live_tokens = what->live_tokens != LAYER_ALL_LIVE ? device[LIVE_TOKENS] : NULL;
    args->gate_up_alpha = device[GATE_UP_ALPHA];
    args->down_alpha = device[DOWN_ALPHA];
    args->gate_up_bias = layer->gate_up_bias_dtype != MOEJIT_DTYPE_NONE ? device[GATE_UP_BIAS] : NULL;
    args->down_bias = layer->down_bias_dtype != MOEJIT_DTYPE_NONE ? device[DOWN_BIAS] : NULL;
    args->input_scale = nvfp4 && !nvfp4_x ? device[INPUT_SCALE] : NULL;
    args->intermediate_scale = nvfp4 ? device[INTERMEDIATE_SCALE] : NULL;
    args->output = (moejit_tensor){device[OUTPUT], layer->output_dtype, (int64_t)state->output_rows, layer->hidden,
                                   (int64_t)state->output_stride};
    args->output_mode = what->output_mode;
    args->workspace = device[WORKSPACE];
    args->workspace_bytes = moejit_plan_workspace_bytes(state->plan);
    args->check_pointers = 1;
}

bool layer_state_create(struct layer_state *state) {
    if (!upload_inputs(state) || !make_objects(state) || !make_output(state)) return false;
    fill_args(state);
    return true;
}

void layer_state_destroy(struct layer_state *state) {
    moejit_executor_destroy(state->executor);
    moejit_plan_destroy(state->plan);
    moejit_weights_destroy(state->weights);
    for (int i = 0; i < NUM_TENSORS; i++) gpu_free(state->gpu, state->device[i]);
    if (state->stream != NULL) state->gpu->cuStreamDestroy(state->stream);
    free(state->before);
    free(state->after);
}
