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

#include "../kernels/forward_rig.h"

#define NUM_OUTPUTS 2
#define MAX_OUTPUT 65536
#define MAX_LINES 512
#define MANY_SEEDS 200

struct scenario {
    const char *name, *tile;
    moejit_family family;
    int hidden, intermediate, num_tokens;
    moejit_sum sum;
    const char *only; // this kernel, and no calls
    bool folded;      // gate_up and down route
    bool in_stream;   // zeroing there, of the rows that are live
    int times; // forwards that follow each other with no copy between them; 0: never one, each has its own output
    const int *pairs; // of each expert; NULL: four experts, a skewed routing
};

// An expert for each width at which a tile of up to 64 tokens is multiplied, and small ones behind, so that each stage
// is filled again that those leave.
static const int pairs_of_widths[] = {10, 20, 36, 44, 52, 60, 2, 2, 2, 2, 2, 0};

// One more step than a ring has stages, so that a stage is filled again and the epilogue meets one just read. "folded"
// has as many pairs that all warps of a CTA route, "long" more than route takes at once.
static const struct scenario scenarios[] = {
    {"portable", "64x16x64", MOEJIT_FAMILY_PORTABLE, 448, 448, 24, MOEJIT_SUM_DEFAULT, NULL, false, false, 1, NULL},
    {"ordered", "64x32x64", MOEJIT_FAMILY_PORTABLE, 384, 384, 24, MOEJIT_SUM_DETERMINISTIC, NULL, false, false, 1,
     NULL},
    {"hopper", "hopper_64x16x256", MOEJIT_FAMILY_HOPPER, 448, 352, 24, MOEJIT_SUM_DEFAULT, NULL, false, false, 1, NULL},
    {"wgmma", "hopper_256x64x128", MOEJIT_FAMILY_HOPPER, 256, 96, 116, MOEJIT_SUM_DETERMINISTIC, NULL, false, false, 0,
     pairs_of_widths},
    {"folded", "hopper_64x8x256", MOEJIT_FAMILY_HOPPER, 64, 32, 70, MOEJIT_SUM_DEFAULT, NULL, true, false, 2, NULL},
    {"live", "64x8x64", MOEJIT_FAMILY_PORTABLE, 128, 64, 40, MOEJIT_SUM_DEFAULT, "moejit_zero", false, true, 2, NULL},
    {"long", "128x128x64", MOEJIT_FAMILY_PORTABLE, 16, 16, 1100, MOEJIT_SUM_DEFAULT, "moejit_route", false, false, 1,
     NULL},
    {"next", "64x16x64", MOEJIT_FAMILY_PORTABLE, 64, 32, 8, MOEJIT_SUM_DEFAULT, "moejit_route", false, false, 0, NULL},
};
#define NUM_SCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

static const char *const entries[] = {"cuEventRecord",    "cuStreamWaitEvent", "cuLaunchKernel",
                                      "cuLaunchKernelEx", "cuMemsetD8Async",   "cuMemsetD2D8Async"};
// No line of PTX holds two of them.
static const char *const patterns[] = {"bar.sync",     "barrier.sync",    "barrier.cta", "mbarrier.",
                                       "fence.",       "membar.",         "wait_group",  "wait_all",
                                       "commit_group", "griddepcontrol.", "st.global.v4"};
#define ZEROING "st.global.v4" // is no call where gate_up zeroes
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

static moejit_layer layer_of(const struct scenario *scenario) {
    moejit_layer layer = rig_layer();
    layer.hidden = scenario->hidden;
    layer.intermediate = scenario->intermediate;
    layer.sum = scenario->sum;
    if (scenario->pairs == NULL) return layer;
    for (layer.num_experts = 0; scenario->pairs[layer.num_experts] != 0;) layer.num_experts++;
    layer.num_local_experts = layer.num_experts;
    return layer;
}

