#include "model_config.h"

#include <stdio.h>
#include <string.h>

#define MAX_SIZE 65536 // of H and I, as in moejit_layer

static moejit_status refuse(struct mj_error *error, const char *where, const char *name, const char *met,
                            const char *needs) {
    return mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED, "%s has %s = \"%.60s\", needs %s", where, name,
                        met != NULL && mj_json_printable(met) ? met : "", needs);
}

// The first of some names (NULL ends) that is there and not null.
static moejit_status read_size(const json_t *root, const char *where, const char *const *names, int *size,
                               struct mj_error *error) {
    for (int i = 0; names[i] != NULL; i++) {
        const json_t *value = json_object_get(root, names[i]);
        if (value == NULL || json_is_null(value)) continue;
        long long number = json_is_integer(value) ? json_integer_value(value) : -1;
        if (1 <= number && number <= MAX_SIZE) {
            *size = (int)number;
            return MOEJIT_STATUS_OK;
        }
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has a %s that is no whole number from 1 to %d",
                            where, names[i], MAX_SIZE);
    }
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has no %s%s", where, names[0],
                        names[1] != NULL ? ", nor another of its names" : "");
}

static moejit_status read_activation(const json_t *root, const char *where, moejit_activation *activation,
                                     struct mj_error *error) {
    static const struct {
        const char *name;
        moejit_activation activation;
    } activations[] = {{"silu", MOEJIT_ACTIVATION_SWIGLU},
                       {"swish", MOEJIT_ACTIVATION_SWIGLU},
                       {"gelu_pytorch_tanh", MOEJIT_ACTIVATION_GEGLU},
                       {"relu2", MOEJIT_ACTIVATION_RELU2}};
    const char *name = mj_json_string(root, "mlp_hidden_act"); // Nemotron's
    if (name == NULL) name = mj_json_string(root, "hidden_act");
    for (size_t i = 0; name != NULL && i < sizeof(activations) / sizeof(activations[0]); i++) {
        if (strcmp(activations[i].name, name) != 0) continue;
        *activation = activations[i].activation;
        return MOEJIT_STATUS_OK;
    }
    return refuse(error, where, "hidden_act", name, "silu, gelu_pytorch_tanh or relu2");
}

static moejit_status find_family(const json_t *root, const char *where, struct mj_model_config *config,
                                 struct mj_error *error) {
    const char *type = mj_json_string(root, "model_type");
    config->family = type != NULL ? mj_family_find(type) : NULL;
    if (config->family != NULL) {
        snprintf(config->model_type, sizeof(config->model_type), "%s", type);
        return MOEJIT_STATUS_OK;
    }
    char known[512] = "one of";
    for (size_t i = 0; i < mj_num_families; i++) {
        for (int j = 0; mj_families[i].model_types[j] != NULL; j++) {
            size_t length = strlen(known);
            snprintf(known + length, sizeof(known) - length, " %s", mj_families[i].model_types[j]);
        }
    }
    return refuse(error, where, "model_type", type, known);
}

moejit_status mj_model_config_parse(const json_t *root, const char *where, struct mj_model_config *config,
                                    struct mj_error *error) {
    static const char *const hidden[] = {"hidden_size", NULL};
    static const char *const intermediate[] = {"moe_intermediate_size", "intermediate_size", NULL};
    static const char *const experts[] = {"n_routed_experts", "num_experts", "num_local_experts", NULL};
    static const char *const top_k[] = {"num_experts_per_tok", NULL};
    memset(config, 0, sizeof(*config));
    // Models with eyes keep the language model's numbers one level down.
    const json_t *text = json_object_get(root, "text_config");
    if (json_object_get(root, "hidden_size") == NULL && json_is_object(text)) root = text;
    const json_t *latent = json_object_get(root, "moe_latent_size");
    moejit_status status = find_family(root, where, config, error);
    if (status == MOEJIT_STATUS_OK) status = read_size(root, where, hidden, &config->hidden, error);
    if (status == MOEJIT_STATUS_OK) status = read_size(root, where, intermediate, &config->intermediate, error);
    if (status == MOEJIT_STATUS_OK) status = read_size(root, where, experts, &config->num_experts, error);
    if (status == MOEJIT_STATUS_OK) status = read_size(root, where, top_k, &config->top_k, error);
    if (status == MOEJIT_STATUS_OK) status = read_activation(root, where, &config->activation, error);
    if (status == MOEJIT_STATUS_OK && latent != NULL && !json_is_null(latent)) {
        status = mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED,
                              "%s has moe_latent_size: experts on a projection of x are not offered", where);
    }
    return status;
}

static moejit_status check_group(const json_t *object, const char *name, const char *where, struct mj_error *error) {
    const json_t *value = json_object_get(object, name);
    if (value == NULL || json_is_null(value) || json_integer_value(value) == 16) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED, "%s has %s = %lld, NVFP4 needs 16", where, name,
                        (long long)json_integer_value(value));
}

static moejit_status check_modelopt(const json_t *object, const char *where, struct mj_error *error) {
    static const char *const algorithms[] = {"NVFP4", "W4A16_NVFP4", "MIXED_PRECISION"}; // the last: each tensor tells
    const char *algorithm = mj_json_string(object, "quant_algo");
    for (size_t i = 0; algorithm != NULL && i < sizeof(algorithms) / sizeof(algorithms[0]); i++) {
        if (strcmp(algorithm, algorithms[i]) == 0) return check_group(object, "group_size", where, error);
    }
    return refuse(error, where, "quant_algo", algorithm, "NVFP4");
}

moejit_status mj_quantization_check(const json_t *root, const char *where, struct mj_error *error) {
    const json_t *own = json_object_get(root, "quantization"), *text = json_object_get(root, "text_config");
    const json_t *object = json_object_get(root, "quantization_config");
    if (json_is_object(own)) return check_modelopt(own, where, error);
    if (object == NULL) object = json_object_get(text, "quantization_config");
    if (!json_is_object(object)) return MOEJIT_STATUS_OK;
    const char *method = mj_json_string(object, "quant_method"), *format = mj_json_string(object, "format");
    if (method != NULL && strcmp(method, "modelopt") == 0) return check_modelopt(object, where, error);
    if (method == NULL || strcmp(method, "compressed-tensors") != 0) {
        return refuse(error, where, "quant_method", method, "modelopt or compressed-tensors");
    }
    if (format != NULL && (strcmp(format, "nvfp4-pack-quantized") == 0 || strcmp(format, "mixed-precision") == 0)) {
        return MOEJIT_STATUS_OK;
    }
    return refuse(error, where, "format", format, "nvfp4-pack-quantized");
}

void mj_model_config_layer(const struct mj_model_config *config, moejit_layer *layer) {
    moejit_layer_init(layer, config->activation);
    layer->hidden = config->hidden;
    layer->intermediate = config->intermediate;
    layer->num_experts = layer->num_local_experts = config->num_experts;
    layer->top_k = config->top_k;
    layer->router_weight_on_input = config->family->router_weight_on_input;
}
