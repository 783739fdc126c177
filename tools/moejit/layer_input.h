// The input of a layer from a file: x, and perhaps its routing and the output that somebody else computed.
#ifndef MOEJIT_TOOL_LAYER_INPUT_H
#define MOEJIT_TOOL_LAYER_INPUT_H

#include "layer_data.h"

struct layer_input { // arrays of malloc; NULL where the file has none
    int num_tokens, hidden, top_k;
    void *x;               // bf16 [T, H], or with the layer's NVFP4 input e2m1 [T, H / 2]
    uint8_t *x_scale;      // then e4m3 [T, H / 16]
    int32_t *expert_ids;   // [T, K]
    float *router_weights; // [T, K]
    float *expected;       // [T, H]
};

// A .npy holds x: u2 (the bits of bf16) or f4, rounded. A .safetensors holds x (BF16, F16, F32; a single tensor may
// have any name), or for NVFP4 input x_codes (U8) and x_scale (F8_E4M3, linear). It may hold expert_ids (I32, I64) and
// router_weights (F32), and the output (F32): `expected` of BF16 activations, `expected_nvfp4` of the NVFP4 input.
// There is none with a bf16 x and NVFP4 activations (rounding x leaves ties free), nor where experts are missing here.
// False, with a sentence.
bool layer_input_read(struct layer_input *input, const char *path, const moejit_layer *layer, char *why,
                      size_t why_bytes);
void layer_input_free(struct layer_input *input);

// Moves the arrays into data that was made for as many tokens of the same layer. False, with a sentence, where sizes
// differ.
bool layer_input_take(struct layer_input *input, struct layer_data *data, char *why, size_t why_bytes);

#endif
