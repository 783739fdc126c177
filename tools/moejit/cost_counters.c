// A kernel counts as a whole, so the main loop's part is a difference of differences: launches with one expert and with
// two tell what a tile costs (all else is equal, the grid included), and tiles of two depths tell what a step costs.
#include "cost_counters.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cuda/arch.h"
#include "emulator.h"
#include "gpu.h"

enum { NUM_DEPTHS = 2, NUM_EXPERTS = 2, MAX_BUFFERS = 16 };
static const int bases[] = {256, 384}; // H and I of a layer, and twice as much: whole tiles

// The first base of whole row tiles and steps.
static int base_of(const struct mj_tile *tile) {
    bool whole = bases[0] % tile->block_rows == 0 && bases[0] % tile->block_k == 0;
    return whole ? bases[0] : bases[1];
}

struct counts {
    double sectors, conflicts;
};

struct counting {
    struct gpu gpu;
    const struct mj_machine *machine;
    __typeof__(&moejit_emulator_last_launch) last_launch;
    moejit_context *context;
    moejit_executor *executor;
    CUstream stream;
    char *message;
    size_t message_bytes;
};

struct layer { // of one depth, on the device
    moejit_layer layer;
    moejit_weights *weights;
    void *buffers[MAX_BUFFERS];
    int num_buffers;
};

static bool say(struct counting *counting, const char *tried, const char *why) {
    snprintf(counting->message, counting->message_bytes, "counting on the emulator: %s: %s", tried, why);
    return false;
}

static bool api_ok(struct counting *counting, moejit_status status, const char *tried) {
    const char *why = counting->executor != NULL ? moejit_executor_error(counting->executor) : "";
    if (why[0] == '\0') why = moejit_context_error(counting->context);
    return status == MOEJIT_STATUS_OK ? true : say(counting, tried, why);
}

static bool open_emulator(struct counting *counting, const char *path, const char *cache_path) {
    char why[1024];
    if (!gpu_open(&counting->gpu, path)) return say(counting, path, counting->gpu.error);
    if (!counting->gpu.emulated) return say(counting, path, "is no emulator");
    *(void **)(void *)&counting->last_launch = dlsym(counting->gpu.library, "moejit_emulator_last_launch");
    if (counting->last_launch == NULL) return say(counting, path, "has no moejit_emulator_last_launch");
    snprintf(why, sizeof(why), "does not play %s (MOEJIT_EMULATOR_ARCH)", counting->machine->arch);
    if (counting->gpu.capability != mj_arch_find(counting->machine->arch)->capability) return say(counting, path, why);
    moejit_context_options options;
    moejit_context_options_init(&options);
    options.cuda_library = path;
    options.cache_path = cache_path;
    if (moejit_context_create(&options, &counting->context, why, sizeof(why)) != MOEJIT_STATUS_OK)
        return say(counting, path, why);
    moejit_executor_options executor_options;
    moejit_executor_options_init(&executor_options);
    CUresult made = counting->gpu.cuStreamCreate(&counting->stream, CU_STREAM_NON_BLOCKING);
    if (!gpu_ok(&counting->gpu, made, "creating a stream")) return say(counting, path, counting->gpu.error);
    moejit_status status = moejit_executor_create(counting->context, &executor_options, &counting->executor);
    return api_ok(counting, status, "creating an executor");
}

static void close_emulator(struct counting *counting) {
    moejit_executor_destroy(counting->executor);
    moejit_context_destroy(counting->context);
    if (counting->stream != NULL) counting->gpu.cuStreamDestroy(counting->stream);
    gpu_close(&counting->gpu);
}

// ---- A layer of zeros: where its bytes lie is all that counts

static void *zeros(struct counting *counting, struct layer *layer, size_t bytes) {
    void *data = calloc(1, bytes);
    void *memory = data != NULL && layer->num_buffers < MAX_BUFFERS ? gpu_upload(&counting->gpu, data, bytes) : NULL;
    free(data);
    if (memory != NULL) layer->buffers[layer->num_buffers++] = memory;
    return memory;
}

static bool create_layer(struct counting *counting, struct layer *layer, moejit_family family, int depth) {
    size_t cells = NUM_EXPERTS * (size_t)depth * (size_t)depth, bytes = 0;
    *layer = (struct layer){.num_buffers = 0};
    moejit_layer_init(&layer->layer, MOEJIT_ACTIVATION_SWIGLU);
    layer->layer.hidden = layer->layer.intermediate = depth;
    layer->layer.num_experts = layer->layer.num_local_experts = layer->layer.top_k = NUM_EXPERTS;
    cost_layer_for(&layer->layer, family);
    if (!api_ok(counting, moejit_weights_bytes(counting->context, &layer->layer, &bytes), "sizing weights"))
        return false;
    moejit_checkpoint checkpoint = {sizeof(checkpoint), zeros(counting, layer, cells),
                                    zeros(counting, layer, cells / 8), zeros(counting, layer, cells / 2),
                                    zeros(counting, layer, cells / 16)};
    void *memory = zeros(counting, layer, bytes);
    if (layer->num_buffers != 5) return say(counting, "allocating weights", counting->gpu.error);
    moejit_status status = moejit_weights_create(counting->context, &layer->layer, memory, bytes, &layer->weights);
    if (status == MOEJIT_STATUS_OK)
        status = moejit_weights_pack(layer->weights, &checkpoint, 0, NUM_EXPERTS, counting->stream);
    return api_ok(counting, status, "packing weights");
}

