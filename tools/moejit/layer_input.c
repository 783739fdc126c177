#include "layer_input.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mapped_file.h"
#include "moe/nvfp4.h"
#include "npy.h"
#include "safetensors.h"

#define MAX_TOKENS 65536

static float read_element(enum mj_tensor_dtype dtype, const uint8_t *data, size_t idx) {
    float value;
    uint16_t bits;
    if (dtype == MJ_TENSOR_F32) {
        memcpy(&value, data + idx * 4, 4);
        return value;
    }
    memcpy(&bits, data + idx * 2, 2);
    return dtype == MJ_TENSOR_BF16 ? mj_bf16_value(bits) : mj_f16_value(bits);
}

static bool take_x(struct layer_input *input, enum mj_tensor_dtype dtype, const uint8_t *data, const size_t *shape) {
    size_t count = shape[0] * shape[1];
    input->num_tokens = (int)shape[0];
    input->hidden = (int)shape[1];
    uint16_t *x = input->x = malloc(count * sizeof(*x) + 1);
    for (size_t i = 0; x != NULL && i < count; i++) x[i] = mj_bf16_round((double)read_element(dtype, data, i));
    return x != NULL;
}

static bool read_npy(struct layer_input *input, const char *path, char *why, size_t why_bytes) {
    struct npy array;
    if (!npy_read(&array, path, why, why_bytes)) return false;
    bool bits = strcmp(array.type, "<u2") == 0, good = bits || strcmp(array.type, "<f4") == 0;
    good = good && array.num_dimensions == 2 && array.shape[0] <= MAX_TOKENS && array.shape[1] <= MAX_TOKENS;
    if (!good) {
        snprintf(why, why_bytes, "%s is %s with %d dimensions, needs u2 (bits of bf16) or f4, [tokens, hidden]", path,
                 array.type, array.num_dimensions);
    } else if (!take_x(input, bits ? MJ_TENSOR_BF16 : MJ_TENSOR_F32, array.data, array.shape)) {
        snprintf(why, why_bytes, "no memory for x");
        good = false;
    }
    npy_free(&array);
    return good;
}

static const struct mj_tensor *find(const struct mj_safetensors *file, const char *name) {
    for (size_t i = 0; i < file->num_tensors; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    }
    return NULL;
}

static bool refuse(const char *path, const struct mj_tensor *tensor, const char *needs, char *why, size_t why_bytes) {
    char met[160];
    mj_tensor_describe(tensor, met, sizeof(met));
    snprintf(why, why_bytes, "%s: %s is %s, needs %s", path, tensor->name, met, needs);
    return false;
}

static bool take_ids(struct layer_input *input, const struct mj_tensor *tensor) {
    size_t count = tensor->shape[0] * tensor->shape[1];
    input->top_k = (int)tensor->shape[1];
    input->expert_ids = malloc(count * sizeof(int32_t) + 1);
    for (size_t i = 0; input->expert_ids != NULL && i < count; i++) {
        int64_t wide;
        if (tensor->dtype == MJ_TENSOR_I32) {
            memcpy(&input->expert_ids[i], tensor->data + i * 4, 4);
        } else {
            memcpy(&wide, tensor->data + i * 8, 8);
            input->expert_ids[i] = wide < INT32_MIN || wide > INT32_MAX ? -1 : (int32_t)wide;
        }
    }
    return input->expert_ids != NULL;
}

static void *take_copy(const struct mj_tensor *tensor) {
    void *copy = malloc(tensor->bytes + 1);
    if (copy != NULL && tensor->bytes > 0) memcpy(copy, tensor->data, tensor->bytes);
    return copy;
}

static bool is_matrix(const struct mj_tensor *tensor, size_t rows, size_t columns) {
    return tensor->num_dimensions == 2 && tensor->shape[0] == rows && tensor->shape[1] == columns;
}

