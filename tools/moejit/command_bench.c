// moejit bench: time of a layer and of its steps, beside a cold read of the same weight bytes in the same run.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_read.h"
#include "layer_data.h"
#include "layer_options.h"

static const char help[] = "Usage: moejit bench [options]\n"
                           "Times a layer under a CUDA graph. Each graph holds several forwards with different "
                           "routings, so that weights come from\n"
                           "memory, not from a cache; the floor is a plain read of as many bytes as the chosen "
                           "experts' packed weights have.\n\n"
                           "%s\n"
                           "  --tokens LIST            comma-separated (default 1,16,64,256,1024)\n"
                           "  --tile T                 as in run\n"
                           "  --family F               as in run\n"
                           "  --repeat N               graph launches, of which the median counts (default 11)\n"
                           "  --cuda-library PATH\n"
                           "  --json                   a JSON object a token count\n"
                           "Exit status: 0 good, 2 bad command line, 3 no GPU, no NVRTC or an unsupported layer.\n";

enum { OPTION_TOKENS = 256, OPTION_TILE, OPTION_FAMILY, OPTION_REPEAT, OPTION_CUDA, OPTION_JSON, OPTION_HELP };

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    {"tokens", required_argument, NULL, OPTION_TOKENS},
    {"tile", required_argument, NULL, OPTION_TILE},
    {"family", required_argument, NULL, OPTION_FAMILY},
    {"repeat", required_argument, NULL, OPTION_REPEAT},
    {"cuda-library", required_argument, NULL, OPTION_CUDA},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

#define NUM_ROUTINGS 8 // forwards in a graph
#define MAX_REPEATS 101

enum part { PART_ROUTE, PART_QUANTIZE, PART_GATE_UP, PART_DOWN, PART_LAYER, PART_FLOOR, NUM_PARTS };
static const char *const part_names[NUM_PARTS] = {"route", "quantize", "gate_up", "down", "layer", "floor"};

struct bench {
    struct layer_options options;
    moejit_layer layer;
    char tokens[256];
    const char *cuda_library;
    long long repeats;
    int tile;
    moejit_family family;
    bool json;
    struct gpu gpu;
    moejit_context *context;
    moejit_weights *weights;
    moejit_executor *executor;
    moejit_plan *plan;
    CUstream stream;
    void *packed;
    size_t packed_bytes;
    struct bench_read read;
    void *memory[256];
    int num_memory;
    moejit_forward_args args[NUM_ROUTINGS];
    double us[NUM_PARTS];
    double mean_experts; // distinct ones a forward reads
    size_t expert_bytes;
};

static bool fail(const struct bench *bench, const char *what, const char *why) {
    (void)bench;
    fprintf(stderr, "moejit bench: %s: %s\n", what, why);
    return false;
}

static void *upload(struct bench *bench, const void *data, size_t bytes) {
    void *memory = bench->num_memory < 256 ? gpu_upload(&bench->gpu, data, bytes) : NULL;
    if (memory != NULL) bench->memory[bench->num_memory++] = memory;
    return memory;
}

static void release(struct bench *bench, int kept) {
    while (bench->num_memory > kept) gpu_free(&bench->gpu, bench->memory[--bench->num_memory]);
}

static bool pack_weights(struct bench *bench, const struct layer_data *data) {
    int kept = bench->num_memory;
    moejit_checkpoint checkpoint = {sizeof(checkpoint), upload(bench, data->gate_up, data->gate_up_bytes),
                                    upload(bench, data->gate_up_scale, data->gate_up_scale_bytes),
                                    upload(bench, data->down, data->down_bytes),
                                    upload(bench, data->down_scale, data->down_scale_bytes)};
    if (bench->num_memory != kept + 4) return fail(bench, "weights", bench->gpu.error);
    if (moejit_weights_create(bench->context, &bench->layer, bench->packed, bench->packed_bytes, &bench->weights) !=
            MOEJIT_STATUS_OK ||
        moejit_weights_pack(bench->weights, &checkpoint, 0, bench->layer.num_local_experts, bench->stream) !=
            MOEJIT_STATUS_OK) {
        return fail(bench, "weights", moejit_context_error(bench->context));
    }
    release(bench, kept);
    return true;
}

