#include "run/tuning_scratch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "moe/nvfp4.h"

#define PATTERN_BYTES 131071 // a prime that what is random repeats after, so that no two rows are the same
#define EXPERT_STEP 256      // from one expert's checkpoint weights to the next one's, which overlap
#define L2_SHARE 3           // the layers of a graph have at least so many times the L2 cache's bytes
// Root mean squares: of a random e2m1 code times a scale of 0.5 to 1.875, and the largest x and h expected.
#define WEIGHT_RMS 3.2
#define LARGEST_X 6.0
#define LARGEST_H 20.0
#define LARGEST_NVFP4 (448.0 * 6.0)

static size_t align(size_t bytes) {
    return (bytes + MJ_MEMORY_ALIGNMENT - 1) / MJ_MEMORY_ALIGNMENT * MJ_MEMORY_ALIGNMENT;
}

static size_t take(size_t *next, size_t bytes) {
    size_t at = *next;
    *next += align(bytes);
    return at;
}

// One expert's weights as a checkpoint has them, and a step more for each further expert.
static void take_checkpoint(const struct mj_problem *problem, struct mj_tuning_layout *layout, size_t *next) {
    const moejit_layer *layer = &problem->layer;
    int tiled = (int)layer->scale_layout, rows = problem->gate_up_rows;
    size_t steps = (size_t)layer->num_local_experts * EXPERT_STEP;
    size_t gate_up = (size_t)rows * (size_t)layer->hidden / 2,
           down = (size_t)layer->hidden * (size_t)layer->intermediate / 2;
    size_t gate_up_scales = mj_nvfp4_scale_bytes(tiled, rows, layer->hidden / 16);
    size_t down_scales = mj_nvfp4_scale_bytes(tiled, layer->hidden, layer->intermediate / 16);
    layout->codes_bytes = (gate_up > down ? gate_up : down) + steps;
    layout->codes = take(next, layout->codes_bytes);
    layout->code_scales_bytes = (gate_up_scales > down_scales ? gate_up_scales : down_scales) + steps;
    layout->code_scales = take(next, layout->code_scales_bytes);
}

void mj_tuning_layout(const struct moejit_plan *plan, size_t l2_bytes, struct mj_tuning_layout *layout) {
    const moejit_layer *layer = &plan->problem.layer;
    size_t tokens = (size_t)plan->max_num_tokens, hidden = (size_t)layer->hidden, next = 0;
    size_t experts = (size_t)layer->num_local_experts, pairs = tokens * (size_t)layer->top_k;
    bool nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    struct mj_weights_layout weights;
    mj_layout_weights(&plan->problem, &weights);
    memset(layout, 0, sizeof(*layout));
    size_t layers = (L2_SHARE * l2_bytes + weights.total - 1) / weights.total;
    layout->num_layers = layers < 1 ? 1 : (layers > MJ_TUNING_ROUTINGS ? MJ_TUNING_ROUTINGS : (int)layers);
    layout->weights_stride = align(weights.total);
    layout->weights = take(&next, layout->weights_stride * (size_t)layout->num_layers);
    layout->x_bytes = nvfp4_x ? tokens * hidden / 2 : tokens * hidden * 2;
    layout->x = take(&next, layout->x_bytes);
    layout->x_scale_bytes = nvfp4_x ? tokens * hidden / 16 : 0;
    layout->x_scale = take(&next, layout->x_scale_bytes);
    layout->output_bytes = tokens * hidden * mj_dtype_bytes(layer->output_dtype);
    layout->output = take(&next, layout->output_bytes);
    layout->ids_stride = align(pairs * sizeof(int32_t));
    layout->ids = take(&next, layout->ids_stride * (MJ_TUNING_ROUTINGS + 1));
    layout->router_weights = take(&next, pairs * sizeof(float));
    layout->scales = take(&next, (experts * 4 + 1) * sizeof(float));
    layout->zeros_bytes = experts * ((size_t)plan->problem.gate_up_rows + hidden) * sizeof(float);
    layout->zeros = take(&next, layout->zeros_bytes);
    layout->workspace = take(&next, plan->workspace.total);
    take_checkpoint(&plan->problem, layout, &next);
    layout->total = next;
}

static CUdeviceptr at(const struct mj_tuning_scratch *scratch, size_t offset) {
    return (CUdeviceptr)(scratch->memory + offset);
}

