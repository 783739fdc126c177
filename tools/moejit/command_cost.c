// moejit inspect cost: what each tile's main loop costs a multiprocessor, counted with no GPU, and what that predicts.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cost_counters.h"
#include "layer_options.h"

static const char help[] =
    "Usage: moejit inspect cost [options]\n"
    "Compiles gate_up and down of each tile (or finds them in the cache), with no GPU, and prints per tile what the "
    "kernel\n"
    "takes, the instructions of its main loop by pipe for a block of 64 x 16 weights, the clocks of one multiprocessor "
    "that\n"
    "a block takes by each of its terms (docs/kernels.md), and the time predicted for T tokens: the largest term.\n\n"
    "%s\n"
    "  --arch A                 sm_90a: one H100, as measured (default); sm_120a: GeForce RTX 5090, sm_121a: DGX "
    "Spark, "
    "as\n"
    "                           published\n"
    "  --family F               all, portable, hopper or fp4 (default all); fp4's tiles are those of NVFP4 "
    "activations\n"
    "  --tile T                 only this tile\n"
    "  --tokens LIST            T of the predictions, comma-separated, or none (default 1,4,16,64,256,1024,4096,8192)\n"
    "  --nvdisasm PATH          the disassembler (default: MOEJIT_NVDISASM, the toolkit's, PATH's)\n"
    "  --emulator PATH          the emulator (build/emulator/libcuda.so.1): adds the sectors of global memory and the "
    "shared\n"
    "                           bank conflicts of a tile's step of block_k columns (default: none)\n"
    "  --cache PATH             the database (default: the user's)\n"
    "  --budgets                exit with 1 where a tile breaks its budget\n"
    "  --json                   one JSON object a kernel\n"
    "Exit status: 0 good, 1 a broken budget (with --budgets), 2 bad command line, 3 no nvdisasm, a failed compile or "
    "an\n"
    "unsupported layer.\n";

enum {
    OPTION_ARCH = 256,
    OPTION_FAMILY,
    OPTION_TILE,
    OPTION_TOKENS,
    OPTION_NVDISASM,
    OPTION_EMULATOR,
    OPTION_CACHE,
    OPTION_BUDGETS,
    OPTION_JSON,
    OPTION_HELP
};

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    {"arch", required_argument, NULL, OPTION_ARCH},
    {"family", required_argument, NULL, OPTION_FAMILY},
    {"tile", required_argument, NULL, OPTION_TILE},
    {"tokens", required_argument, NULL, OPTION_TOKENS},
    {"nvdisasm", required_argument, NULL, OPTION_NVDISASM},
    {"emulator", required_argument, NULL, OPTION_EMULATOR},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"budgets", no_argument, NULL, OPTION_BUDGETS},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const char command_name[] = "inspect cost";
static const char *const families[] = {"all", "portable", "hopper", "fp4", NULL}; // in the order of moejit_family

#define MAX_TOKENS_LISTED 16

struct cost_options {
    struct layer_options layer;
    const char *arch, *nvdisasm, *emulator, *cache;
    int family, tile; // tile -1: all
    int tokens[MAX_TOKENS_LISTED], num_tokens;
    bool budgets, json;
};

static bool take_tokens(struct cost_options *options, const char *list) {
    char copy[256];
    options->num_tokens = 0;
    if (strcmp(list, "none") == 0) return true;
    snprintf(copy, sizeof(copy), "%s", list);
    for (char *rest = NULL, *item = strtok_r(copy, ",", &rest); item != NULL; item = strtok_r(NULL, ",", &rest)) {
        long long number;
        if (!command_number(command_name, "tokens", item, 1, 65536, &number)) return false;
        if (options->num_tokens == MAX_TOKENS_LISTED) {
            command_usage(command_name, "--tokens is \"%s\", which has more than %d numbers", list, MAX_TOKENS_LISTED);
            return false;
        }
        options->tokens[options->num_tokens++] = (int)number;
    }
    return true;
}

