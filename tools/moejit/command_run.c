// moejit run: build a layer, run it, check it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_layer.h"
#include "layer_input.h"
#include "layer_options.h"
#include "layer_run.h"
#include "moe/tile.h"

static const char help[] =
    "Usage: moejit run [options]\n"
    "Builds a layer with random weights, or reads one of a checkpoint, runs it on the GPU (or the emulator) and "
    "checks\n"
    "every row against the double-precision reference, at the bounds of docs/numerics.md.\n\n"
    "%s\n"
    "The run:\n"
    "  --input FILE             x from a .npy or .safetensors, else random; a .safetensors may also hold expert_ids,\n"
    "                           router_weights and the output expected (docs/checkpoints.md)\n"
    "  --tokens N               0 to 65536 (default 16)\n"
    "  --tile T                 one of 64x8x64, 64x16x64, 64x32x64, 128x64x64, 128x128x64; on sm_90a also\n"
    "                           hopper_64x8x256, hopper_64x16x256, hopper_256x64x128, hopper_256x96x64,\n"
    "                           hopper_256x160x64; on sm_120a and\n"
    "                           sm_121a fp4_64x8x256, fp4_64x16x256, fp4_64x32x256, fp4_128x64x256, fp4_128x128x256\n"
    "                           (default: by tokens per expert)\n"
    "  --routing R              uniform, skewed, none (default uniform)\n"
    "  --exact                  data whose sums are exact: an f32 output must match to the bit\n"
    "  --output-mode M          overwrite, accumulate, assume-zero (default overwrite)\n"
    "  --live-tokens N          only the first N tokens count, told to the GPU\n"
    "  --single-stream          zero the output on the main stream\n"
    "  --graph                  capture forward and launch it as a graph\n"
    "  --max-tile-ctas N        that share a tile where tiles are few: 0 the default, 1 none, up to 8 (default 0)\n"
    "  --repeat N               run again N times; a deterministic sum must give the same bits (default 1)\n"
    "  --check-rows N           rows checked against the reference (default: all, or 64 of a large layer)\n"
    "  --family F               auto, portable, hopper (sm_90a) or fp4 (sm_120a, sm_121a; NVFP4 activations) (default "
    "auto)\n"
    "  --kernel SYMBOL          a layer that uses that kernel of 'moejit inspect'; all: every tile, both sums and\n"
    "                           activation formats, every activation: a table, and all must pass\n"
    "  --seed N                 (default 0)\n"
    "  --cuda-library PATH      the driver, or the emulator (default: MOEJIT_CUDA_LIBRARY, libcuda.so.1)\n"
    "  --json                   one JSON object a case\n"
    "Exit status: 0 good, 1 a check failed, 2 bad command line or file, 3 no GPU, no NVRTC or an unsupported layer.\n";

#define REFERENCE_BUDGET 4e10 // multiply-adds of the reference, beyond which rows are sampled: about half a minute
#define SAMPLED_ROWS 64

struct run_options {
    struct layer_options layer;
    struct layer_case what;
    bool json, all;
    long long check_rows; // -1: not given
    const char *cuda_library, *input;
    bool tokens_given;
    struct checkpoint_layer checkpoint;
    struct layer_data data; // of --checkpoint
};

static const char *const routings[] = {"uniform", "skewed", "none", NULL};
static const char *const families[] = {"auto", "portable", "hopper", "fp4", NULL};
static const char *const output_modes[] = {"overwrite", "accumulate", "assume-zero", NULL};

