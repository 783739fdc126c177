// The command line of `moejit bench`.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "moe/tile.h"

static const char help[] =
    "Usage: moejit bench [options]\n"
    "Times layers and their steps under CUDA graphs, beside the ceilings of this GPU measured in the same run. A "
    "graph\n"
    "holds several forwards with different routings (and different weights as far as memory allows), so that weights\n"
    "come from memory. floor is the larger of a cold read of the chosen experts' packed weights and the operations at\n"
    "the rate that cuBLAS sustains.\n\n"
    "What is measured (the layer and its steps, if none is given):\n"
    "  --ceilings               only the ceilings: read, copy, memset, cuBLAS sustained and in a burst\n"
    "  --zeroing                zeroing all of 4096 .. 32768 output rows against the live ones\n"
    "  --overlap                zeroing beside or before route and gate_up, in graphs and without\n"
    "  --host                   host time of forward, plans and graph launches\n\n"
    "%s"
    "  --model A,B and --sum A,B take lists here; --sum all is all three\n\n"
    "  --tokens LIST            comma-separated (default 1,16,64,256,1024)\n"
    "  --family F               auto, portable, hopper, fp4, a list, or all that run here\n"
    "  --tile T                 as in run\n"
    "  --max-tile-ctas N        that share a tile where tiles are few: 0 the default, 1 none, up to 8 (default 0)\n"
    "  --tuned                  decisions from the cache, measured first where it has none\n"
    "  --untuned                decisions by the rule (default)\n"
    "  --routing R              uniform (default) or skewed\n"
    "  --check                  compare all rows of the output with the other family's, or the other sum's\n"
    "  --seconds S              of launches for each figure, of which the median counts (default 0.1)\n"
    "  --repeat N               as many launches, however long they take\n"
    "  --eager                  without graphs, as profilers like it; ranges are NVTX's\n"
    "  --no-ceilings            do not measure them first; floor is then the cold read alone\n"
    "  --cuda-library PATH\n"
    "  --cublas-library PATH    libcublas.so.13 or .12, where the loader does not find it\n"
    "  --json                   a JSON object a line\n"
    "Exit status: 0 good, 1 a check failed, 2 bad command line, 3 no GPU, no NVRTC or an unsupported layer.\n";

enum {
    OPTION_CEILINGS = 256,
    OPTION_ZEROING,
    OPTION_OVERLAP,
    OPTION_HOST,
    OPTION_TOKENS,
    OPTION_TILE,
    OPTION_TILE_CTAS,
    OPTION_TUNED,
    OPTION_UNTUNED,
    OPTION_FAMILY,
    OPTION_ROUTING,
    OPTION_CHECK,
    OPTION_SECONDS,
    OPTION_REPEAT,
    OPTION_EAGER,
    OPTION_NO_CEILINGS,
    OPTION_CUDA,
    OPTION_CUBLAS,
    OPTION_JSON,
    OPTION_HELP
};

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    {"ceilings", no_argument, NULL, OPTION_CEILINGS},
    {"zeroing", no_argument, NULL, OPTION_ZEROING},
    {"overlap", no_argument, NULL, OPTION_OVERLAP},
    {"host", no_argument, NULL, OPTION_HOST},
    {"tokens", required_argument, NULL, OPTION_TOKENS},
    {"tile", required_argument, NULL, OPTION_TILE},
    {"max-tile-ctas", required_argument, NULL, OPTION_TILE_CTAS},
    {"tuned", no_argument, NULL, OPTION_TUNED},
    {"untuned", no_argument, NULL, OPTION_UNTUNED},
    {"family", required_argument, NULL, OPTION_FAMILY},
    {"routing", required_argument, NULL, OPTION_ROUTING},
    {"check", no_argument, NULL, OPTION_CHECK},
    {"seconds", required_argument, NULL, OPTION_SECONDS},
    {"repeat", required_argument, NULL, OPTION_REPEAT},
    {"eager", no_argument, NULL, OPTION_EAGER},
    {"no-ceilings", no_argument, NULL, OPTION_NO_CEILINGS},
    {"cuda-library", required_argument, NULL, OPTION_CUDA},
    {"cublas-library", required_argument, NULL, OPTION_CUBLAS},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

