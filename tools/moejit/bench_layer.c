#include "bench_layer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moe/nvfp4.h"

#define COPIES_BYTES ((size_t)6 << 30) // weights of one layer, all copies
#define PACK_BYTES ((size_t)1 << 30)   // of a checkpoint that is packed at once

static size_t round_up(size_t bytes) {
    return (bytes + 15) / 16 * 16;
}

struct checkpoint_part { // room for a few experts as a checkpoint has them
    moejit_checkpoint checkpoint;
    size_t bytes[4]; // of one expert: gate_up, its scales, down, its scales
    int num_experts;
};

static bool checkpoint_part_create(struct bench *bench, const struct mj_problem *problem,
                                   struct checkpoint_part *part) {
    const moejit_layer *layer = &problem->layer;
    size_t hidden = (size_t)layer->hidden, rows = (size_t)problem->gate_up_rows;
    int tiled = (int)layer->scale_layout;
    part->bytes[0] = rows * hidden / 2;
    part->bytes[1] = mj_nvfp4_scale_bytes(tiled, problem->gate_up_rows, layer->hidden / 16);
    part->bytes[2] = hidden * (size_t)layer->intermediate / 2;
    part->bytes[3] = mj_nvfp4_scale_bytes(tiled, layer->hidden, layer->intermediate / 16);
    size_t most = PACK_BYTES / (part->bytes[0] + part->bytes[1] + part->bytes[2] + part->bytes[3]);
    part->num_experts = layer->num_local_experts < (int)most ? layer->num_local_experts : (int)most;
    if (part->num_experts < 1) part->num_experts = 1;
    const void **fields[4] = {&part->checkpoint.gate_up, &part->checkpoint.gate_up_scale, &part->checkpoint.down,
                              &part->checkpoint.down_scale};
    part->checkpoint.struct_size = sizeof(part->checkpoint);
    for (int i = 0; i < 4; i++) {
        *fields[i] = bench_upload(bench, NULL, round_up(part->bytes[i] * (size_t)part->num_experts));
        if (*fields[i] == NULL) return bench_fail("weights", bench->gpu.error);
    }
    return true;
}

static bool checkpoint_part_fill(struct bench *bench, const struct checkpoint_part *part, uint32_t seed) {
    const void *fields[4] = {part->checkpoint.gate_up, part->checkpoint.gate_up_scale, part->checkpoint.down,
                             part->checkpoint.down_scale};
    for (uint32_t i = 0; i < 4; i++) {
        struct bench_pattern pattern = i % 2 == 0 ? bench_random_codes : bench_random_scales;
        if (!bench_fill_enqueue(&bench->kernels, &bench->gpu, (void *)(uintptr_t)fields[i],
                                round_up(part->bytes[i] * (size_t)part->num_experts), pattern, seed + i,
                                bench->stream)) {
            return bench_fail("weights", bench->gpu.error);
        }
    }
    return true;
}

// All experts of copy `c`, distinct ones, a part of the checkpoint at a time.
static bool pack_copy(struct bench *bench, struct bench_layer *layer, const struct checkpoint_part *part, int c) {
    const moejit_layer *description = &layer->problem.layer;
    int total = description->num_local_experts;
    layer->packed[c] = bench_upload(bench, NULL, layer->layout.total);
    if (layer->packed[c] == NULL) return bench_fail("packed weights", bench->gpu.error);
    moejit_status status =
        moejit_weights_create(bench->context, description, layer->packed[c], layer->layout.total, &layer->weights[c]);
    for (int first = 0; first < total && status == MOEJIT_STATUS_OK; first += part->num_experts) {
        int count = total - first < part->num_experts ? total - first : part->num_experts;
        if (!checkpoint_part_fill(bench, part, (uint32_t)(c * total + first) * 4)) return false;
        status = moejit_weights_pack(layer->weights[c], &part->checkpoint, first, count, bench->stream);
    }
    return status == MOEJIT_STATUS_OK || bench_fail("weights", moejit_context_error(bench->context));
}

static int choose_copies(struct bench *bench, const struct bench_layer *layer) {
    size_t available = 0, total = 0, room = COPIES_BYTES;
    if (bench->gpu.cuMemGetInfo(&available, &total) == CUDA_SUCCESS && available / 4 < room) room = available / 4;
    size_t fitting = room / layer->layout.total;
    if (bench->gpu.emulated || fitting < 1) return 1;
    return fitting < BENCH_MAX_ROUTINGS ? (int)fitting : BENCH_MAX_ROUTINGS;
}

bool bench_layer_create(struct bench *bench, const char *name, const moejit_layer *description,
                        struct bench_layer *layer) {
    struct mj_error error = {0};
    struct checkpoint_part part;
    memset(layer, 0, sizeof(*layer));
    layer->name = name;
    if (mj_problem_create(&layer->problem, description, &error) != MOEJIT_STATUS_OK)
        return bench_fail("layer", error.message);
    mj_layout_weights(&layer->problem, &layer->layout);
    int num_copies = choose_copies(bench, layer), first = bench->num_memory;
    bool good = checkpoint_part_create(bench, &layer->problem, &part);
    int last = bench->num_memory;
    for (int c = 0; c < num_copies && good; c++) {
        good = pack_copy(bench, layer, &part, c);
        layer->num_copies = c + 1;
    }
    for (int i = first; i < last; i++) { // packed out of place: the checkpoint is done with
        gpu_free(&bench->gpu, bench->memory[i]);
        bench->memory[i] = NULL;
    }
    return good;
}

void bench_layer_destroy(struct bench *bench, struct bench_layer *layer) {
    (void)bench;
    for (int c = 0; c < layer->num_copies; c++) moejit_weights_destroy(layer->weights[c]);
}

bool bench_each_layer(struct bench *bench, bool (*run)(struct bench *bench, struct bench_layer *layer)) {
    struct bench_options *options = &bench->options;
    bool good = true;
    for (int m = 0; m < options->num_models || m == 0; m++) {
        static struct bench_layer layer;
        moejit_layer description;
        int kept = bench->num_memory;
        options->layer.model = options->num_models > 0 ? options->models[m] : NULL;
        if (!layer_options_layer(&options->layer, "bench", &description)) return false;
        description.packed_layout = layer_options_layout(options->families[0], options->tile);
        if (bench->gpu.emulated) layer_options_shrink(NULL, &description);
        const char *name = options->num_models > 0 ? options->models[m] : "layer";
        bench_progress(bench, name);
        good = bench_layer_create(bench, name, &description, &layer) && run(bench, &layer);
        bench_layer_destroy(bench, &layer);
        bench_release(bench, kept);
        if (!good) break;
    }
    return good;
}
