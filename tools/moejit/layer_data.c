#include "layer_data.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moe/nvfp4.h"

// SplitMix64 (Steele, Lea, Flood 2014).
struct random {
    uint64_t state;
};

static uint64_t next(struct random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static double uniform(struct random *random) // [0, 1)
{
    return (double)(next(random) >> 11) * 0x1p-53;
}

static double normal(struct random *random) // near enough: variance 1, tails to 6
{
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += uniform(random);
    return sum;
}

static void fill_codes(uint8_t *codes, size_t bytes, bool exact, struct random *random) {
    static const uint8_t exact_codes[8] = {0, 0, 2, 10, 2, 10, 0, 0}; // 0, 1, -1
    for (size_t i = 0; i < bytes; i++) {
        uint64_t bits = next(random);
        unsigned low = exact_codes[bits & 7], high = exact_codes[bits >> 3 & 7];
        codes[i] = (uint8_t)(exact ? (low | high << 4) : (unsigned)(bits & 0xff));
    }
}

// Around 1, with some zeros, subnormals and large ones; powers of two where sums must be exact.
static void fill_scales(uint8_t *scales, size_t bytes, bool exact, struct random *random) {
    for (size_t i = 0; i < bytes; i++) {
        uint64_t bits = next(random);
        if (exact) {
            scales[i] = (uint8_t)((7 + (bits & 1)) << 3); // 1 or 2
        } else if (bits % 64 == 0) {
            scales[i] = (uint8_t)(bits >> 8 & 15); // 0 and the smallest
        } else {
            scales[i] = (uint8_t)(6 * 8 + (bits >> 8) % 16); // 0.5 to 1.875
        }
    }
}

static void *make(size_t bytes, bool *good) {
    void *memory = calloc(1, bytes > 0 ? bytes : 1);
    if (memory == NULL) *good = false;
    return memory;
}

static void fill_bias(void *bias, moejit_dtype dtype, size_t bytes, bool exact, struct random *random) {
    size_t count = bytes > 0 ? bytes / mj_dtype_bytes(dtype) : 0;
    for (size_t i = 0; i < count; i++) {
        double value = exact ? (double)(next(random) % 5) - 2 : 0.5 * normal(random);
        if (dtype == MOEJIT_DTYPE_F32) ((float *)bias)[i] = (float)value;
        if (dtype == MOEJIT_DTYPE_BF16) ((uint16_t *)bias)[i] = mj_bf16_round(value);
    }
}

static void fill_ids(const moejit_layer *layer, int num_tokens, enum layer_routing routing, struct random *random,
                     int32_t *all) {
    for (int t = 0; t < num_tokens; t++) {
        int32_t *ids = all + (size_t)t * (size_t)layer->top_k;
        for (int k = 0; k < layer->top_k; k++) {
            double u = uniform(random);
            int id = (int)(u * layer->num_experts);
            if (routing == ROUTING_SKEWED) id = u < 0.05 ? -1 : (int)(u * u * u * layer->num_experts);
            if (routing == ROUTING_NONE) {
                id = layer->local_expert_offset > 0 ? 0
                                                    : layer->num_local_experts; // beyond the range, or of another rank
            }
            // Different experts, as a router picks them, as long as there are enough.
            for (int other = 0; routing == ROUTING_UNIFORM && layer->top_k <= layer->num_experts && other < k;
                 other++) {
                if (ids[other] != id) continue;
                id = (id + 1) % layer->num_experts;
                other = -1;
            }
            ids[k] = id;
        }
    }
}

static void fill_router_weights(struct layer_data *data, bool exact, struct random *random) {
    size_t count = (size_t)data->num_tokens * (size_t)data->problem.layer.top_k;
    for (size_t i = 0; i < count; i++) {
        double value = exact ? (next(random) & 1 ? 0.5 : -1.0) : uniform(random) * 2 / data->problem.layer.top_k;
        data->router_weights[i] = (float)value;
    }
}

static void fill_x(struct layer_data *data, bool exact, struct random *random) {
    const moejit_layer *layer = &data->problem.layer;
    size_t count = (size_t)data->num_tokens * (size_t)layer->hidden;
    if (layer->input_format == MOEJIT_FORMAT_NVFP4) {
        fill_codes(data->x, data->x_bytes, exact, random);
        fill_scales(data->x_scale, data->x_scale_bytes, exact, random);
        return;
    }
    double largest = 1;
    for (size_t i = 0; i < count; i++) {
        double value = exact ? (double)(next(random) % 3) - 1 : normal(random);
        ((uint16_t *)data->x)[i] = mj_bf16_round(value);
        largest = fmax(largest, fabs(value));
    }
    data->input_scale = exact ? 1.0f : (float)(448 * 6 / largest);
}

// Global scales that keep gate, up and output near 1: the root mean square of a random e2m1 code is 2.93, of scales
// about 1.
static void fill_alphas(struct layer_data *data, bool exact, struct random *random) {
    const moejit_layer *layer = &data->problem.layer;
    double x_rms = layer->activation_format == MOEJIT_FORMAT_NVFP4
                       ? (layer->input_format == MOEJIT_FORMAT_NVFP4 ? 3.2 : (double)data->input_scale)
                       : 1;
    double g = exact ? 1 : 448 * 6 / 20.0; // h stays below about 20
    for (size_t i = 0; i < data->gate_up_alpha_count; i++) {
        double spread = 0.75 + 0.5 * uniform(random);
        data->gate_up_alpha[i] = exact ? 1.0f : (float)(spread / (3.2 * x_rms * sqrt(layer->hidden)));
    }
    for (size_t i = 0; i < data->intermediate_scale_count; i++) {
        data->intermediate_scale[i] = exact ? 1.0f : (float)(g * (0.75 + 0.5 * uniform(random)));
    }
    for (int e = 0; e < layer->num_local_experts; e++) {
        double h_scale = layer->activation_format == MOEJIT_FORMAT_NVFP4
                             ? (double)data->intermediate_scale[layer->per_expert_intermediate_scale ? e : 0]
                             : 1;
        data->down_alpha[e] =
            exact ? 0.25f : (float)((0.75 + 0.5 * uniform(random)) / (3.2 * h_scale * sqrt(layer->intermediate)));
    }
}

static bool allocate(struct layer_data *data) {
    const moejit_layer *layer = &data->problem.layer;
    size_t experts = (size_t)layer->num_local_experts, hidden = (size_t)layer->hidden,
           tokens = (size_t)data->num_tokens;
    size_t rows = (size_t)data->problem.gate_up_rows, intermediate = (size_t)layer->intermediate;
    int tiled = (int)layer->scale_layout;
    bool good = true, nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    data->gate_up_bytes = experts * rows * hidden / 2;
    data->down_bytes = experts * hidden * intermediate / 2;
    data->gate_up_scale_bytes = experts * mj_nvfp4_scale_bytes(tiled, (int)rows, layer->hidden / 16);
    data->down_scale_bytes = experts * mj_nvfp4_scale_bytes(tiled, layer->hidden, layer->intermediate / 16);
    data->x_bytes = nvfp4_x ? tokens * hidden / 2 : tokens * hidden * 2;
    data->x_scale_bytes = nvfp4_x ? tokens * hidden / 16 : 0;
    data->gate_up_alpha_count = experts * (layer->split_gate_up_alpha ? 2 : 1);
    data->intermediate_scale_count = layer->per_expert_intermediate_scale ? experts : 1;
    data->gate_up_bias_bytes = experts * rows * mj_dtype_bytes(layer->gate_up_bias_dtype);
    data->down_bias_bytes = experts * hidden * mj_dtype_bytes(layer->down_bias_dtype);
    data->gate_up = make(data->gate_up_bytes, &good);
    data->gate_up_scale = make(data->gate_up_scale_bytes, &good);
    data->down = make(data->down_bytes, &good);
    data->down_scale = make(data->down_scale_bytes, &good);
    data->x = make(data->x_bytes, &good);
    data->x_scale = make(data->x_scale_bytes, &good);
    data->gate_up_alpha = make(data->gate_up_alpha_count * sizeof(float), &good);
    data->down_alpha = make(experts * sizeof(float), &good);
    data->intermediate_scale = make(data->intermediate_scale_count * sizeof(float), &good);
    data->gate_up_bias = make(data->gate_up_bias_bytes, &good);
    data->down_bias = make(data->down_bias_bytes, &good);
    data->expert_ids = make(tokens * (size_t)layer->top_k * sizeof(int32_t), &good);
    data->router_weights = make(tokens * (size_t)layer->top_k * sizeof(float), &good);
    return good;
}

bool layer_data_create(struct layer_data *data, const struct mj_problem *problem, int num_tokens,
                       enum layer_routing routing, bool exact, uint64_t seed) {
    struct random random = {seed * 0x100000001b3u + 1};
    memset(data, 0, sizeof(*data));
    data->problem = *problem;
    data->num_tokens = num_tokens;
    if (!allocate(data)) {
        layer_data_destroy(data);
        return false;
    }
    const moejit_layer *layer = &problem->layer;
    fill_codes(data->gate_up, data->gate_up_bytes, exact, &random);
    fill_codes(data->down, data->down_bytes, exact, &random);
    fill_scales(data->gate_up_scale, data->gate_up_scale_bytes, exact, &random);
    fill_scales(data->down_scale, data->down_scale_bytes, exact, &random);
    fill_x(data, exact, &random);
    fill_alphas(data, exact, &random);
    fill_bias(data->gate_up_bias, layer->gate_up_bias_dtype, data->gate_up_bias_bytes, exact, &random);
    fill_bias(data->down_bias, layer->down_bias_dtype, data->down_bias_bytes, exact, &random);
    fill_ids(layer, num_tokens, routing, &random, data->expert_ids);
    fill_router_weights(data, exact, &random);
    return true;
}

void layer_data_route(const moejit_layer *layer, int num_tokens, enum layer_routing routing, uint64_t seed,
                      int32_t *expert_ids) {
    struct random random = {seed * 0x100000001b3u + 1};
    fill_ids(layer, num_tokens, routing, &random, expert_ids);
}

bool layer_data_create_inputs(struct layer_data *data, const struct mj_problem *problem, int num_tokens,
                              enum layer_routing routing, uint64_t seed) {
    struct random random = {seed * 0x100000001b3u + 1};
    memset(data, 0, sizeof(*data));
    data->problem = *problem;
    data->num_tokens = num_tokens;
    if (!allocate(data)) {
        layer_data_destroy(data);
        return false;
    }
    fill_x(data, false, &random);
    fill_ids(&problem->layer, num_tokens, routing, &random, data->expert_ids);
    fill_router_weights(data, false, &random);
    return true;
}

void layer_data_destroy(struct layer_data *data) {
    void *all[] = {data->gate_up,   data->gate_up_scale, data->down,       data->down_scale,         data->x,
                   data->x_scale,   data->gate_up_alpha, data->down_alpha, data->intermediate_scale, data->gate_up_bias,
                   data->down_bias, data->expert_ids,    data->expected,   data->router_weights};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
    memset(data, 0, sizeof(*data));
}

struct mj_reference layer_data_reference(const struct layer_data *data) {
    return (struct mj_reference){
        .problem = &data->problem,
        .gate_up = data->gate_up,
        .gate_up_scale = data->gate_up_scale,
        .down = data->down,
        .down_scale = data->down_scale,
        .gate_up_alpha = data->gate_up_alpha,
        .down_alpha = data->down_alpha,
        .gate_up_bias = data->gate_up_bias,
        .down_bias = data->down_bias,
        .x = data->x,
        .x_scale = data->x_scale,
        .expert_ids = data->expert_ids,
        .router_weights = data->router_weights,
        .input_scale = &data->input_scale,
        .intermediate_scale = data->intermediate_scale,
    };
}
