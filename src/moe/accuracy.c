#include "moe/accuracy.h"

#include <math.h>

#define ROUNDING_BF16 1.66e-3 // relative L2 error of one rounding to bf16, docs/numerics.md
#define WHOLE_OUTPUT_ELEMENTS 4096
#define END_TO_END_ROWS_INTERMEDIATE 512

double mj_accuracy_bound(const struct mj_accuracy_case *what) {
    const moejit_layer *layer = &what->problem->layer;
    bool ordered = what->problem->sum == MJ_SUM_ORDERED;
    if (layer->activation_format == MOEJIT_FORMAT_NVFP4 && !what->own_intermediate) return 1.5e-2;
    if (layer->output_dtype == MOEJIT_DTYPE_F32)
        return what->own_intermediate ? 2e-5 + 2e-9 * layer->intermediate : 4e-4;
    double additions = what->accumulate ? 1.0 + layer->top_k : 1.0 + (layer->top_k + 1) / 2.0;
    double bound = ordered ? 2.0e-3 : 1.3 * ROUNDING_BF16 * sqrt(additions);
    if (layer->output_dtype != MOEJIT_DTYPE_F16) return bound;
    return bound / 8 + (what->own_intermediate ? 0 : 4e-4);
}

// The distance between neighbours of the dtype around a value.
static double rounding_step(moejit_dtype dtype, double value) {
    int bits = dtype == MOEJIT_DTYPE_BF16 ? 8 : (dtype == MOEJIT_DTYPE_F16 ? 11 : 24);
    int least = dtype == MOEJIT_DTYPE_F16 ? -14 : -126;
    int exponent = value == 0 || ilogb(value) < least ? least : ilogb(value);
    return ldexp(1, exponent - bits + 1);
}

void mj_accuracy_check(const struct mj_accuracy_case *what, int num_rows, const double *got, const double *want,
                       const double *magnitude, struct mj_accuracy *result) {
    const moejit_layer *layer = &what->problem->layer;
    size_t hidden = (size_t)layer->hidden;
    double bound = mj_accuracy_bound(what), total_error = 0, total_scale = 0;
    bool rows_count = what->own_intermediate || layer->intermediate >= END_TO_END_ROWS_INTERMEDIATE;
    *result = (struct mj_accuracy){.bound = bound, .bad_row = -1, .bad_column = -1, .good = true};
    for (int row = 0; row < num_rows; row++) {
        double error = 0, scale = 0;
        for (size_t c = 0; c < hidden; c++) {
            size_t i = (size_t)row * hidden + c;
            error += (got[i] - want[i]) * (got[i] - want[i]);
            scale += magnitude[i] * magnitude[i];
        }
        double rms = sqrt(scale / (double)hidden);
        for (size_t c = 0; c < hidden; c++) {
            size_t i = (size_t)row * hidden + c;
            double step = rounding_step(layer->output_dtype, want[i]), limit = fmax(16 * bound * rms, step);
            double off = fabs(got[i] - want[i]) / limit;
            if (off <= 1) { // false for NaN too
                if (off > result->worst_element) result->worst_element = off;
                continue;
            }
            if (result->good) result->bad_row = row, result->bad_column = (int)c;
            result->good = false;
            result->worst_element = off;
        }
        total_error += error;
        total_scale += scale;
        double relative = scale > 0 ? sqrt(error / scale) : (error == 0 ? 0 : INFINITY);
        if (!(relative <= result->worst_row)) result->worst_row = relative;
        if (rows_count && !(relative <= 3 * bound)) {
            if (result->good) result->bad_row = row;
            result->good = false;
        }
    }
    result->total = total_scale > 0 ? sqrt(total_error / total_scale) : (total_error == 0 ? 0 : INFINITY);
    if ((size_t)num_rows * hidden >= WHOLE_OUTPUT_ELEMENTS && !(result->total <= bound)) result->good = false;
}
