// What the pipeline needs to be right, taken away bit by bit: each event, each launch, each line of a kernel that
// orders something is left out in turn, and some seed must then say so; with nothing left out none may.
//
//     mutations [--seeds N] [--clean N] [--only SCENARIO] FILE    FILE: mutations.txt
//     mutations --list                                            prints what FILE must hold
//
// --seeds N   a mutation is tried with the seeds 0 .. N-1 until one finds it (default 200)
// --clean N   the whole pipeline with the seeds 0 .. N-1 (default 200); needs N / 2 distinct orders of operations where
//             there are two streams, and the same bits where the sum is deterministic
//
// Runs on the emulator that MOEJIT_CUDA_LIBRARY names. Exit status 1 where a mutation is not caught, a clean run is not
// clean, or the file does not list exactly what there is.
#include <dlfcn.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mutation_scenarios.h"

#define MAX_OUTPUT 65536
#define MAX_LINES 512
#define MANY_SEEDS 200

static const char *const entries[] = {"cuEventRecord",    "cuStreamWaitEvent", "cuLaunchKernel",
                                      "cuLaunchKernelEx", "cuMemsetD8Async",   "cuMemsetD2D8Async"};
// No line of PTX holds two of them.
static const char *const patterns[] = {"bar.sync",     "barrier.sync",    "barrier.cta",  "mbarrier.",
                                       "fence.",       "membar.",         "wait_group",   "wait_all",
                                       "commit_group", "griddepcontrol.", "st.global.v4", "barrier.cluster"};
#define ZEROING "st.global.v4"    // is no call where gate_up zeroes
#define SHARING "barrier.cluster" // stands in every kernel that can; all else is other scenarios'
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

// kernel NULL: the n-th call of entry `what`; else the n-th line that holds `what`.
struct mutation {
    const char *kernel, *what;
    unsigned long long n;
};

struct emulator {
    struct gpu gpu;
    int (*skip_at)(const char *entry, uint64_t n);
    void (*drop_line)(const char *kernel, const char *words, uint64_t n);
    uint64_t (*dropped)(void), (*failures)(void), (*calls)(const char *entry), (*trace_hash)(void);
    uint64_t (*findings)(char *text, size_t bytes);
    void (*reset)(void);
};

static bool open_emulator(struct emulator *emulator) {
    if (!gpu_open(&emulator->gpu, NULL)) return fprintf(stderr, "%s\n", emulator->gpu.error), false;
    void *library = emulator->gpu.library;
    *(void **)(void *)&emulator->skip_at = dlsym(library, "moejit_emulator_skip_at");
    *(void **)(void *)&emulator->drop_line = dlsym(library, "moejit_emulator_drop_line");
    *(void **)(void *)&emulator->dropped = dlsym(library, "moejit_emulator_dropped");
    *(void **)(void *)&emulator->failures = dlsym(library, "moejit_emulator_failures");
    *(void **)(void *)&emulator->calls = dlsym(library, "moejit_emulator_calls");
    *(void **)(void *)&emulator->trace_hash = dlsym(library, "moejit_emulator_trace_hash");
    *(void **)(void *)&emulator->findings = dlsym(library, "moejit_emulator_findings");
    *(void **)(void *)&emulator->reset = dlsym(library, "moejit_emulator_reset");
    if (emulator->skip_at != NULL) return true;
    fprintf(stderr, "%s is not the emulator: set MOEJIT_CUDA_LIBRARY\n", emulator->gpu.path);
    return false;
}

// ---- One run

struct outcome {
    bool ran, clean; // clean: no finding, every status good
    uint64_t trace;
    size_t elements;
    float *output;
    char finding[512];
};

// The scenario's weights once packed: packing takes most of a run, and one with something left out need not repeat it.
static struct {
    const struct scenario *scenario;
    void *bytes;
} packed;