// The pairs of each expert dealt out over the tokens.
static void route_pairs(const struct scenario *scenario, struct layer_data *data) {
    int num_pairs = scenario->num_tokens * data->problem.layer.top_k, left = 0, expert = -1;
    for (int i = 0; i < num_pairs; i++) {
        if (left == 0) left = scenario->pairs[++expert];
        data->expert_ids[i * 89 % num_pairs] = expert; // 89: a prime that does not divide it
        left--;
    }
}

static int find_tile(const struct scenario *scenario) { // 0: the plan's choice
    for (int i = 0; scenario->tile != NULL && moejit_tile_name(i) != NULL; i++) {
        if (strcmp(moejit_tile_name(i), scenario->tile) == 0) return i + 1;
    }
    return 0;
}

static moejit_plan_options plan_options(const struct scenario *scenario) {
    moejit_plan_options options;
    moejit_plan_options_init(&options);
    options.family = scenario->family;
    options.tile = find_tile(scenario);
    options.max_num_tokens = scenario->num_tokens;
    return options;
}

static moejit_status create(struct rig *rig, struct gpu *gpu, const struct scenario *scenario) {
    moejit_layer layer = layer_of(scenario);
    moejit_plan_options options = plan_options(scenario);
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    memset(rig, 0, sizeof(*rig));
    if (mj_problem_create(&problem, &layer, &error) != MOEJIT_STATUS_OK) return MOEJIT_STATUS_INTERNAL;
    if (!layer_data_create(&data, &problem, scenario->num_tokens, ROUTING_SKEWED, false, 0))
        return MOEJIT_STATUS_INTERNAL;
    if (scenario->pairs != NULL) route_pairs(scenario, &data);
    moejit_status status = rig_create_planned(rig, gpu, &layer, &data, &options);
    moejit_executor_options executor;
    moejit_executor_options_init(&executor);
    executor.separate_route = !scenario->folded;
    executor.single_stream = scenario->in_stream;
    if (status == MOEJIT_STATUS_OK && scenario->in_stream) {
        int32_t live = scenario->num_tokens;
        rig->args.live_tokens = rig->memory[rig->num_memory++] = gpu_upload(gpu, &live, sizeof(live));
    }
    return status == MOEJIT_STATUS_OK ? rig_change_executor(rig, &executor) : status;
}

struct outcome {
    bool ran, clean; // clean: no finding, every status good
    uint64_t trace;
    size_t elements;
    float *output;
    char finding[512];
};

// Another call: each token goes where its neighbour went before.
static bool turn(struct rig *rig, moejit_forward_args *args) {
    size_t row = (size_t)rig->data.problem.layer.top_k, count = (size_t)rig->data.num_tokens * row;
    int32_t *ids = malloc(count * sizeof(*ids));
    *args = rig->args;
    if (ids == NULL) return false;
    memcpy(ids, rig->data.expert_ids + row, (count - row) * sizeof(*ids));
    memcpy(ids + count - row, rig->data.expert_ids, row * sizeof(*ids));
    args->expert_ids = gpu_upload(rig->gpu, ids, count * sizeof(*ids));
    free(ids);
    return args->expert_ids != NULL;
}

// The same stream with nothing between the forwards: the second begins while the first one's last kernel may run.
static bool enqueue_forwards(struct rig *rig, const moejit_forward_args *other, void *const *outputs, int rounds) {
    moejit_forward_args args[2] = {rig->args, *other};
    bool good = true;
    for (int i = 0; i < 2 * rounds && good; i++) {
        args[i % 2].output.data = outputs[i % 2];
        good = moejit_forward(rig->plan, rig->weights, &args[i % 2], rig->executor, rig->stream) == MOEJIT_STATUS_OK;
    }
    return rig->gpu->cuStreamSynchronize(rig->stream) == CUDA_SUCCESS && good;
}

