// One matrix of one expert, as the files hold it.
#ifndef MOEJIT_CHECKPOINT_EXPERT_MATRIX_H
#define MOEJIT_CHECKPOINT_EXPERT_MATRIX_H

#include "model_config.h"
#include "tensor_table.h"

enum mj_projection { MJ_GATE, MJ_UP, MJ_DOWN };

struct mj_layer_source { // where the experts of a layer are
    const struct mj_tensor_table *table;
    const struct mj_model_config *config;
    const char *prefix; // of "layers."
    int layer_number;
};

struct mj_expert_matrix { // value = e2m1 * sf * global_scale
    const char *format;   // what the tensors' names say: "modelopt NVFP4"
    const struct mj_tensor *codes, *scales;
    size_t rows, columns;             // of the matrix
    size_t expert;                    // index into a 3-D tensor; 0 of a 2-D one
    size_t first_row, tensor_rows;    // of one expert in the tensor: gate and up may share one
    bool transposed;                  // [E, columns / 2, tensor_rows]: Llama 4
    double global_scale, input_scale; // input_scale: raw, of the activation; 0 where there is none
};

// Finds the tensors and checks their types, shapes and scales.
moejit_status mj_expert_matrix_find(const struct mj_layer_source *source, int expert, enum mj_projection projection,
                                    struct mj_expert_matrix *matrix, struct mj_error *error);
// Copies to codes [rows, columns / 2], low nibble first, and scales [rows, columns / 16], after a look whether the
// files still are as long as they were.
moejit_status mj_expert_matrix_read(const struct mj_expert_matrix *matrix, uint8_t *codes, uint8_t *scales,
                                    struct mj_error *error);

#endif