static void destroy_layer(struct counting *counting, struct layer *layer) {
    moejit_weights_destroy(layer->weights);
    for (int i = 0; i < layer->num_buffers; i++) gpu_free(&counting->gpu, layer->buffers[i]);
}

// Each token goes to the first `num_hit` experts.
static int32_t *upload_ids(struct counting *counting, struct layer *layer, int num_tokens, int num_hit) {
    int32_t *ids = zeros(counting, layer, (size_t)num_tokens * NUM_EXPERTS * sizeof(*ids));
    int32_t *values = malloc((size_t)num_tokens * NUM_EXPERTS * sizeof(*values));
    for (int i = 0; values != NULL && i < num_tokens * NUM_EXPERTS; i++)
        values[i] = i % NUM_EXPERTS < num_hit ? i % NUM_EXPERTS : -1;
    bool good =
        ids != NULL && values != NULL &&
        gpu_ok(&counting->gpu,
               counting->gpu.cuMemcpyHtoD((CUdeviceptr)ids, values, (size_t)num_tokens * NUM_EXPERTS * sizeof(*values)),
               "uploading ids");
    free(values);
    return good ? ids : NULL;
}

static bool make_args(struct counting *counting, struct layer *layer, const moejit_plan *plan, int num_tokens,
                      moejit_forward_args *args) {
    size_t tokens = (size_t)num_tokens, depth = (size_t)layer->layer.hidden;
    int before = layer->num_buffers;
    moejit_forward_args_init(args);
    args->num_tokens = num_tokens;
    args->x =
        (moejit_tensor){zeros(counting, layer, tokens * depth * 2), MOEJIT_DTYPE_BF16, num_tokens, (int64_t)depth, 0};
    args->output = args->x;
    args->output.data = zeros(counting, layer, tokens * depth * 2);
    args->output_mode = MOEJIT_OUTPUT_ASSUME_ZERO;
    args->router_weights = zeros(counting, layer, tokens * NUM_EXPERTS * sizeof(float));
    args->gate_up_alpha = args->down_alpha = zeros(counting, layer, NUM_EXPERTS * sizeof(float));
    if (layer->layer.activation_format == MOEJIT_FORMAT_NVFP4) {
        args->input_scale = args->intermediate_scale = args->gate_up_alpha;
    }
    args->workspace_bytes = moejit_plan_workspace_bytes(plan);
    args->workspace = zeros(counting, layer, args->workspace_bytes);
    return layer->num_buffers == before + 5 ? true : say(counting, "allocating tensors", counting->gpu.error);
}

// ---- Launches

static bool take_launch(struct counting *counting, const struct mj_tile *tile, double sign, struct counts *sum) {
    struct emu_counters counters;
    char name[128];
    CUresult ended = counting->gpu.cuStreamSynchronize(counting->stream);
    if (!gpu_ok(&counting->gpu, ended, tile->name)) return say(counting, "running a kernel", counting->gpu.error);
    counting->last_launch(&counters, name, sizeof(name));
    if (strstr(name, tile->name) == NULL) return say(counting, tile->name, "another kernel was launched last");
    sum->sectors += sign * (double)counters.global_sectors;
    sum->conflicts += sign * (double)counters.shared_bank_conflicts;
    return true;
}

static bool run_steps(struct counting *counting, const struct layer *layer, const moejit_plan *plan,
                      const moejit_forward_args *args, const struct mj_tile *tile, double sign, struct counts sums[2]) {
    return api_ok(counting, moejit_route(plan, args, counting->executor, counting->stream), "route") &&
           api_ok(counting, moejit_quantize(plan, args, counting->executor, counting->stream), "quantize") &&
           api_ok(counting, moejit_gate_up(plan, layer->weights, args, counting->executor, counting->stream),
                  "gate_up") &&
           take_launch(counting, tile, sign, &sums[MJ_STEP_GATE_UP]) &&
           api_ok(counting, moejit_down(plan, layer->weights, args, counting->executor, counting->stream), "down") &&
           take_launch(counting, tile, sign, &sums[MJ_STEP_DOWN]);
}

