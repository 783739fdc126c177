#include "mutation_scenarios.h"

#include <stdlib.h>
#include <string.h>

// An expert for each width at which a tile of up to 64 tokens is multiplied, and small ones behind, so that each stage
// is filled again that those leave.
static const int pairs_of_widths[] = {10, 20, 36, 44, 52, 60, 2, 2, 2, 2, 2, 0};

// One more step than a ring has stages, so that a stage is filled again and the epilogue meets one just read. "folded"
// has as many pairs that all warps of a CTA route, "long" more than route takes at once. In "shared" two CTAs share
// a tile.
const struct scenario scenarios[] = {
    {"portable", "64x16x64", MOEJIT_FAMILY_PORTABLE, 448, 448, 24, MOEJIT_SUM_DEFAULT, NULL, false, false, 1, NULL,
     false},
    {"ordered", "64x32x64", MOEJIT_FAMILY_PORTABLE, 384, 384, 24, MOEJIT_SUM_DETERMINISTIC, NULL, false, false, 1, NULL,
     false},
    {"hopper", "hopper_64x16x256", MOEJIT_FAMILY_HOPPER, 448, 352, 24, MOEJIT_SUM_DEFAULT, NULL, false, false, 1, NULL,
     false},
    {"wgmma", "hopper_256x64x128", MOEJIT_FAMILY_HOPPER, 256, 96, 116, MOEJIT_SUM_DETERMINISTIC, NULL, false, false, 0,
     pairs_of_widths, false},
    {"folded", "hopper_64x8x256", MOEJIT_FAMILY_HOPPER, 64, 32, 70, MOEJIT_SUM_DEFAULT, NULL, true, false, 2, NULL,
     false},
    {"shared", "hopper_64x8x256", MOEJIT_FAMILY_HOPPER, 784, 528, 3, MOEJIT_SUM_DETERMINISTIC, NULL, true, false, 1,
     NULL, true},
    {"live", "64x8x64", MOEJIT_FAMILY_PORTABLE, 128, 64, 40, MOEJIT_SUM_DEFAULT, "moejit_zero", false, true, 2, NULL,
     false},
    {"long", "128x128x64", MOEJIT_FAMILY_PORTABLE, 16, 16, 1100, MOEJIT_SUM_DEFAULT, "moejit_route", false, false, 1,
     NULL, false},
    {"next", "64x16x64", MOEJIT_FAMILY_PORTABLE, 64, 32, 8, MOEJIT_SUM_DEFAULT, "moejit_route", false, false, 0, NULL,
     false},
};
const size_t num_scenarios = sizeof(scenarios) / sizeof(scenarios[0]);

moejit_layer scenario_layer(const struct scenario *scenario) {
    moejit_layer layer = rig_layer();
    layer.hidden = scenario->hidden;
    layer.intermediate = scenario->intermediate;
    layer.sum = scenario->sum;
    if (scenario->pairs == NULL) return layer;
    for (layer.num_experts = 0; scenario->pairs[layer.num_experts] != 0;) layer.num_experts++;
    layer.num_local_experts = layer.num_experts;
    return layer;
}

// The pairs of each expert dealt out over the tokens.
static void route_pairs(const struct scenario *scenario, struct layer_data *data) {
    int num_pairs = scenario->num_tokens * data->problem.layer.top_k, left = 0, expert = -1;
    for (int i = 0; i < num_pairs; i++) {
        if (left == 0) left = scenario->pairs[++expert];
        data->expert_ids[i * 89 % num_pairs] = expert; // 89: a prime that does not divide it
        left--;
    }
}

static int find_tile(const struct scenario *scenario) { // 0: the plan's choice
    for (int i = 0; scenario->tile != NULL && moejit_tile_name(i) != NULL; i++) {
        if (strcmp(moejit_tile_name(i), scenario->tile) == 0) return i + 1;
    }
    return 0;
}

moejit_plan_options scenario_plan_options(const struct scenario *scenario) {
    moejit_plan_options options;
    moejit_plan_options_init(&options);
    options.family = scenario->family;
    options.tile = find_tile(scenario);
    options.max_num_tokens = scenario->num_tokens;
    return options;
}

