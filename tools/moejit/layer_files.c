#include "layer_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "npy.h"

enum tensor {
    GATE_UP,
    GATE_UP_SCALE,
    GATE_UP_ALPHA,
    DOWN,
    DOWN_SCALE,
    DOWN_ALPHA,
    X,
    EXPERT_IDS,
    ROUTER_WEIGHTS,
    EXPECTED,
    NUM_TENSORS
};

static const struct {
    const char *name, *type;
} tensors[NUM_TENSORS] = {
    {"gate_up_weight", "|u1"},
    {"gate_up_scale", "|u1"},
    {"gate_up_alpha", "<f4"},
    {"down_weight", "|u1"},
    {"down_scale", "|u1"},
    {"down_alpha", "<f4"},
    {"x", "<u2"},
    {"expert_ids", "<i4"},
    {"router_weights", "<f4"},
    {"expected", "<f4"},
};

static bool read_all(const char *folder, struct npy *arrays, char *why, size_t why_bytes) {
    for (int i = 0; i < NUM_TENSORS; i++) {
        char path[1024];
        snprintf(path, sizeof(path), "%s/%s.npy", folder, tensors[i].name);
        FILE *file = i == EXPECTED ? fopen(path, "rb") : NULL;
        if (i == EXPECTED && file == NULL) continue; // may be missing
        if (file != NULL) fclose(file);
        if (!npy_read(&arrays[i], path, why, why_bytes)) return false;
        if (strcmp(arrays[i].type, tensors[i].type) == 0) continue;
        snprintf(why, why_bytes, "%s has type %s, needs %s", path, arrays[i].type, tensors[i].type);
        return false;
    }
    return true;
}

// The dimensions that a tensor must have; 0 ends the list.
static bool check_shape(const struct npy *array, enum tensor which, const size_t wanted[3], char *why,
                        size_t why_bytes) {
    int num = 0;
    while (num < 3 && wanted[num] != 0) num++;
    bool good = array->num_dimensions == num;
    for (int i = 0; good && i < num; i++) good = array->shape[i] == wanted[i];
    if (good) return true;
    snprintf(why, why_bytes, "%s.npy has %d dimensions (%zu, %zu, %zu), needs (%zu, %zu, %zu)", tensors[which].name,
             array->num_dimensions, array->shape[0], array->shape[1], array->shape[2], wanted[0], wanted[1], wanted[2]);
    return false;
}

static bool check_shapes(const struct npy *a, const moejit_layer *layer, char *why, size_t why_bytes) {
    size_t e = (size_t)layer->num_experts, h = (size_t)layer->hidden, i = (size_t)layer->intermediate,
           k = (size_t)layer->top_k;
    size_t rows = layer->activation == MOEJIT_ACTIVATION_RELU2 ? i : 2 * i, t = a[X].shape[0];
    size_t split = layer->split_gate_up_alpha ? 2 : 0;
    const size_t wanted[NUM_TENSORS][3] = {{e, rows, h / 2}, {e, rows, h / 16}, {e, split, 0}, {e, h, i / 2},
                                           {e, h, i / 16},   {e, 0, 0},         {t, h, 0},     {t, k, 0},
                                           {t, k, 0},        {t, h, 0}};
    for (int which = 0; which < NUM_TENSORS; which++) {
        if (a[which].data != NULL && !check_shape(&a[which], (enum tensor)which, wanted[which], why, why_bytes))
            return false;
    }
    return true;
}

static void take_sizes(const struct npy *a, moejit_layer *layer) {
    layer->hidden = (int32_t)a[X].shape[1];
    layer->intermediate = (int32_t)(a[DOWN].shape[2] * 2);
    layer->num_experts = layer->num_local_experts = (int32_t)a[DOWN].shape[0];
    layer->local_expert_offset = 0;
    layer->top_k = (int32_t)a[EXPERT_IDS].shape[1];
    layer->split_gate_up_alpha = a[GATE_UP_ALPHA].num_dimensions == 2;
}

static void *take(struct npy *array) {
    void *data = array->data;
    array->data = NULL;
    return data;
}

static void take_data(struct npy *a, struct layer_data *data) {
    data->num_tokens = (int)a[X].shape[0];
    data->gate_up_bytes = a[GATE_UP].bytes;
    data->gate_up_scale_bytes = a[GATE_UP_SCALE].bytes;
    data->down_bytes = a[DOWN].bytes;
    data->down_scale_bytes = a[DOWN_SCALE].bytes;
    data->x_bytes = a[X].bytes;
    data->gate_up_alpha_count = a[GATE_UP_ALPHA].bytes / sizeof(float);
    data->intermediate_scale_count = 1;
    data->gate_up = take(&a[GATE_UP]);
    data->gate_up_scale = take(&a[GATE_UP_SCALE]);
    data->down = take(&a[DOWN]);
    data->down_scale = take(&a[DOWN_SCALE]);
    data->gate_up_alpha = take(&a[GATE_UP_ALPHA]);
    data->down_alpha = take(&a[DOWN_ALPHA]);
    data->x = take(&a[X]);
    data->expert_ids = take(&a[EXPERT_IDS]);
    data->router_weights = take(&a[ROUTER_WEIGHTS]);
    data->expected = take(&a[EXPECTED]);
    data->intermediate_scale = calloc(1, sizeof(float));
    data->input_scale = 1;
}

bool layer_files_read(const char *folder, moejit_layer *layer, struct layer_data *data, char *why, size_t why_bytes) {
    struct npy arrays[NUM_TENSORS];
    struct mj_error error = {0};
    memset(arrays, 0, sizeof(arrays));
    memset(data, 0, sizeof(*data));
    bool good = read_all(folder, arrays, why, why_bytes);
    if (good &&
        (arrays[X].num_dimensions != 2 || arrays[DOWN].num_dimensions != 3 || arrays[EXPERT_IDS].num_dimensions != 2)) {
        snprintf(why, why_bytes, "%s: x and expert_ids need 2 dimensions, down_weight 3", folder);
        good = false;
    }
    if (good) {
        take_sizes(arrays, layer);
        good = check_shapes(arrays, layer, why, why_bytes);
    }
    if (good && (layer->activation_format != MOEJIT_FORMAT_BF16 || layer->gate_up_bias_dtype != MOEJIT_DTYPE_NONE)) {
        snprintf(why, why_bytes, "tensors of a folder have bf16 activations and no biases");
        good = false;
    }
    if (good && mj_problem_create(&data->problem, layer, &error) != MOEJIT_STATUS_OK) {
        snprintf(why, why_bytes, "%s", error.message);
        good = false;
    }
    if (good) take_data(arrays, data);
    for (int i = 0; i < NUM_TENSORS; i++) npy_free(&arrays[i]);
    return good;
}
