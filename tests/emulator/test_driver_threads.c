// Several threads and several contexts at once.
#include <pthread.h>
#include <stdatomic.h>

#include "driver_test.h"

#define NUM_THREADS 6
#define NUM_ROUNDS 40

struct worker {
    pthread_t thread;
    CUcontext shared; // NULL: makes its own
    CUfunction add_word;
    uint32_t sum;
    CUresult result;
};

static CUresult own_context(struct worker *worker) {
    CUcontext context = NULL;
    CUmodule module = NULL;
    CUresult result = cuCtxCreate(&context, NULL, 0, 0);
    if (result == CUDA_SUCCESS) result = cuModuleLoadData(&module, words_ptx);
    if (result == CUDA_SUCCESS) result = cuModuleGetFunction(&worker->add_word, module, "add_word");
    return result;
}

static CUresult add_rounds(struct worker *worker) {
    CUstream stream = NULL;
    CUdeviceptr words = 0;
    CUresult result = cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    if (result == CUDA_SUCCESS) result = cuMemAlloc(&words, 4);
    if (result == CUDA_SUCCESS) result = cuMemsetD32Async(words, 0, 1, stream);
    for (unsigned i = 0; i < NUM_ROUNDS && result == CUDA_SUCCESS; i++) {
        result = run_word(worker->add_word, stream, words, i);
        if (result == CUDA_SUCCESS && i % 8 == 0) result = cuStreamSynchronize(stream);
    }
    if (result == CUDA_SUCCESS) result = cuMemcpyDtoHAsync(&worker->sum, words, 4, stream);
    if (result == CUDA_SUCCESS) result = cuStreamSynchronize(stream);
    if (result == CUDA_SUCCESS) result = cuStreamDestroy(stream);
    return result == CUDA_SUCCESS ? cuMemFree(words) : result;
}

static void *work(void *user) {
    struct worker *worker = user;
    worker->result = worker->shared != NULL ? cuCtxSetCurrent(worker->shared) : own_context(worker);
    if (worker->result == CUDA_SUCCESS) worker->result = add_rounds(worker);
    if (worker->shared == NULL) {
        CUcontext context = NULL;
        cuCtxGetCurrent(&context);
        CUresult destroyed = cuCtxDestroy(context);
        if (worker->result == CUDA_SUCCESS) worker->result = destroyed;
    }
    return NULL;
}

static void run_workers(const struct fixture *fixture) {
    struct worker workers[NUM_THREADS] = {{0}};
    for (int i = 0; i < NUM_THREADS; i++) {
        if (fixture != NULL) workers[i] = (struct worker){.shared = fixture->context, .add_word = fixture->add_word};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < NUM_THREADS; i++) pthread_join(workers[i].thread, NULL);
    for (int i = 0; i < NUM_THREADS; i++) {
        assert_ok(workers[i].result);
        assert_int_equal(workers[i].sum, NUM_ROUNDS * (NUM_ROUNDS - 1) / 2);
    }
    assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
}

static void test_threads_share_a_context(void **state) {
    run_workers(*state);
    assert_ok(cuCtxSynchronize());
}

// Each context keeps its own order, so the trace does not depend on how the threads interleave.
static void test_threads_with_their_own_contexts(void **state) {
    (void)state;
    assert_ok(cuInit(0));
    moejit_emulator_reset();
    run_workers(NULL);
    uint64_t trace = moejit_emulator_trace_hash();
    for (int i = 0; i < 4; i++) {
        moejit_emulator_reset();
        run_workers(NULL);
        assert_int_equal(moejit_emulator_trace_hash(), trace);
    }
}

// An event of one context orders a stream of another; whoever waits runs what the other has queued.
static void test_events_between_contexts(void **state) {
    (void)state;
    struct fixture first, second;
    uint32_t *pinned = NULL;
    fixture_open(&first);
    CUdeviceptr words = make_words(1);
    CUstream producer = make_stream();
    CUevent stored = make_event();
    assert_ok(cuMemHostAlloc((void **)&pinned, 4, CU_MEMHOSTALLOC_PORTABLE));
    fixture_open(&second);
    CUdeviceptr copies = make_words(1);
    CUstream consumer = make_stream();
    assert_ok(cuCtxSetCurrent(first.context));
    assert_ok(run_word(first.store_word, producer, words, 5));
    assert_ok(cuMemcpyDtoHAsync(pinned, words, 4, producer));
    assert_ok(cuEventRecord(stored, producer));
    assert_ok(cuCtxSetCurrent(second.context));
    assert_ok(cuStreamWaitEvent(consumer, stored, 0));
    assert_int_equal(run_word(second.store_word, producer, copies, 1), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(run_word(second.store_word, consumer, copies, 6));
    assert_ok(cuStreamSynchronize(consumer));
    assert_int_equal(*pinned, 5);
    assert_ok(cuCtxSetCurrent(first.context));
    fixture_close(&second);
    assert_ok(cuStreamSynchronize(producer));
    fixture_close(&first);
}

// One context's memory is not another's.
static void test_contexts_are_apart(void **state) {
    (void)state;
    struct fixture first, second;
    fixture_open(&first);
    CUdeviceptr words = make_words(1);
    fixture_open(&second);
    assert_ok(run_word(second.store_word, NULL, words, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    fixture_close(&second);
    assert_ok(cuCtxSetCurrent(first.context));
    assert_int_equal(read_word(words), 0);
    fixture_close(&first);
}

struct gate {
    atomic_int entered, open;
};

static void CUDA_CB wait_at_gate(void *user) {
    struct gate *gate = user;
    atomic_store(&gate->entered, 1);
    while (!atomic_load(&gate->open)) continue;
}

static void *synchronise(void *user) {
    cuCtxSetCurrent(user);
    cuCtxSynchronize();
    cuCtxSetCurrent(NULL);
    return NULL;
}

// While one thread runs an operation, the driver serves the others.
static void test_operations_run_without_the_lock(void **state) {
    const struct fixture *fixture = *state;
    struct gate gate = {0, 0};
    pthread_t thread;
    set_switch("MOEJIT_EMULATOR_SCHEDULE", "adversarial"); // the host function must not run in the call below
    struct fixture lazy;
    fixture_open(&lazy);
    set_switch("MOEJIT_EMULATOR_SCHEDULE", NULL);
    CUstream stream = make_stream();
    CUdeviceptr words = make_words(1);
    assert_ok(cuLaunchHostFunc(stream, wait_at_gate, &gate));
    assert_int_equal(pthread_create(&thread, NULL, synchronise, lazy.context), 0);
    while (!atomic_load(&gate.entered)) continue;
    assert_ok(run_word(lazy.store_word, stream, words, 3)); // this context: queued behind it
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    assert_ok(cuCtxPushCurrent(fixture->context));
    assert_int_equal(read_word(make_words(1)), 0); // another context: runs meanwhile
    assert_ok(cuCtxPopCurrent(NULL));
    atomic_store(&gate.open, 1);
    assert_ok(cuStreamSynchronize(stream));
    pthread_join(thread, NULL);
    assert_int_equal(read_word(words), 3);
    fixture_close(&lazy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_threads_share_a_context, setup, teardown),
        cmocka_unit_test(test_threads_with_their_own_contexts),
        cmocka_unit_test(test_events_between_contexts),
        cmocka_unit_test(test_contexts_are_apart),
        cmocka_unit_test_setup_teardown(test_operations_run_without_the_lock, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
