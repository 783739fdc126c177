#include "moe/problem.h"

#include <math.h>
#include <string.h>

#include "base/options.h"

// The public enums and the kernels' are one vocabulary.
_Static_assert((int)MOEJIT_ACTIVATION_SWIGLU == (int)MJ_ACTIVATION_SWIGLU, "");
_Static_assert((int)MOEJIT_ACTIVATION_SWIGLU_OAI == (int)MJ_ACTIVATION_SWIGLU_OAI, "");
_Static_assert((int)MOEJIT_ACTIVATION_GEGLU == (int)MJ_ACTIVATION_GEGLU, "");
_Static_assert((int)MOEJIT_ACTIVATION_RELU2 == (int)MJ_ACTIVATION_RELU2, "");
_Static_assert((int)MOEJIT_FORMAT_NVFP4 == (int)MJ_FORMAT_NVFP4, "");
_Static_assert((int)MOEJIT_DTYPE_BF16 == (int)MJ_DTYPE_BF16 && (int)MOEJIT_DTYPE_F16 == (int)MJ_DTYPE_F16, "");
_Static_assert((int)MOEJIT_DTYPE_F32 == (int)MJ_DTYPE_F32, "");
_Static_assert((int)MOEJIT_ROWS_UP_GATE == (int)MJ_ROWS_UP_GATE, "");
_Static_assert((int)MOEJIT_ROWS_GATE_UP_ALTERNATING == (int)MJ_ROWS_GATE_UP_ALTERNATING, "");
_Static_assert((int)MOEJIT_ROWS_INTERLEAVED_64 == (int)MJ_ROWS_INTERLEAVED_64, "");
_Static_assert((int)MOEJIT_SCALES_128X4 == (int)MJ_SCALES_128X4, "");

#define MAX_COLUMNS 65536 // products of two sizes and top_k then fit an int64 with room, and row blocks an int

void moejit_layer_init(moejit_layer *layer, moejit_activation activation) {
    if (layer == NULL) return;
    memset(layer, 0, sizeof(*layer));
    layer->struct_size = sizeof(*layer);
    layer->activation = activation;
    layer->output_dtype = MOEJIT_DTYPE_BF16;
    if (activation == MOEJIT_ACTIVATION_SWIGLU_OAI) {
        layer->activation_alpha = 1.702f;
        layer->activation_beta = 1.0f;
        layer->activation_limit = 7.0f;
    }
}

static moejit_status refuse_range(struct mj_error *error, const char *name, long long value, long long low,
                                  long long high) {
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "layer has %s = %lld, needs %lld to %lld", name, value,
                        low, high);
}

static bool in_range(long long value, long long low, long long high) {
    return low <= value && value <= high;
}

static moejit_status check_columns(struct mj_error *error, const char *name, int value) {
    if (in_range(value, 16, MAX_COLUMNS) && value % 16 == 0) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                        "layer has %s = %d, needs a multiple of 16 from 16 to %d", name, value, MAX_COLUMNS);
}

static moejit_status check_experts(const moejit_layer *layer, struct mj_error *error) {
    int num = layer->num_experts, local = layer->num_local_experts, offset = layer->local_expert_offset;
    if (!in_range(num, 1, MJ_MAX_EXPERTS)) return refuse_range(error, "num_experts", num, 1, MJ_MAX_EXPERTS);
    if (!in_range(local, 1, num)) return refuse_range(error, "num_local_experts", local, 1, num);
    if (!in_range(offset, 0, num - local)) return refuse_range(error, "local_expert_offset", offset, 0, num - local);
    if (!in_range(layer->top_k, 1, MJ_MAX_TOP_K)) return refuse_range(error, "top_k", layer->top_k, 1, MJ_MAX_TOP_K);
    return MOEJIT_STATUS_OK;
}

