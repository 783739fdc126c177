#include "layer_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe/nvfp4.h"

enum device_tensor { // what is uploaded
    GATE_UP,
    GATE_UP_SCALE,
    DOWN,
    DOWN_SCALE,
    X,
    X_SCALE,
    GATE_UP_ALPHA,
    DOWN_ALPHA,
    GATE_UP_BIAS,
    DOWN_BIAS,
    EXPERT_IDS,
    ROUTER_WEIGHTS,
    INPUT_SCALE,
    INTERMEDIATE_SCALE,
    LIVE_TOKENS,
    OUTPUT,
    WORKSPACE,
    PACKED,
    NUM_TENSORS
};

struct layer_state { // of one run; everything is released at its end
    struct gpu *gpu;
    moejit_context *context;
    const struct layer_case *what;
    const struct layer_data *data;
    struct layer_result *result;
    void *device[NUM_TENSORS];
    moejit_weights *weights;
    moejit_plan *plan;
    moejit_executor *executor;
    CUstream stream;
    moejit_forward_args args;
    size_t output_stride, output_rows, element; // elements, rows, bytes
    unsigned char *before, *after;              // the output's bytes
    size_t output_bytes;
    int live; // tokens that count
};

void layer_case_init(struct layer_case *what) {
    moejit_layer layer = what->layer;
    int num_tokens = what->num_tokens;
    memset(what, 0, sizeof(*what));
    what->layer = layer;
    what->num_tokens = num_tokens;
    what->live_tokens = -1;
    what->extra_rows = 1;
}

__attribute__((format(printf, 2, 3))) static bool fail(struct layer_state *state, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(state->result->message, sizeof(state->result->message), format, arguments);
    va_end(arguments);
    state->result->good = false;
    return false;
}

static bool fail_gpu(struct layer_state *state) {
    return fail(state, "%s", state->gpu->error);
}

static bool fail_context(struct layer_state *state, const char *tried) {
    return fail(state, "%s: %s", tried, moejit_context_error(state->context));
}

static bool upload(struct layer_state *state, enum device_tensor which, const void *data, size_t bytes) {
    state->device[which] = gpu_upload(state->gpu, data, bytes);
    return state->device[which] != NULL || fail_gpu(state);
}

// x with the case's row stride; what lies between rows is NaN.
static bool upload_x(struct layer_state *state) {
    const moejit_layer *layer = &state->data->problem.layer;
    size_t rows = (size_t)state->data->num_tokens, hidden = (size_t)layer->hidden;
    size_t stride = hidden + (size_t)state->what->extra_stride;
    if (layer->input_format == MOEJIT_FORMAT_NVFP4) return upload(state, X, state->data->x, state->data->x_bytes);
    uint16_t *padded = malloc(rows * stride * 2 + 2);
    if (padded == NULL) return fail(state, "no memory for x");
    memset(padded, 0xff, rows * stride * 2 + 2);
    for (size_t r = 0; r < rows; r++)
        memcpy(padded + r * stride, (const uint16_t *)state->data->x + r * hidden, hidden * 2);
    bool good = upload(state, X, padded, rows * stride * 2);
    free(padded);
    return good;
}

static bool upload_inputs(struct layer_state *state) {
    const struct layer_data *data = state->data;
    const moejit_layer *layer = &data->problem.layer;
    size_t pairs = (size_t)data->num_tokens * (size_t)layer->top_k, experts = (size_t)layer->num_local_experts;
    int32_t live = state->what->live_tokens;
    return upload_x(state) && upload(state, X_SCALE, data->x_scale, data->x_scale_bytes) &&
           upload(state, GATE_UP_ALPHA, data->gate_up_alpha, data->gate_up_alpha_count * 4) &&
           upload(state, DOWN_ALPHA, data->down_alpha, experts * 4) &&
           upload(state, GATE_UP_BIAS, data->gate_up_bias, data->gate_up_bias_bytes) &&
           upload(state, DOWN_BIAS, data->down_bias, data->down_bias_bytes) &&
           upload(state, EXPERT_IDS, data->expert_ids, pairs * 4) &&
           upload(state, ROUTER_WEIGHTS, data->router_weights, pairs * 4) &&
           upload(state, INPUT_SCALE, &data->input_scale, 4) &&
           upload(state, INTERMEDIATE_SCALE, data->intermediate_scale, data->intermediate_scale_count * 4) &&
           upload(state, LIVE_TOKENS, &live, sizeof(live));
}

