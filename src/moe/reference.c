#include "moe/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moe/nvfp4.h"

struct pair {         // one chosen expert of one of the given tokens
    int expert, slot; // slot: index among [num_tokens, K]
    int token;        // in x
    float weight;
};

static int compare_pairs(const void *a, const void *b) {
    const struct pair *p = a, *q = b;
    if (p->expert != q->expert) return p->expert - q->expert;
    return p->slot - q->slot;
}

// The pairs that are local, expert by expert. NULL where memory ran out.
static struct pair *list_pairs(const struct mj_reference *reference, const int *tokens, int num_tokens,
                               int *num_pairs) {
    const moejit_layer *layer = &reference->problem->layer;
    int top_k = layer->top_k, first = layer->local_expert_offset;
    struct pair *pairs = calloc((size_t)num_tokens * (size_t)top_k + 1, sizeof(*pairs));
    *num_pairs = 0;
    if (pairs == NULL) return NULL;
    for (int slot = 0; slot < num_tokens * top_k; slot++) {
        int token = tokens[slot / top_k];
        size_t idx = (size_t)token * (size_t)top_k + (size_t)(slot % top_k);
        int id = reference->expert_ids[idx];
        if (id < first || id - first >= layer->num_local_experts) continue;
        pairs[(*num_pairs)++] = (struct pair){id - first, slot, token, reference->router_weights[idx]};
    }
    qsort(pairs, (size_t)*num_pairs, sizeof(*pairs), compare_pairs);
    return pairs;
}

static double read_bias(const void *bias, moejit_dtype dtype, size_t idx) {
    if (dtype == MOEJIT_DTYPE_F32) return (double)((const float *)bias)[idx];
    if (dtype == MOEJIT_DTYPE_BF16) return (double)mj_bf16_value(((const uint16_t *)bias)[idx]);
    return 0;
}

// Row `row` of one expert's NVFP4 matrix, without its global scale.
static void read_row(const uint8_t *codes, const uint8_t *scales, int layout_128x4, size_t expert, int rows,
                     int columns, int row, float *out) {
    int blocks = columns / 16;
    codes += (expert * (size_t)rows + (size_t)row) * (size_t)columns / 2;
    scales += expert * mj_nvfp4_scale_bytes(layout_128x4, rows, blocks);
    for (int block = 0; block < blocks; block++) {
        float sf = mj_e4m3_value(scales[mj_nvfp4_scale_offset(layout_128x4, row, block, blocks)]);
        for (int i = block * 16; i < block * 16 + 16; i++) out[i] = mj_e2m1_value(mj_e2m1_code(codes, i)) * sf;
    }
}