typedef bool (*take_item)(struct bench_options *options, char *item);

// Cuts a comma-separated list in place; items live as long as argv.
static bool take_list(struct bench_options *options, char *list, take_item take) {
    char *rest = NULL, *item = strtok_r(list, ",", &rest);
    if (item == NULL) command_usage("bench", "a list is empty");
    bool good = item != NULL;
    for (; item != NULL && good; item = strtok_r(NULL, ",", &rest)) good = take(options, item);
    return good;
}

static bool take_model(struct bench_options *options, char *item) {
    if (layer_options_take(&options->layer, "bench", 'm', item) != 1) return false;
    if (options->num_models == BENCH_MAX_MODELS) {
        command_usage("bench", "--model has more than %d models", BENCH_MAX_MODELS);
        return false;
    }
    options->models[options->num_models++] = item;
    return true;
}

static bool take_tokens(struct bench_options *options, char *item) {
    long long number;
    if (!command_number("bench", "tokens", item, 1, 65536, &number)) return false;
    if (options->num_tokens == BENCH_MAX_TOKENS) {
        command_usage("bench", "--tokens has more than %d numbers", BENCH_MAX_TOKENS);
        return false;
    }
    options->tokens[options->num_tokens++] = (int)number;
    return true;
}

static bool take_sum(struct bench_options *options, char *item) {
    static const moejit_sum all[] = {MOEJIT_SUM_ATOMIC, MOEJIT_SUM_DETERMINISTIC, MOEJIT_SUM_BATCH_INVARIANT};
    if (strcmp(item, "all") == 0) {
        memcpy(options->sums, all, sizeof(all));
        options->num_sums = 3;
        return true;
    }
    if (layer_options_take(&options->layer, "bench", 's', item) != 1) return false;
    if (options->num_sums == 4) {
        command_usage("bench", "--sum has more than 4 sums");
        return false;
    }
    options->sums[options->num_sums++] = (moejit_sum)options->layer.sum;
    return true;
}

static bool take_family(struct bench_options *options, char *item) {
    static const char *const families[] = {"auto", "portable", "hopper", "fp4", "all", NULL};
    int choice = 0;
    if (!command_choice("bench", "family", item, families, &choice)) return false;
    options->all_families |= choice == 4;
    if (choice == 4) return true;
    if (options->num_families == BENCH_MAX_FAMILIES) {
        command_usage("bench", "--family has more than %d families", BENCH_MAX_FAMILIES);
        return false;
    }
    options->families[options->num_families++] = (moejit_family)choice;
    return true;
}

static bool take_tile(struct bench_options *options, const char *name) {
    options->tile = mj_tile_find(name) + 1;
    if (options->tile == 0)
        command_usage("bench", "--tile is \"%s\", which is not one of those of 'moejit run --help'", name);
    return options->tile > 0;
}

static bool take_tile_ctas(struct bench_options *options, const char *text) {
    long long number = 0;
    bool good = command_number("bench", "max-tile-ctas", text, 0, 8, &number);
    options->max_tile_ctas = (int)number;
    return good;
}

static bool take_seconds(struct bench_options *options, const char *text) {
    char *end = NULL;
    options->seconds = strtod(text, &end);
    if (end != text && *end == '\0' && options->seconds > 0 && options->seconds <= 60) return true;
    command_usage("bench", "--seconds is \"%s\", needs a number above 0 and up to 60", text);
    return false;
}

static bool take_repeat(struct bench_options *options, const char *text) {
    long long number = 0;
    bool good = command_number("bench", "repeat", text, 1, BENCH_MAX_REPEATS, &number);
    options->repeats = (int)number;
    return good;
}

