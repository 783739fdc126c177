#include "family_table.h"

#include <string.h>

// Qwen3-MoE, Mixtral, DeepSeek-V3, Llama 4 and Nemotron as transformers 5.14 and modelopt 0.47 write them
// (tools/make_checkpoints.py; tests/data); Kimi K2 is a DeepSeek-V3 by another name.
const struct mj_family mj_families[] = {
    {"DeepSeek-V3", {"deepseek_v3", "deepseek_v2", NULL}, "mlp", "gate_proj", "up_proj", "down_proj", 0},
    {"Kimi K2", {"kimi_k2", NULL}, "mlp", "gate_proj", "up_proj", "down_proj", 0},
    {"Qwen3-MoE", {"qwen3_moe", "qwen3_vl_moe_text", NULL}, "mlp", "gate_proj", "up_proj", "down_proj", 0},
    {"Mixtral", {"mixtral", NULL}, "block_sparse_moe", "w1", "w3", "w2", 0},
    {"Llama 4", {"llama4_text", NULL}, "feed_forward", "gate_proj", "up_proj", "down_proj", 1},
    {"Nemotron", {"nemotron_h", NULL}, "mixer", "gate_proj", "up_proj", "down_proj", 0},
};
const size_t mj_num_families = sizeof(mj_families) / sizeof(mj_families[0]);

const char *const mj_layer_prefixes[] = {"model.", "backbone.", "language_model.model.", "model.language_model.",
                                         "",       NULL};

const struct mj_family *mj_family_find(const char *model_type) {
    for (size_t i = 0; i < mj_num_families; i++) {
        for (int j = 0; mj_families[i].model_types[j] != NULL; j++) {
            if (strcmp(mj_families[i].model_types[j], model_type) == 0) return &mj_families[i];
        }
    }
    return NULL;
}
