// A layer from a folder with one .npy a tensor; see tests/data/qwen3_moe_layer/README.md for names and shapes.
#ifndef MOEJIT_TOOL_LAYER_FILES_H
#define MOEJIT_TOOL_LAYER_FILES_H

#include "layer_data.h"

// Fills sizes of the layer from the tensors' shapes; other fields of *layer (activation, dtypes) count as given.
// data->expected is set where the folder has one. False, with a sentence.
bool layer_files_read(const char *folder, moejit_layer *layer, struct layer_data *data, char *why, size_t why_bytes);

#endif
