// The table of a layer and its steps, each beside its floor.
#include <stdio.h>
#include <string.h>

#include "bench_check.h"
#include "bench_layer.h"
#include "moe/tile.h"

enum part { ROUTE, QUANTIZE, GATE_UP, DOWN, LAYER, READ_GATE_UP, READ_DOWN, READ_LAYER, NUM_PARTS };
static const char *const part_names[NUM_PARTS] = {"route", "quantize",     "gate_up",   "down",
                                                  "layer", "read_gate_up", "read_down", "read_layer"};

struct row { // one token count of one layer, family and sum
    struct bench_call call;
    moejit_sum sum;
    moejit_family family;
    enum part part; // being timed
    size_t read_bytes[NUM_PARTS];
    struct bench_timing timing[NUM_PARTS];
    struct bench_check check;
};

static bool enqueue_read(struct bench *bench, const struct row *row, int r) {
    const struct bench_layer *layer = row->call.layer;
    size_t bytes = row->read_bytes[row->part], room = layer->layout.total - bytes;
    size_t turn = (size_t)(r / layer->num_copies), turns = (size_t)row->call.num_routings;
    const char *memory = layer->packed[r % layer->num_copies];
    return bench_read_enqueue(&bench->kernels, &bench->gpu, memory + room / turns * turn / 4096 * 4096, bytes,
                              bench->stream) ||
           bench_fail(part_names[row->part], bench->gpu.error);
}

// Zeroing is the layer's, which does it beside gate_up: down alone adds to what is there.
static moejit_status down_alone(struct bench *bench, struct bench_call *call, const moejit_weights *weights,
                                const moejit_forward_args *args) {
    moejit_forward_args without = *args;
    without.output_mode = MOEJIT_OUTPUT_ASSUME_ZERO;
    return moejit_down(call->plan, weights, &without, call->executor, bench->stream);
}

static bool enqueue(struct bench *bench, void *user, int r) {
    struct row *row = user;
    struct bench_call *call = &row->call;
    const moejit_forward_args *args = &call->args[r];
    const moejit_weights *weights = call->layer->weights[r % call->layer->num_copies];
    moejit_status status = MOEJIT_STATUS_OK;
    switch (row->part) {
    case ROUTE: status = moejit_route(call->plan, args, call->executor, bench->stream); break;
    case QUANTIZE: status = moejit_quantize(call->plan, args, call->executor, bench->stream); break;
    case GATE_UP: status = moejit_gate_up(call->plan, weights, args, call->executor, bench->stream); break;
    case DOWN: status = down_alone(bench, call, weights, args); break;
    case LAYER: return bench_call_forward(bench, call, r);
    default: return enqueue_read(bench, row, r);
    }
    return status == MOEJIT_STATUS_OK || bench_fail(part_names[row->part], moejit_executor_error(call->executor));
}

// In order: a step reads what the earlier ones left in its routing's workspace.
static bool time_parts(struct bench *bench, struct row *row) {
    const struct bench_call *call = &row->call;
    row->read_bytes[READ_GATE_UP] = (size_t)bench_call_gate_up(call).bytes / 4096 * 4096;
    row->read_bytes[READ_DOWN] = (size_t)bench_call_down(call).bytes / 4096 * 4096;
    row->read_bytes[READ_LAYER] = row->read_bytes[READ_GATE_UP] + row->read_bytes[READ_DOWN];
    for (int part = 0; part < NUM_PARTS; part++) {
        struct bench_work work = {part_names[part], enqueue, row, .count = call->num_routings};
        row->part = (enum part)part;
        bool none = part == QUANTIZE && call->layer->problem.layer.activation_format != MOEJIT_FORMAT_NVFP4;
        if (!none && !bench_time(bench, &work, &row->timing[part])) return false;
    }
    return true;
}

struct figure { // of one part
    double us, tb_per_s, tflop_per_s, floor_us, ratio;
    struct bench_sensors sensors;
};

static struct figure make_figure(const struct bench *bench, const struct row *row, enum part part, enum part read,
                                 struct bench_amount amount) {
    struct figure figure = {.us = row->timing[part].us, .floor_us = row->timing[read].us};
    figure.sensors = row->timing[part].sensors;
    double cublas = bench->ceilings.sustained.rate;
    double compute_us = cublas > 0 ? amount.operations / cublas * 1e-6 : 0;
    if (compute_us > figure.floor_us) figure.floor_us = compute_us;
    if (figure.us <= 0) return figure;
    figure.tb_per_s = amount.bytes / figure.us * 1e-6;
    figure.tflop_per_s = amount.operations / figure.us * 1e-6;
    figure.ratio = figure.floor_us > 0 ? figure.us / figure.floor_us : 0;
    return figure;
}

static const char *family_name(const struct bench *bench, moejit_family family) {
    return mj_family_name(family == MOEJIT_FAMILY_AUTO ? mj_family_best(moejit_context_arch(bench->context)) : family);
}

static const char *sum_name(const struct row *row) {
    static const char *const names[] = {"default", "atomic", "deterministic", "batch-invariant"};
    return names[moejit_plan_sum(row->call.plan)];
}

static void print_json_figure(const char *name, struct figure figure) {
    printf(", \"%s\": {\"us\": %.2f, \"tb_per_s\": %.3f, \"tflop_per_s\": %.2f, \"floor_us\": %.2f, \"ratio\": %.3f",
           name, figure.us, figure.tb_per_s, figure.tflop_per_s, figure.floor_us, figure.ratio);
    if (figure.sensors.sm_mhz > 0)
        printf(", \"sm_mhz\": %.0f, \"watts\": %.0f", figure.sensors.sm_mhz, figure.sensors.watts);
    printf("}");
}

