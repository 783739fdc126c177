// Programmatic dependent launch: a kernel that starts before the one before it has ended, griddepcontrol.wait, and what
// comes of a forgotten one.
#include "driver_test.h"

#define NUM_SEEDS 32

#define ENTRY2(name) ".visible .entry " name "(.param .u64 " name "_a, .param .u64 " name "_b)\n{\n"
#define LOAD2(name)                                                                                                    \
    "    ld.param.u64 %rd1, [" name "_a];\n    cvta.to.global.u64 %rd1, %rd1;\n"                                       \
    "    ld.param.u64 %rd2, [" name "_b];\n    cvta.to.global.u64 %rd2, %rd2;\n"
#define REGISTERS "    .reg .b32 %r<8>;\n    .reg .b64 %rd<8>;\n    .reg .pred %p<2>;\n"

// Each copies the word at b to that at a; what they differ in is where they start dependents and wait.
#define COPY "    ld.global.u32 %r1, [%rd2];\n    st.global.u32 [%rd1], %r1;\n"
#define START "    griddepcontrol.launch_dependents;\n"
#define WAIT "    griddepcontrol.wait;\n"
#define COPIER(name, body) ENTRY2(name) REGISTERS LOAD2(name) body "    ret;\n}\n"

static const char kernels[] = ".version 8.0\n.target sm_90\n.address_size 64\n" //
    COPIER("quiet", COPY)                                                       // starts nobody, waits for nobody
    COPIER("first", START COPY)                                                 //
    COPIER("hasty", START COPY)                                                 // forgot its wait
    COPIER("polite", START WAIT COPY)                                           //
    COPIER("eager", WAIT START COPY) // starts the next one once it has waited
    COPIER("overtaking", COPY WAIT)  // waits too late
    // Every block waits, one copies.
    COPIER("wide",
           START WAIT "    mov.u32 %r2, %ctaid.x;\n    setp.ne.u32 %p1, %r2, 3;\n    @%p1 bra OUT;\n" COPY "OUT:\n")
    // Thread 0 waits; the others learn of it at a barrier, or do not.
    COPIER("barrier", "    mov.u32 %r2, %tid.x;\n    setp.ne.u32 %p1, %r2, 0;\n    @%p1 bra JOIN;\n" WAIT
                      "JOIN:\n    bar.sync 0;\n    setp.ne.u32 %p1, %r2, 33;\n    @%p1 bra OUT;\n" COPY "OUT:\n")
        COPIER("no_barrier", "    mov.u32 %r2, %tid.x;\n    setp.ne.u32 %p1, %r2, 0;\n    @%p1 bra JOIN;\n" WAIT
                             "JOIN:\n    setp.ne.u32 %p1, %r2, 33;\n    @%p1 bra OUT;\n" COPY "OUT:\n");

struct device {
    CUcontext context;
    CUmodule module;
    CUstream stream;
    CUdeviceptr words; // 1, 0, 0, 0, ...
};

static CUfunction find(const struct device *device, const char *name) {
    CUfunction function = NULL;
    assert_ok(cuModuleGetFunction(&function, device->module, name));
    return function;
}

static struct device open_device(unsigned seed, const char *checks) {
    struct device device;
    char text[16];
    snprintf(text, sizeof(text), "%u", seed);
    set_switch("MOEJIT_EMULATOR_SCHEDULE", seed == 0 ? "adversarial" : "seeded");
    set_switch("MOEJIT_EMULATOR_SEED", text);
    set_switch("MOEJIT_EMULATOR_CHECKS", checks);
    assert_ok(cuInit(0));
    assert_ok(cuCtxCreate(&device.context, NULL, 0, 0));
    assert_ok(cuModuleLoadData(&device.module, kernels));
    device.stream = make_stream();
    device.words = make_words(8);
    assert_ok(cuMemsetD32(device.words, 1, 1));
    assert_ok(cuCtxSynchronize());
    moejit_emulator_reset();
    return device;
}

static int clear_switches(void **state) {
    (void)state;
    set_switch("MOEJIT_EMULATOR_SCHEDULE", NULL);
    set_switch("MOEJIT_EMULATOR_SEED", NULL);
    set_switch("MOEJIT_EMULATOR_CHECKS", NULL);
    set_switch("MOEJIT_EMULATOR_THREADS", NULL);
    return 0;
}

// The word `from` to the word `to`; "+" before the name: with the attribute.
static void copy(const struct device *device, const char *name, unsigned to, unsigned from) {
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
                                   .value.programmaticStreamSerializationAllowed = 1};
    CUlaunchConfig config = {.gridDimX = 1,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .hStream = device->stream,
                             .attrs = &attribute,
                             .numAttrs = 1};
    CUdeviceptr a = device->words + 4 * to, b = device->words + 4 * from;
    void *parameters[] = {&a, &b};
    if (name[0] != '+') config.numAttrs = 0;
    const char *plain = name + (name[0] == '+');
    if (strstr(plain, "barrier") != NULL) config.blockDimX = 64;
    if (strcmp(plain, "wide") == 0) config.gridDimX = 8;
    // A launch meets the error of an earlier one, if that has run by now.
    CUresult result = cuLaunchKernelEx(&config, find(device, plain), parameters, NULL);
    if (result != CUDA_SUCCESS) assert_int_equal(result, CUDA_ERROR_LAUNCH_FAILED);
}

