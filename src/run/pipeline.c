// The launches of one layer: route, quantize, zero, gate_up, down, combine; of few pairs quantize, gate_up, down,
// combine.
#include <stdlib.h>
#include <string.h>

#include "moe/nvfp4.h"
#include "run/executor.h"
#include "run/forward_check.h"
#include "run/tile_launch.h"

struct call { // one layer in flight
    const struct moejit_plan *plan;
    const struct moejit_weights *weights;
    struct moejit_executor *executor;
    const struct mj_driver *driver;
    moejit_forward_args args;
    unsigned char *workspace;
    struct mj_decision decision; // for that many tokens
    bool folded;                 // gate_up and down route by themselves
    bool zeroes_inside;          // gate_up zeroes
    CUstream stream;
};

// In clusters of so many CTAs, where they are more than one.
static CUresult launch_clusters(const struct call *call, const struct mj_loaded_kernel *kernel, long long blocks,
                                int shared_bytes, int cluster, CUstream stream, void *args) {
    void *parameters[] = {args};
    CUlaunchAttribute attributes[2];
    unsigned num_attributes = 0;
    if (call->executor->overlaps_launches && stream == call->stream) {
        attributes[num_attributes++] = (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                                           .value = {.programmaticStreamSerializationAllowed = 1}};
    }
    if (cluster > 1) {
        attributes[num_attributes++] = (CUlaunchAttribute){.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION,
                                                           .value = {.clusterDim = {(unsigned)cluster, 1, 1}}};
    }
    CUlaunchConfig config = {.gridDimX = (unsigned)blocks,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = (unsigned)kernel->num_threads,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .sharedMemBytes = (unsigned)shared_bytes,
                             .hStream = stream,
                             .attrs = attributes,
                             .numAttrs = num_attributes};
    call->executor->launches++;
    return call->driver->cuLaunchKernelEx(&config, kernel->module.function, parameters, NULL);
}

static CUresult launch(const struct call *call, const struct mj_loaded_kernel *kernel, long long blocks,
                       CUstream stream, void *args) {
    return launch_clusters(call, kernel, blocks, 0, 1, stream, args);
}

// As many CTAs as fit the GPU at once, or fewer where there is less to do.
static long long resident_blocks(const struct call *call, const struct mj_loaded_kernel *kernel, long long needed) {
    long long resident = (long long)call->plan->context->num_sms * kernel->module.blocks_per_sm;
    return needed < resident ? needed : resident;
}

static bool folds(const struct call *call) {
    return !call->executor->routes_apart &&
           mj_decision_can_fold(&call->plan->problem, &call->decision, call->args.num_tokens);
}

// Of gate_up or down, on some of its rows.
static struct mj_tile_launch plan_tiles(const struct call *call, const struct mj_loaded_kernel *kernel, int rows,
                                        int reduced) {
    struct mj_layer_tiles layer = {call->plan, &call->decision, call->args.num_tokens, call->executor->max_tile_ctas,
                                   folds(call)};
    return mj_tile_launch_plan(&layer, kernel, rows, reduced);
}

static CUresult launch_tiles(const struct call *call, const struct mj_loaded_kernel *kernel,
                             const struct mj_tile_launch *launch, void *args) {
    return launch_clusters(call, kernel, launch->num_ctas, launch->shared_bytes, launch->split.num_ctas, call->stream,
                           args);
}

static CUresult launch_elements(const struct call *call, const struct mj_loaded_kernel *kernel, long long count,
                                CUstream stream, void *args) {
    return launch(call, kernel, resident_blocks(call, kernel, mj_tile_blocks_for(count, kernel->num_threads)), stream,
                  args);
}

static int32_t *expert_offsets(const struct call *call) {
    return (int32_t *)(void *)(call->workspace + call->plan->workspace.expert_offsets);
}

static int32_t *sorted_pairs(const struct call *call) {
    return (int32_t *)(void *)(call->workspace + call->plan->workspace.sorted_pairs);
}