enum {
    OPTION_TILE = 256,
    OPTION_ROUTING,
    OPTION_MODE,
    OPTION_LIVE,
    OPTION_SINGLE,
    OPTION_GRAPH,
    OPTION_TILE_CTAS,
    OPTION_REPEAT,
    OPTION_CHECK,
    OPTION_KERNEL,
    OPTION_SEED,
    OPTION_CUDA,
    OPTION_EXACT,
    OPTION_JSON,
    OPTION_TOKENS,
    OPTION_INPUT,
    OPTION_FAMILY,
    OPTION_HELP
};

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    {"input", required_argument, NULL, OPTION_INPUT},
    {"tokens", required_argument, NULL, OPTION_TOKENS},
    {"tile", required_argument, NULL, OPTION_TILE},
    {"routing", required_argument, NULL, OPTION_ROUTING},
    {"exact", no_argument, NULL, OPTION_EXACT},
    {"output-mode", required_argument, NULL, OPTION_MODE},
    {"live-tokens", required_argument, NULL, OPTION_LIVE},
    {"single-stream", no_argument, NULL, OPTION_SINGLE},
    {"graph", no_argument, NULL, OPTION_GRAPH},
    {"max-tile-ctas", required_argument, NULL, OPTION_TILE_CTAS},
    {"repeat", required_argument, NULL, OPTION_REPEAT},
    {"check-rows", required_argument, NULL, OPTION_CHECK},
    {"family", required_argument, NULL, OPTION_FAMILY},
    {"kernel", required_argument, NULL, OPTION_KERNEL},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"cuda-library", required_argument, NULL, OPTION_CUDA},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static bool take_tile(const char *text, int *tile) {
    *tile = mj_tile_find(text) + 1;
    if (*tile > 0) return true;
    command_usage("run", "--tile is \"%s\", which is not one of the list in --help", text);
    return false;
}

// What makes a layer use the kernel of that symbol ("moejit_combine", "moejit_down_portable_64x16x64").
static bool take_kernel(struct run_options *options, const char *symbol) {
    static const char *const stems[] = {"moejit_pack",           "moejit_route",
                                        "moejit_quantize",       "moejit_zero",
                                        "moejit_combine",        "moejit_gate_up_portable_",
                                        "moejit_down_portable_", "moejit_gate_up_",
                                        "moejit_down_",          NULL};
    int stem = 0;
    while (stems[stem] != NULL && strncmp(symbol, stems[stem], strlen(stems[stem])) != 0) stem++;
    const char *rest = stems[stem] != NULL ? symbol + strlen(stems[stem]) : symbol;
    bool fp4 = stems[stem] != NULL && (strncmp(rest, "fp4_", 4) == 0 || strcmp(rest, "_fp4") == 0);
    if (fp4) options->layer.activation_format = MOEJIT_FORMAT_NVFP4;
    if (fp4 && (stem == 0 || stem == 2)) {
        options->what.family = MOEJIT_FAMILY_FP4;
        return true;
    }
    if (stems[stem] == NULL || (stem < 5 && *rest != '\0')) {
        command_usage("run", "--kernel is \"%s\", needs \"all\" or a symbol that 'moejit inspect' lists", symbol);
        return false;
    }
    if (stem >= 5) return take_tile(rest, &options->what.tile);
    if (stem == 2)
        options->layer.activation_format = MOEJIT_FORMAT_NVFP4, options->what.family = MOEJIT_FAMILY_PORTABLE;
    if (stem == 3) options->layer.sum = MOEJIT_SUM_ATOMIC, options->what.live_tokens = 1 << 16;
    if (stem == 4) options->layer.sum = MOEJIT_SUM_DETERMINISTIC;
    return true;
}

static bool take(struct run_options *options, int option, const char *value) {
    long long number = 0;
    int choice = 0;
    bool good = true;
    switch (option) {
    case OPTION_TOKENS:
        good = command_number("run", "tokens", value, 0, 65536, &number);
        options->what.num_tokens = (int)number;
        options->tokens_given = true;
        break;
    case OPTION_TILE: return take_tile(value, &options->what.tile);
    case OPTION_ROUTING:
        good = command_choice("run", "routing", value, routings, &choice);
        options->what.routing = (enum layer_routing)choice;
        break;
    case OPTION_MODE:
        good = command_choice("run", "output-mode", value, output_modes, &choice);
        options->what.output_mode = (moejit_output_mode)choice;
        break;
    case OPTION_LIVE:
        good = command_number("run", "live-tokens", value, 0, 65536, &number);
        options->what.live_tokens = (int)number;
        break;
    case OPTION_TILE_CTAS:
        good = command_number("run", "max-tile-ctas", value, 0, 8, &number);
        options->what.max_tile_ctas = (int)number;
        break;
    case OPTION_REPEAT:
        good = command_number("run", "repeat", value, 0, 1000, &number);
        options->what.repeats = (int)number;
        break;
    case OPTION_CHECK: good = command_number("run", "check-rows", value, 1, 65536, &options->check_rows); break;
    case OPTION_SEED:
        good = command_number("run", "seed", value, 0, 1LL << 40, &number);
        options->what.seed = (uint64_t)number;
        break;
    case OPTION_FAMILY:
        good = command_choice("run", "family", value, families, &choice);
        options->what.family = (moejit_family)choice;
        break;
    case OPTION_KERNEL: options->all = strcmp(value, "all") == 0; return options->all || take_kernel(options, value);
    case OPTION_INPUT: options->input = value; break;
    case OPTION_EXACT: options->what.exact = true; break;
    case OPTION_SINGLE: options->what.single_stream = true; break;
    case OPTION_GRAPH: options->what.graph = true; break;
    case OPTION_JSON: options->json = true; break;
    case OPTION_CUDA: options->cuda_library = value; break;
    default: return false; // getopt has told why
    }
    return good;
}