static bool upload_and_pack(struct layer_state *state) {
    const struct layer_data *data = state->data;
    if (!upload(state, GATE_UP, data->gate_up, data->gate_up_bytes) ||
        !upload(state, GATE_UP_SCALE, data->gate_up_scale, data->gate_up_scale_bytes) ||
        !upload(state, DOWN, data->down, data->down_bytes) ||
        !upload(state, DOWN_SCALE, data->down_scale, data->down_scale_bytes)) {
        return false;
    }
    moejit_checkpoint checkpoint = {sizeof(checkpoint), state->device[GATE_UP], state->device[GATE_UP_SCALE],
                                    state->device[DOWN], state->device[DOWN_SCALE]};
    if (moejit_weights_pack(state->weights, &checkpoint, 0, state->what->layer.num_local_experts, state->stream) !=
        MOEJIT_STATUS_OK) {
        return fail_context(state, "weights_pack");
    }
    for (int i = GATE_UP; i <= DOWN_SCALE; i++) { // packed out of place: the checkpoint's copy is done with
        gpu_free(state->gpu, state->device[i]);
        state->device[i] = NULL;
    }
    return true;
}

static bool make_weights(struct layer_state *state) {
    size_t bytes = 0;
    const struct layer_case *what = state->what;
    char why[1024];
    if (moejit_weights_bytes(state->context, &what->layer, &bytes) != MOEJIT_STATUS_OK)
        return fail_context(state, "weights_bytes");
    if (!upload(state, PACKED, NULL, bytes)) return false;
    if (moejit_weights_create(state->context, &what->layer, state->device[PACKED], bytes, &state->weights) !=
        MOEJIT_STATUS_OK) {
        return fail_context(state, "weights_create");
    }
    if (what->pack == NULL) return upload_and_pack(state);
    bool packed = what->pack(what->pack_user, state->gpu, state->weights, state->stream, why, sizeof(why));
    return packed || fail(state, "%s", why);
}

static bool make_objects(struct layer_state *state) {
    const struct layer_case *what = state->what;
    if (!gpu_ok(state->gpu, state->gpu->cuStreamCreate(&state->stream, CU_STREAM_NON_BLOCKING), "making a stream")) {
        return fail_gpu(state);
    }
    if (!make_weights(state)) return false;
    moejit_plan_options options;
    moejit_plan_options_init(&options);
    options.max_num_tokens =
        what->max_num_tokens > 0 ? what->max_num_tokens : (what->num_tokens > 0 ? what->num_tokens : 1);
    options.tile = what->tile;
    options.family = what->family;
    options.partials_cap_bytes = what->partials_cap_bytes;
    if (moejit_plan_create(state->context, &what->layer, &options, &state->plan) != MOEJIT_STATUS_OK) {
        return fail_context(state, "plan_create");
    }
    state->result->num_kernels = moejit_plan_num_kernels(state->plan);
    moejit_executor_options executor;
    moejit_executor_options_init(&executor);
    executor.single_stream = what->single_stream;
    if (moejit_executor_create(state->context, &executor, &state->executor) != MOEJIT_STATUS_OK) {
        return fail_context(state, "executor_create");
    }
    return upload(state, WORKSPACE, NULL, moejit_plan_workspace_bytes(state->plan));
}

// What the output holds before: NaN everywhere, or small numbers in the rows that are added to, or zeros.
static bool make_output(struct layer_state *state) {
    const struct layer_case *what = state->what;
    state->element = mj_dtype_bytes(what->layer.output_dtype);
    state->output_stride = (size_t)what->layer.hidden + (size_t)what->extra_stride;
    state->output_rows = (size_t)what->num_tokens + (size_t)what->extra_rows;
    state->output_bytes = state->output_rows * state->output_stride * state->element;
    state->before = malloc(state->output_bytes + 1);
    state->after = malloc(state->output_bytes + 1);
    if (state->before == NULL || state->after == NULL) return fail(state, "no memory for the output");
    memset(state->before, 0xff, state->output_bytes);
    for (size_t r = 0; what->output_mode != MOEJIT_OUTPUT_OVERWRITE && r < (size_t)what->num_tokens; r++) {
        for (size_t c = 0; c < (size_t)what->layer.hidden; c++) {
            unsigned char *at = state->before + (r * state->output_stride + c) * state->element;
            double value = what->output_mode == MOEJIT_OUTPUT_ASSUME_ZERO ? 0 : 0.25 * (double)((r + c) % 9) - 1;
            float single = (float)value;
            uint16_t half = what->layer.output_dtype == MOEJIT_DTYPE_BF16 ? mj_bf16_round(value) : mj_f16_round(value);
            memcpy(at, state->element == 4 ? (void *)&single : (void *)&half, state->element);
        }
    }
    return upload(state, OUTPUT, state->before, state->output_bytes);
}

