// moejit/checkpoint.h: NVFP4 checkpoints, from their files to packed weights. A small library of its own,
// libmoejit_checkpoint, for hosts that have no loader; libmoejit itself never parses a file.
//
// A model is a folder in Hugging Face style: config.json, one or many *.safetensors with an index, and
// hf_quant_config.json where NVIDIA's ModelOpt wrote it. The files are mapped, not read: opening looks at JSON only,
// and a layer costs what its experts weigh.
//
//     moejit_model_open("DIR", &model, message, sizeof(message));
//     moejit_model_layer(model, 3, 0, 0, &layer);            // sizes, all experts; change activation_format, sum,
//     output moejit_weights_create(context, &layer, memory, bytes, &weights); moejit_model_pack(model, 3, &layer,
//     weights, &upload, stream); moejit_model_scales_read(model, 3, &layer, &scales);   // host arrays: copy them to
//     the device for forward moejit_model_close(model);
//
// Formats: ModelOpt NVFP4 (weight, weight_scale, weight_scale_2, input_scale), an expert at a time or all in one 3-D
// tensor, and compressed-tensors nvfp4-pack-quantized (weight_packed, weight_scale, weight_global_scale,
// input_global_scale). Families: docs/checkpoints.md.
//
// Files are hostile: sizes, offsets, overlaps, names, links and JSON are checked before use, and a bad one is refused
// with a sentence. A file that is cut short while it is mapped is noticed before each expert; between that look and the
// copy a reader of mapped memory cannot be protected from SIGBUS.
//
// Threads: two calls that name the same model must not overlap.
#ifndef MOEJIT_CHECKPOINT_H
#define MOEJIT_CHECKPOINT_H

#include "moejit/moejit.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct moejit_model moejit_model;

// On failure *model is NULL and the sentence is copied to `message` (may be NULL), cut to message_bytes. Any thread.
MOEJIT_API moejit_status moejit_model_open(const char *folder, moejit_model **model, char *message,
                                           size_t message_bytes);
// NULL is fine.
MOEJIT_API void moejit_model_close(moejit_model *model);
// The sentence of the model's last failed call; "" when none failed. Valid until the next call that names the model.
MOEJIT_API const char *moejit_model_error(const moejit_model *model);

typedef struct moejit_model_info { // strings live as long as the model
    size_t struct_size;            // set by the caller: sizeof
    const char *family;            // "Qwen3-MoE"
    const char *model_type;        // of config.json: "qwen3_moe"
    const char *format;            // "modelopt NVFP4", "compressed-tensors nvfp4-pack-quantized", or "" for neither
    int32_t num_moe_layers;
    int32_t num_files;    // *.safetensors
    uint64_t num_tensors; // of all files
    uint64_t file_bytes;  // likewise
} moejit_model_info;

MOEJIT_API void moejit_model_info_read(const moejit_model *model, moejit_model_info *info);

// The number in the files ("model.layers.3") of the idx-th layer that has experts; -1 past the end.
MOEJIT_API int32_t moejit_model_moe_layer(const moejit_model *model, int32_t idx);

// Describes a layer from config.json alone: sizes, activation, whether the router's weight is on the input, all experts
// local. `message` as for open. Any thread.
MOEJIT_API moejit_status moejit_config_layer(const char *config_path, moejit_layer *layer, char *message,
                                             size_t message_bytes);

typedef struct moejit_model_layer_options {
    size_t struct_size;
    int32_t layer_number;            // as in the files
    int32_t first_expert;            // local experts: [first_expert, first_expert + num_experts)
    int32_t num_experts;             // 0: all from first_expert on
    moejit_format activation_format; // NVFP4: as the checkpoint was calibrated for; BF16: exact activations
} moejit_model_layer_options;

// All zero but struct_size: every expert, BF16 activations. Any thread.
MOEJIT_API void moejit_model_layer_options_init(moejit_model_layer_options *options);

// Describes a layer's local experts, after a look at shapes and types of all its tensors. split_gate_up_alpha is set
// where an expert's gate and up have global scales that one alpha cannot serve exactly: their ratio is no power of two,
// or a block scale times it is no e4m3 number. per_expert_intermediate_scale is set where activations are NVFP4 and the
// experts' scales of h differ. Output dtype and sum may be changed afterwards.
MOEJIT_API moejit_status moejit_model_layer(moejit_model *model, const moejit_model_layer_options *options,
                                            moejit_layer *layer);

typedef struct moejit_model_scales { // host arrays of the caller, filled for moejit_forward_args; E local experts
    size_t struct_size;              // set by the caller: sizeof
    float *gate_up_alpha;            // [E], or [E, 2] with split_gate_up_alpha
    float *down_alpha;               // [E]
    float *input_scale;              // [1]; NVFP4 activations only, else NULL
    float *intermediate_scale;       // [1], or [E] with per_expert_intermediate_scale; likewise
} moejit_model_scales;

// With BF16 activations alpha is the weights' global scale; with NVFP4 activations it is that times the raw input
// scale, and the quantisation scale g is 1 / raw (docs/numerics.md). x is quantised once for all experts: its raw scale
// is the largest of gate and up over all experts of the layer, local or not, so that ranks agree.
MOEJIT_API moejit_status moejit_model_scales_read(moejit_model *model, int32_t layer_number, const moejit_layer *layer,
                                                  const moejit_model_scales *scales);

typedef struct moejit_host_experts { // host memory of the caller, shapes as in moejit_checkpoint
    size_t struct_size;              // set by the caller: sizeof
    void *gate_up, *gate_up_scale;   // [count, 2 I or I, H / 2]; [count, 2 I or I, H / 16]
    void *down, *down_scale;         // [count, H, I / 2]; [count, H, I / 16]
} moejit_host_experts;

// Copies local experts [first, first + count) of `layer` in the layout that moejit_weights_pack takes, gate rows before
// up rows.
MOEJIT_API moejit_status moejit_model_experts_read(moejit_model *model, int32_t layer_number, const moejit_layer *layer,
                                                   int32_t first, int32_t count, const moejit_host_experts *experts);

// Bytes that staging needs to hold one expert of the layer. 0 where the layer is NULL.
MOEJIT_API size_t moejit_model_staging_bytes(const moejit_layer *layer);

// Copies from host to device on the stream, as cuMemcpyHtoDAsync or cudaMemcpyAsync would; 0 when that went well. The
// host memory stays as it is until the stream has been waited for.
typedef int (*moejit_copy_fn)(void *user, void *device, const void *host, size_t bytes, struct CUstream_st *stream);

typedef struct moejit_model_upload {
    size_t struct_size;
    void *host_staging;   // host memory; pinned is faster
    void *device_staging; // device memory, 256-byte aligned
    size_t staging_bytes; // of each: at least moejit_model_staging_bytes; k times that moves k experts at once
    moejit_copy_fn copy;
    void *copy_user;
    moejit_progress_fn
        progress; // done of total experts, before each batch and at the end; non-zero cancels; may be NULL
    void *progress_user;
} moejit_model_upload;

MOEJIT_API void moejit_model_upload_init(moejit_model_upload *upload);

// Packs all local experts of `layer` into `weights` (made of the same description): file -> host staging -> device
// staging
// -> packed, batch after batch, waiting for the stream after each. On failure the experts packed so far stay. Where
// moejit_weights_pack itself fails, its sentence is in the error record of the weights' context.
MOEJIT_API moejit_status moejit_model_pack(moejit_model *model, int32_t layer_number, const moejit_layer *layer,
                                           moejit_weights *weights, const moejit_model_upload *upload,
                                           struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
