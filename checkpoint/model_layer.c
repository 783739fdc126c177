// Layers of a model: their description, scales and experts.
#include <float.h>
#include <math.h>

#include "base/options.h"
#include "model.h"

struct mj_expert_bytes mj_expert_bytes(const moejit_layer *layer) {
    size_t hidden = (size_t)layer->hidden, intermediate = (size_t)layer->intermediate;
    size_t rows = layer->activation == MOEJIT_ACTIVATION_RELU2 ? intermediate : 2 * intermediate;
    return (struct mj_expert_bytes){rows * hidden / 2, rows * hidden / 16, hidden * intermediate / 2,
                                    hidden * intermediate / 16};
}

static moejit_status check_number(struct moejit_model *model, int layer_number) {
    for (int i = 0; i < model->num_moe_layers; i++) {
        if (model->moe_layers[i] == layer_number) return MOEJIT_STATUS_OK;
    }
    return mj_error_set(&model->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                        "layer %d has no experts; %d layers from %d to %d have", layer_number, model->num_moe_layers,
                        model->moe_layers[0], model->moe_layers[model->num_moe_layers - 1]);
}

static moejit_status check_range(struct moejit_model *model, const char *what, int first, int count, int total) {
    if (first >= 0 && count >= 1 && first <= total - count) return MOEJIT_STATUS_OK;
    return mj_error_set(&model->error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s are %d to %lld, but there are 0 to %d", what,
                        first, (long long)first + count - 1, total - 1);
}

moejit_status mj_model_expert(struct moejit_model *model, int layer_number, int expert, struct mj_expert *found) {
    struct mj_layer_source source = {&model->table, &model->config, model->prefix, layer_number};
    struct mj_error *error = &model->error;
    moejit_status status = MOEJIT_STATUS_OK;
    *found = (struct mj_expert){.gated = model->config.activation != MOEJIT_ACTIVATION_RELU2};
    if (found->gated) status = mj_expert_matrix_find(&source, expert, MJ_GATE, &found->gate, error);
    if (status == MOEJIT_STATUS_OK) status = mj_expert_matrix_find(&source, expert, MJ_UP, &found->up, error);
    if (status == MOEJIT_STATUS_OK) status = mj_expert_matrix_find(&source, expert, MJ_DOWN, &found->down, error);
    return status;
}

moejit_status mj_model_fold(struct moejit_model *model, const struct mj_expert *expert, int expert_number,
                            struct mj_fold *fold) {
    *fold = (struct mj_fold){.alpha = expert->up.global_scale};
    if (!expert->gated || mj_fold_find(&expert->gate, &expert->up, fold)) return MOEJIT_STATUS_OK;
    return mj_error_set(
        &model->error, MOEJIT_STATUS_INVALID_ARGUMENT,
        "expert %d has global scales gate = %.9g and up = %.9g, which one alpha cannot serve exactly; the "
        "layer needs split_gate_up_alpha = 1",
        expert_number, expert->gate.global_scale, expert->up.global_scale);
}

// Every expert of the layer is looked at; the local ones decide how many scales there are.
static moejit_status describe_experts(struct moejit_model *model, int layer_number, moejit_layer *layer) {
    double intermediate_scale = -1;
    int first = layer->local_expert_offset, end = first + layer->num_local_experts;
    for (int e = 0; e < model->config.num_experts; e++) {
        struct mj_expert expert;
        struct mj_fold fold;
        moejit_status status = mj_model_expert(model, layer_number, e, &expert);
        if (status != MOEJIT_STATUS_OK) return status;
        if (e < first || e >= end) continue;
        if (expert.gated && !layer->split_gate_up_alpha && !mj_fold_find(&expert.gate, &expert.up, &fold))
            layer->split_gate_up_alpha = 1;
        bool differs = intermediate_scale >= 0 && intermediate_scale != expert.down.input_scale;
        if (differs && layer->activation_format == MOEJIT_FORMAT_NVFP4) layer->per_expert_intermediate_scale = 1;
        intermediate_scale = expert.down.input_scale;
    }
    return MOEJIT_STATUS_OK;
}

void moejit_model_layer_options_init(moejit_model_layer_options *options) {
    if (options != NULL) *options = (moejit_model_layer_options){.struct_size = sizeof(*options)};
}