static CUresult run_route(const struct call *call) {
    const moejit_layer *layer = &call->plan->problem.layer;
    struct mj_route_args args = {
        .expert_ids = call->args.expert_ids,
        .live_tokens = call->args.live_tokens,
        .expert_offsets = expert_offsets(call),
        .sorted_pairs = sorted_pairs(call),
        .num_tokens = call->args.num_tokens,
        .top_k = layer->top_k,
        .num_local_experts = layer->num_local_experts,
        .local_expert_offset = layer->local_expert_offset,
    };
    const struct mj_loaded_kernel *kernel = mj_plan_find(call->plan, MJ_KERNEL_ROUTE, -1);
    return launch(call, kernel, layer->num_local_experts, call->stream, &args);
}

static CUresult run_quantize(const struct call *call) {
    const moejit_layer *layer = &call->plan->problem.layer;
    if (layer->activation_format != MOEJIT_FORMAT_NVFP4) return CUDA_SUCCESS;
    struct mj_quantize_args args = {
        .x = call->args.x.data,
        .x_scales = call->args.x_scale,
        .input_scale = call->args.input_scale,
        .live_tokens = call->args.live_tokens,
        .x_values = call->workspace + call->plan->workspace.x_values,
        .x_value_scales = call->workspace + call->plan->workspace.x_value_scales,
        .x_row_stride = call->args.x.row_stride,
        .num_tokens = call->args.num_tokens,
    };
    const struct mj_loaded_kernel *kernel = mj_plan_find(call->plan, mj_kernel_quantize(call->plan->family), -1);
    return launch_elements(call, kernel, (long long)args.num_tokens * (layer->hidden / 16), call->stream, &args);
}

static bool needs_zeroing(const struct call *call) {
    return call->plan->problem.sum == MJ_SUM_ATOMIC && call->args.output_mode == MOEJIT_OUTPUT_OVERWRITE;
}

static size_t output_row_bytes(const struct call *call) {
    return (size_t)call->args.output.columns * mj_dtype_bytes(call->args.output.dtype);
}

static struct mj_zero_args zero_args(const struct call *call) {
    const moejit_tensor *output = &call->args.output;
    return (struct mj_zero_args){
        .output = output->data,
        .live_tokens = call->args.live_tokens,
        .row_stride_bytes = output->row_stride * (int64_t)mj_dtype_bytes(output->dtype),
        .row_bytes = (int32_t)output_row_bytes(call),
        .num_tokens = call->args.num_tokens,
    };
}

static void count_zeroed(const struct call *call) {
    call->executor->bytes_zeroed += (size_t)call->args.num_tokens * output_row_bytes(call);
}

static struct mj_fold_args fold_args(const struct call *call) {
    if (!call->folded) return (struct mj_fold_args){0};
    return (struct mj_fold_args){
        .expert_ids = call->args.expert_ids,
        .live_tokens = call->args.live_tokens,
        .num_tokens = call->args.num_tokens,
        .local_expert_offset = call->plan->problem.layer.local_expert_offset,
    };
}

static CUresult run_gate_up(const struct call *call) {
    const struct mj_problem *problem = &call->plan->problem;
    const moejit_layer *layer = &problem->layer;
    bool quantised = layer->activation_format == MOEJIT_FORMAT_NVFP4;
    struct mj_gate_up_args args = {
        .x = quantised ? (const void *)(call->workspace + call->plan->workspace.x_values) : call->args.x.data,
        .x_value_scales = call->workspace + call->plan->workspace.x_value_scales,
        .weights = call->weights->memory,
        .alpha = call->args.gate_up_alpha,
        .bias = call->args.gate_up_bias,
        .router_weights = layer->router_weight_on_input ? call->args.router_weights : NULL,
        .intermediate_scale = call->args.intermediate_scale,
        .expert_offsets = expert_offsets(call),
        .sorted_pairs = sorted_pairs(call),
        .intermediate = call->workspace + call->plan->workspace.intermediate,
        .intermediate_scales = call->workspace + call->plan->workspace.intermediate_scales,
        .fold = fold_args(call),
        .x_row_stride = quantised ? layer->hidden : call->args.x.row_stride,
        .expert_stride_bytes = (int64_t)call->weights->layout.gate_up_expert,
        .num_local_experts = layer->num_local_experts,
        .alpha_stride = layer->split_gate_up_alpha ? 2 : 1,
        .intermediate_scale_stride = layer->per_expert_intermediate_scale,
        .activation_alpha = layer->activation_alpha,
        .activation_beta = layer->activation_beta,
        .activation_limit = layer->activation_limit,
    };
    if (call->zeroes_inside && needs_zeroing(call)) {
        args.zero = zero_args(call);
        count_zeroed(call);
    }
    int tile = call->decision.value[MJ_CHOICE_GATE_UP_TILE];
    const struct mj_loaded_kernel *kernel = mj_plan_find(call->plan, mj_kernel_gate_up(&mj_tiles[tile]), tile);
    struct mj_tile_launch launch = plan_tiles(call, kernel, problem->gate_up_rows, layer->hidden);
    args.split = launch.split;
    args.ring_stages = launch.ring_stages;
    return launch_tiles(call, kernel, &launch, &args);
}