static bool read_routing(struct layer_input *input, const struct mj_safetensors *file, const char *path, char *why,
                         size_t why_bytes) {
    const struct mj_tensor *ids = find(file, "expert_ids"), *weights = find(file, "router_weights");
    size_t tokens = (size_t)input->num_tokens;
    if (ids == NULL && weights == NULL) return true;
    if (ids == NULL || weights == NULL) {
        snprintf(why, why_bytes, "%s has %s without %s", path, ids != NULL ? "expert_ids" : "router_weights",
                 ids != NULL ? "router_weights" : "expert_ids");
        return false;
    }
    bool integer = ids->dtype == MJ_TENSOR_I32 || ids->dtype == MJ_TENSOR_I64;
    if (!integer || ids->num_dimensions != 2 || ids->shape[0] != tokens || ids->shape[1] > 1024)
        return refuse(path, ids, "I32 or I64 [tokens, top_k]", why, why_bytes);
    if (weights->dtype != MJ_TENSOR_F32 || !is_matrix(weights, tokens, ids->shape[1]))
        return refuse(path, weights, "F32, shaped as expert_ids", why, why_bytes);
    input->router_weights = take_copy(weights);
    if (take_ids(input, ids) && input->router_weights != NULL) return true;
    snprintf(why, why_bytes, "no memory for the routing");
    return false;
}

static bool read_bf16(struct layer_input *input, const struct mj_safetensors *file, const char *path, char *why,
                      size_t why_bytes) {
    const struct mj_tensor *x = file->num_tensors == 1 ? &file->tensors[0] : find(file, "x");
    if (x == NULL) {
        snprintf(why, why_bytes, "%s has %zu tensors, none of them called x", path, file->num_tensors);
        return false;
    }
    bool real = x->dtype == MJ_TENSOR_BF16 || x->dtype == MJ_TENSOR_F16 || x->dtype == MJ_TENSOR_F32;
    if (!real || x->num_dimensions != 2 || x->shape[0] > MAX_TOKENS || x->shape[1] > MAX_TOKENS)
        return refuse(path, x, "BF16, F16 or F32 [tokens, hidden], each at most 65536", why, why_bytes);
    if (take_x(input, x->dtype, x->data, x->shape)) return true;
    snprintf(why, why_bytes, "no memory for x");
    return false;
}

static bool read_nvfp4(struct layer_input *input, const struct mj_safetensors *file, const char *path, char *why,
                       size_t why_bytes) {
    const struct mj_tensor *codes = find(file, "x_codes"), *scale = find(file, "x_scale");
    if (codes == NULL || scale == NULL) {
        snprintf(why, why_bytes, "%s has no %s, which NVFP4 input needs", path, codes == NULL ? "x_codes" : "x_scale");
        return false;
    }
    if (codes->dtype != MJ_TENSOR_U8 || codes->num_dimensions != 2 || codes->shape[0] > MAX_TOKENS ||
        codes->shape[1] > MAX_TOKENS / 2)
        return refuse(path, codes, "U8 [tokens, hidden / 2]", why, why_bytes);
    if (scale->dtype != MJ_TENSOR_F8_E4M3 || !is_matrix(scale, codes->shape[0], codes->shape[1] / 8))
        return refuse(path, scale, "F8_E4M3 [tokens, hidden / 16]", why, why_bytes);
    input->num_tokens = (int)codes->shape[0];
    input->hidden = (int)codes->shape[1] * 2;
    input->x = take_copy(codes);
    input->x_scale = take_copy(scale);
    if (input->x != NULL && input->x_scale != NULL) return true;
    snprintf(why, why_bytes, "no memory for x");
    return false;
}

static bool read_expected(struct layer_input *input, const struct mj_safetensors *file, const char *path,
                          const moejit_layer *layer, char *why, size_t why_bytes) {
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4;
    if (nvfp4 && layer->input_format != MOEJIT_FORMAT_NVFP4) return true;
    if (layer->num_local_experts != layer->num_experts) return true; // it is the sum over all
    const struct mj_tensor *expected = find(file, nvfp4 ? "expected_nvfp4" : "expected");
    if (expected == NULL) return true;
    if (expected->dtype != MJ_TENSOR_F32 || !is_matrix(expected, (size_t)input->num_tokens, (size_t)input->hidden))
        return refuse(path, expected, "F32 [tokens, hidden]", why, why_bytes);
    input->expected = take_copy(expected);
    if (input->expected != NULL) return true;
    snprintf(why, why_bytes, "no memory for the expected output");
    return false;
}