moejit_status moejit_model_layer(moejit_model *model, const moejit_model_layer_options *options, moejit_layer *layer) {
    if (model == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    if (layer == NULL) return mj_error_set(&model->error, MOEJIT_STATUS_INVALID_ARGUMENT, "layer is NULL");
    moejit_model_layer_options ours = {0};
    int experts = model->config.num_experts;
    moejit_status status = mj_options_read("options", &ours, sizeof(ours), options, &model->error);
    if (status == MOEJIT_STATUS_OK) status = check_number(model, ours.layer_number);
    if (ours.num_experts == 0 && ours.first_expert >= 0 && ours.first_expert < experts)
        ours.num_experts = experts - ours.first_expert;
    if (status == MOEJIT_STATUS_OK)
        status = check_range(model, "local experts", ours.first_expert, ours.num_experts, experts);
    if (status != MOEJIT_STATUS_OK) return status;
    mj_model_config_layer(&model->config, layer);
    layer->local_expert_offset = ours.first_expert;
    layer->num_local_experts = ours.num_experts;
    layer->activation_format = ours.activation_format;
    status = describe_experts(model, ours.layer_number, layer);
    if (status == MOEJIT_STATUS_OK &&
        moejit_layer_supported(layer, NULL, model->error.message, sizeof(model->error.message)) != MOEJIT_STATUS_OK)
        status = model->error.status = MOEJIT_STATUS_UNSUPPORTED;
    return status;
}

moejit_status mj_model_check(struct moejit_model *model, int layer_number, const moejit_layer *layer,
                             moejit_layer *ours) {
    moejit_layer_init(ours, MOEJIT_ACTIVATION_SWIGLU);
    moejit_status status = mj_options_read("layer", ours, sizeof(*ours), layer, &model->error);
    if (status == MOEJIT_STATUS_OK) status = check_number(model, layer_number);
    if (status != MOEJIT_STATUS_OK) return status;
    const struct {
        const char *name;
        int met, needs;
    } fields[] = {
        {"hidden", ours->hidden, model->config.hidden},
        {"intermediate", ours->intermediate, model->config.intermediate},
        {"num_experts", ours->num_experts, model->config.num_experts},
        {"gated", ours->activation != MOEJIT_ACTIVATION_RELU2, model->config.activation != MOEJIT_ACTIVATION_RELU2},
        {"gate_up_row_order", (int)ours->gate_up_row_order, MOEJIT_ROWS_GATE_UP},
        {"scale_layout", (int)ours->scale_layout, MOEJIT_SCALES_LINEAR}};
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].met == fields[i].needs) continue;
        return mj_error_set(&model->error, MOEJIT_STATUS_INVALID_ARGUMENT, "layer has %s = %d, the model's needs %d",
                            fields[i].name, fields[i].met, fields[i].needs);
    }
    return check_range(model, "the layer's local experts", ours->local_expert_offset, ours->num_local_experts,
                       ours->num_experts);
}

moejit_status mj_model_expert_read(struct moejit_model *model, int layer_number, const moejit_layer *layer, int expert,
                                   uint8_t *gate_up, uint8_t *gate_up_scale, uint8_t *down, uint8_t *down_scale) {
    struct mj_expert found;
    struct mj_fold fold = {0};
    moejit_status status = mj_model_expert(model, layer_number, expert, &found);
    if (status == MOEJIT_STATUS_OK && !layer->split_gate_up_alpha) status = mj_model_fold(model, &found, expert, &fold);
    size_t codes = found.up.rows * found.up.columns / 2, scales = found.up.rows * found.up.columns / 16;
    if (status == MOEJIT_STATUS_OK && found.gated) {
        status = mj_expert_matrix_read(&found.gate, gate_up, gate_up_scale, &model->error);
        if (fold.gate) mj_fold_apply(&fold, gate_up_scale, scales);
        gate_up += codes;
        gate_up_scale += scales;
    }
    if (status == MOEJIT_STATUS_OK) status = mj_expert_matrix_read(&found.up, gate_up, gate_up_scale, &model->error);
    if (status == MOEJIT_STATUS_OK && fold.up) mj_fold_apply(&fold, gate_up_scale, scales);
    if (status == MOEJIT_STATUS_OK) status = mj_expert_matrix_read(&found.down, down, down_scale, &model->error);
    return status;
}

static moejit_status check_pointers(struct moejit_model *model, const char *what, const void *const *pointers,
                                    int num) {
    for (int i = 0; i < num; i++) {
        if (pointers[i] == NULL)
            return mj_error_set(&model->error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has a NULL as its pointer %d of %d",
                                what, i + 1, num);
    }
    return MOEJIT_STATUS_OK;
}