static void keep_packed(const struct scenario *scenario, struct rig *rig) {
    free(packed.bytes);
    packed.scenario = scenario;
    packed.bytes = malloc(rig->packed_bytes);
    if (packed.bytes != NULL && gpu_download(rig->gpu, packed.bytes, rig->packed, rig->packed_bytes)) return;
    free(packed.bytes);
    packed.bytes = NULL;
}

static void run(const struct scenario *scenario, const struct mutation *mutation, unsigned seed, int rounds,
                struct outcome *outcome) {
    struct emulator emulator;
    struct rig rig;
    char text[16];
    *outcome = (struct outcome){.output = outcome->output};
    snprintf(text, sizeof(text), "%u", seed);
    setenv("MOEJIT_EMULATOR_SEED", text, 1);
    if (!open_emulator(&emulator)) return;
    emulator.reset();
    if (mutation != NULL && mutation->kernel != NULL) emulator.drop_line(mutation->kernel, mutation->what, mutation->n);
    const void *found = mutation != NULL && packed.scenario == scenario ? packed.bytes : NULL;
    bool made = scenario_create(&rig, &emulator.gpu, scenario, found) == MOEJIT_STATUS_OK;
    outcome->ran = made && (mutation == NULL || mutation->kernel == NULL || emulator.dropped() == 1);
    if (mutation != NULL && mutation->kernel == NULL) emulator.skip_at(mutation->what, mutation->n);
    if (made) {
        outcome->clean = scenario_run(scenario, &rig, rounds, outcome->output);
        outcome->trace = emulator.trace_hash();
        if (mutation != NULL && mutation->kernel == NULL) outcome->ran = emulator.failures() == 1;
        emulator.skip_at(NULL, 0);
        outcome->elements = (size_t)NUM_OUTPUTS * (size_t)scenario->num_tokens * (size_t)scenario->hidden;
        outcome->clean = emulator.findings(outcome->finding, sizeof(outcome->finding)) == 0 && outcome->clean;
        if (packed.scenario != scenario && outcome->clean) keep_packed(scenario, &rig);
    } else {
        emulator.findings(outcome->finding, sizeof(outcome->finding));
    }
    rig_destroy(&rig);
    gpu_close(&emulator.gpu);
}

static bool same_output(const struct scenario *scenario, const struct outcome *a, const struct outcome *b) {
    if (scenario->sum != MOEJIT_SUM_DEFAULT) return memcmp(a->output, b->output, a->elements * sizeof(float)) == 0;
    for (size_t i = 0; i < a->elements; i++) { // the order of atomic adds is free
        if (!(fabsf(a->output[i] - b->output[i]) <= 1e-5f * (1 + fabsf(a->output[i])))) return false;
    }
    return true;
}

// ---- What there is to leave out

typedef bool (*take_fn)(void *user, const struct scenario *scenario, const struct mutation *mutation);

static unsigned count_lines(const char *ptx, const char *kernel, const char *pattern) {
    char start[256];
    snprintf(start, sizeof(start), ".entry %s(", kernel);
    const char *at = strstr(ptx, start), *end = at != NULL ? strstr(at + 1, ".entry ") : NULL;
    unsigned count = 0;
    while (at != NULL && (at = strstr(at, pattern)) != NULL && (end == NULL || at < end)) {
        count++;
        at += strcspn(at, "\n");
    }
    return count;
}

static bool is_launched(const struct scenario *scenario, const char *kernel) {
    if (strcmp(kernel, "moejit_route") == 0) return !scenario->folded;
    return strcmp(kernel, "moejit_zero") != 0 || scenario->in_stream; // elsewhere a memset or gate_up zeroes
}

