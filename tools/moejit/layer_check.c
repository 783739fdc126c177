// Whether a layer's output is right.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layer_state.h"
#include "moe/nvfp4.h"

static double read_output(const struct layer_state *state, const unsigned char *bytes, size_t row, size_t column) {
    const unsigned char *at = bytes + (row * state->output_stride + column) * state->element;
    float single;
    uint16_t half;
    if (state->element == 4) {
        memcpy(&single, at, 4);
        return (double)single;
    }
    memcpy(&half, at, 2);
    return (double)(state->what->layer.output_dtype == MOEJIT_DTYPE_BF16 ? mj_bf16_value(half) : mj_f16_value(half));
}

struct check { // rows against the reference
    int *tokens, num_rows;
    float *h, *own_h;
    uint16_t *device_h;
    double *want, *magnitude, *got;
};

static void free_check(struct check *check) {
    void *all[] = {check->tokens, check->h, check->own_h, check->device_h, check->want, check->magnitude, check->got};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) free(all[i]);
}

// The first, the last, and evenly between.
static bool make_check(struct layer_state *state, struct check *check) {
    const moejit_layer *layer = &state->what->layer;
    int most = state->what->max_checked_rows, live = state->live;
    memset(check, 0, sizeof(*check));
    check->num_rows = most > 0 && most < live ? most : live;
    size_t rows = (size_t)check->num_rows, pair_row = (size_t)layer->top_k * (size_t)layer->intermediate;
    size_t hidden = (size_t)layer->hidden;
    check->tokens = malloc((rows + 1) * sizeof(int));
    check->h = malloc((rows * pair_row + 1) * sizeof(float));
    check->own_h = malloc((rows * pair_row + 1) * sizeof(float));
    check->device_h = malloc(((size_t)state->what->num_tokens * pair_row + 1) * sizeof(uint16_t));
    check->want = malloc((rows * hidden + 1) * sizeof(double));
    check->magnitude = malloc((rows * hidden + 1) * sizeof(double));
    check->got = malloc((rows * hidden + 1) * sizeof(double));
    bool good = check->tokens != NULL && check->h != NULL && check->own_h != NULL && check->device_h != NULL &&
                check->want != NULL && check->magnitude != NULL && check->got != NULL;
    if (!good) return layer_state_fail(state, "no memory for the check of %d rows", check->num_rows);
    for (int i = 0; i < check->num_rows; i++) {
        check->tokens[i] = check->num_rows > 1 ? (int)((long long)i * (live - 1) / (check->num_rows - 1)) : 0;
    }
    return true;
}

// What was there before counts as one more contribution.
static void add_initial(const struct layer_state *state, const struct check *check) {
    size_t hidden = (size_t)state->what->layer.hidden;
    if (state->what->output_mode != MOEJIT_OUTPUT_ACCUMULATE) return;
    for (size_t i = 0; i < (size_t)check->num_rows * hidden; i++) {
        double initial = read_output(state, state->before, (size_t)check->tokens[i / hidden], i % hidden);
        check->want[i] += initial;
        check->magnitude[i] += fabs(initial);
    }
}

// The first element that is not the reference's, rounded once, to the bit.
static bool check_exact(struct layer_state *state, const struct check *check) {
    size_t hidden = (size_t)state->what->layer.hidden;
    for (size_t i = 0; i < (size_t)check->num_rows * hidden; i++) {
        if (check->got[i] == check->want[i]) continue;
        return layer_state_fail(state, "exact class: row %d column %zu is %.9g, needs %.9g to the bit",
                                check->tokens[i / hidden], i % hidden, check->got[i], check->want[i]);
    }
    return true;
}

static bool judge(struct layer_state *state, const struct check *check, bool own, struct mj_accuracy *accuracy) {
    struct mj_accuracy_case what = {&state->data->problem, state->what->output_mode == MOEJIT_OUTPUT_ACCUMULATE, own};
    mj_accuracy_check(&what, check->num_rows, check->got, check->want, check->magnitude, accuracy);
    if (accuracy->good) return true;
    return layer_state_fail(
        state,
        "%s: error %.3g of all, %.3g of the worst row, %.3g of an element's limit; bound %.3g; first at row %d "
        "column %d",
        own ? "given the kernel's own h'" : "end to end", accuracy->total, accuracy->worst_row, accuracy->worst_element,
        accuracy->bound, accuracy->bad_row >= 0 ? check->tokens[accuracy->bad_row] : -1, accuracy->bad_column);
}