// The live rows of the output; which are known on the host, unless live_tokens says so on the device.
static CUresult run_zero(const struct call *call, CUstream stream) {
    const moejit_tensor *output = &call->args.output;
    struct mj_zero_args args = zero_args(call);
    size_t row = output_row_bytes(call), rows = (size_t)call->args.num_tokens;
    count_zeroed(call);
    if (call->args.live_tokens != NULL) {
        const struct mj_loaded_kernel *kernel = mj_plan_find(call->plan, MJ_KERNEL_ZERO, -1);
        return launch_elements(call, kernel, (long long)(rows * row / 16), stream, &args);
    }
    call->executor->launches++;
    CUdeviceptr data = (CUdeviceptr)output->data;
    if (output->row_stride == output->columns) return call->driver->cuMemsetD8Async(data, 0, rows * row, stream);
    return call->driver->cuMemsetD2D8Async(data, (size_t)args.row_stride_bytes, 0, row, rows, stream);
}

static CUresult run_combine(const struct call *call, const struct mj_down_args *down) {
    const moejit_layer *layer = &call->plan->problem.layer;
    int first = down->first_row_block * MJ_BLOCK_ROWS, end = first + down->num_row_blocks * MJ_BLOCK_ROWS;
    struct mj_combine_args args = {
        .partials = down->partials,
        .expert_ids = call->args.expert_ids,
        .live_tokens = call->args.live_tokens,
        .output = call->args.output.data,
        .output_row_stride = call->args.output.row_stride,
        .num_tokens = call->args.num_tokens,
        .top_k = layer->top_k,
        .num_local_experts = layer->num_local_experts,
        .local_expert_offset = layer->local_expert_offset,
        .first_column = first,
        .num_columns = (end < layer->hidden ? end : layer->hidden) - first,
        .partial_columns = down->partial_columns,
        .accumulate = call->args.output_mode == MOEJIT_OUTPUT_ACCUMULATE,
    };
    const struct mj_loaded_kernel *kernel = mj_plan_find(call->plan, MJ_KERNEL_COMBINE, -1);
    return launch_elements(call, kernel, (long long)args.num_tokens * (args.num_columns / 4), call->stream, &args);
}