static bool list_kernels(const struct scenario *scenario, const moejit_plan *plan, take_fn take, void *user) {
    for (int i = 0; i < moejit_plan_num_kernels(plan); i++) {
        moejit_kernel_info info = {.struct_size = sizeof(info)};
        if (moejit_plan_kernel(plan, i, &info) != MOEJIT_STATUS_OK) return false;
        if (strcmp(info.symbol, "moejit_pack") == 0) continue; // runs before, alone
        if (scenario->only != NULL && strcmp(info.symbol, scenario->only) != 0) continue;
        if (!is_launched(scenario, info.symbol)) continue;
        for (size_t p = 0; p < COUNT(patterns); p++) {
            if (strcmp(patterns[p], ZEROING) == 0 && !scenario->folded) continue;
            if ((strcmp(patterns[p], SHARING) == 0) != scenario->shared) continue;
            struct mutation mutation = {info.symbol, patterns[p], count_lines(info.ptx, info.symbol, patterns[p])};
            if (mutation.n > 0 && !take(user, scenario, &mutation)) return false;
        }
    }
    return true;
}

// Their PTX, from a plan for the arch with no GPU: one on a GPU does not keep it.
static bool list_lines(const struct scenario *scenario, take_fn take, void *user) {
    moejit_layer layer = scenario_layer(scenario);
    moejit_plan_options options = scenario_plan_options(scenario);
    moejit_context_options context_options;
    moejit_context *context = NULL;
    moejit_plan *plan = NULL;
    moejit_context_options_init(&context_options);
    context_options.attach = MOEJIT_ATTACH_ARCH;
    context_options.arch = "sm_90a";
    bool good = moejit_context_create(&context_options, &context, NULL, 0) == MOEJIT_STATUS_OK &&
                moejit_plan_create(context, &layer, &options, &plan) == MOEJIT_STATUS_OK &&
                list_kernels(scenario, plan, take, user);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
    return good;
}

// take gets each with n, how many there are.
static bool list(const struct scenario *scenario, take_fn take, void *user) {
    struct emulator emulator;
    struct rig rig;
    if (!open_emulator(&emulator)) return false;
    bool good = scenario_create(&rig, &emulator.gpu, scenario, NULL) == MOEJIT_STATUS_OK;
    uint64_t before[COUNT(entries)];
    for (size_t i = 0; i < COUNT(entries); i++) before[i] = emulator.calls(entries[i]);
    good = good && scenario_run(scenario, &rig, 1, NULL);
    for (size_t i = 0; i < COUNT(entries) && good && scenario->only == NULL; i++) {
        struct mutation mutation = {NULL, entries[i], emulator.calls(entries[i]) - before[i]};
        if (mutation.n > 0) good = take(user, scenario, &mutation);
    }
    rig_destroy(&rig);
    gpu_close(&emulator.gpu);
    return good && list_lines(scenario, take, user);
}

static bool print_one(void *user, const struct scenario *scenario, const struct mutation *mutation) {
    (void)user;
    printf("%-10s %-34s %-18s %llu\n", scenario->name, mutation->kernel != NULL ? mutation->kernel : "call",
           mutation->what, mutation->n);
    return true;
}

// ---- The file

struct options {
    unsigned seeds, clean;
    const char *only;
};

struct trial {
    const struct options *options;
    char *lines[MAX_LINES]; // of the file
    int num_lines;
    const struct outcome *expected;
    struct outcome outcome;
    int tried, caught, excused, missed, left;
    unsigned latest; // the seed that was needed
};

// The line that lists it: "SCENARIO KERNEL WHAT COUNT [harmless: N N ... (why)] [late: N N ...]". A late one needs more
// seeds than a quick run takes.
static const char *find_line(const struct trial *trial, const struct scenario *scenario,
                             const struct mutation *mutation) {
    for (int i = 0; i < trial->num_lines; i++) {
        char name[64], kernel[128], what[64];
        unsigned long long count;
        if (sscanf(trial->lines[i], "%63s %127s %63s %llu", name, kernel, what, &count) != 4) continue;
        if (strcmp(name, scenario->name) != 0 || strcmp(what, mutation->what) != 0 || count != mutation->n) continue;
        if (strcmp(kernel, mutation->kernel != NULL ? mutation->kernel : "call") == 0) return trial->lines[i];
    }
    return NULL;
}