// What the tiles of one expert cost: with two of them less with one.
static bool count_expert(struct counting *counting, struct layer *layer, const moejit_plan *plan,
                         const struct mj_tile *tile, struct counts sums[2]) {
    moejit_forward_args args;
    int num_tokens = tile->block_tokens, kept = layer->num_buffers;
    bool good = make_args(counting, layer, plan, num_tokens, &args);
    for (int num_hit = 1; good && num_hit <= NUM_EXPERTS; num_hit++) {
        args.expert_ids = upload_ids(counting, layer, num_tokens, num_hit);
        good = args.expert_ids != NULL ? run_steps(counting, layer, plan, &args, tile, num_hit == 1 ? -1 : 1, sums)
                                       : say(counting, "allocating ids", counting->gpu.error);
    }
    while (layer->num_buffers > kept) gpu_free(&counting->gpu, layer->buffers[--layer->num_buffers]);
    return good;
}

static bool count_tile(struct counting *counting, struct layer *layer, const struct mj_tile *tile,
                       struct counts sums[2]) {
    moejit_plan_options options;
    moejit_plan *plan = NULL;
    moejit_plan_options_init(&options);
    options.max_num_tokens = tile->block_tokens;
    options.tile = (int)(tile - mj_tiles) + 1;
    bool good = api_ok(counting, moejit_plan_create(counting->context, &layer->layer, &options, &plan), tile->name) &&
                count_expert(counting, layer, plan, tile, sums);
    moejit_plan_destroy(plan);
    return good;
}

// sums: of an expert's tiles at each depth.
static void settle(struct cost_row *row, const struct counts sums[NUM_DEPTHS]) {
    double sectors[NUM_DEPTHS], conflicts[NUM_DEPTHS], steps[NUM_DEPTHS];
    for (int d = 0; d < NUM_DEPTHS; d++) {
        int depth = base_of(row->tile) << d, rows = row->step == MJ_STEP_GATE_UP ? 2 * depth : depth;
        double tiles = mj_ceil_div(rows, row->tile->block_rows);
        steps[d] = mj_ceil_div(depth, row->tile->block_k);
        sectors[d] = sums[d].sectors / tiles;
        conflicts[d] = sums[d].conflicts / tiles;
    }
    row->counted = true;
    row->sectors = (sectors[1] - sectors[0]) / (steps[1] - steps[0]);
    row->conflicts = (conflicts[1] - conflicts[0]) / (steps[1] - steps[0]);
}

// Of all tiles of a family with that base, at depth d.
static bool count_depth(struct counting *counting, moejit_family family, int base, int d, const struct cost_row *rows,
                        int num_rows, struct counts sums[MJ_NUM_TILES][2][NUM_DEPTHS]) {
    struct layer layer;
    bool good = create_layer(counting, &layer, family, base << d);
    for (int i = 0; good && i < num_rows; i++) {
        struct counts both[2] = {{0}};
        long tile = rows[i].tile - mj_tiles;
        if (i > 0 && rows[i].tile == rows[i - 1].tile) continue; // counted with its other step
        if (rows[i].tile->family != family || base_of(rows[i].tile) != base) continue;
        good = count_tile(counting, &layer, rows[i].tile, both);
        for (int step = 0; step < 2; step++) sums[tile][step][d] = both[step];
    }
    destroy_layer(counting, &layer);
    return good;
}

static bool has_row(const struct cost_row *rows, int num_rows, moejit_family family, int base) {
    for (int i = 0; i < num_rows; i++) {
        if (rows[i].tile->family == family && base_of(rows[i].tile) == base) return true;
    }
    return false;
}

static bool count_rows(struct counting *counting, struct cost_row *rows, int num_rows) {
    struct counts sums[MJ_NUM_TILES][2][NUM_DEPTHS] = {{{{0}}}};
    bool good = true;
    for (moejit_family family = MOEJIT_FAMILY_PORTABLE; family <= MOEJIT_FAMILY_FP4; family++) {
        for (size_t b = 0; b < sizeof(bases) / sizeof(bases[0]); b++) {
            if (!has_row(rows, num_rows, family, bases[b])) continue;
            for (int d = 0; good && d < NUM_DEPTHS; d++)
                good = count_depth(counting, family, bases[b], d, rows, num_rows, sums);
        }
    }
    for (int i = 0; good && i < num_rows; i++) settle(&rows[i], sums[rows[i].tile - mj_tiles][rows[i].step]);
    return good;
}

bool cost_counters_read(const char *emulator, const char *cache_path, struct cost_row *rows, int num_rows,
                        char *message, size_t message_bytes) {
    if (num_rows == 0) return true;
    struct counting counting = {.machine = rows[0].machine, .message = message, .message_bytes = message_bytes};
    bool good = open_emulator(&counting, emulator, cache_path) && count_rows(&counting, rows, num_rows);
    close_emulator(&counting);
    return good;
}