// Elements of one row of h' that differ by more than a millionth of the row's root mean square: what vanishes beside it
// (a sigmoid far out, clamped at e^-87) reaches no output.
static int count_differing(const float *a, const float *b, int count) {
    double sum = 0;
    int num = 0;
    for (int i = 0; i < count; i++) sum += (double)b[i] * (double)b[i];
    double limit = 1e-6 * sqrt(sum / count);
    for (int i = 0; i < count; i++) num += a[i] != b[i] && !(fabs((double)a[i] - (double)b[i]) <= limit);
    return num;
}

// h' of the kernel and of the reference, where both exist; the number of elements that differ is kept for the report.
static bool compare_intermediates(struct layer_state *state, const struct check *check) {
    const moejit_layer *layer = &state->what->layer;
    size_t row = (size_t)layer->top_k * (size_t)layer->intermediate;
    size_t bytes = (size_t)state->what->num_tokens * row * sizeof(uint16_t);
    memset(check->device_h, 0, bytes);
    moejit_status status =
        moejit_read_intermediate(state->plan, &state->args, state->executor, state->stream, check->device_h, bytes);
    if (status != MOEJIT_STATUS_OK)
        return layer_state_fail(state, "reading h': %s", moejit_executor_error(state->executor));
    for (size_t i = 0; i < (size_t)check->num_rows * row; i++) {
        check->own_h[i] = mj_bf16_value(check->device_h[(size_t)check->tokens[i / row] * row + i % row]);
    }
    size_t intermediate = (size_t)layer->intermediate;
    for (size_t first = 0; first < (size_t)check->num_rows * row; first += intermediate) {
        state->result->h_differing += count_differing(check->own_h + first, check->h + first, layer->intermediate);
    }
    state->result->h_checked = (long long)check->num_rows * (long long)row;
    // Truncated sums flip 0.1 to 0.5 % of the roundings to bf16 at H = 7168; codes flip less (docs/numerics.md).
    long long share = layer->activation_format == MOEJIT_FORMAT_NVFP4 ? 1000 : 100;
    if (state->result->h_differing <= 16 + state->result->h_checked / share) return true;
    return layer_state_fail(state, "%d of %lld elements of h' differ from the reference's", state->result->h_differing,
                            state->result->h_checked);
}

// Against an output that somebody else computed, in place of the reference's.
static bool check_expected(struct layer_state *state, struct check *check) {
    size_t hidden = (size_t)state->what->layer.hidden, count = (size_t)check->num_rows * hidden;
    if (state->data->expected == NULL) return true;
    double *own = check->want, *others = malloc((count + 1) * sizeof(double));
    if (others == NULL) return layer_state_fail(state, "no memory for the expected output");
    for (size_t i = 0; i < count; i++) {
        others[i] = (double)state->data->expected[(size_t)check->tokens[i / hidden] * hidden + i % hidden];
    }
    check->want = others;
    bool good = judge(state, check, false, &state->result->expected);
    check->want = own;
    free(others);
    if (!good) snprintf(state->result->message, sizeof(state->result->message), "differs from the expected output");
    return good;
}

static bool check_numbers(struct layer_state *state, struct check *check) {
    struct mj_reference reference = layer_data_reference(state->data);
    struct layer_result *result = state->result;
    size_t hidden = (size_t)state->what->layer.hidden;
    for (size_t i = 0; i < (size_t)check->num_rows * hidden; i++) {
        check->got[i] = read_output(state, state->after, (size_t)check->tokens[i / hidden], i % hidden);
    }
    if (!mj_reference_intermediate(&reference, check->tokens, check->num_rows, check->h) ||
        !mj_reference_output(&reference, check->tokens, check->num_rows, check->h, check->want, check->magnitude)) {
        return layer_state_fail(state, "no memory for the reference");
    }
    add_initial(state, check);
    if (!check_expected(state, check)) return false;
    if (!judge(state, check, false, &result->end_to_end) || !compare_intermediates(state, check)) return false;
    if (state->what->exact && state->what->layer.output_dtype == MOEJIT_DTYPE_F32) return check_exact(state, check);
    if (!mj_reference_output(&reference, check->tokens, check->num_rows, check->own_h, check->want, check->magnitude)) {
        return layer_state_fail(state, "no memory for the reference");
    }
    add_initial(state, check);
    return judge(state, check, true, &result->own);
}

bool layer_check_reference(struct layer_state *state) {
    struct check check;
    bool good = make_check(state, &check);
    state->result->checked_rows = check.num_rows;
    if (good && check.num_rows > 0) good = check_numbers(state, &check);
    free_check(&check);
    return good;
}