static bool is_listed(const char *line, const char *word, unsigned long long n) {
    const char *at = strstr(line, word);
    if (at == NULL) return false;
    char *end;
    for (at += strlen(word);; at = end) {
        unsigned long long number = strtoull(at, &end, 10);
        if (end == at) return false;
        if (number == n) return true;
    }
}

static void try_one(struct trial *trial, const struct scenario *scenario, const struct mutation *mutation,
                    bool excused) {
    const char *kernel = mutation->kernel != NULL ? mutation->kernel : "call";
    trial->tried++;
    for (unsigned seed = 0; seed < (excused ? 1 : trial->options->seeds); seed++) {
        run(scenario, mutation, seed, 1, &trial->outcome);
        if (!trial->outcome.ran && trial->outcome.finding[0] == '\0') {
            printf("BAD  %s %s %s %llu: was not left out\n", scenario->name, kernel, mutation->what, mutation->n);
            trial->missed++;
            return;
        }
        if (trial->outcome.clean && same_output(scenario, trial->expected, &trial->outcome)) continue;
        if (seed > trial->latest) trial->latest = seed;
        trial->caught++;
        if (getenv("MUTATIONS_VERBOSE") != NULL) {
            printf("     %s %s %s %llu: seed %u: %.200s\n", scenario->name, kernel, mutation->what, mutation->n, seed,
                   trial->outcome.finding);
        }
        return;
    }
    if (excused) {
        trial->excused++;
        return;
    }
    printf("BAD  %s %s %s %llu: no seed finds it\n", scenario->name, kernel, mutation->what, mutation->n);
    trial->missed++;
}

struct listed {
    struct trial *trial;
    struct {
        char kernel[128];
        const char *what;
        unsigned long long n;
        bool is_call;
    } all[128];
    int count;
};

static bool keep_one(void *user, const struct scenario *scenario, const struct mutation *mutation) {
    struct listed *listed = user;
    if (find_line(listed->trial, scenario, mutation) == NULL) {
        printf("BAD  the file lacks: ");
        print_one(NULL, scenario, mutation);
        listed->trial->missed++;
    }
    if (listed->count == (int)COUNT(listed->all)) return false;
    snprintf(listed->all[listed->count].kernel, sizeof(listed->all[0].kernel), "%s",
             mutation->kernel != NULL ? mutation->kernel : "");
    listed->all[listed->count].what = mutation->what;
    listed->all[listed->count].is_call = mutation->kernel == NULL;
    listed->all[listed->count++].n = mutation->n;
    return true;
}

static bool try_all(struct trial *trial, const struct scenario *scenario) {
    static struct listed listed;
    listed = (struct listed){.trial = trial};
    if (!list(scenario, keep_one, &listed)) return false;
    for (int i = 0; i < listed.count; i++) {
        struct mutation mutation = {listed.all[i].is_call ? NULL : listed.all[i].kernel, listed.all[i].what,
                                    listed.all[i].n};
        const char *line = find_line(trial, scenario, &mutation);
        for (mutation.n = 1; line != NULL && mutation.n <= listed.all[i].n; mutation.n++) {
            if (trial->options->seeds < MANY_SEEDS && is_listed(line, "late: ", mutation.n)) {
                trial->left++;
            } else {
                try_one(trial, scenario, &mutation, is_listed(line, "harmless: ", mutation.n));
            }
        }
    }
    printf(
        "%s: %d left out in turn, %d caught (the latest by seed %u), %d harmless, %d missed, %d left to more seeds\n",
        scenario->name, trial->tried, trial->caught, trial->latest, trial->excused, trial->missed, trial->left);
    return true;
}

// ---- Nothing left out