static void describe(const struct layer_case *what, char *text, size_t bytes) {
    static const char *const activations[] = {"swiglu", "swiglu-oai", "geglu", "relu2"};
    static const char *const dtypes[] = {"none", "bf16", "f16", "f32"};
    static const char *const sums[] = {"atomic", "atomic", "deterministic", "batch-invariant"};
    const moejit_layer *layer = &what->layer;
    snprintf(text, bytes, "H %d I %d E %d K %d T %d %s %s %s %s%s%s", layer->hidden, layer->intermediate,
             layer->num_local_experts, layer->top_k, what->num_tokens, activations[layer->activation],
             layer->activation_format == MOEJIT_FORMAT_NVFP4 ? "nvfp4" : "bf16", dtypes[layer->output_dtype],
             sums[layer->sum], what->tile > 0 ? " " : "", what->tile > 0 ? moejit_tile_name(what->tile - 1) : "");
}

static void print_result(const struct layer_case *what, const struct layer_result *result, bool json) {
    char text[256];
    describe(what, text, sizeof(text));
    if (json) {
        char message[sizeof(result->message)];
        size_t length = 0;
        for (const char *c = result->message; *c != '\0' && length + 1 < sizeof(message); c++) {
            message[length++] = *c == '"' || *c == '\\' || (unsigned char)*c < ' ' ? '\'' : *c;
        }
        message[length] = '\0';
        printf(
            "{\"case\": \"%s\", \"good\": %s, \"error_end_to_end\": %.4g, \"bound_end_to_end\": %.4g, \"error\": %.4g, "
            "\"bound\": %.4g, \"checked_rows\": %d, \"h_differing\": %d, \"h_checked\": %lld, \"forward_us\": %.1f, "
            "\"bytes_zeroed\": %llu, \"kernels\": %d, \"output_digest\": \"%016llx\", \"message\": \"%s\"}\n",
            text, result->good ? "true" : "false", result->end_to_end.total, result->end_to_end.bound,
            result->own.total, result->own.bound, result->checked_rows, result->h_differing, result->h_checked,
            result->forward_us, (unsigned long long)result->bytes_zeroed, result->num_kernels,
            (unsigned long long)result->output_digest, message);
        return;
    }
    printf("%-4s %-62s error %.2e of %.1e, end to end %.2e of %.1e, rows %d, h' off %d", result->good ? "ok" : "BAD",
           text, result->own.total, result->own.bound, result->end_to_end.total, result->end_to_end.bound,
           result->checked_rows, result->h_differing);
    if (result->expected.bound > 0) printf(", expected %.2e", result->expected.total);
    if (result->forward_us > 0) printf(", %.1f us", result->forward_us);
    printf("\n");
    if (!result->good) printf("     %s\n", result->message);
    fflush(stdout);
}

// What of the reference can be had in a bearable time.
static int rows_to_check(const struct run_options *options, const struct layer_case *what) {
    if (options->check_rows > 0) return (int)options->check_rows;
    double work = 3.0 * what->layer.hidden * what->layer.intermediate * what->layer.top_k * what->num_tokens;
    return work > REFERENCE_BUDGET ? SAMPLED_ROWS : 0;
}

