// moejit tune: measures what a plan decides, keeps it in the cache, and tells what it gained.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu.h"
#include "layer_options.h"
#include "moe/tile.h"
#include "tune_options.h"
#include "tune_repeat.h"

static const char help[] =
    "Usage: moejit tune [options]\n"
    "Measures, for each bucket of token counts, the legal tiles of gate_up and down and how the output is zeroed, as "
    "they\n"
    "will run, and keeps the decisions in the cache. A plan with the tune option, or 'moejit bench --tuned', follows "
    "them.\n"
    "What is stored already is not measured again.\n\n"
    "%s"
    "%s"
    "  --max-tokens N           the buckets go up to there (default 8192)\n"
    "  --redo                   measure what is stored too, and replace it\n"
    "  --repeat N               measure all N times from scratch, and tell how many decisions differ and at what cost\n"
    "  --family F               auto, portable or hopper\n"
    "  --tile T                 this tile alone, as in run\n"
    "  --cuda-library PATH\n"
    "  --json                   a JSON object a bucket, and one for the whole\n"
    "Columns: microseconds of a layer and their noise (standard error of the median), and what the rule's choice "
    "took.\n"
    "Exit status: 0 good, 2 bad command line, 3 no GPU, no NVRTC or an unsupported layer.\n";

enum {
    OPTION_TOKENS = 256,
    OPTION_REDO,
    OPTION_REPEAT,
    OPTION_FAMILY,
    OPTION_TILE,
    OPTION_CUDA,
    OPTION_JSON,
    OPTION_HELP
};

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    TUNE_OPTIONS_LONG,
    {"max-tokens", required_argument, NULL, OPTION_TOKENS},
    {"redo", no_argument, NULL, OPTION_REDO},
    {"repeat", required_argument, NULL, OPTION_REPEAT},
    {"family", required_argument, NULL, OPTION_FAMILY},
    {"tile", required_argument, NULL, OPTION_TILE},
    {"cuda-library", required_argument, NULL, OPTION_CUDA},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

#define EMULATED_TOKENS 16
#define DRAW_S 0.1 // between two drawings: samples are not to wait for a terminal
#define CURRENT_CHARS 36

struct tune {
    struct layer_options layer_options;
    struct tune_options options;
    moejit_layer layer;
    long long max_tokens, repeats;
    moejit_family family;
    int tile; // as in moejit_plan_options
    const char *cuda_library;
    bool json;
    struct gpu gpu;
    moejit_context *context;
    double start_s, drawn_s; // of the progress bar
};

static int fail(const char *what, const char *why) {
    fprintf(stderr, "moejit tune: %s: %s\n", what, why);
    return EXIT_UNAVAILABLE;
}

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

// The bar, with the time that is left going by the token counts done, of which later ones take longer.
static int draw_progress(void *user, int32_t done, int32_t total, const char *current) {
    struct tune *tune = user;
    double now = now_s(), left = done > 0 ? (now - tune->start_s) / done * (total - done) : 0;
    char text[CURRENT_CHARS + 32];
    if (done < total && now - tune->drawn_s < DRAW_S) return 0;
    tune->drawn_s = now;
    snprintf(text, sizeof(text), "%.*s", CURRENT_CHARS, current);
    if (done > 0)
        snprintf(text, sizeof(text), "%d:%02d left, %.*s", (int)left / 60, (int)left % 60, CURRENT_CHARS, current);
    return command_progress("tuning", done, total, text);
}

static const char *const decided_names[] = {"rule", "store", "tuned"};