struct step {
    const char *name;
    unsigned to, from;
};

// Runs the steps with each seed; each is expected to end well with the word `last` equal to 1, or with the finding.
static void expect_steps(const struct step *steps, unsigned last, const char *finding) {
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct device device = open_device(seed, "1");
        char text[2048] = "";
        for (const struct step *step = steps; step->name != NULL; step++) {
            copy(&device, step->name, step->to, step->from);
        }
        CUresult result = cuCtxSynchronize();
        uint64_t findings = moejit_emulator_findings(text, sizeof(text));
        if (finding == NULL) {
            assert_string_equal(text, "");
            assert_ok(result);
            assert_int_equal(read_word(device.words + 4 * last), 1);
        } else {
            assert_int_equal(findings, 1);
            assert_non_null(strstr(text, finding));
            assert_int_equal(result, CUDA_ERROR_LAUNCH_FAILED);
        }
        assert_ok(cuCtxDestroy(device.context));
    }
}

#define STEPS(...) ((const struct step[]){__VA_ARGS__, {NULL, 0, 0}})
#define FORGOTTEN "no griddepcontrol.wait comes before"

static void test_a_wait_orders(void **state) {
    (void)state;
    expect_steps(STEPS({"first", 1, 0}, {"+polite", 2, 1}), 2, NULL);
    expect_steps(STEPS({"first", 1, 0}, {"+polite", 2, 1}, {"+polite", 3, 2}, {"+polite", 4, 3}), 4, NULL);
    expect_steps(STEPS({"first", 1, 0}, {"+polite", 2, 1}, {"+polite", 3, 1}, {"quiet", 4, 2}), 4, NULL);
}

static void test_a_forgotten_wait_is_a_race(void **state) {
    (void)state;
    expect_steps(STEPS({"first", 1, 0}, {"+hasty", 2, 1}), 2, FORGOTTEN);
    expect_steps(STEPS({"first", 1, 0}, {"+overtaking", 2, 1}), 2, FORGOTTEN);
    expect_steps(STEPS({"first", 1, 0}, {"+hasty", 1, 0}), 1, FORGOTTEN);
    expect_steps(STEPS({"first", 1, 0}, {"+polite", 2, 1}, {"+hasty", 3, 2}), 3, FORGOTTEN);
}

static void test_without_overlap_no_wait_is_needed(void **state) {
    (void)state;
    expect_steps(STEPS({"first", 1, 0}, {"hasty", 2, 1}), 2, NULL);  // no attribute
    expect_steps(STEPS({"quiet", 1, 0}, {"+hasty", 2, 1}), 2, NULL); // the first asks for no overlap
    expect_steps(STEPS({"+hasty", 1, 0}), 1, NULL);                  // nothing before
    expect_steps(STEPS({"first", 1, 0}, {"+polite", 2, 3}, {"quiet", 2, 1}), 2, NULL);
    expect_steps(STEPS({"first", 1, 0}, {"first", 3, 0}, {"+hasty", 2, 1}), 2, NULL); // before its predecessor's start
}

// The second kernel ended without waiting for the first, so the third knows nothing of the first's end.
static void test_a_wait_reaches_one_kernel_back(void **state) {
    (void)state;
    expect_steps(STEPS({"first", 1, 0}, {"+hasty", 3, 0}, {"+polite", 2, 1}), 2, "Race");
    expect_steps(STEPS({"first", 1, 0}, {"+polite", 3, 0}, {"+polite", 2, 1}), 2, NULL);
    // Nor does a fourth one, which starts when the third has waited.
    expect_steps(STEPS({"first", 1, 0}, {"+hasty", 3, 0}, {"+eager", 4, 0}, {"+polite", 2, 1}), 2, "Race");
    expect_steps(STEPS({"first", 1, 0}, {"+polite", 3, 0}, {"+eager", 4, 0}, {"+polite", 2, 1}), 2, NULL);
}

static void test_a_barrier_hands_the_wait_on(void **state) {
    (void)state;
    expect_steps(STEPS({"first", 1, 0}, {"+barrier", 2, 1}), 2, NULL);
    expect_steps(STEPS({"first", 1, 0}, {"+no_barrier", 2, 1}), 2, FORGOTTEN);
}

static void test_a_forgotten_wait_shows_in_results(void **state) {
    (void)state;
    unsigned num_stale = 0;
    for (unsigned seed = 1; seed < NUM_SEEDS; seed++) {
        struct device device = open_device(seed, "0");
        copy(&device, "first", 1, 0);
        copy(&device, "+hasty", 2, 1);
        assert_ok(cuCtxSynchronize());
        num_stale += read_word(device.words + 8) != 1;
        assert_ok(cuCtxDestroy(device.context));
    }
    assert_in_range(num_stale, 1, NUM_SEEDS - 2);
}