// The pattern, again and again: each copy doubles what there is.
static CUresult repeat(const struct mj_tuning_scratch *scratch, size_t offset, size_t bytes, const void *pattern,
                       size_t pattern_bytes, CUstream stream) {
    const struct mj_driver *driver = &scratch->plan->context->driver;
    size_t done = bytes < pattern_bytes ? bytes : pattern_bytes;
    if (bytes == 0) return CUDA_SUCCESS;
    CUresult result = driver->cuMemcpyHtoDAsync(at(scratch, offset), pattern, done, stream);
    while (result == CUDA_SUCCESS && done < bytes) {
        size_t more = bytes - done < done ? bytes - done : done;
        result = driver->cuMemcpyDtoDAsync(at(scratch, offset + done), at(scratch, offset), more, stream);
        done += more;
    }
    return result;
}

enum pattern { PATTERN_CODES, PATTERN_SCALES, PATTERN_BF16, PATTERN_ROUTER_WEIGHTS };

static void make_pattern(enum pattern kind, int top_k, void *pattern, struct mj_random *random) {
    uint8_t *bytes = pattern;
    uint16_t *halves = pattern;
    float *floats = pattern;
    switch (kind) {
    case PATTERN_CODES: // two e2m1 values a byte, any
        for (size_t i = 0; i < PATTERN_BYTES; i++) bytes[i] = (uint8_t)(mj_random_next(random) & 255);
        break;
    case PATTERN_SCALES: // e4m3 from 0.5 to 1.875
        for (size_t i = 0; i < PATTERN_BYTES; i++) bytes[i] = (uint8_t)(6 * 8 + mj_random_next(random) % 16);
        break;
    case PATTERN_BF16:
        for (size_t i = 0; i < PATTERN_BYTES / 2; i++) halves[i] = mj_bf16_round(mj_random_normal(random));
        break;
    case PATTERN_ROUTER_WEIGHTS:
        for (size_t i = 0; i < PATTERN_BYTES / 4; i++) floats[i] = (float)(mj_random_uniform(random) * 2 / top_k);
        break;
    }
}

// Waits: the pattern may change after.
static CUresult fill_with(const struct mj_tuning_scratch *scratch, size_t offset, size_t bytes, enum pattern kind,
                          void *pattern, CUstream stream) {
    static const size_t element[] = {1, 1, 2, 4};
    struct mj_random random = {(uint64_t)kind + 1};
    make_pattern(kind, scratch->plan->problem.layer.top_k, pattern, &random);
    CUresult result = repeat(scratch, offset, bytes, pattern, PATTERN_BYTES / element[kind] * element[kind], stream);
    CUresult waited = scratch->plan->context->driver.cuStreamSynchronize(stream);
    return result == CUDA_SUCCESS ? waited : result;
}

static CUresult fill_tensors(struct mj_tuning_scratch *scratch, void *pattern, CUstream stream) {
    const struct mj_tuning_layout *layout = &scratch->layout;
    const moejit_layer *layer = &scratch->plan->problem.layer;
    enum pattern x = layer->input_format == MOEJIT_FORMAT_NVFP4 ? PATTERN_CODES : PATTERN_BF16;
    size_t pairs = (size_t)scratch->plan->max_num_tokens * (size_t)layer->top_k;
    const struct {
        size_t offset, bytes;
        enum pattern kind;
    } tensors[] = {{layout->codes, layout->codes_bytes, PATTERN_CODES},
                   {layout->code_scales, layout->code_scales_bytes, PATTERN_SCALES},
                   {layout->x, layout->x_bytes, x},
                   {layout->x_scale, layout->x_scale_bytes, PATTERN_SCALES},
                   {layout->router_weights, pairs * sizeof(float), PATTERN_ROUTER_WEIGHTS}};
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < sizeof(tensors) / sizeof(tensors[0]) && result == CUDA_SUCCESS; i++) {
        result = fill_with(scratch, tensors[i].offset, tensors[i].bytes, tensors[i].kind, pattern, stream);
    }
    if (result != CUDA_SUCCESS) return result;
    return scratch->plan->context->driver.cuMemsetD8Async(at(scratch, layout->zeros), 0, layout->zeros_bytes, stream);
}

