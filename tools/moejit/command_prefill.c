// moejit prefill: compile the kernels of models for archs into the cache, with no GPU.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_layer.h"

static const char help[] =
    "Usage: moejit prefill [options]\n"
    "Compiles every kernel that a layer needs into the cache, with no GPU.\n\n"
    "%s"
    "  --model all              every model of the table\n\n"
    "  --arch LIST              comma-separated: sm_80,sm_86,sm_89,sm_90a,sm_100a,sm_103a,sm_120a,sm_121a, or all\n"
    "                           (default sm_90a)\n"
    "  --max-tokens N           (default 4096)\n"
    "  --cache PATH             the database (default: the user's)\n"
    "  --json                   a JSON object a layer and arch\n"
    "Exit status: 0 good, 1 a kernel spills registers, 2 bad command line, 3 a failed compile.\n";

static const char all_archs[] = "sm_80,sm_86,sm_89,sm_90a,sm_100a,sm_103a,sm_120a,sm_121a";

enum { OPTION_ARCH = 256, OPTION_MAX_TOKENS, OPTION_CACHE, OPTION_JSON, OPTION_HELP };

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    {"arch", required_argument, NULL, OPTION_ARCH},
    {"max-tokens", required_argument, NULL, OPTION_MAX_TOKENS},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct prefill_options {
    struct layer_options layer;
    const char *archs, *cache;
    long long max_tokens;
    bool all_models, json;
};

// Spilled bytes of the plan's kernels, each named.
static int count_spills(const moejit_plan *plan) {
    int spilled = 0;
    for (int i = 0; i < moejit_plan_num_kernels(plan); i++) {
        moejit_kernel_info info = {.struct_size = sizeof(info)};
        moejit_plan_kernel(plan, i, &info);
        if (info.spill_bytes > 0)
            fprintf(stderr, "moejit prefill: %s spills %d bytes\n", info.symbol, info.spill_bytes);
        spilled += info.spill_bytes;
    }
    return spilled;
}

static int prefill(const struct prefill_options *options, const moejit_layer *layer, const char *name,
                   const char *arch) {
    char message[4096], title[128];
    moejit_context_options context_options;
    moejit_context *context = NULL;
    moejit_context_options_init(&context_options);
    context_options.attach = MOEJIT_ATTACH_ARCH;
    context_options.arch = arch;
    context_options.cache_path = options->cache;
    context_options.log = command_log;
    if (moejit_context_create(&context_options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit prefill: %s\n", message);
        return EXIT_UNAVAILABLE;
    }
    snprintf(title, sizeof(title), "%s %s", name, arch);
    moejit_plan_options plan_options;
    moejit_plan *plan = NULL;
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = (int)options->max_tokens;
    plan_options.progress = command_progress;
    plan_options.progress_user = title;
    int code = EXIT_GOOD;
    if (moejit_plan_create(context, layer, &plan_options, &plan) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "moejit prefill: %s: %s\n", title, moejit_context_error(context));
        code = EXIT_UNAVAILABLE;
    } else {
        int spilled = count_spills(plan);
        moejit_context_counters counters = {.struct_size = sizeof(counters)};
        moejit_context_counters_read(context, &counters);
        const char *form =
            options->json
                ? "{\"layer\": \"%s\", \"arch\": \"%s\", \"kernels\": %d, \"compiled\": %llu, \"found\": %llu, "
                  "\"spilled_bytes\": %d}\n"
                : "%s %s: %d kernels, %llu compiled, %llu found, %d bytes spilled\n";
        printf(form, name, arch, moejit_plan_num_kernels(plan), (unsigned long long)counters.compiles,
               (unsigned long long)counters.cache_hits, spilled);
        if (spilled > 0) code = EXIT_WRONG;
    }
    fflush(stdout);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
    return code;
}

static int prefill_archs(const struct prefill_options *options, const moejit_layer *layer, const char *name) {
    char list[256];
    int worst = EXIT_GOOD;
    snprintf(list, sizeof(list), "%s", options->archs);
    for (char *rest = NULL, *arch = strtok_r(list, ",", &rest); arch != NULL; arch = strtok_r(NULL, ",", &rest)) {
        int code = prefill(options, layer, name, arch);
        if (code > worst) worst = code;
    }
    return worst;
}

static int prefill_models(const struct prefill_options *options) {
    int worst = EXIT_GOOD;
    for (int i = 0; i < mj_num_models; i++) {
        struct layer_options layer_options = options->layer;
        moejit_layer layer;
        layer_options.model = mj_models[i].name;
        if (!layer_options_layer(&layer_options, "prefill", &layer)) return EXIT_USAGE;
        int code = prefill_archs(options, &layer, mj_models[i].name);
        if (code > worst) worst = code;
    }
    return worst;
}

// Layers of one description share their kernels.
static int prefill_checkpoint(const struct prefill_options *options) {
    int worst = EXIT_GOOD, num;
    moejit_layer *layers;
    if (!checkpoint_layers_list(&options->layer, "prefill", &layers, &num)) return EXIT_USAGE;
    for (int i = 0; i < num; i++) {
        int code = prefill_archs(options, &layers[i], options->layer.checkpoint);
        if (code > worst) worst = code;
    }
    free(layers);
    return worst;
}

static bool take(struct prefill_options *options, int option, const char *value) {
    switch (option) {
    case OPTION_ARCH: options->archs = strcmp(value, "all") == 0 ? all_archs : value; return true;
    case OPTION_MAX_TOKENS: return command_number("prefill", "max-tokens", value, 1, 65536, &options->max_tokens);
    case OPTION_CACHE: options->cache = value; return true;
    case OPTION_JSON: options->json = true; return true;
    default: return false;
    }
}

int command_prefill(int argc, char **argv) {
    struct prefill_options options = {.archs = "sm_90a", .max_tokens = 4096};
    layer_options_init(&options.layer);
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help);
            return EXIT_GOOD;
        }
        if (option == 'm' && strcmp(optarg, "all") == 0) {
            options.all_models = true;
            continue;
        }
        int taken = layer_options_take(&options.layer, "prefill", option, optarg);
        if (taken < 0 || (taken == 0 && !take(&options, option, optarg))) return EXIT_USAGE;
    }
    if (optind < argc) return command_usage("prefill", "\"%s\" is no option", argv[optind]);
    if (options.all_models) return prefill_models(&options);
    if (options.layer.checkpoint != NULL) return prefill_checkpoint(&options);
    moejit_layer layer;
    if (!layer_options_layer(&options.layer, "prefill", &layer)) return EXIT_USAGE;
    return prefill_archs(&options, &layer, layer_options_name(&options.layer));
}
