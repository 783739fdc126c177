// moejit prefill: compile the kernels of models for archs into the cache or a pack, with no GPU.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack_list.h"
#include "prefill_matrix.h"
#include "prefill_progress.h"
#include "use_log.h"

static const char help[] =
    "Usage: moejit prefill [options]\n"
    "Compiles every kernel that layers need into the cache, with no GPU. What is there already is not compiled again:\n"
    "a run that was stopped goes on where it was.\n\n"
    "%s\n"
    "  --model, --arch, --tensor-parallel, --activation-format, --output-dtype and --sum take comma-separated lists, "
    "and\n"
    "  every combination is compiled. --model all is every model of the table. Expert parallelism needs no other "
    "kernels.\n\n"
    "  --arch LIST              sm_80,sm_86,sm_89,sm_90a,sm_100a,sm_103a,sm_120a,sm_121a, or all (default sm_90a)\n"
    "  --tensor-parallel LIST   intermediate is divided by each\n"
    "  --max-tokens N           (default 4096)\n"
    "  --cache PATH             the database (default: the user's)\n"
    "  --pack FILE              write the kernels of all the layers and archs to a pack: a read-only file for\n"
    "                           MOEJIT_CACHE_PACKS or `moejit cache import`. The same kernels give the same bytes.\n"
    "                           Ctrl-C writes what is whole\n"
    "  --workers N              compilers at once (default: by cores and free memory); -1: none but this process\n"
    "  --dry-run                only tell what would be compiled\n"
    "  --json                   JSON objects, one a line: what happens, and last a summary with total, compiled, hits\n"
    "                           and failed, which count each kernel once\n"
    "Exit status: 0 good, 1 a kernel spills registers, 2 bad command line, 3 a failed compile, a pack that cannot be\n"
    "written, or Ctrl-C.\n";

enum {
    OPTION_TP = 256,
    OPTION_ARCH,
    OPTION_MAX_TOKENS,
    OPTION_CACHE,
    OPTION_PACK,
    OPTION_WORKERS,
    OPTION_DRY_RUN,
    OPTION_JSON,
    OPTION_HELP
};

static const struct option long_options[] = {
    LAYER_OPTIONS_LONG,
    {"tensor-parallel", required_argument, NULL, OPTION_TP},
    {"arch", required_argument, NULL, OPTION_ARCH},
    {"max-tokens", required_argument, NULL, OPTION_MAX_TOKENS},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"pack", required_argument, NULL, OPTION_PACK},
    {"workers", required_argument, NULL, OPTION_WORKERS},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct prefill {
    struct layer_options layer;
    struct prefill_axes axes;
    const char *cache, *pack;
    long long max_tokens, workers;
    bool dry_run, json;

    struct prefill_matrix matrix;
    struct mj_use_log all, missing; // keys
    uint64_t compiled, failed;
    struct pack_list list; // what goes into the pack
    struct prefill_progress progress;
    const struct prefill_job *job; // at work
    int found;                     // of its kernels, before it was begun
    int code;
};

static volatile sig_atomic_t interrupted;

static void interrupt(int number) {
    (void)number;
    interrupted = 1;
}

static void worsen(struct prefill *prefill, int code) {
    if (code > prefill->code) prefill->code = code;
}

// What a job's line starts with.
static void print_job(const struct prefill *prefill, const char *event, const struct prefill_job *job) {
    prefill_progress_clear(&prefill->progress);
    printf("{\"event\": \"%s\", \"layer\": \"%s\", \"arch\": \"%s\"", event, job->name, job->arch);
}

static void fail(struct prefill *prefill, const struct prefill_job *job, const char *message) {
    worsen(prefill, EXIT_UNAVAILABLE);
    if (prefill->json) {
        print_job(prefill, "failed", job);
        printf(", \"error\": ");
        command_json_string(message, strlen(message));
        printf("}\n");
    }
    prefill_progress_clear(&prefill->progress);
    fprintf(stderr, "moejit prefill: %s %s: %s\n", job->name, job->arch, message);
}

static int report(void *user, int32_t done, int32_t total, const char *current) {
    struct prefill *prefill = user;
    char title[192];
    (void)total;
    if (interrupted) return 1;
    snprintf(title, sizeof(title), "%s %s", prefill->job->name, prefill->job->arch);
    int compiled = done > prefill->found ? done - prefill->found : 0;
    if (current[0] != '\0') {
        prefill_progress_update(&prefill->progress, title, (int)(prefill->compiled + prefill->failed) + compiled,
                                current);
    }
    return 0;
}

