// An opened model, and what its functions share.
#ifndef MOEJIT_CHECKPOINT_MODEL_H
#define MOEJIT_CHECKPOINT_MODEL_H

#include "expert_matrix.h"
#include "fold.h"
#include "moejit/checkpoint.h"

struct moejit_model {
    struct mj_tensor_table table;
    struct mj_model_config config;
    const char *prefix; // of "layers."
    const char *format; // of the first expert's tensors; "" where they are of none
    int *moe_layers;    // numbers, ascending
    int num_moe_layers;
    struct mj_error error;
};

struct mj_expert { // one expert's matrices
    bool gated;
    struct mj_expert_matrix gate, up, down; // not gated: no gate
};

// Whether `layer` describes local experts of the model's layer as the files hold them; copies it to *ours.
moejit_status mj_model_check(struct moejit_model *model, int layer_number, const moejit_layer *layer,
                             moejit_layer *ours);
moejit_status mj_model_expert(struct moejit_model *model, int layer_number, int expert, struct mj_expert *found);
// How one alpha serves gate and up, where the layer has one; a sentence where it cannot.
moejit_status mj_model_fold(struct moejit_model *model, const struct mj_expert *expert, int expert_number,
                            struct mj_fold *fold);
// Copies a global expert to the four parts of the checkpoint's layout.
moejit_status mj_model_expert_read(struct moejit_model *model, int layer_number, const moejit_layer *layer, int expert,
                                   uint8_t *gate_up, uint8_t *gate_up_scale, uint8_t *down, uint8_t *down_scale);

struct mj_expert_bytes { // of one expert in the checkpoint's layout
    size_t gate_up, gate_up_scale, down, down_scale;
};

struct mj_expert_bytes mj_expert_bytes(const moejit_layer *layer);

#endif