// The ordered sum goes in chunks of columns where partials do not hold them all: every weight is still read once.
static CUresult run_down(const struct call *call) {
    const struct mj_problem *problem = &call->plan->problem;
    const moejit_layer *layer = &problem->layer;
    bool ordered = problem->sum == MJ_SUM_ORDERED;
    int total = mj_ceil_div(layer->hidden, MJ_BLOCK_ROWS),
        chunk = ordered ? call->plan->workspace.partial_row_blocks : total;
    struct mj_down_args args = {
        .intermediate = call->workspace + call->plan->workspace.intermediate,
        .intermediate_scales = call->workspace + call->plan->workspace.intermediate_scales,
        .weights = call->weights->memory + call->weights->layout.down,
        .alpha = call->args.down_alpha,
        .bias = call->args.down_bias,
        .router_weights = layer->router_weight_on_input ? NULL : call->args.router_weights,
        .expert_offsets = expert_offsets(call),
        .sorted_pairs = sorted_pairs(call),
        .fold = fold_args(call),
        .output = call->args.output.data,
        .partials = (float *)(void *)(call->workspace + call->plan->workspace.partials),
        .output_row_stride = call->args.output.row_stride,
        .expert_stride_bytes = (int64_t)call->weights->layout.down_expert,
        .num_local_experts = layer->num_local_experts,
        .partial_columns = chunk * MJ_BLOCK_ROWS,
    };
    int tile = call->decision.value[MJ_CHOICE_DOWN_TILE];
    const struct mj_loaded_kernel *kernel = mj_plan_find(call->plan, mj_kernel_down(&mj_tiles[tile]), tile);
    CUresult result = CUDA_SUCCESS;
    for (int first = 0; first < total && result == CUDA_SUCCESS; first += chunk) {
        args.first_row_block = first;
        args.num_row_blocks = total - first < chunk ? total - first : chunk;
        int rows = args.num_row_blocks * MJ_BLOCK_ROWS;
        struct mj_tile_launch launch = plan_tiles(call, kernel, rows, layer->intermediate);
        args.split = launch.split;
        args.ring_stages = launch.ring_stages;
        result = launch_tiles(call, kernel, &launch, &args);
        if (result == CUDA_SUCCESS && ordered) result = run_combine(call, &args);
    }
    return result;
}

// Few rows are zeroed by gate_up, where it can (the Hopper family): an event between it and down costs more (Qwen3-30B
// on one H100 at 256 tokens: 163 us with it, 159 without). A decision for the main stream stays.
#define MOST_BYTES_ZEROED_INSIDE (8u << 20)
static bool zeroes_inside(const struct call *call) {
    const int *value = call->decision.value;
    return !call->executor->routes_apart && mj_tiles[value[MJ_CHOICE_GATE_UP_TILE]].family == MOEJIT_FAMILY_HOPPER &&
           value[MJ_CHOICE_ZEROING] == MJ_ZEROING_AUXILIARY &&
           (size_t)call->args.num_tokens * output_row_bytes(call) <= MOST_BYTES_ZEROED_INSIDE;
}

// Zeroing beside route and gate_up, or before them. Once the auxiliary stream has been forked off it is always joined
// again, so that a failure in between leaves no capture unjoined.
static CUresult run_layer(const struct call *call) {
    const struct mj_driver *driver = call->driver;
    struct moejit_executor *executor = call->executor;
    bool beside = call->decision.value[MJ_CHOICE_ZEROING] == MJ_ZEROING_AUXILIARY;
    bool zeroing = needs_zeroing(call) && !call->zeroes_inside, forked = zeroing && beside && !executor->single_stream;
    CUresult result = CUDA_SUCCESS, joined = CUDA_SUCCESS;
    if (forked) {
        result = driver->cuEventRecord(executor->forked, call->stream);
        if (result == CUDA_SUCCESS) result = driver->cuStreamWaitEvent(executor->auxiliary, executor->forked, 0);
        if (result != CUDA_SUCCESS) return result;
        result = run_zero(call, executor->auxiliary);
        joined = driver->cuEventRecord(executor->zeroed, executor->auxiliary);
    } else if (zeroing) {
        result = run_zero(call, call->stream);
    }
    if (result == CUDA_SUCCESS && !call->folded) result = run_route(call);
    if (result == CUDA_SUCCESS) result = run_quantize(call);
    if (result == CUDA_SUCCESS) result = run_gate_up(call);
    if (forked && joined == CUDA_SUCCESS) joined = driver->cuStreamWaitEvent(call->stream, executor->zeroed, 0);
    if (result == CUDA_SUCCESS) result = joined;
    return result == CUDA_SUCCESS ? run_down(call) : result;
}

static CUresult run_down_step(const struct call *call) {
    CUresult result = needs_zeroing(call) ? run_zero(call, call->stream) : CUDA_SUCCESS;
    return result == CUDA_SUCCESS ? run_down(call) : result;
}

static CUresult run_forward(const struct call *call) {
    CUresult result = run_layer(call);
    if (result == CUDA_SUCCESS) call->executor->forwards++;
    return result;
}