static moejit_status check_enums(const moejit_layer *layer, struct mj_error *error) {
    const struct {
        const char *name;
        int value, low, high;
    } enums[] = {
        {"activation", (int)layer->activation, 0, MOEJIT_ACTIVATION_RELU2},
        {"activation_format", (int)layer->activation_format, 0, MOEJIT_FORMAT_NVFP4},
        {"input_format", (int)layer->input_format, 0, MOEJIT_FORMAT_NVFP4},
        {"output_dtype", (int)layer->output_dtype, MOEJIT_DTYPE_BF16, MOEJIT_DTYPE_F32},
        {"gate_up_row_order", (int)layer->gate_up_row_order, 0, MOEJIT_ROWS_INTERLEAVED_64},
        {"scale_layout", (int)layer->scale_layout, 0, MOEJIT_SCALES_128X4},
        {"split_gate_up_alpha", layer->split_gate_up_alpha, 0, 1},
        {"per_expert_intermediate_scale", layer->per_expert_intermediate_scale, 0, 1},
        {"router_weight_on_input", layer->router_weight_on_input, 0, 1},
        {"sum", (int)layer->sum, 0, MOEJIT_SUM_BATCH_INVARIANT},
        {"packed_layout", (int)layer->packed_layout, 0, MOEJIT_PACKED_LAYOUT_BLOCK_SCALED},
    };
    for (size_t i = 0; i < sizeof(enums) / sizeof(enums[0]); i++) {
        if (!in_range(enums[i].value, enums[i].low, enums[i].high)) {
            return refuse_range(error, enums[i].name, enums[i].value, enums[i].low, enums[i].high);
        }
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status check_bias(struct mj_error *error, const char *name, moejit_dtype dtype) {
    if (dtype == MOEJIT_DTYPE_NONE || dtype == MOEJIT_DTYPE_BF16 || dtype == MOEJIT_DTYPE_F32) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "layer has %s = %d, needs NONE (0), BF16 (1) or F32 (3)",
                        name, (int)dtype);
}

static moejit_status check_activation_parameters(const moejit_layer *layer, struct mj_error *error) {
    const struct {
        const char *name;
        float value;
    } parameters[] = {{"activation_alpha", layer->activation_alpha},
                      {"activation_beta", layer->activation_beta},
                      {"activation_limit", layer->activation_limit}};
    for (size_t i = 0; i < 3; i++) {
        double value = (double)parameters[i].value;
        if (layer->activation == MOEJIT_ACTIVATION_SWIGLU_OAI) {
            if (isfinite(value) && (i != 2 || value >= 0)) continue;
            return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "layer has %s = %g, needs a finite number%s",
                                parameters[i].name, value, i == 2 ? " >= 0" : "");
        }
        if (value == 0) continue;
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "layer has %s = %g, which only the SWIGLU_OAI activation takes; needs 0",
                            parameters[i].name, value);
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status check_combinations(const moejit_layer *layer, struct mj_error *error) {
    bool gated = layer->activation != MOEJIT_ACTIVATION_RELU2;
    if (layer->input_format == MOEJIT_FORMAT_NVFP4 && layer->activation_format != MOEJIT_FORMAT_NVFP4) {
        return mj_error_set(
            error, MOEJIT_STATUS_INVALID_ARGUMENT,
            "layer has input_format NVFP4 with activation_format BF16; NVFP4 input needs NVFP4 activations");
    }
    if (gated && layer->gate_up_row_order == MOEJIT_ROWS_INTERLEAVED_64 && layer->intermediate % 64 != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "layer has intermediate = %d, row order INTERLEAVED_64 needs a multiple of 64",
                            layer->intermediate);
    }
    if (!gated && layer->split_gate_up_alpha) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "layer has split_gate_up_alpha = 1, but RELU2 is not gated: there is one alpha an expert");
    }
    if (layer->per_expert_intermediate_scale && layer->activation_format != MOEJIT_FORMAT_NVFP4) {
        return mj_error_set(
            error, MOEJIT_STATUS_INVALID_ARGUMENT,
            "layer has per_expert_intermediate_scale = 1, but bf16 activations take no intermediate_scale");
    }
    return MOEJIT_STATUS_OK;
}

moejit_status mj_problem_create(struct mj_problem *problem, const moejit_layer *given, struct mj_error *error) {
    memset(problem, 0, sizeof(*problem));
    moejit_layer *layer = &problem->layer;
    moejit_status status = mj_options_read("layer", layer, sizeof(*layer), given, error);
    if (status == MOEJIT_STATUS_OK) status = check_columns(error, "hidden", layer->hidden);
    if (status == MOEJIT_STATUS_OK) status = check_columns(error, "intermediate", layer->intermediate);
    if (status == MOEJIT_STATUS_OK) status = check_experts(layer, error);
    if (status == MOEJIT_STATUS_OK) status = check_enums(layer, error);
    if (status == MOEJIT_STATUS_OK) status = check_bias(error, "gate_up_bias_dtype", layer->gate_up_bias_dtype);
    if (status == MOEJIT_STATUS_OK) status = check_bias(error, "down_bias_dtype", layer->down_bias_dtype);
    if (status == MOEJIT_STATUS_OK) status = check_activation_parameters(layer, error);
    if (status == MOEJIT_STATUS_OK) status = check_combinations(layer, error);
    if (status != MOEJIT_STATUS_OK) return status;
    problem->gated = layer->activation != MOEJIT_ACTIVATION_RELU2;
    problem->packed_layout = MJ_LAYOUT_FRAGMENTS;
    problem->gate_up_rows = layer->intermediate * (problem->gated ? 2 : 1);
    // Every tile of a family walks K in the same order, 16 or 64 at a time, and for the batch-invariant sum no CTAs
    // share one (mj_tile_split): so the ordered sum serves both.
    bool ordered = layer->sum == MOEJIT_SUM_DETERMINISTIC || layer->sum == MOEJIT_SUM_BATCH_INVARIANT;
    problem->sum = ordered ? MJ_SUM_ORDERED : MJ_SUM_ATOMIC;
    return MOEJIT_STATUS_OK;
}

size_t mj_dtype_bytes(moejit_dtype dtype) {
    switch (dtype) {
    case MOEJIT_DTYPE_BF16:
    case MOEJIT_DTYPE_F16: return 2;
    case MOEJIT_DTYPE_F32: return 4;
    default: return 0;
    }
}

const char *mj_dtype_name(moejit_dtype dtype) {
    static const char *const names[] = {"none", "bf16", "f16", "f32", "nvfp4"};
    return (unsigned)dtype < sizeof(names) / sizeof(names[0]) ? names[dtype] : "unknown";
}

int mj_ceil_div(int a, int b) {
    return a / b + (a % b != 0);
}
