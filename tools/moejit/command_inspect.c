// moejit inspect: what a plan is made of, with no GPU.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key_text.h"
#include "layer_options.h"
#include "sass.h"

static const char help[] =
    "Usage: moejit inspect [options]\n"
    "       moejit inspect key [options]\n"
    "       moejit inspect diff A B [--cache PATH] [--json]\n"
    "       moejit inspect checkpoint DIR [options]    what a checkpoint holds; its --help tells more\n"
    "       moejit inspect cost [options]    what each tile's main loop costs; its --help tells more\n"
    "Compiles the kernels that a layer needs (or finds them in the cache), with no GPU, and prints what they use, or\n"
    "the text of one.\n"
    "key prints the texts under which the cache knows the kernels, and compiles nothing. diff tells in what two of "
    "them\n"
    "differ; A and B are each a file with such a text, or the start of a key's hash as `moejit cache ls` prints it.\n\n"
    "%s\n"
    "  --arch A                 sm_80, sm_86, sm_89, sm_90a, sm_100a, sm_103a, sm_120a or sm_121a (default sm_90a)\n"
    "  --max-tokens N           (default 4096)\n"
    "  --cache PATH             the database (default: the user's)\n"
    "  --kernel SYMBOL          only this kernel; the table has the symbols\n"
    "  --what W                 of one kernel its source, ptx, sass (by nvdisasm: the toolkit's, or MOEJIT_NVDISASM) "
    "or key\n"
    "                           (the text under which the cache knows it); or resources, the table (default: source "
    "with\n"
    "                           --kernel, else resources)\n"
    "  --json                   one JSON object a kernel\n"
    "Exit status: 0 good, 1 keys differ, 2 bad command line, 3 a failed compile or an unsupported layer.\n";

