// What config.json and hf_quant_config.json tell.
#ifndef MOEJIT_CHECKPOINT_MODEL_CONFIG_H
#define MOEJIT_CHECKPOINT_MODEL_CONFIG_H

#include "family_table.h"
#include "json.h"

struct mj_model_config {
    const struct mj_family *family;
    char model_type[64];
    int hidden, intermediate, num_experts, top_k;
    moejit_activation activation;
};

// `where` begins the sentences.
moejit_status mj_model_config_parse(const json_t *root, const char *where, struct mj_model_config *config,
                                    struct mj_error *error);

// Refuses a quantisation that is stated and is not NVFP4 in blocks of 16: of config.json ("quantization_config") or
// hf_quant_config.json ("quantization"). One that is not stated is left to the tensors.
moejit_status mj_quantization_check(const json_t *root, const char *where, struct mj_error *error);

// The description of a layer with all experts local.
void mj_model_config_layer(const struct mj_model_config *config, moejit_layer *layer);

#endif
