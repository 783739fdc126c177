// Layers that people run (docs/numerics.md).
#ifndef MOEJIT_MOE_MODEL_TABLE_H
#define MOEJIT_MOE_MODEL_TABLE_H

#include "moejit/moejit.h"

struct mj_model {
    const char *name, *title;
    int hidden, intermediate, num_experts, top_k;
    moejit_activation activation;
    moejit_row_order row_order;
    moejit_dtype bias_dtype;
    int router_weight_on_input;
};

extern const struct mj_model mj_models[];
extern const int mj_num_models;

const struct mj_model *mj_model_find(const char *name); // or NULL
// Fills a layer with all experts local.
void mj_model_layer(const struct mj_model *model, moejit_layer *layer);

#endif