// Scales that keep gate, up and output near 1: gate_up_alpha [2 E], down_alpha [E], intermediate_scale [E],
// input_scale.
static CUresult fill_scales(struct mj_tuning_scratch *scratch, CUstream stream) {
    const moejit_layer *layer = &scratch->plan->problem.layer;
    const struct mj_driver *driver = &scratch->plan->context->driver;
    size_t experts = (size_t)layer->num_local_experts;
    float *scales = malloc((experts * 4 + 1) * sizeof(float));
    if (scales == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4, nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    double input_scale = LARGEST_NVFP4 / LARGEST_X, h_scale = nvfp4 ? LARGEST_NVFP4 / LARGEST_H : 1;
    double x_rms = nvfp4_x ? WEIGHT_RMS : (nvfp4 ? input_scale : 1);
    for (size_t i = 0; i < experts * 2; i++) scales[i] = (float)(1 / (WEIGHT_RMS * x_rms * sqrt(layer->hidden)));
    for (size_t i = 0; i < experts; i++) {
        scales[experts * 2 + i] = (float)(1 / (WEIGHT_RMS * h_scale * sqrt(layer->intermediate)));
        scales[experts * 3 + i] = (float)h_scale;
    }
    scales[experts * 4] = (float)input_scale;
    CUresult result = driver->cuMemcpyHtoDAsync(at(scratch, scratch->layout.scales), scales,
                                                (experts * 4 + 1) * sizeof(float), stream);
    if (result == CUDA_SUCCESS) result = driver->cuStreamSynchronize(stream);
    free(scales);
    return result;
}

// By the plan's own pack kernel: how packed weights look is its business. Further layers are copies of the first.
static moejit_status pack_weights(struct mj_tuning_scratch *scratch, CUstream stream, struct mj_error *error) {
    const struct mj_tuning_layout *layout = &scratch->layout;
    const struct mj_driver *driver = &scratch->plan->context->driver;
    moejit_status status = MOEJIT_STATUS_OK;
    CUresult result = CUDA_SUCCESS;
    for (int e = 0; e < scratch->plan->problem.layer.num_local_experts && status == MOEJIT_STATUS_OK; e++) {
        const unsigned char *codes = scratch->memory + layout->codes + (size_t)e * EXPERT_STEP;
        const unsigned char *scales = scratch->memory + layout->code_scales + (size_t)e * EXPERT_STEP;
        const moejit_checkpoint checkpoint = {sizeof(checkpoint), codes, scales, codes, scales};
        status = moejit_weights_pack(&scratch->weights[0], &checkpoint, e, 1, stream);
    }
    for (int i = 1; i < layout->num_layers && status == MOEJIT_STATUS_OK && result == CUDA_SUCCESS; i++) {
        result = driver->cuMemcpyDtoDAsync(at(scratch, layout->weights + (size_t)i * layout->weights_stride),
                                           at(scratch, layout->weights), scratch->weights[0].layout.total, stream);
    }
    return result == CUDA_SUCCESS ? status : mj_driver_failed(driver, result, "copying weights to tune with", error);
}

static moejit_status fill(struct mj_tuning_scratch *scratch, CUstream stream, struct mj_error *error) {
    void *pattern = malloc(PATTERN_BYTES);
    if (pattern == NULL)
        return mj_error_set(error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for %d bytes", PATTERN_BYTES);
    CUresult result = fill_tensors(scratch, pattern, stream);
    free(pattern);
    if (result == CUDA_SUCCESS) result = fill_scales(scratch, stream);
    if (result != CUDA_SUCCESS)
        return mj_driver_failed(&scratch->plan->context->driver, result, "filling the memory to tune with", error);
    return pack_weights(scratch, stream, error);
}

static moejit_status find_memory(struct mj_tuning_scratch *scratch, void *given, size_t given_bytes,
                                 struct mj_error *error) {
    const struct mj_driver *driver = &scratch->plan->context->driver;
    size_t needed = scratch->layout.total;
    if (given == NULL) {
        CUdeviceptr memory = 0;
        CUresult result = driver->cuMemAlloc(&memory, needed);
        if (result != CUDA_SUCCESS) return mj_driver_failed(driver, result, "allocating memory to tune with", error);
        scratch->memory = (unsigned char *)memory;
        scratch->allocated = true;
        return MOEJIT_STATUS_OK;
    }
    if ((uintptr_t)given % MJ_MEMORY_ALIGNMENT != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "tuning has scratch = %p, needs device memory aligned to %d bytes", given,
                            MJ_MEMORY_ALIGNMENT);
    }
    if (given_bytes < needed) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "tuning has scratch_bytes = %zu, needs %zu (moejit_plan_tune_bytes)", given_bytes, needed);
    }
    scratch->memory = given;
    return MOEJIT_STATUS_OK;
}

moejit_status mj_tuning_scratch_create(struct mj_tuning_scratch *scratch, const struct moejit_plan *plan, void *given,
                                       size_t given_bytes, CUstream stream, struct mj_error *error) {
    const struct mj_driver *driver = &plan->context->driver;
    int l2_bytes = 0;
    memset(scratch, 0, sizeof(*scratch));
    scratch->plan = plan;
    CUresult result = driver->cuDeviceGetAttribute(&l2_bytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, plan->context->device);
    if (result != CUDA_SUCCESS) return mj_driver_failed(driver, result, "asking for the L2 cache's size", error);
    mj_tuning_layout(plan, (size_t)l2_bytes, &scratch->layout);
    moejit_status status = find_memory(scratch, given, given_bytes, error);
    if (status != MOEJIT_STATUS_OK) return status;
    for (int i = 0; i < scratch->layout.num_layers; i++) {
        struct moejit_weights *weights = &scratch->weights[i];
        weights->context = plan->context;
        weights->problem = plan->problem;
        mj_layout_weights(&plan->problem, &weights->layout);
        weights->pack = *mj_plan_find(plan, MJ_KERNEL_PACK, -1); // the plan's, and its to destroy
        weights->memory = scratch->memory + scratch->layout.weights + (size_t)i * scratch->layout.weights_stride;
    }
    status = fill(scratch, stream, error);
    if (status != MOEJIT_STATUS_OK) mj_tuning_scratch_destroy(scratch);
    return status;
}