static void print_json(const struct bench *bench, const struct row *row, const struct figure figures[3]) {
    const moejit_layer *layer = &row->call.layer->problem.layer;
    double cublas = bench->ceilings.sustained.rate;
    printf("{\"model\": \"%s\", \"family\": \"%s\", \"sum\": \"%s\", \"tokens\": %d, \"hidden\": %d, \"intermediate\": "
           "%d, "
           "\"local_experts\": %d, \"top_k\": %d, \"weight_bytes\": %.0f, \"route_us\": %.2f, \"quantize_us\": %.2f",
           row->call.layer->name, family_name(bench, row->family), sum_name(row), row->call.num_tokens, layer->hidden,
           layer->intermediate, layer->num_local_experts, layer->top_k,
           bench_call_gate_up(&row->call).bytes + bench_call_down(&row->call).bytes, row->timing[ROUTE].us,
           row->timing[QUANTIZE].us);
    print_json_figure("gate_up", figures[0]);
    print_json_figure("down", figures[1]);
    print_json_figure("layer", figures[2]);
    if (cublas > 0) printf(", \"of_cublas\": %.3f", figures[2].tflop_per_s / cublas);
    bench_check_print_json(&row->check);
    printf("}\n");
}

static void print_text(const struct bench *bench, const struct row *row, const struct figure figures[3]) {
    double cublas = bench->ceilings.sustained.rate, bytes = figures[2].tb_per_s * figures[2].us;
    printf("%6d %7.1f %7.2f %8.2f %9.2f %6.2f %9.2f %6.2f %9.2f %9.2f %6.2f %6.3f %7.1f", row->call.num_tokens, bytes,
           row->timing[ROUTE].us, row->timing[QUANTIZE].us, figures[0].us, figures[0].ratio, figures[1].us,
           figures[1].ratio, figures[2].us, figures[2].floor_us, figures[2].ratio, figures[2].tb_per_s,
           figures[2].tflop_per_s);
    if (cublas > 0) {
        printf(" %7.3f", figures[2].tflop_per_s / cublas);
    } else {
        printf(" %7s", "-");
    }
    bench_sensors_print(&row->timing[LAYER].sensors);
    bench_check_print(&row->check);
    printf("\n");
}

static void print_row(const struct bench *bench, const struct row *row) {
    struct bench_amount gate_up = bench_call_gate_up(&row->call), down = bench_call_down(&row->call);
    struct bench_amount layer = {gate_up.operations + down.operations, gate_up.bytes + down.bytes};
    struct figure figures[3] = {make_figure(bench, row, GATE_UP, READ_GATE_UP, gate_up),
                                make_figure(bench, row, DOWN, READ_DOWN, down),
                                make_figure(bench, row, LAYER, READ_LAYER, layer)};
    if (bench->options.json) {
        print_json(bench, row, figures);
    } else {
        print_text(bench, row, figures);
    }
    fflush(stdout);
}

static void print_heading(const struct bench *bench, const struct row *row) {
    const struct bench_layer *layer = row->call.layer;
    const moejit_layer *description = &layer->problem.layer;
    if (bench->options.json) return;
    printf("%s: H %d, I %d, %d of %d experts, top %d, weights x %d; %s family, %s sum; microseconds a forward\n",
           layer->name, description->hidden, description->intermediate, description->num_local_experts,
           description->num_experts, description->top_k, layer->num_copies, family_name(bench, row->family),
           sum_name(row));
    if (bench->options.tune != MOEJIT_TUNE_NEVER) printf("tuned: decisions from the cache\n");
    printf(
        "tokens      MB   route quantize   gate_up  ratio      down  ratio     layer     floor  ratio   TB/s TFLOP/s "
        "/cuBLAS  SM MHz      W\n");
}

static bool run_row(struct bench *bench, struct bench_layer *layer, struct row *row, int num_tokens, bool heading) {
    struct bench_variant variant = {row->sum, row->family, num_tokens, 0};
    moejit_sum sum = row->sum;
    moejit_family family = row->family;
    memset(row, 0, sizeof(*row));
    row->sum = sum;
    row->family = family;
    bool good = bench_call_create(bench, layer, &variant, &row->call) && time_parts(bench, row);
    if (good && bench->options.check) good = bench_check_run(bench, &row->call, &variant, &row->check);
    bench_progress(bench, NULL);
    if (good && heading) print_heading(bench, row);
    if (good) print_row(bench, row);
    bench_call_destroy(bench, &row->call);
    return good;
}

static bool run_layer(struct bench *bench, struct bench_layer *layer) {
    static struct row row;
    const struct bench_options *options = &bench->options;
    for (int f = 0; f < options->num_families; f++) {
        for (int s = 0; s < options->num_sums; s++) {
            for (int t = 0; t < options->num_tokens; t++) {
                row.sum = options->sums[s];
                row.family = options->families[f];
                bench_progress(bench, layer->name);
                if (!run_row(bench, layer, &row, options->tokens[t], t == 0)) return false;
                if (row.check.done && !row.check.good) bench->checks_failed++;
            }
        }
    }
    return true;
}

bool bench_steps_run(struct bench *bench) {
    const struct bench_options *options = &bench->options;
    int models = options->num_models > 0 ? options->num_models : 1;
    bench->total = !options->no_ceilings + models * options->num_families * options->num_sums * options->num_tokens;
    if (!options->no_ceilings) {
        if (!bench_ceilings_measure(bench)) return false;
        bench_progress(bench, NULL);
        bench_ceilings_print(bench);
    }
    return bench_each_layer(bench, run_layer);
}