static void print_decision(const struct tune *tune, const moejit_decision *decision) {
    double gain = decision->us > 0 && decision->untuned_us > 0 ? decision->untuned_us / decision->us - 1 : 0;
    if (tune->json) {
        printf("{\"first_tokens\": %d, \"last_tokens\": %d, \"decided\": \"%s\", \"decision\": \"%s\", \"us\": %.3f, "
               "\"noise_us\": %.3f, \"untuned_us\": %.3f, \"gain\": %.4f, \"samples\": %d, \"refused\": %d}\n",
               decision->first_num_tokens, decision->last_num_tokens, decided_names[decision->decided], decision->text,
               decision->us, decision->noise_us, decision->untuned_us, gain, decision->num_samples,
               decision->num_refused);
        return;
    }
    char range[24];
    snprintf(range, sizeof(range), "%d-%d", decision->first_num_tokens, decision->last_num_tokens);
    printf("%12s %9.2f %7.2f %9.2f %6.1f%% %7d %7d  %-5s  %s\n", range, decision->us, decision->noise_us,
           decision->untuned_us, gain * 100, decision->num_samples, decision->num_refused,
           decided_names[decision->decided], decision->text);
}

static int print_plan(const struct tune *tune, const moejit_plan *plan, double seconds) {
    char digest[33];
    int num = moejit_plan_num_decisions(plan), counts[3] = {0};
    moejit_context_counters counters = {.struct_size = sizeof(counters)};
    if (!tune->json) printf("      tokens        us   noise   by rule   gain samples refused  from   decision\n");
    for (int i = 0; i < num; i++) {
        moejit_decision decision = {.struct_size = sizeof(decision)};
        if (moejit_plan_decision(plan, i, &decision) != MOEJIT_STATUS_OK)
            return fail("decision", moejit_context_error(tune->context));
        counts[decision.decided]++;
        print_decision(tune, &decision);
    }
    if (moejit_plan_digest(plan, digest) != MOEJIT_STATUS_OK)
        return fail("digest", moejit_context_error(tune->context));
    moejit_context_counters_read(tune->context, &counters);
    const char *form = tune->json ? "{\"tuned\": %d, \"stored\": %d, \"by_rule\": %d, \"seconds\": %.2f, "
                                    "\"compiles\": %d, \"digest\": \"%s\"}\n"
                                  : "%d token counts measured, %d from the store, %d left to the rule; %.2f s, %d "
                                    "compiles; digest %s\n";
    printf(form, counts[MOEJIT_DECIDED_BY_TUNING], counts[MOEJIT_DECIDED_BY_STORE], counts[MOEJIT_DECIDED_BY_RULE],
           seconds, (int)counters.compiles, digest);
    return EXIT_GOOD;
}

static int make_plan(const struct tune *tune, moejit_plan **plan) {
    moejit_plan_options options;
    moejit_plan_options_init(&options);
    options.max_num_tokens = (int32_t)tune->max_tokens;
    options.family = tune->family;
    options.tile = tune->tile;
    options.tune = MOEJIT_TUNE_STORED;
    options.tune_options = &tune->options.options;
    options.progress = command_progress;
    options.progress_user = "preparing";
    if (moejit_plan_create(tune->context, &tune->layer, &options, plan) == MOEJIT_STATUS_OK) return EXIT_GOOD;
    return fail("plan", moejit_context_error(tune->context));
}

static int repeat(struct tune *tune, moejit_plan *plan) {
    struct tune_repeat repeats;
    if (!tune_repeat_create(&repeats, moejit_plan_num_decisions(plan), (int)tune->repeats))
        return fail("memory", "none left");
    tune->options.options.redo = 1;
    int code = EXIT_GOOD;
    for (int run = 0; run < tune->repeats && code == EXIT_GOOD; run++) {
        tune->start_s = now_s();
        if (moejit_plan_tune(plan, &tune->options.options) != MOEJIT_STATUS_OK) {
            code = fail("tuning", moejit_context_error(tune->context));
        } else {
            tune_repeat_note(&repeats, run, plan);
        }
    }
    if (code == EXIT_GOOD) tune_repeat_print(&repeats, tune->json);
    tune_repeat_destroy(&repeats);
    return code;
}