static void fill_args(struct layer_state *state) {
    const struct layer_case *what = state->what;
    const moejit_layer *layer = &what->layer;
    moejit_forward_args *args = &state->args;
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4, nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    void **device = state->device;
    moejit_forward_args_init(args);
    args->num_tokens = what->num_tokens;
    args->x = (moejit_tensor){device[X], nvfp4_x ? MOEJIT_DTYPE_NVFP4 : MOEJIT_DTYPE_BF16, what->num_tokens,
                              layer->hidden, nvfp4_x ? 0 : layer->hidden + what->extra_stride};
    args->x_scale = nvfp4_x ? device[X_SCALE] : NULL;
    args->expert_ids = device[EXPERT_IDS];
    args->router_weights = device[ROUTER_WEIGHTS];
    args->live_tokens = what->live_tokens >= 0 ? device[LIVE_TOKENS] : NULL;
    args->gate_up_alpha = device[GATE_UP_ALPHA];
    args->down_alpha = device[DOWN_ALPHA];
    args->gate_up_bias = layer->gate_up_bias_dtype != MOEJIT_DTYPE_NONE ? device[GATE_UP_BIAS] : NULL;
    args->down_bias = layer->down_bias_dtype != MOEJIT_DTYPE_NONE ? device[DOWN_BIAS] : NULL;
    args->input_scale = nvfp4 && !nvfp4_x ? device[INPUT_SCALE] : NULL;
    args->intermediate_scale = nvfp4 ? device[INTERMEDIATE_SCALE] : NULL;
    args->output = (moejit_tensor){device[OUTPUT], layer->output_dtype, (int64_t)state->output_rows, layer->hidden,
                                   (int64_t)state->output_stride};
    args->output_mode = what->output_mode;
    args->workspace = device[WORKSPACE];
    args->workspace_bytes = moejit_plan_workspace_bytes(state->plan);
    args->check_pointers = 1;
}

static bool forward(struct layer_state *state) {
    moejit_status status = moejit_forward(state->plan, state->weights, &state->args, state->executor, state->stream);
    return status == MOEJIT_STATUS_OK || fail(state, "forward: %s", moejit_executor_error(state->executor));
}

static bool forward_by_graph(struct layer_state *state) {
    struct gpu *gpu = state->gpu;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    if (!gpu_ok(gpu, gpu->cuStreamBeginCapture(state->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                "beginning a capture")) {
        return fail_gpu(state);
    }
    bool good = forward(state);
    CUresult result = gpu->cuStreamEndCapture(state->stream, &graph);
    if (result == CUDA_SUCCESS) result = gpu->cuGraphInstantiate(&exec, graph, 0);
    if (result == CUDA_SUCCESS) result = gpu->cuGraphLaunch(exec, state->stream);
    if (result == CUDA_SUCCESS) result = gpu->cuStreamSynchronize(state->stream);
    if (good && !gpu_ok(gpu, result, "capturing and launching forward")) good = fail_gpu(state);
    if (exec != NULL) gpu->cuGraphExecDestroy(exec);
    if (graph != NULL) gpu->cuGraphDestroy(graph);
    return good;
}

static bool run_once(struct layer_state *state) {
    if (state->what->graph ? !forward_by_graph(state) : !forward(state)) return false;
    if (!gpu_ok(state->gpu, state->gpu->cuStreamSynchronize(state->stream), "waiting for forward"))
        return fail_gpu(state);
    return gpu_download(state->gpu, state->after, state->device[OUTPUT], state->output_bytes) || fail_gpu(state);
}

static uint64_t digest(const unsigned char *bytes, size_t count) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

// Not one byte outside rows [0, live) and columns [0, hidden).
static bool check_untouched(struct layer_state *state) {
    size_t row_bytes = state->output_stride * state->element, used = (size_t)state->what->layer.hidden * state->element;
    for (size_t i = 0; i < state->output_bytes; i++) {
        bool ours = i / row_bytes < (size_t)state->live && i % row_bytes < used;
        if (ours || state->before[i] == state->after[i]) continue;
        return fail(state, "the output's byte %zu of row %zu was changed; only rows [0, %d) and bytes [0, %zu) may be",
                    i % row_bytes, i / row_bytes, state->live, used);
    }
    return true;
}

// The counter of the output contract: T * H * sizeof(dtype) where the sum adds into zeros, nothing elsewhere.
static bool check_zeroed(struct layer_state *state, uint64_t forwards) {
    moejit_executor_counters counters = {.struct_size = sizeof(counters)};
    moejit_executor_counters_read(state->executor, &counters);
    bool zeroes =
        moejit_plan_sum(state->plan) == MOEJIT_SUM_ATOMIC && state->what->output_mode == MOEJIT_OUTPUT_OVERWRITE;
    uint64_t row = (uint64_t)state->what->layer.hidden * state->element;
    uint64_t want = zeroes ? forwards * (uint64_t)state->what->num_tokens * row : 0;
    state->result->bytes_zeroed = forwards > 0 ? counters.bytes_zeroed / forwards : 0;
    if (counters.bytes_zeroed == want) return true;
    return fail(state, "%llu bytes were zeroed, needs %llu", (unsigned long long)counters.bytes_zeroed,
                (unsigned long long)want);
}

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
    if (!good) return fail(state, "no memory for the check of %d rows", check->num_rows);
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
        return fail(state, "exact class: row %d column %zu is %.9g, needs %.9g to the bit", check->tokens[i / hidden],
                    i % hidden, check->got[i], check->want[i]);
    }
    return true;
}