// Both orders happen: the dependent one starts before the other has begun, or after its end.
static void test_orders_differ(void **state) {
    (void)state;
    uint64_t hashes[NUM_SEEDS];
    unsigned distinct = 0;
    for (unsigned seed = 1; seed < NUM_SEEDS; seed++) {
        struct device device = open_device(seed, "1");
        copy(&device, "first", 1, 0);
        copy(&device, "+polite", 2, 1);
        assert_ok(cuCtxSynchronize());
        hashes[seed] = moejit_emulator_trace_hash();
        bool seen = false;
        for (unsigned i = 1; i < seed; i++) seen = seen || hashes[i] == hashes[seed];
        distinct += !seen;
        assert_ok(cuCtxDestroy(device.context));
    }
    assert_int_equal(distinct, 2);
}

// A fork and a join by events: an event wait orders what it says, and nothing of what the attribute lets go.
static void run_forked(const struct device *device, const char *dependent, bool capture, CUgraph *graph) {
    CUstream side = make_stream();
    CUevent fork = make_event(), join = make_event();
    if (capture) assert_ok(cuStreamBeginCapture(device->stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    assert_ok(cuEventRecord(fork, device->stream));
    assert_ok(cuStreamWaitEvent(side, fork, 0));
    assert_ok(cuMemsetD32Async(device->words + 8, 5, 1, side));
    assert_ok(cuEventRecord(join, side));
    copy(device, "first", 1, 0);
    if (cuStreamWaitEvent(device->stream, join, 0) != CUDA_SUCCESS) return; // of a context that is broken by now
    copy(device, dependent, 2, 1);
    if (capture) assert_ok(cuStreamEndCapture(device->stream, graph));
}

static void expect_forked(const char *dependent, bool capture, bool good) {
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct device device = open_device(seed, "1");
        CUgraph graph = NULL;
        char text[2048] = "";
        run_forked(&device, dependent, capture, &graph);
        if (capture) {
            CUgraphExec exec = NULL;
            assert_ok(cuGraphInstantiate(&exec, graph, 0));
            assert_ok(cuGraphLaunch(exec, device.stream));
        }
        CUresult result = cuCtxSynchronize();
        moejit_emulator_findings(text, sizeof(text));
        assert_int_equal(result, good ? CUDA_SUCCESS : CUDA_ERROR_LAUNCH_FAILED);
        if (good) {
            assert_string_equal(text, "");
            assert_int_equal(read_word(device.words + 8), 1);
        } else {
            assert_non_null(strstr(text, FORGOTTEN));
        }
        assert_ok(cuCtxDestroy(device.context));
    }
}

static void test_event_waits_stay(void **state) {
    (void)state;
    for (int capture = 0; capture < 2; capture++) {
        expect_forked("+polite", capture != 0, true);
        expect_forked("+hasty", capture != 0, false);
        expect_forked("hasty", capture != 0, true);
    }
}

// A wait for an event that was recorded after the kernel is a wait for its end.
static void test_an_event_after_the_kernel_orders(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct device device = open_device(seed, "1");
        CUevent done = make_event();
        copy(&device, "first", 1, 0);
        assert_ok(cuEventRecord(done, device.stream));
        assert_ok(cuStreamWaitEvent(device.stream, done, 0));
        copy(&device, "+hasty", 2, 1);
        assert_ok(cuCtxSynchronize());
        assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
        assert_ok(cuCtxDestroy(device.context));
    }
}

// Longer than what may overlap at once, and with host threads that wait side by side.
static void test_a_long_chain(void **state) {
    (void)state;
    set_switch("MOEJIT_EMULATOR_THREADS", "3");
    for (unsigned seed = 0; seed < 4; seed++) {
        struct device device = open_device(seed, "1");
        copy(&device, "first", 1, 0);
        for (unsigned i = 0; i < 100; i++) copy(&device, i % 3 == 0 ? "+wide" : "+polite", 1 + (i + 1) % 2, 1 + i % 2);
        assert_ok(cuCtxSynchronize());
        assert_int_equal(read_word(device.words + 4), 1);
        assert_int_equal(read_word(device.words + 8), 1);
        assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
        assert_ok(cuCtxDestroy(device.context));
    }
    set_switch("MOEJIT_EMULATOR_THREADS", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_wait_orders),
        cmocka_unit_test(test_a_forgotten_wait_is_a_race),
        cmocka_unit_test(test_without_overlap_no_wait_is_needed),
        cmocka_unit_test(test_a_wait_reaches_one_kernel_back),
        cmocka_unit_test(test_a_barrier_hands_the_wait_on),
        cmocka_unit_test(test_a_forgotten_wait_shows_in_results),
        cmocka_unit_test(test_orders_differ),
        cmocka_unit_test(test_event_waits_stay),
        cmocka_unit_test(test_an_event_after_the_kernel_orders),
        cmocka_unit_test(test_a_long_chain),
    };
    return cmocka_run_group_tests(tests, NULL, clear_switches);
}