static int run_plan(struct tune *tune) {
    moejit_plan *plan = NULL;
    size_t bytes = 0;
    double start = now_s();
    int code = make_plan(tune, &plan);
    if (code != EXIT_GOOD) return code;
    if (moejit_plan_tune_bytes(plan, &tune->options.options, &bytes) != MOEJIT_STATUS_OK) {
        code = fail("tuning", moejit_context_error(tune->context));
    } else if (!tune->json) {
        printf("%s, %s, H %d, I %d, %d of %d experts, top %d; measuring takes %.1f MB of device memory\n",
               tune->gpu.name, moejit_context_arch(tune->context), tune->layer.hidden, tune->layer.intermediate,
               tune->layer.num_local_experts, tune->layer.num_experts, tune->layer.top_k, (double)bytes / 1e6);
    }
    tune->options.options.progress = draw_progress;
    tune->options.options.progress_user = tune;
    tune->start_s = now_s();
    if (code == EXIT_GOOD && tune->repeats > 0) {
        code = repeat(tune, plan);
    } else if (code == EXIT_GOOD) {
        bool good = moejit_plan_tune(plan, &tune->options.options) == MOEJIT_STATUS_OK;
        code = good ? print_plan(tune, plan, now_s() - start) : fail("tuning", moejit_context_error(tune->context));
    }
    moejit_plan_destroy(plan);
    return code;
}

static int run(struct tune *tune) {
    char message[1024];
    moejit_context_options options;
    if (!gpu_open(&tune->gpu, tune->cuda_library)) return fail("GPU", tune->gpu.error);
    if (tune->gpu.emulated) {
        fprintf(stderr, "moejit tune: this is the emulator: its times say nothing about a GPU\n");
        layer_options_shrink(NULL, &tune->layer);
        if (tune->max_tokens > EMULATED_TOKENS) tune->max_tokens = EMULATED_TOKENS;
    }
    if (!tune_options_check(&tune->options, "tune", &tune->layer)) return EXIT_USAGE;
    moejit_context_options_init(&options);
    options.cuda_library = tune->gpu.path;
    options.log = command_log;
    if (moejit_context_create(&options, &tune->context, message, sizeof(message)) != MOEJIT_STATUS_OK)
        return fail("context", message);
    return run_plan(tune);
}

static bool take(struct tune *tune, int option, const char *value) {
    static const char *const families[] = {"auto", "portable", "hopper", NULL};
    int choice = 0;
    switch (option) {
    case OPTION_TOKENS: return command_number("tune", "max-tokens", value, 1, 65536, &tune->max_tokens);
    case OPTION_REDO: tune->options.options.redo = 1; return true;
    case OPTION_REPEAT: return command_number("tune", "repeat", value, 1, TUNE_MAX_REPEATS, &tune->repeats);
    case OPTION_FAMILY:
        if (!command_choice("tune", "family", value, families, &choice)) return false;
        tune->family = (moejit_family)choice;
        return true;
    case OPTION_TILE:
        tune->tile = mj_tile_find(value) + 1;
        if (tune->tile == 0)
            command_usage("tune", "--tile is \"%s\", which is not one of those of 'moejit run --help'", value);
        return tune->tile > 0;
    case OPTION_CUDA: tune->cuda_library = value; return true;
    case OPTION_JSON: tune->json = true; return true;
    default: return false;
    }
}

static int read_options(struct tune *tune, int argc, char **argv) {
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help, tune_options_help);
            return EXIT_GOOD;
        }
        int taken = layer_options_take(&tune->layer_options, "tune", option, optarg);
        if (taken == 0) taken = tune_options_take(&tune->options, "tune", option, optarg);
        if (taken < 0 || (taken == 0 && !take(tune, option, optarg))) return EXIT_USAGE;
    }
    if (optind < argc) return command_usage("tune", "\"%s\" is no option", argv[optind]);
    return layer_options_layer(&tune->layer_options, "tune", &tune->layer) ? -1 : EXIT_USAGE;
}

int command_tune(int argc, char **argv) {
    static struct tune tune;
    layer_options_init(&tune.layer_options);
    tune_options_init(&tune.options);
    tune.max_tokens = 8192;
    int code = read_options(&tune, argc, argv);
    if (code < 0) code = run(&tune);
    moejit_context_destroy(tune.context);
    gpu_close(&tune.gpu);
    tune_options_destroy(&tune.options);
    return code;
}