static moejit_status begin(struct call *call, const struct moejit_plan *plan, const struct moejit_weights *weights,
                           bool needs_weights, const moejit_forward_args *args, struct moejit_executor *executor,
                           CUstream stream) {
    if (executor == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT; // there is no record to write to
    mj_error_clear(&executor->error);
    if (plan == NULL || (needs_weights && weights == NULL)) {
        return mj_error_set(&executor->error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is NULL",
                            plan == NULL ? "plan" : "weights");
    }
    if (plan->context != executor->context) {
        return mj_error_set(&executor->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "plan and executor belong to different contexts");
    }
    *call = (struct call){
        .plan = plan, .weights = weights, .executor = executor, .driver = &plan->context->driver, .stream = stream};
    moejit_status status = mj_forward_check(plan, weights, args, &call->args, &executor->error);
    call->workspace = call->args.workspace;
    if (status == MOEJIT_STATUS_OK && call->args.num_tokens > 0)
        call->decision = mj_plan_decide(plan, call->args.num_tokens);
    return status;
}

static moejit_status run(struct call *call, const char *what, CUresult (*steps)(const struct call *)) {
    struct mj_entered entered;
    struct mj_error *error = &call->executor->error;
    if (call->args.num_tokens == 0) {
        if (steps == run_forward) call->executor->forwards++;
        return MOEJIT_STATUS_OK;
    }
    moejit_status status = mj_context_enter(call->plan->context, &entered, error);
    if (status != MOEJIT_STATUS_OK) return status;
    CUresult result = steps(call);
    if (result != CUDA_SUCCESS) status = mj_driver_failed(call->driver, result, what, error);
    mj_context_leave(call->plan->context, &entered);
    return status;
}

moejit_status moejit_forward(const moejit_plan *plan, const moejit_weights *weights, const moejit_forward_args *args,
                             moejit_executor *executor, struct CUstream_st *stream) {
    struct call call;
    moejit_status status = begin(&call, plan, weights, true, args, executor, stream);
    if (status != MOEJIT_STATUS_OK) return status;
    if (call.args.num_tokens > 0) {
        call.folded = folds(&call);
        call.zeroes_inside = call.folded || zeroes_inside(&call);
    }
    return run(&call, "launching forward", run_forward);
}

moejit_status moejit_route(const moejit_plan *plan, const moejit_forward_args *args, moejit_executor *executor,
                           struct CUstream_st *stream) {
    struct call call;
    moejit_status status = begin(&call, plan, NULL, false, args, executor, stream);
    return status == MOEJIT_STATUS_OK ? run(&call, "launching route", run_route) : status;
}

moejit_status moejit_quantize(const moejit_plan *plan, const moejit_forward_args *args, moejit_executor *executor,
                              struct CUstream_st *stream) {
    struct call call;
    moejit_status status = begin(&call, plan, NULL, false, args, executor, stream);
    return status == MOEJIT_STATUS_OK ? run(&call, "launching quantize", run_quantize) : status;
}

moejit_status moejit_gate_up(const moejit_plan *plan, const moejit_weights *weights, const moejit_forward_args *args,
                             moejit_executor *executor, struct CUstream_st *stream) {
    struct call call;
    moejit_status status = begin(&call, plan, weights, true, args, executor, stream);
    return status == MOEJIT_STATUS_OK ? run(&call, "launching gate_up", run_gate_up) : status;
}

moejit_status moejit_down(const moejit_plan *plan, const moejit_weights *weights, const moejit_forward_args *args,
                          moejit_executor *executor, struct CUstream_st *stream) {
    struct call call;
    moejit_status status = begin(&call, plan, weights, true, args, executor, stream);
    return status == MOEJIT_STATUS_OK ? run(&call, "launching down", run_down_step) : status;
}

static CUresult copy_out(const struct call *call, const void *device, void *host, size_t bytes) {
    return call->driver->cuMemcpyDtoHAsync(host, (CUdeviceptr)device, bytes, call->stream);
}

// A row of codes and scales as the bf16 values q * sf.
static void expand_row(const uint8_t *codes, const uint8_t *scales, int count, uint16_t *out) {
    for (int i = 0; i < count; i++) {
        float q = mj_e2m1_value(mj_e2m1_code(codes, i));
        out[i] = mj_bf16_round((double)q * (double)mj_e4m3_value(scales[i / 16]));
    }
}

// Rows in sorted order to rows in the order of pairs. `rows` is memory for all of them in bf16: codes and scales need
// less.
static CUresult scatter_intermediate(const struct call *call, int32_t *pairs, uint8_t *rows, uint16_t *out) {
    const moejit_layer *layer = &call->plan->problem.layer;
    const struct mj_workspace_layout *workspace = &call->plan->workspace;
    bool codes = call->plan->problem.packed_layout == MJ_LAYOUT_BLOCK_SCALED;
    int32_t num_rows = 0;
    size_t row_elements = (size_t)layer->intermediate;
    size_t row_bytes = codes ? (size_t)MJ_ROW_CODE_BYTES(layer->intermediate) : row_elements * sizeof(uint16_t);
    size_t scale_bytes = codes ? (size_t)MJ_ROW_SCALE_BYTES(layer->intermediate) : 0;
    CUresult result = copy_out(call, expert_offsets(call) + layer->num_local_experts, &num_rows, sizeof(num_rows));
    if (result == CUDA_SUCCESS) result = call->driver->cuStreamSynchronize(call->stream);
    if (result != CUDA_SUCCESS || num_rows == 0) return result;
    result = copy_out(call, sorted_pairs(call), pairs, (size_t)num_rows * sizeof(int32_t));
    uint8_t *scales = rows + (size_t)num_rows * row_bytes;
    if (result == CUDA_SUCCESS) {
        result = copy_out(call, call->workspace + workspace->intermediate, rows, (size_t)num_rows * row_bytes);
    }
    if (result == CUDA_SUCCESS && codes) {
        result =
            copy_out(call, call->workspace + workspace->intermediate_scales, scales, (size_t)num_rows * scale_bytes);
    }
    if (result == CUDA_SUCCESS) result = call->driver->cuStreamSynchronize(call->stream);
    for (size_t i = 0; result == CUDA_SUCCESS && i < (size_t)num_rows; i++) {
        uint16_t *to = out + (size_t)pairs[i] * row_elements;
        if (codes) {
            expand_row(rows + i * row_bytes, scales + i * scale_bytes, layer->intermediate, to);
        } else {
            memcpy(to, rows + i * row_bytes, row_bytes);
        }
    }
    return result;
}

moejit_status moejit_read_intermediate(const moejit_plan *plan, const moejit_forward_args *args,
                                       moejit_executor *executor, struct CUstream_st *stream, uint16_t *out,
                                       size_t out_bytes) {
    struct call call;
    moejit_status status = begin(&call, plan, NULL, false, args, executor, stream);
    if (status != MOEJIT_STATUS_OK || call.args.num_tokens == 0) return status;
    const moejit_layer *layer = &plan->problem.layer;
    size_t pairs = (size_t)call.args.num_tokens * (size_t)layer->top_k;
    size_t needed = pairs * (size_t)layer->intermediate * sizeof(uint16_t);
    if (out == NULL || out_bytes < needed) {
        return mj_error_set(&executor->error, MOEJIT_STATUS_INVALID_ARGUMENT, "out is %p with %zu bytes, needs %zu",
                            (void *)out, out_bytes, needed);
    }
    int32_t *sorted = malloc(pairs * sizeof(int32_t));
    uint8_t *rows = malloc(needed);
    struct mj_entered entered = {false};
    if (sorted == NULL || rows == NULL) {
        status = mj_error_set(&executor->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for %zu bytes of intermediate",
                              needed);
    } else if ((status = mj_context_enter(plan->context, &entered, &executor->error)) == MOEJIT_STATUS_OK) {
        CUresult result = scatter_intermediate(&call, sorted, rows, out);
        if (result != CUDA_SUCCESS)
            status = mj_driver_failed(call.driver, result, "reading the intermediate", &executor->error);
        mj_context_leave(plan->context, &entered);
    }
    free(sorted);
    free(rows);
    return status;
}