// A host program's stream, with one wait at the end: it clears the output, has a forward into it, copies that, has
// another call's forward into it, copies that. `times` forwards before each copy, which give what one gives.
static bool enqueue(struct rig *rig, const moejit_forward_args *other, void *const *copies, size_t bytes, int rounds,
                    int times) {
    struct gpu *gpu = rig->gpu;
    CUdeviceptr output = (CUdeviceptr)rig->args.output.data;
    bool good = gpu->cuMemsetD32Async(output, 0x7fc00000, bytes / 4, rig->stream) == CUDA_SUCCESS;
    for (int i = 0; i < 2 * rounds && good; i++) {
        const moejit_forward_args *args = i % 2 == 0 ? &rig->args : other;
        CUdeviceptr copy = (CUdeviceptr)copies[i % 2];
        for (int t = 0; t < times && good; t++) {
            good = moejit_forward(rig->plan, rig->weights, args, rig->executor, rig->stream) == MOEJIT_STATUS_OK;
        }
        good = good && gpu->cuMemcpyDtoDAsync(copy, output, bytes, rig->stream) == CUDA_SUCCESS;
    }
    return gpu->cuStreamSynchronize(rig->stream) == CUDA_SUCCESS && good;
}

// output: NULL, or both.
static bool run_forwards(const struct scenario *scenario, struct rig *rig, int rounds, float *output) {
    struct gpu *gpu = rig->gpu;
    size_t bytes = (size_t)rig->data.num_tokens * (size_t)rig->data.problem.layer.hidden * sizeof(float);
    void *copies[NUM_OUTPUTS] = {gpu_upload(gpu, NULL, bytes), gpu_upload(gpu, NULL, bytes)};
    moejit_forward_args other;
    bool good = turn(rig, &other) && copies[0] != NULL && copies[1] != NULL;
    if (good) {
        good = scenario->times == 0 ? enqueue_forwards(rig, &other, copies, rounds)
                                    : enqueue(rig, &other, copies, bytes, rounds, scenario->times);
    }
    for (int i = 0; i < NUM_OUTPUTS && good && output != NULL; i++) {
        good = gpu_download(gpu, output + (size_t)i * bytes / sizeof(float), copies[i], bytes);
    }
    gpu_free(gpu, (void *)(uintptr_t)other.expert_ids);
    gpu_free(gpu, copies[0]);
    gpu_free(gpu, copies[1]);
    return good;
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
    bool made = create(&rig, &emulator.gpu, scenario) == MOEJIT_STATUS_OK;
    outcome->ran = made && (mutation == NULL || mutation->kernel == NULL || emulator.dropped() == 1);
    if (mutation != NULL && mutation->kernel == NULL) emulator.skip_at(mutation->what, mutation->n);
    if (made) {
        outcome->clean = run_forwards(scenario, &rig, rounds, outcome->output);
        outcome->trace = emulator.trace_hash();
        if (mutation != NULL && mutation->kernel == NULL) outcome->ran = emulator.failures() == 1;
        emulator.skip_at(NULL, 0);
        outcome->elements = (size_t)NUM_OUTPUTS * (size_t)scenario->num_tokens * (size_t)scenario->hidden;
        outcome->clean = emulator.findings(outcome->finding, sizeof(outcome->finding)) == 0 && outcome->clean;
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
            struct mutation mutation = {info.symbol, patterns[p], count_lines(info.ptx, info.symbol, patterns[p])};
            if (mutation.n > 0 && !take(user, scenario, &mutation)) return false;
        }
    }
    return true;
}

// Their PTX, from a plan for the arch with no GPU: one on a GPU does not keep it.
static bool list_lines(const struct scenario *scenario, take_fn take, void *user) {
    moejit_layer layer = layer_of(scenario);
    moejit_plan_options options = plan_options(scenario);
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
    bool good = create(&rig, &emulator.gpu, scenario) == MOEJIT_STATUS_OK;
    uint64_t before[COUNT(entries)];
    for (size_t i = 0; i < COUNT(entries); i++) before[i] = emulator.calls(entries[i]);
    good = good && run_forwards(scenario, &rig, 1, NULL);
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
    for (size_t i = 0; i < NUM_SCENARIOS; i++) {
        if (options.only != NULL && strcmp(options.only, scenarios[i].name) != 0) continue;
        bool done =
            listing ? list(&scenarios[i], print_one, NULL) : run_scenario(&options, &scenarios[i], argv[optind]);
        good = done && good;
    }
    return good ? 0 : 1;
}
