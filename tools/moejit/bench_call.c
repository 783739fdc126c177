// Plans and forward calls of a layer that is timed.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_layer.h"

static const struct bench_pattern random_router_weights = {0x007fffff, 0x3e000000}; // f32, 0.125 to 0.25

// More where a forward touches little: together they must not fit the L2 cache.
static int choose_routings(const struct bench *bench, int num_tokens) {
    if (bench->gpu.emulated) return 2;
    return num_tokens <= 16 ? BENCH_MAX_ROUTINGS : (num_tokens <= 512 ? 8 : 4);
}

static void *random_memory(struct bench *bench, size_t bytes, struct bench_pattern pattern, uint32_t seed) {
    size_t whole = (bytes + 15) / 16 * 16;
    void *memory = bench_upload(bench, NULL, whole);
    bool good =
        memory != NULL && bench_fill_enqueue(&bench->kernels, &bench->gpu, memory, whole, pattern, seed, bench->stream);
    return good ? memory : NULL;
}

static void *constant_floats(struct bench *bench, size_t count, double value) {
    float *values = malloc(count * sizeof(float));
    for (size_t i = 0; values != NULL && i < count; i++) values[i] = (float)value;
    void *memory = values != NULL ? bench_upload(bench, values, count * sizeof(float)) : NULL;
    free(values);
    return memory;
}

// Global scales that keep gate, up and output near 1, as in layer_data.c: a random code has a root mean square of 2.9.
static bool make_scales(struct bench *bench, const moejit_layer *layer, moejit_forward_args *args) {
    size_t experts = (size_t)layer->num_local_experts;
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4, nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    double x_scale = nvfp4 && !nvfp4_x ? 448 * 6 / 2.0 : 1, h_scale = nvfp4 ? 448 * 6 / 20.0 : 1;
    double x_rms = nvfp4_x ? 3.2 : x_scale;
    args->gate_up_alpha = constant_floats(bench, experts * 2, 1 / (3.2 * x_rms * sqrt(layer->hidden)));
    args->down_alpha = constant_floats(bench, experts, 1 / (3.2 * h_scale * sqrt(layer->intermediate)));
    if (nvfp4 && !nvfp4_x) args->input_scale = constant_floats(bench, 1, x_scale);
    if (nvfp4) args->intermediate_scale = constant_floats(bench, experts, h_scale);
    return args->gate_up_alpha != NULL && args->down_alpha != NULL &&
           (args->input_scale != NULL || !nvfp4 || nvfp4_x) && (args->intermediate_scale != NULL || !nvfp4);
}

static bool make_biases(struct bench *bench, const struct mj_problem *problem, moejit_forward_args *args) {
    const moejit_layer *layer = &problem->layer;
    size_t experts = (size_t)layer->num_local_experts, hidden = (size_t)layer->hidden;
    size_t gate_up = experts * (size_t)problem->gate_up_rows * mj_dtype_bytes(layer->gate_up_bias_dtype);
    size_t down = experts * hidden * mj_dtype_bytes(layer->down_bias_dtype);
    if (gate_up > 0) args->gate_up_bias = random_memory(bench, gate_up, bench_random_bf16, 7);
    if (down > 0) args->down_bias = random_memory(bench, down, bench_random_bf16, 8);
    return (gate_up == 0 || args->gate_up_bias != NULL) && (down == 0 || args->down_bias != NULL);
}

static bool make_tokens(struct bench *bench, const moejit_layer *layer, int num_tokens, moejit_forward_args *args) {
    size_t tokens = (size_t)num_tokens, hidden = (size_t)layer->hidden, pairs = tokens * (size_t)layer->top_k;
    bool nvfp4 = layer->input_format == MOEJIT_FORMAT_NVFP4;
    size_t bytes = nvfp4 ? tokens * hidden / 2 : tokens * hidden * 2;
    void *x = random_memory(bench, bytes, nvfp4 ? bench_random_codes : bench_random_bf16, 9);
    args->x = (moejit_tensor){x, nvfp4 ? MOEJIT_DTYPE_NVFP4 : MOEJIT_DTYPE_BF16, num_tokens, layer->hidden, 0};
    if (nvfp4) args->x_scale = random_memory(bench, tokens * hidden / 16, bench_random_scales, 10);
    args->router_weights = random_memory(bench, pairs * 4, random_router_weights, 11);
    return x != NULL && (args->x_scale != NULL || !nvfp4) && args->router_weights != NULL;
}

static bool make_output(struct bench *bench, const moejit_layer *layer, const struct bench_variant *variant,
                        moejit_forward_args *args) {
    int rows = variant->output_rows > variant->num_tokens ? variant->output_rows : variant->num_tokens;
    size_t bytes = (size_t)rows * (size_t)layer->hidden * mj_dtype_bytes(layer->output_dtype);
    args->output = (moejit_tensor){bench_upload(bench, NULL, bytes), layer->output_dtype, rows, layer->hidden, 0};
    return args->output.data != NULL;
}