static bool judge(struct layer_state *state, const struct check *check, bool own, struct mj_accuracy *accuracy) {
    struct mj_accuracy_case what = {&state->data->problem, state->what->output_mode == MOEJIT_OUTPUT_ACCUMULATE, own};
    mj_accuracy_check(&what, check->num_rows, check->got, check->want, check->magnitude, accuracy);
    if (accuracy->good) return true;
    return fail(state,
                "%s: error %.3g of all, %.3g of the worst row, %.3g of an element's limit; bound %.3g; first at row %d "
                "column %d",
                own ? "given the kernel's own h'" : "end to end", accuracy->total, accuracy->worst_row,
                accuracy->worst_element, accuracy->bound,
                accuracy->bad_row >= 0 ? check->tokens[accuracy->bad_row] : -1, accuracy->bad_column);
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
    if (status != MOEJIT_STATUS_OK) return fail(state, "reading h': %s", moejit_executor_error(state->executor));
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
    return fail(state, "%d of %lld elements of h' differ from the reference's", state->result->h_differing,
                state->result->h_checked);
}

// Against an output that somebody else computed, in place of the reference's.
static bool check_expected(struct layer_state *state, struct check *check) {
    size_t hidden = (size_t)state->what->layer.hidden, count = (size_t)check->num_rows * hidden;
    if (state->data->expected == NULL) return true;
    double *own = check->want, *others = malloc((count + 1) * sizeof(double));
    if (others == NULL) return fail(state, "no memory for the expected output");
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
        return fail(state, "no memory for the reference");
    }
    add_initial(state, check);
    if (!check_expected(state, check)) return false;
    if (!judge(state, check, false, &result->end_to_end) || !compare_intermediates(state, check)) return false;
    if (state->what->exact && state->what->layer.output_dtype == MOEJIT_DTYPE_F32) return check_exact(state, check);
    if (!mj_reference_output(&reference, check->tokens, check->num_rows, check->own_h, check->want, check->magnitude)) {
        return fail(state, "no memory for the reference");
    }
    add_initial(state, check);
    return judge(state, check, true, &result->own);
}

static bool check_against_reference(struct layer_state *state) {
    struct check check;
    bool good = make_check(state, &check);
    state->result->checked_rows = check.num_rows;
    if (good && check.num_rows > 0) good = check_numbers(state, &check);
    free_check(&check);
    return good;
}