moejit_status scenario_create(struct rig *rig, struct gpu *gpu, const struct scenario *scenario, const void *packed) {
    moejit_layer layer = scenario_layer(scenario);
    moejit_plan_options options = scenario_plan_options(scenario);
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    memset(rig, 0, sizeof(*rig));
    if (mj_problem_create(&problem, &layer, &error) != MOEJIT_STATUS_OK) return MOEJIT_STATUS_INTERNAL;
    if (!layer_data_create(&data, &problem, scenario->num_tokens, ROUTING_SKEWED, false, 0))
        return MOEJIT_STATUS_INTERNAL;
    if (scenario->pairs != NULL) route_pairs(scenario, &data);
    moejit_status status = rig_create_planned(rig, gpu, &layer, &data, &options, packed);
    moejit_executor_options executor;
    moejit_executor_options_init(&executor);
    executor.separate_route = !scenario->folded;
    executor.single_stream = scenario->in_stream;
    if (status == MOEJIT_STATUS_OK && scenario->in_stream) {
        int32_t live = scenario->num_tokens;
        rig->args.live_tokens = rig->memory[rig->num_memory++] = gpu_upload(gpu, &live, sizeof(live));
    }
    return status == MOEJIT_STATUS_OK ? rig_change_executor(rig, &executor) : status;
}

// Another call: each token goes where its neighbour went before.
static bool turn(struct rig *rig, moejit_forward_args *args) {
    size_t row = (size_t)rig->data.problem.layer.top_k, count = (size_t)rig->data.num_tokens * row;
    int32_t *ids = malloc(count * sizeof(*ids));
    *args = rig->args;
    if (ids == NULL) return false;
    memcpy(ids, rig->data.expert_ids + row, (count - row) * sizeof(*ids));
    memcpy(ids + count - row, rig->data.expert_ids, row * sizeof(*ids));
    args->expert_ids = gpu_upload(rig->gpu, ids, count * sizeof(*ids));
    free(ids);
    return args->expert_ids != NULL;
}

// The same stream with nothing between the forwards: the second begins while the first one's last kernel may run.
static bool enqueue_forwards(struct rig *rig, const moejit_forward_args *other, void *const *outputs, int rounds) {
    moejit_forward_args args[2] = {rig->args, *other};
    bool good = true;
    for (int i = 0; i < 2 * rounds && good; i++) {
        args[i % 2].output.data = outputs[i % 2];
        good = moejit_forward(rig->plan, rig->weights, &args[i % 2], rig->executor, rig->stream) == MOEJIT_STATUS_OK;
    }
    return rig->gpu->cuStreamSynchronize(rig->stream) == CUDA_SUCCESS && good;
}

// A host program's stream, with one wait at the end: it clears the output, has a forward into it, copies that, has
// another call's forward into it, copies that. `times` forwards before each copy, which give what one gives.
static bool enqueue(struct rig *rig, const moejit_forward_args *other, void *const *copies, size_t bytes, int rounds,
                    int times) {
    struct gpu *gpu = rig->gpu;
    CUdeviceptr output = (CUdeviceptr)rig->args.output.data;
    bool good = gpu->cuMemsetD32Async(output, 0x7fc00000, bytes / 4, rig->stream) == CUDA_SUCCESS;
    for (int i = 0; i < 2 * rounds && good; i++) {
        const moejit_forward_args *args = i % 2 == 0 ? &rig->args : other;
        CUdeviceptr copy = (CUdeviceptr)copies[i % 2];
        for (int t = 0; t < times && good; t++) {
            good = moejit_forward(rig->plan, rig->weights, args, rig->executor, rig->stream) == MOEJIT_STATUS_OK;
        }
        good = good && gpu->cuMemcpyDtoDAsync(copy, output, bytes, rig->stream) == CUDA_SUCCESS;
    }
    return gpu->cuStreamSynchronize(rig->stream) == CUDA_SUCCESS && good;
}

bool scenario_run(const struct scenario *scenario, struct rig *rig, int rounds, float *output) {
    struct gpu *gpu = rig->gpu;
    size_t bytes = (size_t)rig->data.num_tokens * (size_t)rig->data.problem.layer.hidden * sizeof(float);
    void *copies[NUM_OUTPUTS] = {gpu_upload(gpu, NULL, bytes), gpu_upload(gpu, NULL, bytes)};
    moejit_forward_args other;
    bool good = turn(rig, &other) && copies[0] != NULL && copies[1] != NULL;
    if (good) {
        good = scenario->times == 0 ? enqueue_forwards(rig, &other, copies, rounds)
                                    : enqueue(rig, &other, copies, bytes, rounds, scenario->times);
    }
    for (int i = 0; i < NUM_OUTPUTS && good && output != NULL; i++) {
        good = gpu_download(gpu, output + (size_t)i * bytes / sizeof(float), copies[i], bytes);
    }
    gpu_free(gpu, (void *)(uintptr_t)other.expert_ids);
    gpu_free(gpu, copies[0]);
    gpu_free(gpu, copies[1]);
    return good;
}
