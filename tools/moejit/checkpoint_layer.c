#include "checkpoint_layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STAGING_BYTES ((size_t)64 << 20) // on either side; one expert where that is larger

static bool refuse(const char *command, const char *sentence) {
    command_usage(command, "%s", sentence);
    return false;
}

static bool open_model(const struct layer_options *options, const char *command, moejit_model **model) {
    char message[2048];
    if (moejit_model_open(options->checkpoint, model, message, sizeof(message)) == MOEJIT_STATUS_OK) return true;
    return refuse(command, message);
}

static bool describe(const struct layer_options *options, const char *command, moejit_model *model, int layer_number,
                     moejit_layer *layer) {
    moejit_model_layer_options wanted;
    moejit_model_layer_options_init(&wanted);
    wanted.layer_number = layer_number;
    wanted.first_expert = options->first_local;
    wanted.num_experts = options->num_local;
    if (options->activation_format >= 0) wanted.activation_format = (moejit_format)options->activation_format;
    if (moejit_model_layer(model, &wanted, layer) != MOEJIT_STATUS_OK)
        return refuse(command, moejit_model_error(model));
    layer_options_apply(options, layer);
    return true;
}

bool checkpoint_layer_open(const struct layer_options *options, const char *command, struct checkpoint_layer *opened) {
    memset(opened, 0, sizeof(*opened));
    if (!layer_options_suit_checkpoint(options, command) || !open_model(options, command, &opened->model)) return false;
    opened->layer_number =
        options->layer_number >= 0 ? options->layer_number : moejit_model_moe_layer(opened->model, 0);
    if (describe(options, command, opened->model, opened->layer_number, &opened->layer)) return true;
    checkpoint_layer_close(opened);
    return false;
}

void checkpoint_layer_close(struct checkpoint_layer *opened) {
    moejit_model_close(opened->model);
    opened->model = NULL;
}

void checkpoint_layer_title(const struct checkpoint_layer *opened, char *title, size_t bytes) {
    moejit_model_info info = {.struct_size = sizeof(info)};
    const moejit_layer *layer = &opened->layer;
    moejit_model_info_read(opened->model, &info);
    snprintf(title, bytes, "%s layer %d, %s, experts %d to %d of %d%s", info.family, opened->layer_number, info.format,
             layer->local_expert_offset, layer->local_expert_offset + layer->num_local_experts - 1, layer->num_experts,
             layer->split_gate_up_alpha ? ", an alpha each for gate and up" : "");
}

// One at a time, for the bar's sake.
static moejit_status read_experts(const struct checkpoint_layer *opened, const struct layer_data *data) {
    const moejit_layer *layer = &opened->layer;
    int total = layer->num_local_experts;
    moejit_status status = MOEJIT_STATUS_OK;
    for (int i = 0; status == MOEJIT_STATUS_OK && i < total; i++) {
        size_t idx = (size_t)i, num = (size_t)total;
        moejit_host_experts expert = {sizeof(expert), data->gate_up + idx * (data->gate_up_bytes / num),
                                      data->gate_up_scale + idx * (data->gate_up_scale_bytes / num),
                                      data->down + idx * (data->down_bytes / num),
                                      data->down_scale + idx * (data->down_scale_bytes / num)};
        status = moejit_model_experts_read(opened->model, opened->layer_number, layer, i, 1, &expert);
        if (opened->progress) command_progress("reading for the reference", i + 1, total, "experts");
    }
    return status;
}

bool checkpoint_layer_read(const struct checkpoint_layer *opened, struct layer_data *data, char *why,
                           size_t why_bytes) {
    moejit_model_scales scales = {sizeof(scales), data->gate_up_alpha, data->down_alpha, &data->input_scale,
                                  data->intermediate_scale};
    moejit_status status = moejit_model_scales_read(opened->model, opened->layer_number, &opened->layer, &scales);
    if (status == MOEJIT_STATUS_OK) status = read_experts(opened, data);
    if (status == MOEJIT_STATUS_OK) return true;
    snprintf(why, why_bytes, "%s", moejit_model_error(opened->model));
    return false;
}

static int copy(void *user, void *device, const void *host, size_t bytes, struct CUstream_st *stream) {
    const struct gpu *gpu = user;
    return (int)gpu->cuMemcpyHtoDAsync((CUdeviceptr)device, host, bytes, stream);
}

bool checkpoint_layer_pack(void *user, struct gpu *gpu, moejit_weights *weights, CUstream stream, char *why,
                           size_t why_bytes) {
    const struct checkpoint_layer *opened = user;
    size_t one = moejit_model_staging_bytes(&opened->layer);
    moejit_model_upload upload;
    moejit_model_upload_init(&upload);
    upload.staging_bytes = one > STAGING_BYTES ? one : STAGING_BYTES / one * one;
    upload.staging_bytes = upload.staging_bytes < one * (size_t)opened->layer.num_local_experts
                               ? upload.staging_bytes
                               : one * (size_t)opened->layer.num_local_experts;
    upload.host_staging = malloc(upload.staging_bytes);
    upload.device_staging = gpu_upload(gpu, NULL, upload.staging_bytes);
    upload.copy = copy;
    upload.copy_user = gpu;
    upload.progress = opened->progress ? command_progress : NULL;
    upload.progress_user = "packing";
    bool good = upload.host_staging != NULL && upload.device_staging != NULL;
    if (!good) {
        snprintf(why, why_bytes, "no memory for staging of %zu bytes", upload.staging_bytes);
    } else if (moejit_model_pack(opened->model, opened->layer_number, &opened->layer, weights, &upload, stream) !=
               MOEJIT_STATUS_OK) {
        snprintf(why, why_bytes, "%s", moejit_model_error(opened->model));
        good = false;
    }
    gpu_free(gpu, upload.device_staging);
    free(upload.host_staging);
    return good;
}

static bool is_listed(const moejit_layer *layers, int num, const moejit_layer *layer) {
    for (int i = 0; i < num; i++) {
        if (memcmp(&layers[i], layer, sizeof(*layer)) == 0) return true;
    }
    return false;
}

bool checkpoint_layers_list(const struct layer_options *options, const char *command, moejit_layer **layers, int *num) {
    moejit_model *model;
    moejit_model_info info = {.struct_size = sizeof(info)};
    *num = 0;
    *layers = NULL;
    if (!layer_options_suit_checkpoint(options, command) || !open_model(options, command, &model)) return false;
    moejit_model_info_read(model, &info);
    *layers = calloc((size_t)info.num_moe_layers, sizeof(**layers));
    bool good = *layers != NULL || refuse(command, "no memory for layers");
    for (int i = 0; good && i < info.num_moe_layers; i++) {
        moejit_layer layer;
        int number = moejit_model_moe_layer(model, i);
        if (options->layer_number >= 0 && options->layer_number != number) continue;
        good = describe(options, command, model, number, &layer);
        if (good && !is_listed(*layers, *num, &layer)) (*layers)[(*num)++] = layer;
    }
    if (good && *num == 0) {
        command_usage(command, "--layer is %d, which has no experts in %s", options->layer_number, options->checkpoint);
        good = false;
    }
    moejit_model_close(model);
    if (!good) {
        free(*layers);
        *layers = NULL;
    }
    return good;
}
