// A layer of a checkpoint, as run takes it, and the descriptions of its layers for all who only compile.
#ifndef MOEJIT_TOOL_CHECKPOINT_LAYER_H
#define MOEJIT_TOOL_CHECKPOINT_LAYER_H

#include "gpu.h"
#include "layer_data.h"
#include "layer_options.h"
#include "moejit/checkpoint.h"

struct checkpoint_layer {
    moejit_model *model;
    int layer_number;
    moejit_layer layer;
    bool progress; // draw a bar while reading and packing
};

// The layer of --checkpoint and --layer (else the first that has experts). False, with the sentence printed.
bool checkpoint_layer_open(const struct layer_options *options, const char *command, struct checkpoint_layer *opened);
void checkpoint_layer_close(struct checkpoint_layer *opened);
// "Qwen3-MoE layer 3, modelopt NVFP4, experts 0 to 7 of 8"
void checkpoint_layer_title(const struct checkpoint_layer *opened, char *title, size_t bytes);

// Fills the host tensors of weights and scales for the reference; data was made for the same layer.
bool checkpoint_layer_read(const struct checkpoint_layer *opened, struct layer_data *data, char *why, size_t why_bytes);
// Packs through bounded staging: the `pack` of struct layer_case.
bool checkpoint_layer_pack(void *opened, struct gpu *gpu, moejit_weights *weights, CUstream stream, char *why,
                           size_t why_bytes);

// The different descriptions among a checkpoint's layers, of malloc. False, with the sentence printed.
bool checkpoint_layers_list(const struct layer_options *options, const char *command, moejit_layer **layers, int *num);

#endif