static bool run_case(const struct run_options *options, struct gpu *gpu, moejit_context *context,
                     const struct layer_case *given) {
    struct layer_result result;
    struct layer_case what = *given;
    what.max_checked_rows = rows_to_check(options, &what);
    what.layer.packed_layout = layer_options_layout(what.family, what.tile);
    if (options->checkpoint.model != NULL) {
        layer_run_data(gpu, context, &what, &options->data, &result);
    } else {
        layer_run(gpu, context, &what, &result);
    }
    print_result(&what, &result, options->json);
    return result.good;
}

// Every row of kernels.def: the tiles by both sums and activation formats, and every activation.
static int run_all(const struct run_options *options, struct gpu *gpu, moejit_context *context) {
    int bad = 0, total = 0;
    for (int tile = 1; moejit_tile_name(tile - 1) != NULL; tile++) {
        if (!moejit_tile_runs_on(tile - 1, moejit_context_arch(context))) continue;
        for (int variant = 0; variant < 4; variant++) {
            struct layer_case what = options->what;
            what.tile = tile;
            what.layer.sum = variant & 1 ? MOEJIT_SUM_DETERMINISTIC : MOEJIT_SUM_ATOMIC;
            what.layer.activation_format = variant & 2 ? MOEJIT_FORMAT_NVFP4 : MOEJIT_FORMAT_BF16;
            if (mj_tiles[tile - 1].family == MOEJIT_FAMILY_FP4 && what.layer.activation_format == MOEJIT_FORMAT_BF16)
                continue;
            what.live_tokens = variant == 1 ? what.num_tokens / 2 : -1; // the zero kernel, and combine's rows
            what.layer.output_dtype = (moejit_dtype)(MOEJIT_DTYPE_BF16 + (tile + variant) % 3);
            if (what.layer.sum == MOEJIT_SUM_ATOMIC && variant == 0) what.live_tokens = what.num_tokens - 1;
            total++;
            bad += !run_case(options, gpu, context, &what);
        }
    }
    for (int activation = 0; activation <= MOEJIT_ACTIVATION_RELU2; activation++) {
        struct layer_case what = options->what;
        moejit_layer fresh;
        moejit_layer_init(&fresh, (moejit_activation)activation);
        what.layer.activation = fresh.activation;
        what.layer.activation_alpha = fresh.activation_alpha;
        what.layer.activation_beta = fresh.activation_beta;
        what.layer.activation_limit = fresh.activation_limit;
        total++;
        bad += !run_case(options, gpu, context, &what);
    }
    fprintf(options->json ? stderr : stdout, "%d passed, %d failed\n", total - bad, bad);
    return bad == 0 ? EXIT_GOOD : EXIT_WRONG;
}