enum { OPTION_ARCH = 256, OPTION_MAX_TOKENS, OPTION_CACHE, OPTION_KERNEL, OPTION_WHAT, OPTION_JSON, OPTION_HELP };

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    {"arch", required_argument, NULL, OPTION_ARCH},
    {"max-tokens", required_argument, NULL, OPTION_MAX_TOKENS},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"kernel", required_argument, NULL, OPTION_KERNEL},
    {"what", required_argument, NULL, OPTION_WHAT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

enum what { WHAT_SOURCE, WHAT_PTX, WHAT_SASS, WHAT_KEY, WHAT_RESOURCES };
static const char *const whats[] = {"source", "ptx", "sass", "key", "resources", NULL};

struct inspect_options {
    struct layer_options layer;
    const char *arch, *cache, *kernel; // kernel NULL: all
    long long max_tokens;
    int what; // -1: not given
    bool json;
    bool keys_only; // nothing is compiled
};

static moejit_kernel_info kernel_info(const moejit_plan *plan, int kernel_idx) {
    moejit_kernel_info info = {.struct_size = sizeof(info)};
    moejit_plan_kernel(plan, kernel_idx, &info);
    return info;
}

static const char *text_of(const moejit_kernel_info *info, int what) {
    const char *text = what == WHAT_SOURCE ? info->source : what == WHAT_PTX ? info->ptx : info->key_text;
    return text != NULL ? text : "";
}

static void print_resources(const moejit_kernel_info *info, bool json) {
    const char *form = json ? "{\"symbol\": \"%s\", \"registers\": %d, \"spilled_bytes\": %d, "
                              "\"static_shared_bytes\": %d, \"dynamic_shared_bytes\": %d, \"threads\": %d}\n"
                            : "%-40s %9d %7d %13d %14d %7d\n";
    printf(form, info->symbol, info->registers, info->spill_bytes, info->static_shared_bytes,
           info->dynamic_shared_bytes, info->num_threads);
}

static void print_text(const char *text, const moejit_kernel_info *info, const struct inspect_options *options) {
    size_t length = strlen(text);
    if (options->json) {
        printf("{\"symbol\": \"%s\", \"%s\": ", info->symbol, whats[options->what]);
        command_json_string(text, strlen(text));
        printf("}\n");
    } else {
        fputs(text, stdout);
        if (length > 0 && text[length - 1] != '\n') putchar('\n');
    }
}

static bool print_sass(const moejit_kernel_info *info, const struct inspect_options *options) {
    char message[1024] = "the cache holds no cubin of it";
    char *text =
        info->cubin != NULL ? sass_disassemble(NULL, info->cubin, info->cubin_bytes, message, sizeof(message)) : NULL;
    if (text != NULL) print_text(text, info, options);
    if (text == NULL) fprintf(stderr, "moejit inspect: %s: %s\n", info->symbol, message);
    free(text);
    return text != NULL;
}

static int print_plan(const moejit_plan *plan, const struct inspect_options *options) {
    int found = 0;
    if (options->what == WHAT_RESOURCES && !options->json && options->kernel == NULL) {
        printf("%-40s %9s %7s %13s %14s %7s\n", "symbol", "registers", "spilled", "static shared", "dynamic shared",
               "threads");
    }
    for (int i = 0; i < moejit_plan_num_kernels(plan); i++) {
        moejit_kernel_info info = kernel_info(plan, i);
        if (options->kernel != NULL && strcmp(options->kernel, info.symbol) != 0) continue;
        found++;
        if (options->what == WHAT_RESOURCES) {
            print_resources(&info, options->json);
        } else if (options->what == WHAT_SASS) {
            if (!print_sass(&info, options)) return EXIT_UNAVAILABLE;
        } else {
            print_text(text_of(&info, options->what), &info, options);
        }
    }
    if (found > 0) return EXIT_GOOD;
    fprintf(stderr, "moejit inspect: --kernel is \"%s\", but this plan has only:\n", options->kernel);
    for (int i = 0; i < moejit_plan_num_kernels(plan); i++) fprintf(stderr, "  %s\n", kernel_info(plan, i).symbol);
    return EXIT_USAGE;
}

static int inspect(const struct inspect_options *options, const moejit_layer *layer) {
    char message[4096];
    moejit_context_options context_options;
    moejit_context *context = NULL;
    moejit_context_options_init(&context_options);
    context_options.attach = MOEJIT_ATTACH_ARCH;
    context_options.arch = options->arch;
    context_options.cache_path = options->cache;
    context_options.ptx_only = -1; // it tells of registers
    context_options.log = command_log;
    if (moejit_context_create(&context_options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit inspect: %s\n", message);
        return EXIT_UNAVAILABLE;
    }
    moejit_plan_options plan_options;
    moejit_plan *plan = NULL;
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = (int)options->max_tokens;
    plan_options.progress = command_progress;
    plan_options.progress_user = (void *)options->arch;
    plan_options.describe_only = options->keys_only;
    int code = EXIT_UNAVAILABLE;
    if (moejit_plan_create(context, layer, &plan_options, &plan) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit inspect: %s\n", moejit_context_error(context));
    } else {
        code = print_plan(plan, options);
    }
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
    return code;
}

static bool take(struct inspect_options *options, int option, const char *value) {
    switch (option) {
    case OPTION_ARCH: options->arch = value; return true;
    case OPTION_MAX_TOKENS: return command_number("inspect", "max-tokens", value, 1, 65536, &options->max_tokens);
    case OPTION_CACHE: options->cache = value; return true;
    case OPTION_KERNEL: options->kernel = value; return true;
    case OPTION_WHAT: return command_choice("inspect", "what", value, whats, &options->what);
    case OPTION_JSON: options->json = true; return true;
    default: return false; // getopt has told why
    }
}

// inspect diff A B
static int diff(const struct inspect_options *options, char **names, int num_names) {
    struct mj_text keys[2] = {0};
    int code = EXIT_UNAVAILABLE;
    if (num_names != 2) return command_usage("inspect", "diff needs two keys");
    if (key_text_read(names[0], options->cache, &keys[0]) && key_text_read(names[1], options->cache, &keys[1])) {
        code = key_text_diff(&keys[0], &keys[1], options->json) ? EXIT_WRONG : EXIT_GOOD;
    }
    mj_text_free(&keys[0]);
    mj_text_free(&keys[1]);
    return code;
}

int command_inspect(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "checkpoint") == 0) return command_inspect_checkpoint(argc - 1, argv + 1);
    if (argc > 1 && strcmp(argv[1], "cost") == 0) return command_inspect_cost(argc - 1, argv + 1);
    struct inspect_options options = {.arch = "sm_90a", .max_tokens = 4096, .what = -1};
    const char *action = argc > 1 ? argv[1] : "";
    bool diffs = strcmp(action, "diff") == 0;
    options.keys_only = strcmp(action, "key") == 0;
    if (options.keys_only || diffs) {
        argc--;
        argv++;
    }
    layer_options_init(&options.layer);
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help);
            return EXIT_GOOD;
        }
        int taken = layer_options_take(&options.layer, "inspect", option, optarg);
        if (taken < 0 || (taken == 0 && !take(&options, option, optarg))) return EXIT_USAGE;
    }
    if (diffs) return diff(&options, argv + optind, argc - optind);
    if (optind < argc) return command_usage("inspect", "\"%s\" is no option", argv[optind]);
    if (options.keys_only) options.what = WHAT_KEY;
    if (options.what < 0) options.what = options.kernel != NULL ? WHAT_SOURCE : WHAT_RESOURCES;
    if (options.what != WHAT_RESOURCES && options.kernel == NULL && !options.keys_only) {
        return command_usage("inspect", "--what %s needs --kernel, the symbol of one kernel", whats[options.what]);
    }
    moejit_layer layer;
    if (!layer_options_layer(&options.layer, "inspect", &layer)) return EXIT_USAGE;
    return inspect(&options, &layer);
}