// Counts what a routing touches on this rank.
static void count_routing(struct bench_call *call, const int32_t *ids) {
    const moejit_layer *layer = &call->layer->problem.layer;
    bool seen[MJ_MAX_EXPERTS] = {false};
    int num_pairs = 0, num_experts = 0;
    for (int i = 0; i < call->num_tokens * layer->top_k; i++) {
        int local = ids[i] - layer->local_expert_offset;
        if (local < 0 || local >= layer->num_local_experts) continue;
        num_pairs++;
        num_experts += !seen[local];
        seen[local] = true;
    }
    call->mean_pairs += (double)num_pairs / call->num_routings;
    call->mean_experts += (double)num_experts / call->num_routings;
}

// Ids and a workspace for each routing, so that each routing's steps can be timed alone; the rest is shared.
static bool make_routings(struct bench *bench, struct bench_call *call) {
    const moejit_layer *layer = &call->layer->problem.layer;
    size_t pairs = (size_t)call->num_tokens * (size_t)layer->top_k;
    int32_t *ids = malloc(pairs * sizeof(int32_t));
    if (ids == NULL) return bench_fail("tokens", "no host memory");
    bool good = true;
    for (int r = 0; r < call->num_routings && good; r++) {
        moejit_forward_args *args = &call->args[r];
        if (r > 0) *args = call->args[0];
        layer_data_route(layer, call->num_tokens, bench->options.routing, (uint64_t)r, ids);
        count_routing(call, ids);
        args->expert_ids = bench_upload(bench, ids, pairs * sizeof(int32_t));
        args->workspace_bytes = moejit_plan_workspace_bytes(call->plan);
        args->workspace = bench_upload(bench, NULL, args->workspace_bytes);
        good = args->expert_ids != NULL && args->workspace != NULL;
    }
    free(ids);
    return good;
}

static bool make_args(struct bench *bench, struct bench_call *call, const struct bench_variant *variant) {
    const struct mj_problem *problem = &call->layer->problem;
    moejit_forward_args *args = &call->args[0];
    moejit_forward_args_init(args);
    args->num_tokens = call->num_tokens;
    bool good = make_scales(bench, &problem->layer, args) && make_biases(bench, problem, args) &&
                make_tokens(bench, &problem->layer, call->num_tokens, args) &&
                make_output(bench, &problem->layer, variant, args) && make_routings(bench, call);
    good = good && gpu_ok(&bench->gpu, bench->gpu.cuStreamSynchronize(bench->stream), "filling tensors");
    return good || bench_fail("tensors", bench->gpu.error);
}

bool bench_call_create(struct bench *bench, const struct bench_layer *layer, const struct bench_variant *variant,
                       struct bench_call *call) {
    moejit_plan_options options;
    moejit_layer description = layer->problem.layer;
    memset(call, 0, sizeof(*call));
    call->layer = layer;
    call->executor = bench->executor;
    call->num_tokens = variant->num_tokens;
    call->num_routings = choose_routings(bench, variant->num_tokens);
    call->kept = bench->num_memory;
    description.sum = variant->sum;
    moejit_plan_options_init(&options);
    options.max_num_tokens = variant->num_tokens;
    options.tile = bench->options.tile;
    options.family = variant->family;
    moejit_tune_options tune_options;
    moejit_tune_options_init(&tune_options);
    tune_options.progress = command_progress;
    tune_options.progress_user = "tuning";
    options.tune = bench->options.tune;
    options.tune_options = &tune_options;
    if (moejit_plan_create(bench->context, &description, &options, &call->plan) != MOEJIT_STATUS_OK)
        return bench_fail("plan", moejit_context_error(bench->context));
    return make_args(bench, call, variant);
}

void bench_call_destroy(struct bench *bench, struct bench_call *call) {
    moejit_plan_destroy(call->plan);
    call->plan = NULL;
    bench_release(bench, call->kept);
}

bool bench_call_forward(struct bench *bench, struct bench_call *call, int r) {
    const moejit_weights *weights = call->layer->weights[r % call->layer->num_copies];
    moejit_status status = moejit_forward(call->plan, weights, &call->args[r], call->executor, bench->stream);
    return status == MOEJIT_STATUS_OK || bench_fail("forward", moejit_executor_error(call->executor));
}

bool bench_call_enqueue(struct bench *bench, void *call, int r) {
    return bench_call_forward(bench, call, r);
}

static struct bench_amount amount(const struct bench_call *call, double rows, double columns, size_t expert_bytes) {
    return (struct bench_amount){2 * rows * columns * call->mean_pairs, (double)expert_bytes * call->mean_experts};
}

struct bench_amount bench_call_gate_up(const struct bench_call *call) {
    const struct mj_problem *problem = &call->layer->problem;
    return amount(call, problem->gate_up_rows, problem->layer.hidden, call->layer->layout.gate_up_expert);
}

struct bench_amount bench_call_down(const struct bench_call *call) {
    const moejit_layer *layer = &call->layer->problem.layer;
    return amount(call, layer->hidden, layer->intermediate, call->layer->layout.down_expert);
}
