// The order of operations: every legal one is possible, the seed keeps it, and what nothing orders is found.
#include "driver_test.h"

#define NUM_SEEDS 32

static void open_with(struct fixture *fixture, const char *schedule, unsigned seed, const char *checks) {
    char text[16];
    snprintf(text, sizeof(text), "%u", seed);
    set_switch("MOEJIT_EMULATOR_SCHEDULE", schedule);
    set_switch("MOEJIT_EMULATOR_SEED", text);
    set_switch("MOEJIT_EMULATOR_CHECKS", checks);
    fixture_open(fixture);
}

static int clear_switches(void **state) {
    (void)state;
    set_switch("MOEJIT_EMULATOR_SCHEDULE", NULL);
    set_switch("MOEJIT_EMULATOR_SEED", NULL);
    set_switch("MOEJIT_EMULATOR_CHECKS", NULL);
    return 0;
}

// A store in one stream and a copy of its word in another, with or without the event between them.
static CUresult producer_consumer(const struct fixture *fixture, bool edge, uint32_t *seen) {
    CUdeviceptr words = make_words(2);
    CUstream producer = make_stream(), consumer = make_stream();
    CUevent stored = make_event();
    assert_ok(run_word(fixture->store_word, producer, words, 42));
    CUresult result = cuEventRecord(stored, producer);
    if (edge) assert_ok(cuStreamWaitEvent(consumer, stored, 0));
    result = run_copy_word(fixture->copy_word, consumer, words + 4, words);
    if (result == CUDA_SUCCESS) result = cuCtxSynchronize();
    if (result == CUDA_SUCCESS) result = cuMemcpyDtoH(seen, words + 4, 4);
    return result;
}

static void test_an_event_orders(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct fixture fixture;
        uint32_t seen = 0;
        open_with(&fixture, seed == 0 ? "adversarial" : "seeded", seed, "1");
        assert_ok(producer_consumer(&fixture, true, &seen));
        assert_int_equal(seen, 42);
        assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
        fixture_close(&fixture);
    }
}

// Whichever of the two runs first, in every seed.
static void test_a_forgotten_edge_is_a_race(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct fixture fixture;
        uint32_t seen = 0;
        char text[512];
        open_with(&fixture, seed == 0 ? "adversarial" : "seeded", seed, "1");
        assert_int_equal(producer_consumer(&fixture, false, &seen), CUDA_ERROR_LAUNCH_FAILED);
        assert_int_equal(moejit_emulator_findings(text, sizeof(text)), 1);
        assert_non_null(strstr(text, "Race"));
        assert_non_null(strstr(text, "store_word"));
        assert_non_null(strstr(text, "copy_word"));
        fixture_close(&fixture);
    }
}

static void test_a_forgotten_edge_shows_in_results(void **state) {
    (void)state;
    unsigned num_stale = 0;
    uint32_t seen = 0;
    struct fixture fixture;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        open_with(&fixture, "seeded", seed, "0");
        assert_ok(producer_consumer(&fixture, false, &seen));
        num_stale += seen != 42;
        fixture_close(&fixture);
    }
    assert_in_range(num_stale, 1, NUM_SEEDS - 1); // both orders are met
    open_with(&fixture, "adversarial", 0, "0");
    assert_ok(producer_consumer(&fixture, false, &seen));
    assert_int_equal(seen, 0);
    fixture_close(&fixture);
}

static void test_other_orders_are_no_race(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct fixture fixture;
        CUstream blocking = NULL;
        open_with(&fixture, "seeded", seed, "1");
        CUdeviceptr words = make_words(3);
        CUstream a = make_stream(), b = make_stream();
        assert_ok(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
        assert_ok(run_word(fixture.store_word, a, words, 1)); // the host waits between
        assert_ok(cuStreamSynchronize(a));
        assert_ok(run_word(fixture.add_word, b, words, 1));
        while (cuStreamQuery(b) == CUDA_ERROR_NOT_READY) continue; // the host polls between
        assert_ok(run_word(fixture.add_word, a, words, 1));
        assert_ok(run_word(fixture.store_word, blocking, words + 4, 5)); // the default stream comes between
        assert_ok(run_word(fixture.add_word, NULL, words + 4, 5));
        assert_ok(run_word(fixture.add_word, blocking, words + 4, 5));
        assert_int_equal(read_word(words + 4), 15);
        assert_ok(run_copy_word(fixture.copy_word, a, words + 8, words + 4)); // two readers
        assert_ok(run_copy_word(fixture.copy_word, a, words, words + 4));
        assert_ok(cuCtxSynchronize());
        assert_int_equal(read_word(words), 15);
        assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
        fixture_close(&fixture);
    }
}