static bool take_tile(struct cost_options *options, const char *name) {
    options->tile = mj_tile_find(name);
    if (options->tile >= 0) return true;
    command_usage(command_name, "--tile is \"%s\", which is no tile; 'moejit run --help' lists them", name);
    return false;
}

static bool take(struct cost_options *options, int option, const char *value) {
    switch (option) {
    case OPTION_ARCH: options->arch = value; return true;
    case OPTION_FAMILY: return command_choice(command_name, "family", value, families, &options->family);
    case OPTION_TILE: return take_tile(options, value);
    case OPTION_TOKENS: return take_tokens(options, value);
    case OPTION_NVDISASM: options->nvdisasm = value; return true;
    case OPTION_EMULATOR: options->emulator = value; return true;
    case OPTION_CACHE: options->cache = value; return true;
    case OPTION_BUDGETS: options->budgets = true; return true;
    case OPTION_JSON: options->json = true; return true;
    default: return false; // getopt has told why
    }
}

static bool is_wanted(const struct cost_options *options, int tile) {
    if (options->tile >= 0 && tile != options->tile) return false;
    if (!moejit_tile_runs_on(tile, options->arch)) return false;
    return options->family == 0 || (int)mj_tiles[tile].family == options->family;
}

static int num_wanted(const struct cost_options *options) {
    int num = 0;
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) num += is_wanted(options, tile);
    return num;
}

static bool read_plan(const moejit_plan *plan, const struct cost_options *options, int tile, struct cost_row *rows,
                      int *num_rows) {
    static const char *const prefixes[] = {"moejit_gate_up", "moejit_down"};
    for (int i = 0; i < moejit_plan_num_kernels(plan); i++) {
        moejit_kernel_info info = {.struct_size = sizeof(info)};
        moejit_plan_kernel(plan, i, &info);
        for (enum mj_step step = MJ_STEP_GATE_UP; step <= MJ_STEP_DOWN; step++) {
            char message[1024];
            struct cost_row *row = &rows[*num_rows];
            if (strncmp(info.symbol, prefixes[step], strlen(prefixes[step])) != 0) continue;
            if (!cost_row_read(&info, mj_machine_find(options->arch), &mj_tiles[tile], step, options->nvdisasm, row,
                               message, sizeof(message))) {
                fprintf(stderr, "moejit inspect cost: %s\n", message);
                return false;
            }
            if (row->loops.unknown[0] != '\0') {
                fprintf(stderr, "moejit inspect cost: %s: not in the table of pipes, counted as control: %s\n",
                        info.symbol, row->loops.unknown);
            }
            (*num_rows)++;
        }
    }
    return true;
}

static bool read_tile(moejit_context *context, const moejit_layer *layer, const struct cost_options *options, int tile,
                      struct cost_row *rows, int *num_rows) {
    moejit_plan_options plan_options;
    moejit_layer of_tile = *layer;
    moejit_plan *plan = NULL;
    cost_layer_for(&of_tile, mj_tiles[tile].family);
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = 1;
    plan_options.tile = tile + 1;
    bool good = moejit_plan_create(context, &of_tile, &plan_options, &plan) == MOEJIT_STATUS_OK;
    if (!good) fprintf(stderr, "moejit inspect cost: %s\n", moejit_context_error(context));
    good = good && read_plan(plan, options, tile, rows, num_rows);
    moejit_plan_destroy(plan);
    return good;
}

static int read_tiles(moejit_context *context, const moejit_layer *layer, const struct cost_options *options,
                      struct cost_row *rows) {
    int num_rows = 0, done = 0, total = num_wanted(options);
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) {
        if (!is_wanted(options, tile)) continue;
        command_progress((void *)options->arch, done++, total, mj_tiles[tile].name);
        if (!read_tile(context, layer, options, tile, rows, &num_rows)) return -1;
    }
    command_progress((void *)options->arch, total, total, "");
    return num_rows;
}

