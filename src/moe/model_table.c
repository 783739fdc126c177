#include "moe/model_table.h"

#include <string.h>

#define SWIGLU MOEJIT_ACTIVATION_SWIGLU
#define GATE_UP MOEJIT_ROWS_GATE_UP
#define ALTERNATING MOEJIT_ROWS_GATE_UP_ALTERNATING
#define NONE MOEJIT_DTYPE_NONE

const struct mj_model mj_models[] = {
    {"deepseek-r1", "DeepSeek-V3 / R1", 7168, 2048, 256, 8, SWIGLU, GATE_UP, NONE, 0},
    {"kimi-k2", "Kimi K2", 7168, 2048, 384, 8, SWIGLU, GATE_UP, NONE, 0},
    {"qwen3-235b-a22b", "Qwen3-235B-A22B", 4096, 1536, 128, 8, SWIGLU, GATE_UP, NONE, 0},
    {"qwen3-30b-a3b", "Qwen3-30B-A3B", 2048, 768, 128, 8, SWIGLU, GATE_UP, NONE, 0},
    {"gpt-oss-120b", "GPT-OSS-120B", 2880, 2880, 128, 4, MOEJIT_ACTIVATION_SWIGLU_OAI, ALTERNATING, MOEJIT_DTYPE_BF16,
     0},
    {"llama4-scout", "Llama 4 Scout", 5120, 8192, 16, 1, SWIGLU, GATE_UP, NONE, 1},
    {"nemotron3-nano", "Nemotron-3 Nano", 2688, 1856, 128, 6, MOEJIT_ACTIVATION_RELU2, GATE_UP, NONE, 0},
    {"mixtral-8x7b", "Mixtral 8x7B", 4096, 14336, 8, 2, SWIGLU, GATE_UP, NONE, 0},
};
const int mj_num_models = sizeof(mj_models) / sizeof(mj_models[0]);

const struct mj_model *mj_model_find(const char *name) {
    for (int i = 0; i < mj_num_models; i++) {
        if (strcmp(mj_models[i].name, name) == 0) return &mj_models[i];
    }
    return NULL;
}

void mj_model_layer(const struct mj_model *model, moejit_layer *layer) {
    moejit_layer_init(layer, model->activation);
    layer->hidden = model->hidden;
    layer->intermediate = model->intermediate;
    layer->num_experts = layer->num_local_experts = model->num_experts;
    layer->top_k = model->top_k;
    layer->gate_up_row_order = model->row_order;
    layer->gate_up_bias_dtype = layer->down_bias_dtype = model->bias_dtype;
    layer->router_weight_on_input = model->router_weight_on_input;
}