static int compare_traces(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool run_clean(const struct options *options, const struct scenario *scenario, struct trial *trial) {
    uint64_t *traces = calloc(options->clean + 1, sizeof(*traces));
    unsigned distinct = 0, bad = 0;
    if (traces == NULL) return false;
    for (unsigned seed = 0; seed < options->clean; seed++) {
        run(scenario, NULL, seed, 2, &trial->outcome);
        traces[seed] = trial->outcome.trace;
        if (trial->outcome.clean && same_output(scenario, trial->expected, &trial->outcome)) continue;
        bad++;
        printf("BAD  %s with seed %u: %s\n", scenario->name, seed,
               trial->outcome.clean ? "another output" : trial->outcome.finding);
    }
    qsort(traces, options->clean, sizeof(*traces), compare_traces);
    for (unsigned i = 0; i < options->clean; i++) distinct += i == 0 || traces[i] != traces[i - 1];
    free(traces);
    printf("%s: seeds 0 to %u, %u clean, %u distinct orders\n", scenario->name, options->clean - 1,
           options->clean - bad, distinct);
    bool forks = scenario->sum == MOEJIT_SUM_DEFAULT; // else there is one stream, and one order
    return bad == 0 && (!forks || 2 * distinct >= options->clean);
}

static bool read_lines(struct trial *trial, const char *path) {
    char line[1024];
    FILE *file = fopen(path, "r");
    if (file == NULL) return perror(path), false;
    while (fgets(line, sizeof(line), file) != NULL && trial->num_lines < MAX_LINES) {
        trial->lines[trial->num_lines++] = strdup(line);
    }
    fclose(file);
    return true;
}

static bool run_scenario(const struct options *options, const struct scenario *scenario, const char *path) {
    static float expected[MAX_OUTPUT], output[MAX_OUTPUT];
    struct outcome reference = {.output = expected};
    struct trial trial = {.options = options, .expected = &reference, .outcome = {.output = output}};
    run(scenario, NULL, 0, 1, &reference);
    if (!reference.clean) return fprintf(stderr, "%s does not run: %s\n", scenario->name, reference.finding), false;
    bool good = read_lines(&trial, path);
    if (good && options->seeds > 0) good = try_all(&trial, scenario) && trial.missed == 0;
    if (options->clean > 0) good = run_clean(options, scenario, &trial) && good;
    for (int i = 0; i < trial.num_lines; i++) free(trial.lines[i]);
    return good;
}

static int usage(void) {
    fputs("usage: mutations [--seeds N] [--clean N] [--only SCENARIO] FILE | --list\n", stderr);
    return 2;
}

int main(int argc, char **argv) {
    static const struct option known[] = {{"seeds", 1, NULL, 's'},
                                          {"clean", 1, NULL, 'c'},
                                          {"only", 1, NULL, 'o'},
                                          {"list", 0, NULL, 'l'},
                                          {NULL, 0, NULL, 0}};
    struct options options = {200, 200, NULL};
    bool listing = false, good = true;
    for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;) {
        switch (letter) {
        case 's': options.seeds = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'c': options.clean = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'o': options.only = optarg; break;
        case 'l': listing = true; break;
        default: return usage();
        }
    }
    if (listing ? optind != argc : optind + 1 != argc) return usage();
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (getenv("MOEJIT_EMULATOR_LOG") == NULL) setenv("MOEJIT_EMULATOR_LOG", "/dev/null", 1);
    setenv("MOEJIT_EMULATOR_SMS", "1", 1); // so that a block takes several tiles
    for (size_t i = 0; i < num_scenarios; i++) {
        if (options.only != NULL && strcmp(options.only, scenarios[i].name) != 0) continue;
        bool done =
            listing ? list(&scenarios[i], print_one, NULL) : run_scenario(&options, &scenarios[i], argv[optind]);
        good = done && good;
    }
    free(packed.bytes);
    return good ? 0 : 1;
}