static bool make_weights(struct bench *bench) {
    struct mj_problem problem;
    struct mj_error error = {0};
    struct layer_data data;
    if (moejit_weights_bytes(bench->context, &bench->layer, &bench->packed_bytes) != MOEJIT_STATUS_OK ||
        mj_problem_create(&problem, &bench->layer, &error) != MOEJIT_STATUS_OK) {
        return fail(bench, "layer", moejit_context_error(bench->context));
    }
    bench->expert_bytes = bench->packed_bytes / (size_t)bench->layer.num_local_experts;
    bench->packed = upload(bench, NULL, bench->packed_bytes);
    if (bench->packed == NULL) return fail(bench, "packed weights", bench->gpu.error);
    if (!layer_data_create(&data, &problem, 0, ROUTING_UNIFORM, false, 0))
        return fail(bench, "weights", "no host memory");
    bool good = pack_weights(bench, &data);
    layer_data_destroy(&data);
    return good;
}

static double count_experts(const struct layer_data *data) {
    bool seen[1024] = {false};
    int num = 0, first = data->problem.layer.local_expert_offset;
    for (int i = 0; i < data->num_tokens * data->problem.layer.top_k; i++) {
        int local = data->expert_ids[i] - first;
        if (local < 0 || local >= data->problem.layer.num_local_experts || seen[local]) continue;
        seen[local] = true;
        num++;
    }
    return num;
}

// One set of arguments a routing; all but the ids are shared.
static bool make_args(struct bench *bench, int num_tokens) {
    const moejit_layer *layer = &bench->layer;
    struct mj_problem problem;
    struct mj_error error = {0};
    size_t pairs = (size_t)num_tokens * (size_t)layer->top_k, workspace = moejit_plan_workspace_bytes(bench->plan);
    mj_problem_create(&problem, layer, &error);
    problem.layer.num_local_experts = 1; // only x, ids and weights of tokens are wanted: do not make all experts again
    bench->mean_experts = 0;
    for (int r = 0; r < NUM_ROUTINGS; r++) {
        struct layer_data data;
        moejit_forward_args *args = &bench->args[r];
        if (!layer_data_create(&data, &problem, num_tokens, ROUTING_UNIFORM, false, (uint64_t)r))
            return fail(bench, "tokens", "no host memory");
        data.problem.layer.num_local_experts = layer->num_local_experts;
        bench->mean_experts += count_experts(&data) / NUM_ROUTINGS;
        if (r > 0) {
            *args = bench->args[0];
        } else {
            size_t experts = (size_t)layer->num_local_experts;
            float *ones = malloc(experts * 2 * sizeof(float));
            for (size_t i = 0; ones != NULL && i < experts * 2; i++) ones[i] = 1e-3f;
            size_t bias = experts * 2 * (size_t)layer->intermediate + experts * (size_t)layer->hidden;
            void *zeros = upload(bench, NULL, bias * 4);
            if (zeros != NULL) bench->gpu.cuMemsetD8((CUdeviceptr)zeros, 0, bias * 4);
            bool nvfp4 = layer->activation_format == MOEJIT_FORMAT_NVFP4,
                 nvfp4_x = layer->input_format == MOEJIT_FORMAT_NVFP4;
            size_t element = layer->output_dtype == MOEJIT_DTYPE_F32 ? 4 : 2;
            moejit_forward_args_init(args);
            args->num_tokens = num_tokens;
            args->x = (moejit_tensor){upload(bench, data.x, data.x_bytes),
                                      nvfp4_x ? MOEJIT_DTYPE_NVFP4 : MOEJIT_DTYPE_BF16, num_tokens, layer->hidden, 0};
            args->x_scale = nvfp4_x ? upload(bench, data.x_scale, data.x_scale_bytes) : NULL;
            args->router_weights = upload(bench, data.router_weights, pairs * 4);
            args->gate_up_alpha = args->down_alpha = upload(bench, ones, experts * 8);
            args->gate_up_bias = layer->gate_up_bias_dtype != MOEJIT_DTYPE_NONE ? zeros : NULL;
            args->down_bias = layer->down_bias_dtype != MOEJIT_DTYPE_NONE ? zeros : NULL;
            args->input_scale = nvfp4 && !nvfp4_x ? args->gate_up_alpha : NULL;
            args->intermediate_scale = nvfp4 ? args->gate_up_alpha : NULL;
            args->output = (moejit_tensor){upload(bench, NULL, (size_t)num_tokens * (size_t)layer->hidden * element),
                                           layer->output_dtype, num_tokens, layer->hidden, 0};
            args->workspace_bytes = workspace;
            free(ones);
        }
        args->expert_ids = upload(bench, data.expert_ids, pairs * 4);
        args->workspace = upload(bench, NULL, workspace); // so that each routing's steps can be timed alone
        layer_data_destroy(&data);
        if (args->expert_ids == NULL || args->output.data == NULL || args->workspace == NULL)
            return fail(bench, "tensors", bench->gpu.error);
    }
    return bench->gpu.cuCtxSynchronize() == CUDA_SUCCESS;
}