moejit_status moejit_model_experts_read(moejit_model *model, int32_t layer_number, const moejit_layer *layer,
                                        int32_t first, int32_t count, const moejit_host_experts *experts) {
    if (model == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    moejit_layer ours;
    moejit_host_experts to = {0};
    moejit_status status = mj_options_read("experts", &to, sizeof(to), experts, &model->error);
    if (status == MOEJIT_STATUS_OK) status = mj_model_check(model, layer_number, layer, &ours);
    if (status == MOEJIT_STATUS_OK)
        status = check_range(model, "experts to read", first, count, ours.num_local_experts);
    const void *pointers[] = {to.gate_up, to.gate_up_scale, to.down, to.down_scale};
    if (status == MOEJIT_STATUS_OK) status = check_pointers(model, "experts", pointers, 4);
    if (status != MOEJIT_STATUS_OK) return status;
    struct mj_expert_bytes bytes = mj_expert_bytes(&ours);
    for (size_t i = 0; status == MOEJIT_STATUS_OK && i < (size_t)count; i++) {
        status = mj_model_expert_read(
            model, layer_number, &ours, ours.local_expert_offset + first + (int)i,
            (uint8_t *)to.gate_up + i * bytes.gate_up, (uint8_t *)to.gate_up_scale + i * bytes.gate_up_scale,
            (uint8_t *)to.down + i * bytes.down, (uint8_t *)to.down_scale + i * bytes.down_scale);
    }
    return status;
}

// The raw scale of x: the largest of all experts, so that ranks agree.
static moejit_status find_input_scale(struct moejit_model *model, int layer_number, double *scale) {
    *scale = 0;
    for (int e = 0; e < model->config.num_experts; e++) {
        struct mj_expert expert;
        moejit_status status = mj_model_expert(model, layer_number, e, &expert);
        if (status != MOEJIT_STATUS_OK) return status;
        bool missing = expert.up.input_scale == 0 || expert.down.input_scale == 0 ||
                       (expert.gated && expert.gate.input_scale == 0);
        if (missing) {
            return mj_error_set(
                &model->error, MOEJIT_STATUS_UNSUPPORTED,
                "layer %d expert %d has no input scale, which NVFP4 activations need; the checkpoint holds "
                "weights alone: use BF16 activations",
                layer_number, e);
        }
        *scale = fmax(*scale, fmax(expert.gate.input_scale, expert.up.input_scale));
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status fill_expert(struct moejit_model *model, int layer_number, const moejit_layer *layer, int local,
                                 double input_scale, const moejit_model_scales *to) {
    struct mj_expert expert;
    struct mj_fold fold;
    int number = layer->local_expert_offset + local;
    moejit_status status = mj_model_expert(model, layer_number, number, &expert);
    if (status != MOEJIT_STATUS_OK) return status;
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4;
    double down_scale = nvfp4 ? expert.down.input_scale : 1;
    if (layer->split_gate_up_alpha) {
        to->gate_up_alpha[2 * local] = (float)(expert.gate.global_scale * input_scale);
        to->gate_up_alpha[2 * local + 1] = (float)(expert.up.global_scale * input_scale);
    } else {
        status = mj_model_fold(model, &expert, number, &fold);
        to->gate_up_alpha[local] = (float)(fold.alpha * input_scale);
    }
    to->down_alpha[local] = (float)(expert.down.global_scale * down_scale);
    if (!nvfp4) return status;
    if (layer->per_expert_intermediate_scale || local == 0) to->intermediate_scale[local] = (float)(1 / down_scale);
    if (to->intermediate_scale[layer->per_expert_intermediate_scale ? local : 0] == (float)(1 / down_scale))
        return status;
    return mj_error_set(
        &model->error, MOEJIT_STATUS_INVALID_ARGUMENT,
        "expert %d has another scale of h than expert %d: the layer needs per_expert_intermediate_scale = 1", number,
        layer->local_expert_offset);
}

moejit_status moejit_model_scales_read(moejit_model *model, int32_t layer_number, const moejit_layer *layer,
                                       const moejit_model_scales *scales) {
    if (model == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    moejit_layer ours;
    moejit_model_scales to = {0};
    double input_scale = 1;
    moejit_status status = mj_options_read("scales", &to, sizeof(to), scales, &model->error);
    if (status == MOEJIT_STATUS_OK) status = mj_model_check(model, layer_number, layer, &ours);
    if (status != MOEJIT_STATUS_OK) return status;
    bool nvfp4 = ours.activation_format == MOEJIT_FORMAT_NVFP4;
    const void *pointers[] = {to.gate_up_alpha, to.down_alpha, to.input_scale, to.intermediate_scale};
    status = check_pointers(model, "scales", pointers, nvfp4 ? 4 : 2);
    if (status == MOEJIT_STATUS_OK && nvfp4) {
        status = find_input_scale(model, layer_number, &input_scale);
        to.input_scale[0] = (float)(1 / input_scale);
    }
    for (int i = 0; status == MOEJIT_STATUS_OK && i < ours.num_local_experts; i++)
        status = fill_expert(model, layer_number, &ours, i, input_scale, &to);
    return status;
}