// Four sums, so that the compiler may keep several products in flight.
static double dot(const float *a, const float *b, int count) {
    double sums[4] = {0, 0, 0, 0};
    for (int i = 0; i < count; i += 4) {
        for (int j = 0; j < 4; j++) sums[j] += (double)a[i + j] * (double)b[i + j];
    }
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// What the GEMM multiplies for a token: x, or q * sf of it.
static void read_x(const struct mj_reference *reference, int token, float *x) {
    const moejit_layer *layer = &reference->problem->layer;
    int hidden = layer->hidden;
    if (layer->input_format == MOEJIT_FORMAT_NVFP4) {
        read_row(reference->x, reference->x_scale, 0, 0, 1, hidden, token, x);
        return;
    }
    const uint16_t *row = (const uint16_t *)reference->x + (size_t)token * (size_t)hidden;
    for (int i = 0; i < hidden; i++) x[i] = mj_bf16_value(row[i]);
    if (layer->activation_format != MOEJIT_FORMAT_NVFP4) return;
    for (int i = 0; i < hidden; i += 16) {
        uint8_t codes[8];
        float sf = mj_e4m3_value(mj_nvfp4_quantise(x + i, *reference->input_scale, codes));
        for (int j = 0; j < 16; j++) x[i + j] = mj_e2m1_value(mj_e2m1_code(codes, j)) * sf;
    }
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double activate(const moejit_layer *layer, double gate, double up) {
    double limit = (double)layer->activation_limit, alpha = (double)layer->activation_alpha;
    switch (layer->activation) {
    case MOEJIT_ACTIVATION_SWIGLU: return gate * sigmoid(gate) * up;
    case MOEJIT_ACTIVATION_SWIGLU_OAI:
        gate = gate > limit ? limit : gate;
        up = up > limit ? limit : (up < -limit ? -limit : up);
        return gate * sigmoid(alpha * gate) * (up + (double)layer->activation_beta);
    case MOEJIT_ACTIVATION_GEGLU: // (1 + tanh(s)) / 2 = sigmoid(2 s), which does not cancel for negative s
        return gate * sigmoid(2 * sqrt(2 / acos(-1.0)) * (gate + 0.044715 * gate * gate * gate)) * up;
    case MOEJIT_ACTIVATION_RELU2: return gate < 0 ? 0 : gate * gate; // NaN stays NaN
    }
    return NAN;
}

// The checkpoint's row of a channel.
static int gate_up_row(const struct mj_problem *problem, int channel, bool up) {
    int intermediate = problem->layer.intermediate;
    if (!problem->gated) return channel;
    switch (problem->layer.gate_up_row_order) {
    case MOEJIT_ROWS_GATE_UP: return up ? intermediate + channel : channel;
    case MOEJIT_ROWS_UP_GATE: return up ? channel : intermediate + channel;
    case MOEJIT_ROWS_GATE_UP_ALTERNATING: return 2 * channel + (up ? 1 : 0);
    case MOEJIT_ROWS_INTERLEAVED_64: return channel / 64 * 128 + channel % 64 + (up ? 0 : 64);
    }
    return 0;
}

// One channel of the pairs of one expert, unrounded.
static void run_channel(const struct mj_reference *reference, const struct pair *pairs, int num_pairs, const float *x,
                        int channel, float *row, double *values, float *h) {
    const struct mj_problem *problem = reference->problem;
    const moejit_layer *layer = &problem->layer;
    int rows = problem->gate_up_rows, num_halves = problem->gated ? 2 : 1;
    size_t expert = (size_t)pairs[0].expert;
    for (int half = 0; half < num_halves; half++) {
        int source = gate_up_row(problem, channel, half == 1);
        read_row(reference->gate_up, reference->gate_up_scale, (int)layer->scale_layout, expert, rows, layer->hidden,
                 source, row);
        size_t alpha_idx = layer->split_gate_up_alpha ? expert * 2 + (size_t)half : expert;
        double alpha = (double)reference->gate_up_alpha[alpha_idx];
        double bias =
            read_bias(reference->gate_up_bias, layer->gate_up_bias_dtype, expert * (size_t)rows + (size_t)source);
        for (int i = 0; i < num_pairs; i++) {
            double weight = layer->router_weight_on_input ? (double)pairs[i].weight : 1.0;
            values[2 * i + half] =
                alpha * weight * dot(row, x + (size_t)i * (size_t)layer->hidden, layer->hidden) + bias;
        }
    }
    for (int i = 0; i < num_pairs; i++) {
        double value = activate(layer, values[2 * i], values[2 * i + 1]);
        h[(size_t)pairs[i].slot * (size_t)layer->intermediate + (size_t)channel] =
            layer->activation_format == MOEJIT_FORMAT_NVFP4 ? (float)value : mj_bf16_value(mj_bf16_round(value));
    }
}

static void quantise_row(const struct mj_reference *reference, const struct pair *pair, float *h) {
    const moejit_layer *layer = &reference->problem->layer;
    float g = reference->intermediate_scale[layer->per_expert_intermediate_scale ? pair->expert : 0];
    float *row = h + (size_t)pair->slot * (size_t)layer->intermediate;
    for (int i = 0; i < layer->intermediate; i += 16) {
        uint8_t codes[8];
        float sf = mj_e4m3_value(mj_nvfp4_quantise(row + i, g, codes));
        for (int j = 0; j < 16; j++) row[i + j] = mj_e2m1_value(mj_e2m1_code(codes, j)) * sf;
    }
}

// The number of pairs from `first` on that share its expert.
static int count_same_expert(const struct pair *pairs, int first, int num_pairs) {
    int count = 0;
    while (first + count < num_pairs && pairs[first + count].expert == pairs[first].expert) count++;
    return count;
}

bool mj_reference_intermediate(const struct mj_reference *reference, const int *tokens, int num_tokens, float *h) {
    const moejit_layer *layer = &reference->problem->layer;
    size_t hidden = (size_t)layer->hidden;
    int num_pairs;
    struct pair *pairs = list_pairs(reference, tokens, num_tokens, &num_pairs);
    float *x = malloc(((size_t)num_pairs + 1) * hidden * sizeof(float)), *row = malloc(hidden * sizeof(float));
    double *values = calloc((size_t)num_pairs + 1, 2 * sizeof(double));
    bool good = pairs != NULL && x != NULL && row != NULL && values != NULL;
    memset(h, 0, (size_t)num_tokens * (size_t)layer->top_k * (size_t)layer->intermediate * sizeof(float));
    for (int first = 0, count; good && first < num_pairs; first += count) {
        count = count_same_expert(pairs, first, num_pairs);
        for (int i = 0; i < count; i++) read_x(reference, pairs[first + i].token, x + (size_t)i * hidden);
        for (int channel = 0; channel < layer->intermediate; channel++) {
            run_channel(reference, pairs + first, count, x, channel, row, values, h);
        }
        for (int i = 0; layer->activation_format == MOEJIT_FORMAT_NVFP4 && i < count; i++) {
            quantise_row(reference, &pairs[first + i], h);
        }
    }
    free(pairs);
    free(x);
    free(row);
    free(values);
    return good;
}

bool mj_reference_output(const struct mj_reference *reference, const int *tokens, int num_tokens, const float *h,
                         double *y, double *magnitude) {
    const moejit_layer *layer = &reference->problem->layer;
    size_t hidden = (size_t)layer->hidden, intermediate = (size_t)layer->intermediate;
    int num_pairs;
    struct pair *pairs = list_pairs(reference, tokens, num_tokens, &num_pairs);
    float *row = malloc(intermediate * sizeof(float));
    bool good = pairs != NULL && row != NULL;
    memset(y, 0, (size_t)num_tokens * hidden * sizeof(double));
    memset(magnitude, 0, (size_t)num_tokens * hidden * sizeof(double));
    for (int first = 0, count; good && first < num_pairs; first += count) {
        count = count_same_expert(pairs, first, num_pairs);
        size_t expert = (size_t)pairs[first].expert;
        for (size_t column = 0; column < hidden; column++) {
            read_row(reference->down, reference->down_scale, (int)layer->scale_layout, expert, layer->hidden,
                     layer->intermediate, (int)column, row);
            double bias = read_bias(reference->down_bias, layer->down_bias_dtype, expert * hidden + column);
            for (int i = first; i < first + count; i++) {
                double sum = dot(row, h + (size_t)pairs[i].slot * intermediate, layer->intermediate);
                double value = (double)reference->down_alpha[expert] * sum + bias;
                if (!layer->router_weight_on_input) value *= (double)pairs[i].weight;
                size_t idx = (size_t)(pairs[i].slot / layer->top_k) * hidden + column;
                y[idx] += value;
                magnitude[idx] += fabs(value);
            }
        }
    }
    free(pairs);
    free(row);
    return good;
}