static bool enqueue(struct bench *bench, enum part part, int r) {
    const moejit_forward_args *args = &bench->args[r];
    moejit_status status = MOEJIT_STATUS_OK;
    switch (part) {
    case PART_ROUTE: status = moejit_route(bench->plan, args, bench->executor, bench->stream); break;
    case PART_QUANTIZE: status = moejit_quantize(bench->plan, args, bench->executor, bench->stream); break;
    case PART_GATE_UP:
        status = moejit_gate_up(bench->plan, bench->weights, args, bench->executor, bench->stream);
        break;
    case PART_DOWN: status = moejit_down(bench->plan, bench->weights, args, bench->executor, bench->stream); break;
    case PART_LAYER: status = moejit_forward(bench->plan, bench->weights, args, bench->executor, bench->stream); break;
    default: {
        size_t bytes = (size_t)(bench->mean_experts * (double)bench->expert_bytes) / 4096 * 4096;
        size_t room = bench->packed_bytes > bytes ? bench->packed_bytes - bytes : 0;
        return bench_read_enqueue(&bench->read, &bench->gpu,
                                  (char *)bench->packed + room / NUM_ROUTINGS * (size_t)r / 4096 * 4096, bytes,
                                  bench->stream);
    }
    }
    return status == MOEJIT_STATUS_OK || fail(bench, part_names[part], moejit_executor_error(bench->executor));
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool time_graph(struct bench *bench, CUgraphExec exec, double *us) {
    struct gpu *gpu = &bench->gpu;
    CUevent events[2] = {NULL, NULL};
    double times[MAX_REPEATS];
    CUresult result = gpu->cuEventCreate(&events[0], CU_EVENT_DEFAULT);
    if (result == CUDA_SUCCESS) result = gpu->cuEventCreate(&events[1], CU_EVENT_DEFAULT);
    for (int i = -2; i < (int)bench->repeats && result == CUDA_SUCCESS; i++) { // two to warm up
        float ms = 0;
        result = gpu->cuEventRecord(events[0], bench->stream);
        if (result == CUDA_SUCCESS) result = gpu->cuGraphLaunch(exec, bench->stream);
        if (result == CUDA_SUCCESS) result = gpu->cuEventRecord(events[1], bench->stream);
        if (result == CUDA_SUCCESS) result = gpu->cuEventSynchronize(events[1]);
        if (result == CUDA_SUCCESS) result = gpu->cuEventElapsedTime(&ms, events[0], events[1]);
        if (i >= 0) times[i] = (double)ms * 1000 / NUM_ROUTINGS;
    }
    for (int i = 0; i < 2; i++) {
        if (events[i] != NULL) gpu->cuEventDestroy(events[i]);
    }
    if (!gpu_ok(gpu, result, "timing a graph")) return fail(bench, "timing", gpu->error);
    qsort(times, (size_t)bench->repeats, sizeof(times[0]), compare_doubles);
    *us = times[bench->repeats / 2];
    return true;
}

static bool time_part(struct bench *bench, enum part part) {
    struct gpu *gpu = &bench->gpu;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    bool good = true;
    if (part == PART_QUANTIZE && bench->layer.activation_format != MOEJIT_FORMAT_NVFP4) return true;
    // Steps read what the earlier ones left in their routing's workspace.
    if (!gpu_ok(gpu, gpu->cuStreamBeginCapture(bench->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL),
                "beginning a capture")) {
        return fail(bench, part_names[part], gpu->error);
    }
    for (int r = 0; r < NUM_ROUTINGS && good; r++) good = enqueue(bench, part, r);
    CUresult result = gpu->cuStreamEndCapture(bench->stream, &graph);
    if (result == CUDA_SUCCESS) result = gpu->cuGraphInstantiate(&exec, graph, 0);
    if (good && !gpu_ok(gpu, result, "capturing")) good = fail(bench, part_names[part], gpu->error);
    if (good) good = time_graph(bench, exec, &bench->us[part]);
    if (exec != NULL) gpu->cuGraphExecDestroy(exec);
    if (graph != NULL) gpu->cuGraphDestroy(graph);
    return good;
}

static void print_row(const struct bench *bench, int num_tokens) {
    const moejit_layer *layer = &bench->layer;
    double bytes = bench->mean_experts * (double)bench->expert_bytes;
    double local = (double)layer->num_local_experts / layer->num_experts;
    double projections = layer->activation == MOEJIT_ACTIVATION_RELU2 ? 2 : 3;
    double flops = 2 * projections * layer->hidden * (double)layer->intermediate * num_tokens * layer->top_k * local;
    double us = bench->us[PART_LAYER];
    if (bench->json) {
        printf("{\"tokens\": %d, \"hidden\": %d, \"intermediate\": %d, \"local_experts\": %d, \"top_k\": %d, "
               "\"weight_bytes\": %.0f",
               num_tokens, layer->hidden, layer->intermediate, layer->num_local_experts, layer->top_k, bytes);
        for (int part = 0; part < NUM_PARTS; part++) printf(", \"%s_us\": %.2f", part_names[part], bench->us[part]);
        printf(", \"tb_per_s\": %.3f, \"tflop_per_s\": %.2f, \"ratio_to_floor\": %.3f}\n", bytes / us * 1e-6,
               flops / us * 1e-6, us / bench->us[PART_FLOOR]);
    } else {
        printf("%7d %8.1f %9.2f %8.2f %9.2f %9.2f %9.2f %9.2f %7.3f %8.2f %7.2f\n", num_tokens, bytes / 1e6,
               bench->us[PART_ROUTE], bench->us[PART_QUANTIZE], bench->us[PART_GATE_UP], bench->us[PART_DOWN], us,
               bench->us[PART_FLOOR], bytes / us * 1e-6, flops / us * 1e-6, us / bench->us[PART_FLOOR]);
    }
    fflush(stdout);
}

static bool bench_tokens(struct bench *bench, int num_tokens) {
    moejit_plan_options options;
    int kept = bench->num_memory;
    moejit_plan_options_init(&options);
    options.max_num_tokens = num_tokens;
    options.tile = bench->tile;
    options.family = bench->family;
    memset(bench->us, 0, sizeof(bench->us));
    if (moejit_plan_create(bench->context, &bench->layer, &options, &bench->plan) != MOEJIT_STATUS_OK) {
        return fail(bench, "plan", moejit_context_error(bench->context));
    }
    bool good = make_args(bench, num_tokens);
    for (int part = 0; part < NUM_PARTS && good; part++) good = time_part(bench, (enum part)part);
    if (good) print_row(bench, num_tokens);
    moejit_plan_destroy(bench->plan);
    bench->plan = NULL;
    release(bench, kept);
    return good;
}

static bool run_list(struct bench *bench) {
    if (!bench->json) {
        printf("%s, %s, H %d, I %d, %d of %d experts, top %d; microseconds, medians of %lld graphs of %d forwards\n",
               bench->gpu.name, moejit_context_arch(bench->context), bench->layer.hidden, bench->layer.intermediate,
               bench->layer.num_local_experts, bench->layer.num_experts, bench->layer.top_k, bench->repeats,
               NUM_ROUTINGS);
        printf(
            " tokens       MB     route quantize   gate_up      down     layer     floor    TB/s  TFLOP/s   ratio\n");
    }
    for (char *rest = NULL, *item = strtok_r(bench->tokens, ",", &rest); item != NULL;
         item = strtok_r(NULL, ",", &rest)) {
        if (!bench_tokens(bench, atoi(item))) return false;
    }
    return true;
}

static bool run(struct bench *bench) {
    char message[1024];
    moejit_context_options options;
    moejit_executor_options executor_options;
    if (!gpu_open(&bench->gpu, bench->cuda_library)) return fail(bench, "GPU", bench->gpu.error);
    if (bench->gpu.emulated) {
        fprintf(stderr, "moejit bench: this is the emulator: its times say nothing about a GPU\n");
        layer_options_shrink(&bench->layer);
    }
    moejit_context_options_init(&options);
    options.cuda_library = bench->gpu.path;
    options.log = command_log;
    if (moejit_context_create(&options, &bench->context, message, sizeof(message)) != MOEJIT_STATUS_OK)
        return fail(bench, "context", message);
    moejit_executor_options_init(&executor_options);
    if (moejit_executor_create(bench->context, &executor_options, &bench->executor) != MOEJIT_STATUS_OK) {
        return fail(bench, "executor", moejit_context_error(bench->context));
    }
    if (!gpu_ok(&bench->gpu, bench->gpu.cuStreamCreate(&bench->stream, CU_STREAM_NON_BLOCKING), "making a stream") ||
        !bench_read_create(&bench->read, &bench->gpu)) {
        return fail(bench, "GPU", bench->gpu.error);
    }
    return make_weights(bench) && run_list(bench);
}

static void close_all(struct bench *bench) {
    release(bench, 0);
    bench_read_destroy(&bench->read, &bench->gpu);
    moejit_executor_destroy(bench->executor);
    moejit_weights_destroy(bench->weights);
    moejit_context_destroy(bench->context);
    if (bench->stream != NULL) bench->gpu.cuStreamDestroy(bench->stream);
    gpu_close(&bench->gpu);
}

static bool check_tokens(const char *list) {
    char copy[256];
    long long number;
    snprintf(copy, sizeof(copy), "%s", list);
    for (char *rest = NULL, *item = strtok_r(copy, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        if (!command_number("bench", "tokens", item, 1, 65536, &number)) return false;
    }
    return true;
}

static bool take(struct bench *bench, int option, const char *value) {
    static const char *const families[] = {"auto", "portable", "hopper", "fp4", NULL};
    int choice = 0;
    switch (option) {
    case OPTION_FAMILY:
        if (!command_choice("bench", "family", value, families, &choice)) return false;
        bench->family = (moejit_family)choice;
        return true;
    case OPTION_TOKENS: snprintf(bench->tokens, sizeof(bench->tokens), "%s", value); return check_tokens(value);
    case OPTION_REPEAT: return command_number("bench", "repeat", value, 1, MAX_REPEATS, &bench->repeats);
    case OPTION_CUDA: bench->cuda_library = value; return true;
    case OPTION_JSON: bench->json = true; return true;
    case OPTION_TILE:
        for (int i = 0; moejit_tile_name(i) != NULL; i++) {
            if (strcmp(moejit_tile_name(i), value) == 0) bench->tile = i + 1;
        }
        if (bench->tile == 0)
            command_usage("bench", "--tile is \"%s\", which is not one of those of 'moejit run --help'", value);
        return bench->tile > 0;
    default: return false;
    }
}

int command_bench(int argc, char **argv) {
    static struct bench bench;
    layer_options_init(&bench.options);
    bench.repeats = 11;
    snprintf(bench.tokens, sizeof(bench.tokens), "1,16,64,256,1024");
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help);
            return EXIT_GOOD;
        }
        int taken = layer_options_take(&bench.options, "bench", option, optarg);
        if (taken < 0 || (taken == 0 && !take(&bench, option, optarg))) return EXIT_USAGE;
    }
    if (optind < argc) return command_usage("bench", "\"%s\" is no option", argv[optind]);
    if (!layer_options_layer(&bench.options, "bench", &bench.layer)) return EXIT_USAGE;
    bench.layer.packed_layout = layer_options_layout(bench.family, bench.tile);
    bool good = run(&bench);
    close_all(&bench);
    return good ? EXIT_GOOD : EXIT_UNAVAILABLE;
}