static bool read_tensors(struct layer_input *input, const struct mj_safetensors *file, const char *path,
                         const moejit_layer *layer, char *why, size_t why_bytes) {
    bool nvfp4 = layer->input_format == MOEJIT_FORMAT_NVFP4;
    bool good = nvfp4 ? read_nvfp4(input, file, path, why, why_bytes) : read_bf16(input, file, path, why, why_bytes);
    return good && read_expected(input, file, path, layer, why, why_bytes) &&
           read_routing(input, file, path, why, why_bytes);
}

static bool read_safetensors(struct layer_input *input, const char *path, const moejit_layer *layer, char *why,
                             size_t why_bytes) {
    struct mj_error error = {0};
    struct mj_mapped_file file;
    struct mj_safetensors parsed;
    char folder[4096];
    const char *slash = strrchr(path, '/');
    int length = slash != NULL ? (int)(slash - path) + 1 : 0;
    snprintf(folder, sizeof(folder), "%.*s.", length, path);
    bool good =
        mj_mapped_file_open(folder, slash != NULL ? slash + 1 : path, SIZE_MAX / 2, &file, &error) == MOEJIT_STATUS_OK;
    if (good && mj_safetensors_parse(file.data, file.bytes, path, &parsed, &error) == MOEJIT_STATUS_OK) {
        good = read_tensors(input, &parsed, path, layer, why, why_bytes);
        mj_safetensors_free(&parsed);
    } else {
        snprintf(why, why_bytes, "%s", error.message);
        good = false;
    }
    mj_mapped_file_close(&file);
    return good;
}

bool layer_input_read(struct layer_input *input, const char *path, const moejit_layer *layer, char *why,
                      size_t why_bytes) {
    size_t length = strlen(path);
    memset(input, 0, sizeof(*input));
    bool npy = length > 4 && strcmp(path + length - 4, ".npy") == 0;
    if (npy && layer->input_format != MOEJIT_FORMAT_BF16) {
        snprintf(why, why_bytes, "%s brings x as bf16; NVFP4 input needs a .safetensors with x_codes and x_scale",
                 path);
        return false;
    }
    bool good = npy ? read_npy(input, path, why, why_bytes) : read_safetensors(input, path, layer, why, why_bytes);
    if (!good) layer_input_free(input);
    return good;
}

void layer_input_free(struct layer_input *input) {
    free(input->x);
    free(input->x_scale);
    free(input->expert_ids);
    free(input->router_weights);
    free(input->expected);
    memset(input, 0, sizeof(*input));
}

// The new array in place of the old one, where there is a new one.
#define REPLACE(old, new)                                                                                              \
    do {                                                                                                               \
        if ((new) != NULL) {                                                                                           \
            free(old);                                                                                                 \
            (old) = (new);                                                                                             \
            (new) = NULL;                                                                                              \
        }                                                                                                              \
    } while (0)

bool layer_input_take(struct layer_input *input, struct layer_data *data, char *why, size_t why_bytes) {
    const moejit_layer *layer = &data->problem.layer;
    if (input->hidden != layer->hidden) {
        snprintf(why, why_bytes, "--input has x [%d, %d], the layer needs %d columns", input->num_tokens, input->hidden,
                 layer->hidden);
        return false;
    }
    if (input->expert_ids != NULL && input->top_k != layer->top_k) {
        snprintf(why, why_bytes, "--input has expert_ids [%d, %d], the layer needs %d columns (top_k)",
                 input->num_tokens, input->top_k, layer->top_k);
        return false;
    }
    REPLACE(data->x, input->x);
    REPLACE(data->x_scale, input->x_scale);
    REPLACE(data->expert_ids, input->expert_ids);
    REPLACE(data->router_weights, input->router_weights);
    REPLACE(data->expected, input->expected);
    return true;
}
