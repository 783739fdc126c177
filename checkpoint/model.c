#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "base/options.h"

#define MAX_LAYERS 4096 // layer numbers beyond are no model's

// The layer of a tensor's name ("PREFIXlayers.3.BLOCK.experts."), or -1.
static int layer_of(const char *name, const char *prefix, const char *block) {
    static const char layers[] = "layers.", experts[] = ".experts.";
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0 || strncmp(name + length, layers, sizeof(layers) - 1) != 0) return -1;
    const char *at = name + length + sizeof(layers) - 1;
    char *end;
    if (*at < '0' || *at > '9') return -1;
    long number = strtol(at, &end, 10);
    if (number >= MAX_LAYERS || *end != '.') return -1;
    length = strlen(block);
    bool ours = strncmp(end + 1, block, length) == 0 && strncmp(end + 1 + length, experts, sizeof(experts) - 1) == 0;
    return ours ? (int)number : -1;
}

// The number of layers with experts under a prefix, each flagged.
static int count_layers(const struct moejit_model *model, const char *prefix, bool found[MAX_LAYERS]) {
    int count = 0;
    memset(found, 0, MAX_LAYERS * sizeof(found[0]));
    for (size_t i = 0; i < model->table.num_tensors; i++) {
        int layer = layer_of(model->table.tensors[i].name, prefix, model->config.family->block);
        if (layer < 0 || found[layer]) continue;
        found[layer] = true;
        count++;
    }
    return count;
}

static moejit_status find_layers(struct moejit_model *model, const char *folder) {
    bool found[MAX_LAYERS];
    int count = 0;
    for (int i = 0; count == 0 && mj_layer_prefixes[i] != NULL; i++) {
        model->prefix = mj_layer_prefixes[i];
        count = count_layers(model, model->prefix, found);
    }
    if (count == 0) {
        return mj_error_set(&model->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "%s has no experts: no tensor is called model.layers.N.%s.experts., as %s calls them",
                            folder, model->config.family->block, model->config.family->title);
    }
    model->moe_layers = calloc((size_t)count, sizeof(*model->moe_layers));
    if (model->moe_layers == NULL)
        return mj_error_set(&model->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for a model");
    for (int layer = 0; layer < MAX_LAYERS; layer++) {
        if (found[layer]) model->moe_layers[model->num_moe_layers++] = layer;
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status read_config(struct moejit_model *model, const char *folder) {
    static const char quant_config[] = "hf_quant_config.json";
    json_t *root;
    moejit_status status = mj_json_read(folder, "config.json", &root, &model->error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = mj_model_config_parse(root, "config.json", &model->config, &model->error);
    if (status == MOEJIT_STATUS_OK) status = mj_quantization_check(root, "config.json", &model->error);
    json_decref(root);
    if (status != MOEJIT_STATUS_OK || !mj_file_exists(folder, quant_config)) return status;
    status = mj_json_read(folder, quant_config, &root, &model->error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = mj_quantization_check(root, quant_config, &model->error);
    json_decref(root);
    return status;
}

static moejit_status open_folder(struct moejit_model *model, const char *folder) {
    moejit_status status = read_config(model, folder);
    if (status == MOEJIT_STATUS_OK) status = mj_tensor_table_open(folder, &model->table, &model->error);
    if (status == MOEJIT_STATUS_OK) status = find_layers(model, folder);
    if (status != MOEJIT_STATUS_OK) return status;
    struct mj_expert expert;
    bool known = mj_model_expert(model, model->moe_layers[0], 0, &expert) == MOEJIT_STATUS_OK;
    model->format = known ? expert.down.format : ""; // why not is told by moejit_model_layer
    mj_error_clear(&model->error);
    return MOEJIT_STATUS_OK;
}

moejit_status moejit_model_open(const char *folder, moejit_model **model, char *message, size_t message_bytes) {
    struct mj_error error = {0};
    if (model != NULL) *model = NULL;
    moejit_status status = MOEJIT_STATUS_INVALID_ARGUMENT;
    struct moejit_model *opened = NULL;
    if (folder == NULL || model == NULL) {
        mj_error_set(&error, status, "model_open has %s = NULL", folder == NULL ? "folder" : "model");
    } else if ((opened = calloc(1, sizeof(*opened))) == NULL) {
        status = mj_error_set(&error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for a model");
    } else {
        status = open_folder(opened, folder);
        error = opened->error;
    }
    if (status == MOEJIT_STATUS_OK) {
        *model = opened;
    } else {
        moejit_model_close(opened);
    }
    mj_error_copy(&error, message, message_bytes);
    return status;
}

void moejit_model_close(moejit_model *model) {
    if (model == NULL) return;
    mj_tensor_table_close(&model->table);
    free(model->moe_layers);
    free(model);
}

const char *moejit_model_error(const moejit_model *model) {
    return model != NULL ? model->error.message : "";
}

void moejit_model_info_read(const moejit_model *model, moejit_model_info *info) {
    if (model == NULL || info == NULL) return;
    moejit_model_info full = {
        .struct_size = info->struct_size,
        .family = model->config.family->title,
        .model_type = model->config.model_type,
        .format = model->format,
        .num_moe_layers = model->num_moe_layers,
        .num_files = (int32_t)model->table.num_files,
        .num_tensors = model->table.num_tensors,
    };
    for (size_t i = 0; i < model->table.num_files; i++) full.file_bytes += model->table.files[i].bytes;
    memcpy(info, &full, info->struct_size < sizeof(full) ? info->struct_size : sizeof(full));
}

int32_t moejit_model_moe_layer(const moejit_model *model, int32_t idx) {
    return model != NULL && 0 <= idx && idx < model->num_moe_layers ? model->moe_layers[idx] : -1;
}