// cuMemset runs in the default stream, which streams made with CU_STREAM_NON_BLOCKING do not wait for.
static void test_memset_does_not_wait(void **state) {
    (void)state;
    struct fixture fixture;
    open_with(&fixture, "adversarial", 0, "1");
    CUdeviceptr words = make_words(1);
    CUstream stream = make_stream();
    assert_ok(cuMemsetD32(words, 7, 1));
    assert_ok(run_word(fixture.add_word, stream, words, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
    fixture_close(&fixture);
}

static void test_pinned_results_come_late(void **state) {
    (void)state;
    struct fixture fixture;
    uint32_t *pinned = NULL;
    open_with(&fixture, "adversarial", 0, "1");
    CUdeviceptr words = make_words(1);
    CUstream stream = make_stream();
    assert_ok(cuMemAllocHost((void **)&pinned, 4));
    *pinned = 1;
    assert_ok(run_word(fixture.store_word, stream, words, 2));
    assert_ok(cuMemcpyDtoHAsync(pinned, words, 4, stream));
    assert_int_equal(*pinned, 1); // a host that does not wait sees the old value
    assert_ok(cuStreamSynchronize(stream));
    assert_int_equal(*pinned, 2);
    fixture_close(&fixture);
}

// In other orders an operation may run before anybody waits for it.
static void test_operations_may_run_at_once(void **state) {
    (void)state;
    unsigned num_early = 0;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct fixture fixture;
        uint32_t *pinned = NULL;
        open_with(&fixture, "seeded", seed, "1");
        CUstream stream = make_stream();
        assert_ok(cuMemAllocHost((void **)&pinned, 4));
        *pinned = 1;
        assert_ok(cuMemsetD32Async((CUdeviceptr)(uintptr_t)pinned, 2, 1, stream));
        num_early += *pinned == 2;
        assert_ok(cuStreamSynchronize(stream));
        assert_int_equal(*pinned, 2);
        fixture_close(&fixture);
    }
    assert_in_range(num_early, 1, NUM_SEEDS / 2);
}

// That the host has seen the one done does not order the other, which was queued before.
static void test_a_wait_for_one_stream_orders_only_it(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        struct fixture fixture;
        open_with(&fixture, "seeded", seed, "1");
        CUdeviceptr words = make_words(1);
        CUstream a = make_stream(), b = make_stream();
        assert_ok(run_word(fixture.add_word, a, words, 1));
        CUresult result = run_word(fixture.add_word, b, words, 1);
        if (result == CUDA_SUCCESS) result = cuStreamSynchronize(a);
        if (result == CUDA_SUCCESS) result = cuStreamSynchronize(b);
        assert_int_equal(result, CUDA_ERROR_LAUNCH_FAILED);
        fixture_close(&fixture);
    }
}

// A wait is for what the event held at the call, not for later recordings.
static void test_events_are_recorded_anew(void **state) {
    (void)state;
    struct fixture fixture;
    open_with(&fixture, "adversarial", 0, "1");
    CUdeviceptr words = make_words(2);
    CUstream a = make_stream(), b = make_stream();
    CUevent event = make_event();
    assert_ok(cuEventQuery(event)); // never recorded: nothing to wait for
    assert_ok(run_word(fixture.store_word, a, words, 1));
    assert_ok(cuEventRecord(event, a));
    assert_ok(cuStreamWaitEvent(b, event, 0));
    assert_ok(run_word(fixture.store_word, a, words + 4, 1));
    assert_ok(cuEventRecord(event, a));
    assert_ok(run_word(fixture.add_word, b, words, 1)); // ordered after the first store
    assert_ok(cuEventSynchronize(event));
    assert_ok(cuStreamSynchronize(b));
    assert_int_equal(read_word(words), 2);
    assert_ok(run_word(fixture.store_word, a, words, 1));
    assert_ok(cuEventRecord(event, a));
    assert_ok(run_word(fixture.add_word, b, words, 1)); // the new recording was not waited for
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_LAUNCH_FAILED);
    fixture_close(&fixture);
}

// Four streams of three kernels each, joined by nothing.
static uint64_t trace_of(unsigned seed, const char *schedule) {
    struct fixture fixture;
    open_with(&fixture, schedule, seed, "1");
    CUdeviceptr words = make_words(4);
    CUstream streams[4];
    for (int i = 0; i < 4; i++) streams[i] = make_stream();
    for (unsigned i = 0; i < 12; i++) assert_ok(run_word(fixture.add_word, streams[i % 4], words + 4 * (i % 4), i));
    assert_ok(cuCtxSynchronize());
    for (unsigned i = 0; i < 4; i++) assert_int_equal(read_word(words + 4 * i), 3 * i + 12);
    assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
    fixture_close(&fixture);
    return moejit_emulator_trace_hash();
}