static int run_on(const struct run_options *options, struct gpu *gpu) {
    char message[1024];
    moejit_context_options context_options;
    moejit_context *context = NULL;
    moejit_context_options_init(&context_options);
    context_options.cuda_library = gpu->path;
    context_options.log = command_log;
    if (moejit_context_create(&context_options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit run: %s\n", message);
        return EXIT_UNAVAILABLE;
    }
    if (!options->json) {
        printf("%s: %s, %s, %d multiprocessors\n", gpu->emulated ? "emulator" : "GPU", gpu->name,
               moejit_context_arch(context), gpu->num_sms);
    }
    int code;
    if (options->all) {
        code = run_all(options, gpu, context);
    } else {
        code = run_case(options, gpu, context, &options->what) ? EXIT_GOOD : EXIT_WRONG;
        moejit_context_counters counters = {.struct_size = sizeof(counters)};
        moejit_context_counters_read(context, &counters);
        const char *path = moejit_context_cache_path(context);
        if (!options->json) {
            printf("     cache %s: %llu hits, %llu compiled%s%s\n", path[0] != '\0' ? path : "in memory",
                   (unsigned long long)counters.cache_hits, (unsigned long long)counters.compiles,
                   counters.compiles > 0 ? " by " : "", moejit_context_compiler(context));
        }
    }
    moejit_context_destroy(context);
    return code;
}

static bool refuse(const char *sentence) {
    command_usage("run", "%s", sentence);
    return false;
}

// Weights of the checkpoint, x and routing of --input or random.
static bool read_data(struct run_options *options, struct layer_input *input) {
    char why[2048];
    struct mj_problem problem;
    struct mj_error error = {0};
    struct layer_case *what = &options->what;
    if (input->x != NULL) what->num_tokens = input->num_tokens;
    if (mj_problem_create(&problem, &what->layer, &error) != MOEJIT_STATUS_OK) return refuse(error.message);
    if (!layer_data_create_inputs(&options->data, &problem, what->num_tokens, what->routing, what->seed))
        return refuse("no memory for the layer's tensors");
    if (input->x != NULL && !layer_input_take(input, &options->data, why, sizeof(why))) return refuse(why);
    return checkpoint_layer_read(&options->checkpoint, &options->data, why, sizeof(why)) || refuse(why);
}

static bool choose_checkpoint(struct run_options *options) {
    char why[2048];
    struct layer_input input = {0};
    struct layer_case *what = &options->what;
    if (options->all || what->exact) return refuse("--checkpoint cannot go with --kernel all or --exact");
    if (options->input != NULL && options->tokens_given)
        return refuse("--input tells the tokens; --tokens cannot go with it");
    if (!checkpoint_layer_open(&options->layer, "run", &options->checkpoint)) return false;
    options->checkpoint.progress = !options->json;
    what->layer = options->checkpoint.layer;
    what->pack = checkpoint_layer_pack;
    what->pack_user = &options->checkpoint;
    if (options->input != NULL && !layer_input_read(&input, options->input, &what->layer, why, sizeof(why))) {
        return refuse(why);
    }
    bool good = read_data(options, &input);
    layer_input_free(&input);
    return good;
}

// From a checkpoint, or from the options.
static bool choose_layer(struct run_options *options) {
    struct layer_options *layer = &options->layer;
    if (layer->checkpoint != NULL) return choose_checkpoint(options);
    if (options->input != NULL) return refuse("--input needs --checkpoint, whose layer it is for");
    if (layer->model == NULL && layer->config == NULL && layer->hidden == 0) layer->model = "qwen3-30b-a3b";
    return layer_options_layer(layer, "run", &options->what.layer);
}

static void print_title(const struct run_options *options) {
    char title[512];
    checkpoint_layer_title(&options->checkpoint, title, sizeof(title));
    printf("%s%s%s\n", title, options->input != NULL ? ", x from " : "", options->input != NULL ? options->input : "");
}

static int run_chosen(struct run_options *options) {
    char reason[1024];
    struct gpu gpu;
    int code = EXIT_UNAVAILABLE;
    if (!gpu_open(&gpu, options->cuda_library)) {
        fprintf(stderr, "moejit run: %s\n", gpu.error);
        gpu_close(&gpu);
        return code;
    }
    if (options->checkpoint.model != NULL && !options->json) print_title(options);
    if (gpu.emulated && (options->layer.model != NULL || options->layer.config != NULL)) {
        layer_options_shrink(&options->layer, &options->what.layer);
        if (!options->json) {
            printf("%s shrunk for the emulator to H %d, I %d, E %d\n", layer_options_name(&options->layer),
                   options->what.layer.hidden, options->what.layer.intermediate, options->what.layer.num_experts);
        }
    }
    if (moejit_layer_supported(&options->what.layer, NULL, reason, sizeof(reason)) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit run: %s\n", reason);
    } else {
        code = run_on(options, &gpu);
    }
    gpu_close(&gpu);
    return code;
}

int command_run(int argc, char **argv) {
    struct run_options options = {.check_rows = -1};
    layer_options_init(&options.layer);
    options.what.num_tokens = 16;
    layer_case_init(&options.what);
    options.what.num_tokens = 16;
    options.what.repeats = 1;
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help);
            return EXIT_GOOD;
        }
        int taken = layer_options_take(&options.layer, "run", option, optarg);
        if (taken < 0 || (taken == 0 && !take(&options, option, optarg))) return EXIT_USAGE;
    }
    if (optind < argc) return command_usage("run", "\"%s\" is no option", argv[optind]);
    int code = choose_layer(&options) ? run_chosen(&options) : EXIT_USAGE;
    checkpoint_layer_close(&options.checkpoint);
    layer_data_destroy(&options.data);
    return code;
}