static bool take_routing(struct bench_options *options, const char *text) {
    static const char *const routings[] = {"uniform", "skewed", NULL};
    int choice = 0;
    bool good = command_choice("bench", "routing", text, routings, &choice);
    options->routing = choice == 1 ? ROUTING_SKEWED : ROUTING_UNIFORM;
    return good;
}

static bool take(struct bench_options *options, int option, char *value) {
    switch (option) {
    case 'm': return take_list(options, value, take_model);
    case 's': return take_list(options, value, take_sum);
    case OPTION_CEILINGS: options->mode = BENCH_CEILINGS; return true;
    case OPTION_ZEROING: options->mode = BENCH_ZEROING; return true;
    case OPTION_OVERLAP: options->mode = BENCH_OVERLAP; return true;
    case OPTION_HOST: options->mode = BENCH_HOST; return true;
    case OPTION_TOKENS: return take_list(options, value, take_tokens);
    case OPTION_TILE: return take_tile(options, value);
    case OPTION_TILE_CTAS: return take_tile_ctas(options, value);
    case OPTION_TUNED: options->tune = MOEJIT_TUNE_MISSING; return true;
    case OPTION_UNTUNED: options->tune = MOEJIT_TUNE_NEVER; return true;
    case OPTION_FAMILY: return take_list(options, value, take_family);
    case OPTION_ROUTING: return take_routing(options, value);
    case OPTION_CHECK: options->check = true; return true;
    case OPTION_SECONDS: return take_seconds(options, value);
    case OPTION_REPEAT: return take_repeat(options, value);
    case OPTION_EAGER: options->eager = true; return true;
    case OPTION_NO_CEILINGS: options->no_ceilings = true; return true;
    case OPTION_CUDA: options->cuda_library = value; return true;
    case OPTION_CUBLAS: options->cublas_library = value; return true;
    case OPTION_JSON: options->json = true; return true;
    default: return layer_options_take(&options->layer, "bench", option, value) > 0;
    }
}

// Each way of measuring has its own token counts.
static void fill_defaults(struct bench_options *options) {
    static const int steps[] = {1, 16, 64, 256, 1024}, overlap[] = {1, 16, 256, 4096}, few[] = {16};
    const int *tokens = options->mode == BENCH_STEPS ? steps : (options->mode == BENCH_OVERLAP ? overlap : few);
    int num = options->mode == BENCH_STEPS ? 5 : (options->mode == BENCH_OVERLAP ? 4 : 1);
    if (options->num_tokens == 0) {
        memcpy(options->tokens, tokens, (size_t)num * sizeof(int));
        options->num_tokens = num;
    }
    if (options->num_sums == 0) options->sums[options->num_sums++] = MOEJIT_SUM_DEFAULT;
    if (options->num_families == 0 && !options->all_families)
        options->families[options->num_families++] = MOEJIT_FAMILY_AUTO;
    if (options->mode == BENCH_ZEROING && options->num_models == 0 && options->layer.hidden == 0)
        options->models[options->num_models++] = "deepseek-r1";
}

bool bench_options_parse(struct bench_options *options, int argc, char **argv, int *exit_status) {
    layer_options_init(&options->layer);
    options->seconds = 0.1;
    *exit_status = EXIT_USAGE;
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help);
            *exit_status = EXIT_GOOD;
            return false;
        }
        if (!take(options, option, optarg)) return false;
    }
    if (optind < argc) {
        command_usage("bench", "\"%s\" is no option", argv[optind]);
        return false;
    }
    fill_defaults(options);
    moejit_layer layer; // a command line that says too little is refused before anything is measured
    options->layer.model = options->num_models > 0 ? options->models[0] : NULL;
    return options->mode == BENCH_CEILINGS || layer_options_layer(&options->layer, "bench", &layer);
}