static void test_seeds_give_many_orders(void **state) {
    (void)state;
    uint64_t traces[NUM_SEEDS];
    unsigned distinct = 0;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        bool known = false;
        traces[seed] = trace_of(seed, "seeded");
        assert_int_equal(trace_of(seed, "seeded"), traces[seed]); // and each keeps its own
        for (unsigned i = 0; i < seed; i++) known = known || traces[i] == traces[seed];
        distinct += !known;
    }
    assert_true(distinct >= NUM_SEEDS - 2);
    assert_int_equal(trace_of(0, "adversarial"), trace_of(1, "adversarial"));
}

// Two branches of a graph: seeds order them differently, and a missing edge between them is a race.
static CUresult run_branches(unsigned seed, bool same_word) {
    struct fixture fixture;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    open_with(&fixture, "seeded", seed, "1");
    CUdeviceptr words = make_words(2), second = same_word ? words : words + 4;
    CUstream origin = make_stream(), side = make_stream();
    CUevent forked = make_event(), joined = make_event();
    assert_ok(cuStreamBeginCapture(origin, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_ok(cuEventRecord(forked, origin));
    assert_ok(cuStreamWaitEvent(side, forked, 0));
    for (int i = 0; i < 4; i++) {
        assert_ok(run_word(fixture.add_word, origin, words, 1));
        assert_ok(run_word(fixture.add_word, side, second, 1));
    }
    assert_ok(cuEventRecord(joined, side));
    assert_ok(cuStreamWaitEvent(origin, joined, 0));
    assert_ok(cuStreamEndCapture(origin, &graph));
    assert_ok(cuGraphInstantiate(&exec, graph, 0));
    assert_ok(cuGraphLaunch(exec, origin));
    CUresult result = cuGraphLaunch(exec, side); // launches of one executable graph wait for each other
    if (result == CUDA_SUCCESS) result = cuCtxSynchronize();
    if (result == CUDA_SUCCESS) assert_int_equal(read_word(second), 8);
    fixture_close(&fixture);
    return result;
}

static void test_graph_orders(void **state) {
    (void)state;
    uint64_t first = 0;
    unsigned different = 0;
    for (unsigned seed = 0; seed < NUM_SEEDS; seed++) {
        assert_ok(run_branches(seed, false));
        if (seed == 0) first = moejit_emulator_trace_hash();
        different += moejit_emulator_trace_hash() != first;
        assert_int_equal(run_branches(seed, true), CUDA_ERROR_LAUNCH_FAILED);
    }
    assert_true(different >= NUM_SEEDS / 2);
}

// More than the queue holds: it runs the oldest to make room, and the order stays the streams'.
static void test_a_long_queue(void **state) {
    (void)state;
    struct fixture fixture;
    const unsigned count = 10000;
    open_with(&fixture, "adversarial", 0, "1");
    CUdeviceptr words = make_words(2);
    CUstream a = make_stream(), b = make_stream();
    for (unsigned i = 0; i < count; i++) {
        assert_ok(run_word(fixture.add_word, a, words, 1));
        assert_ok(run_word(fixture.add_word, b, words + 4, 2));
    }
    assert_ok(cuCtxSynchronize());
    assert_int_equal(read_word(words), count);
    assert_int_equal(read_word(words + 4), 2 * count);
    assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
    fixture_close(&fixture);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_an_event_orders, clear_switches),
        cmocka_unit_test_teardown(test_a_forgotten_edge_is_a_race, clear_switches),
        cmocka_unit_test_teardown(test_a_forgotten_edge_shows_in_results, clear_switches),
        cmocka_unit_test_teardown(test_other_orders_are_no_race, clear_switches),
        cmocka_unit_test_teardown(test_memset_does_not_wait, clear_switches),
        cmocka_unit_test_teardown(test_pinned_results_come_late, clear_switches),
        cmocka_unit_test_teardown(test_operations_may_run_at_once, clear_switches),
        cmocka_unit_test_teardown(test_a_wait_for_one_stream_orders_only_it, clear_switches),
        cmocka_unit_test_teardown(test_events_are_recorded_anew, clear_switches),
        cmocka_unit_test_teardown(test_seeds_give_many_orders, clear_switches),
        cmocka_unit_test_teardown(test_graph_orders, clear_switches),
        cmocka_unit_test_teardown(test_a_long_queue, clear_switches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