void mj_tuning_scratch_destroy(struct mj_tuning_scratch *scratch) {
    if (scratch->allocated) scratch->plan->context->driver.cuMemFree((CUdeviceptr)scratch->memory);
    scratch->allocated = false;
}

static void count_tokens(const moejit_layer *layer, const int32_t *ids, size_t pairs, int *expert_tokens) {
    memset(expert_tokens, 0, (size_t)layer->num_local_experts * sizeof(int));
    for (size_t i = 0; i < pairs; i++) {
        int local = ids[i] - layer->local_expert_offset;
        if (local >= 0 && local < layer->num_local_experts) expert_tokens[local]++;
    }
}

moejit_status mj_tuning_scratch_route(struct mj_tuning_scratch *scratch, const struct mj_routing *routing,
                                      int num_tokens, CUstream stream, int *expert_tokens, struct mj_error *error) {
    const moejit_layer *layer = &scratch->plan->problem.layer;
    const struct mj_driver *driver = &scratch->plan->context->driver;
    size_t pairs = (size_t)num_tokens * (size_t)layer->top_k;
    int32_t *ids = malloc(pairs * sizeof(int32_t));
    CUresult result = ids != NULL ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
    for (int r = 0; r <= MJ_CHECK_ROUTING && result == CUDA_SUCCESS; r++) {
        mj_routing_draw(routing, num_tokens, (uint64_t)r, ids);
        if (r == 0) count_tokens(layer, ids, pairs, expert_tokens);
        for (int t = 0; r == MJ_CHECK_ROUTING && t < num_tokens; t++) {
            ids[t * layer->top_k] = layer->local_expert_offset + t % layer->num_local_experts;
        }
        result = driver->cuMemcpyHtoDAsync(at(scratch, scratch->layout.ids + (size_t)r * scratch->layout.ids_stride),
                                           ids, pairs * sizeof(int32_t), stream);
        if (result == CUDA_SUCCESS) result = driver->cuStreamSynchronize(stream);
    }
    free(ids);
    return result == CUDA_SUCCESS ? MOEJIT_STATUS_OK
                                  : mj_driver_failed(driver, result, "copying routings to tune with", error);
}

moejit_forward_args mj_tuning_scratch_args(const struct mj_tuning_scratch *scratch, int num_tokens, int r) {
    const struct mj_tuning_layout *layout = &scratch->layout;
    const moejit_layer *layer = &scratch->plan->problem.layer;
    unsigned char *memory = scratch->memory;
    bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4, nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
    const float *scales = (const float *)(const void *)(memory + layout->scales);
    size_t experts = (size_t)layer->num_local_experts;
    const void *zeros = memory + layout->zeros;
    moejit_forward_args args;
    moejit_forward_args_init(&args);
    args.num_tokens = num_tokens;
    args.x = (moejit_tensor){memory + layout->x, nvfp4_x ? MOEJIT_DTYPE_NVFP4 : MOEJIT_DTYPE_BF16, num_tokens,
                             layer->hidden, 0};
    args.x_scale = nvfp4_x ? memory + layout->x_scale : NULL;
    args.expert_ids = (const int32_t *)(const void *)(memory + layout->ids + (size_t)r * layout->ids_stride);
    args.router_weights = (const float *)(const void *)(memory + layout->router_weights);
    args.gate_up_alpha = scales;
    args.down_alpha = scales + experts * 2;
    args.gate_up_bias = layer->gate_up_bias_dtype != MOEJIT_DTYPE_NONE ? zeros : NULL;
    args.down_bias = layer->down_bias_dtype != MOEJIT_DTYPE_NONE ? zeros : NULL;
    args.input_scale = nvfp4 && !nvfp4_x ? scales + experts * 4 : NULL;
    args.intermediate_scale = nvfp4 ? scales + experts * 3 : NULL;
    args.output = (moejit_tensor){memory + layout->output, layer->output_dtype, num_tokens, layer->hidden, 0};
    args.workspace = memory + layout->workspace;
    args.workspace_bytes = scratch->plan->workspace.total;
    return args;
}