static bool count(const struct cost_options *options, struct cost_row *rows, int num_rows) {
    char message[2048];
    if (options->emulator == NULL ||
        cost_counters_read(options->emulator, options->cache, rows, num_rows, message, sizeof(message))) {
        return true;
    }
    fprintf(stderr, "moejit inspect cost: %s\n", message);
    return false;
}

static int report(const struct cost_options *options, const struct mj_problem *problem, const struct cost_row *rows,
                  int num_rows) {
    char faults[128];
    bool met = true;
    if (!options->json) cost_print_tables(rows, num_rows, problem, options->tokens, options->num_tokens);
    for (int i = 0; i < num_rows; i++) {
        if (options->json) cost_print_json(&rows[i], problem, options->tokens, options->num_tokens);
        cost_row_faults(&rows[i], faults, sizeof(faults));
        met = met && faults[0] == '\0';
    }
    return options->budgets && !met ? EXIT_WRONG : EXIT_GOOD;
}

static int inspect_cost(const struct cost_options *options, const moejit_layer *layer) {
    char message[4096];
    struct mj_error error = {0};
    struct mj_problem problem;
    moejit_context_options context_options;
    moejit_context *context = NULL;
    moejit_context_options_init(&context_options);
    context_options.attach = MOEJIT_ATTACH_ARCH;
    context_options.arch = options->arch;
    context_options.cache_path = options->cache;
    context_options.ptx_only = -1; // it reads cubins
    context_options.log = command_log;
    if (mj_problem_create(&problem, layer, &error) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit inspect cost: %s\n", error.message);
        return EXIT_UNAVAILABLE;
    }
    if (moejit_context_create(&context_options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit inspect cost: %s\n", message);
        return EXIT_UNAVAILABLE;
    }
    struct cost_row *rows = calloc(2 * MJ_NUM_TILES, sizeof(*rows));
    int num_rows = rows != NULL ? read_tiles(context, layer, options, rows) : -1;
    moejit_context_destroy(context);
    bool good = num_rows >= 0 && count(options, rows, num_rows);
    int code = good ? report(options, &problem, rows, num_rows) : EXIT_UNAVAILABLE;
    free(rows);
    return code;
}

int command_inspect_cost(int argc, char **argv) {
    struct cost_options options = {
        .arch = "sm_90a", .tile = -1, .tokens = {1, 4, 16, 64, 256, 1024, 4096, 8192}, .num_tokens = 8};
    layer_options_init(&options.layer);
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help);
            return EXIT_GOOD;
        }
        int taken = layer_options_take(&options.layer, command_name, option, optarg);
        if (taken < 0 || (taken == 0 && !take(&options, option, optarg))) return EXIT_USAGE;
    }
    if (optind < argc) return command_usage(command_name, "\"%s\" is no option", argv[optind]);
    if (mj_machine_find(options.arch) == NULL) {
        fprintf(stderr, "moejit inspect cost: --arch is \"%s\", whose rates are not known; they are of %s\n",
                options.arch, mj_machine_archs);
        return EXIT_UNAVAILABLE;
    }
    if (options.tile >= 0 && !moejit_tile_runs_on(options.tile, options.arch)) {
        return command_usage(command_name, "--tile is \"%s\", which does not run on %s", mj_tiles[options.tile].name,
                             options.arch);
    }
    if (num_wanted(&options) == 0) {
        return command_usage(command_name, "no tile%s%s is of the %s family and runs on %s",
                             options.tile >= 0 ? " " : "", options.tile >= 0 ? mj_tiles[options.tile].name : "",
                             families[options.family], options.arch);
    }
    moejit_layer layer;
    if (!layer_options_layer(&options.layer, command_name, &layer)) return EXIT_USAGE;
    return inspect_cost(&options, &layer);
}