// Again with poisoned workspace and output: in a deterministic sum every bit must come back.
static bool check_repeats(struct layer_state *state) {
    struct gpu *gpu = state->gpu;
    bool deterministic = moejit_plan_sum(state->plan) != MOEJIT_SUM_ATOMIC;
    unsigned char *first = malloc(state->output_bytes + 1);
    bool good = first != NULL || fail(state, "no memory for the output");
    if (good) memcpy(first, state->after, state->output_bytes);
    for (int i = 0; good && i < state->what->repeats; i++) {
        CUresult result = gpu->cuMemcpyHtoD((CUdeviceptr)state->device[OUTPUT], state->before, state->output_bytes);
        if (result == CUDA_SUCCESS) {
            result =
                gpu->cuMemsetD8((CUdeviceptr)state->device[WORKSPACE], 0xff, moejit_plan_workspace_bytes(state->plan));
        }
        if (result == CUDA_SUCCESS) result = gpu->cuCtxSynchronize(); // the stream does not wait for a memset elsewhere
        good = gpu_ok(gpu, result, "poisoning") ? run_once(state) : fail_gpu(state);
        if (good && deterministic && memcmp(first, state->after, state->output_bytes) != 0) {
            good = fail(state, "the deterministic sum gave other bits in run %d", i + 2);
        }
    }
    free(first);
    return good;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

#define NUM_TIMINGS 5
// Warm caches and launch cost included: a hint, not a measurement (that is `moejit bench`).
static bool time_forward(struct layer_state *state) {
    struct gpu *gpu = state->gpu;
    CUevent events[2] = {NULL, NULL};
    double times[NUM_TIMINGS];
    CUresult result = gpu->cuEventCreate(&events[0], CU_EVENT_DEFAULT);
    if (result == CUDA_SUCCESS) result = gpu->cuEventCreate(&events[1], CU_EVENT_DEFAULT);
    bool good = true;
    int num = gpu->emulated ? 1 : NUM_TIMINGS;
    for (int i = 0; good && result == CUDA_SUCCESS && i < num; i++) {
        float ms = 0;
        result = gpu->cuEventRecord(events[0], state->stream);
        good = forward(state);
        if (result == CUDA_SUCCESS) result = gpu->cuEventRecord(events[1], state->stream);
        if (result == CUDA_SUCCESS) result = gpu->cuEventSynchronize(events[1]);
        if (result == CUDA_SUCCESS) result = gpu->cuEventElapsedTime(&ms, events[0], events[1]);
        times[i] = (double)ms * 1000;
    }
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL) gpu->cuEventDestroy(events[i]);
    }
    if (!good || !gpu_ok(gpu, result, "timing forward")) return good ? fail_gpu(state) : false;
    qsort(times, (size_t)num, sizeof(times[0]), compare_doubles);
    state->result->forward_us = times[num / 2];
    return true;
}

static void release(struct layer_state *state) {
    moejit_executor_destroy(state->executor);
    moejit_plan_destroy(state->plan);
    moejit_weights_destroy(state->weights);
    for (int i = 0; i < NUM_TENSORS; i++) gpu_free(state->gpu, state->device[i]);
    if (state->stream != NULL) state->gpu->cuStreamDestroy(state->stream);
    free(state->before);
    free(state->after);
}

static bool run(struct layer_state *state) {
    if (!upload_inputs(state) || !make_objects(state) || !make_output(state)) return false;
    fill_args(state);
    if (!run_once(state)) return false;
    state->result->output_digest = digest(state->after, state->output_bytes);
    if (!check_untouched(state) || !check_zeroed(state, 1)) return false;
    if (!check_against_reference(state) || !check_repeats(state)) return false;
    return state->gpu->emulated || state->what->output_mode != MOEJIT_OUTPUT_OVERWRITE || time_forward(state);
}

void layer_run_data(struct gpu *gpu, moejit_context *context, const struct layer_case *what,
                    const struct layer_data *data, struct layer_result *result) {
    struct layer_state state = {.gpu = gpu, .context = context, .what = what, .data = data, .result = result};
    memset(result, 0, sizeof(*result));
    result->good = true;
    state.live = what->live_tokens >= 0 && what->live_tokens < what->num_tokens ? what->live_tokens : what->num_tokens;
    run(&state);
    release(&state);
    moejit_context_counters counters = {.struct_size = sizeof(counters)};
    moejit_context_counters_read(context, &counters);
    result->compiles = counters.compiles;
    result->cache_hits = counters.cache_hits;
}

void layer_run(struct gpu *gpu, moejit_context *context, const struct layer_case *what, struct layer_result *result) {
    struct mj_problem problem;
    struct mj_error error = {0};
    struct layer_data data;
    memset(result, 0, sizeof(*result));
    if (mj_problem_create(&problem, &what->layer, &error) != MOEJIT_STATUS_OK) {
        snprintf(result->message, sizeof(result->message), "%s", error.message);
    } else if (!layer_data_create(&data, &problem, what->num_tokens, what->routing, what->exact, what->seed)) {
        snprintf(result->message, sizeof(result->message), "no memory for a layer's random tensors");
    } else {
        layer_run_data(gpu, context, what, &data, result);
        layer_data_destroy(&data);
    }
}