// NULL: the sentence is printed.
static moejit_context *create_context(struct prefill *prefill, const struct prefill_job *job) {
    char message[4096];
    moejit_context_options options;
    moejit_context *context = NULL;
    moejit_context_options_init(&options);
    options.attach = MOEJIT_ATTACH_ARCH;
    options.arch = job->arch;
    options.cache_path = prefill->cache;
    options.ptx_only = -1; // it tells what spills
    options.compile_workers = (int32_t)prefill->workers;
    options.log = command_log;
    if (moejit_context_create(&options, &context, message, sizeof(message)) == MOEJIT_STATUS_OK) return context;
    fail(prefill, job, message);
    return NULL;
}

static moejit_status create_plan(struct prefill *prefill, moejit_context *context, const struct prefill_job *job,
                                 bool describe_only, moejit_plan **plan) {
    moejit_plan_options options;
    moejit_plan_options_init(&options);
    options.max_num_tokens = (int)prefill->max_tokens;
    options.progress = report;
    options.progress_user = prefill;
    options.describe_only = describe_only;
    prefill->job = job;
    return moejit_plan_create(context, &job->layer, &options, plan);
}

static bool add_key(struct mj_use_log *log, const char *key_text) {
    unsigned char hash[MJ_HASH_BYTES];
    size_t before = log->num;
    mj_key_hash(key_text, strlen(key_text), hash);
    mj_use_log_add(log, hash);
    return log->num > before;
}

static void print_missing(const struct prefill *prefill, const struct prefill_job *job, const char *symbol) {
    if (prefill->json) {
        print_job(prefill, "missing", job);
        printf(", \"symbol\": \"%s\"}\n", symbol);
    } else {
        printf("%-8s %-44s %s\n", job->arch, symbol, job->name);
    }
}

// Counts the keys of a job, and those that the cache lacks. How many of its kernels the cache has.
static int describe(struct prefill *prefill, const struct prefill_job *job, moejit_context *context) {
    moejit_plan *plan = NULL;
    int found = 0;
    if (create_plan(prefill, context, job, true, &plan) != MOEJIT_STATUS_OK) {
        if (prefill->dry_run) fail(prefill, job, moejit_context_error(context)); // else told when it is compiled
        return 0;
    }
    for (int i = 0; i < moejit_plan_num_kernels(plan); i++) {
        moejit_kernel_info info = {.struct_size = sizeof(info)};
        moejit_plan_kernel(plan, i, &info);
        add_key(&prefill->all, info.key_text);
        found += info.cached;
        if (!info.cached && add_key(&prefill->missing, info.key_text) && prefill->dry_run) {
            print_missing(prefill, job, info.symbol);
        }
    }
    moejit_plan_destroy(plan);
    return found;
}

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

static void print_layer(const struct prefill *prefill, const struct prefill_job *job, const moejit_plan *plan,
                        const moejit_context_counters *before, const moejit_context_counters *after, int spilled) {
    unsigned long long compiled = after->compiles - before->compiles, found = after->cache_hits - before->cache_hits;
    prefill_progress_clear(&prefill->progress);
    if (prefill->json) {
        print_job(prefill, "layer", job);
        printf(", \"kernels\": %d, \"compiled\": %llu, \"found\": %llu, \"spilled_bytes\": %d}\n",
               moejit_plan_num_kernels(plan), compiled, found, spilled);
    } else {
        printf("%s %s: %d kernels, %llu compiled, %llu found, %d bytes spilled\n", job->name, job->arch,
               moejit_plan_num_kernels(plan), compiled, found, spilled);
    }
    fflush(stdout);
}

static void compile(struct prefill *prefill, const struct prefill_job *job) {
    moejit_context *context = create_context(prefill, job);
    moejit_plan *plan = NULL;
    if (context == NULL) return;
    prefill->found = describe(prefill, job, context);
    moejit_context_counters before = {.struct_size = sizeof(before)}, after = before;
    moejit_context_counters_read(context, &before);
    moejit_status status = create_plan(prefill, context, job, false, &plan);
    moejit_context_counters_read(context, &after);
    prefill->failed += after.failures - before.failures;
    prefill->compiled += after.cache_misses - before.cache_misses - (after.failures - before.failures);
    if (status != MOEJIT_STATUS_OK) {
        fail(prefill, job, moejit_context_error(context));
    } else {
        int spilled = count_spills(plan);
        print_layer(prefill, job, plan, &before, &after, spilled);
        if (spilled > 0) worsen(prefill, EXIT_WRONG);
        if (prefill->pack != NULL && !pack_list_add(&prefill->list, context, plan)) worsen(prefill, EXIT_UNAVAILABLE);
    }
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

static void list_all(struct prefill *prefill) {
    for (int i = 0; i < prefill->matrix.num_jobs && !interrupted; i++) {
        const struct prefill_job *job = &prefill->matrix.jobs[i];
        moejit_context *context = create_context(prefill, job);
        if (context != NULL) describe(prefill, job, context);
        moejit_context_destroy(context);
    }
}

static void print_summary(const struct prefill *prefill) {
    uint64_t missing = prefill->missing.num, total = prefill->all.num;
    uint64_t failed = prefill->failed < missing ? prefill->failed : missing;
    uint64_t left = missing > prefill->compiled + failed ? missing - prefill->compiled - failed : 0;
    // What somebody else has compiled meanwhile was found.
    uint64_t hits = total - missing + (prefill->code == EXIT_UNAVAILABLE || prefill->dry_run ? 0 : left);
    const char *form = prefill->json ? "{\"event\": \"summary\", \"total\": %llu, \"compiled\": %llu, \"hits\": %llu, "
                                       "\"failed\": %llu, \"seconds\": %.1f}\n"
                                     : "%llu kernels: %llu compiled, %llu found, %llu failed, %.1f s\n";
    printf(form, (unsigned long long)total, (unsigned long long)prefill->compiled, (unsigned long long)hits,
           (unsigned long long)failed, prefill_progress_seconds(&prefill->progress));
}

static void run(struct prefill *prefill) {
    prefill_progress_start(&prefill->progress, 0, prefill->json);
    list_all(prefill);
    prefill_progress_start(&prefill->progress, (int)prefill->missing.num, prefill->json);
    if (prefill->json) {
        printf("{\"event\": \"start\", \"total\": %zu, \"missing\": %zu}\n", prefill->all.num, prefill->missing.num);
    }
    bool described = prefill->code == EXIT_GOOD; // else an arch is none: told once
    for (int i = 0; described && !prefill->dry_run && !interrupted && i < prefill->matrix.num_jobs; i++) {
        compile(prefill, &prefill->matrix.jobs[i]);
    }
    prefill_progress_clear(&prefill->progress);
    if (interrupted) worsen(prefill, EXIT_UNAVAILABLE);
    if (described && prefill->pack != NULL && !prefill->dry_run &&
        !pack_list_write(&prefill->list, prefill->pack, prefill->json)) {
        worsen(prefill, EXIT_UNAVAILABLE);
    }
    print_summary(prefill);
}

static bool take(struct prefill *prefill, int option, const char *value) {
    switch (option) {
    case 'm': prefill->axes.models = value; return true;
    case 'f': prefill->axes.activation_formats = value; return true;
    case 'o': prefill->axes.output_dtypes = value; return true;
    case 's': prefill->axes.sums = value; return true;
    case OPTION_TP: prefill->axes.tensor_parallel = value; return true;
    case OPTION_ARCH: prefill->axes.archs = value; return true;
    case OPTION_MAX_TOKENS: return command_number("prefill", "max-tokens", value, 1, 65536, &prefill->max_tokens);
    case OPTION_CACHE: prefill->cache = value; return true;
    case OPTION_PACK: prefill->pack = value; return true;
    case OPTION_WORKERS: return command_number("prefill", "workers", value, -1, 256, &prefill->workers);
    case OPTION_DRY_RUN: prefill->dry_run = true; return true;
    case OPTION_JSON: prefill->json = true; return true;
    default: return layer_options_take(&prefill->layer, "prefill", option, value) == 1;
    }
}

int command_prefill(int argc, char **argv) {
    struct prefill prefill = {.max_tokens = 4096};
    const struct sigaction action = {.sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND}; // the second one ends it
    layer_options_init(&prefill.layer);
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf(help, layer_options_help);
            return EXIT_GOOD;
        }
        if (option == '?' || !take(&prefill, option, optarg)) return EXIT_USAGE;
    }
    if (optind < argc) return command_usage("prefill", "\"%s\" is no option", argv[optind]);
    if (!prefill_matrix_create(&prefill.axes, &prefill.layer, &prefill.matrix)) return EXIT_USAGE;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    run(&prefill);
    pack_list_free(&prefill.list);
    mj_use_log_clear(&prefill.all);
    mj_use_log_clear(&prefill.missing);
    free(prefill.matrix.jobs);
    return prefill.code;
}
