// Errors that stick, errors that are injected, and what is counted.
#include "driver_test.h"

static void test_finding_sticks(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(4), other = 0;
    CUstream stream = make_stream();
    CUcontext current = NULL, healthy = NULL;
    char text[256];
    assert_ok(run_word(fixture->store_word, stream, words + 1024, 1)); // outside; the launch itself is fine
    assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(moejit_emulator_findings(text, sizeof(text)), 1);
    assert_non_null(strstr(text, "store_word"));
    assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(cuMemAlloc(&other, 16), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(run_word(fixture->store_word, stream, words, 1), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(moejit_emulator_findings(NULL, 0), 1); // said once
    assert_ok(cuCtxGetCurrent(&current));
    assert_ptr_equal(current, fixture->context);
    assert_ok(cuCtxCreate(&healthy, NULL, 0, 0)); // another context is none the worse
    words = make_words(1);
    assert_int_equal(read_word(words), 0);
    assert_ok(cuCtxDestroy(healthy));
}

static void CUDA_CB note(void *user) {
    ++*(int *)user;
}

static void test_nothing_runs_after_a_finding(void **state) {
    (void)state;
    struct fixture fixture;
    int calls = 0;
    set_switch("MOEJIT_EMULATOR_SCHEDULE", "adversarial"); // nothing runs before the host waits
    fixture_open(&fixture);
    set_switch("MOEJIT_EMULATOR_SCHEDULE", NULL);
    CUdeviceptr words = make_words(1);
    CUstream stream = make_stream();
    assert_ok(run_word(fixture.store_word, stream, words + 1024, 1));
    assert_ok(cuLaunchHostFunc(stream, note, &calls));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_int_equal(calls, 0);
    fixture_close(&fixture);
}

static void test_use_after_free(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(1);
    assert_ok(cuMemFree(words));
    assert_int_equal(cuMemsetD32(words, 0, 1), CUDA_ERROR_INVALID_VALUE); // the driver sees this one itself
    assert_ok(run_word(fixture->store_word, NULL, words, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
}

// A copy of bytes that nobody wrote does not make them written.
static void test_copies_carry_what_was_written(void **state) {
    const struct fixture *fixture = *state;
    const uint32_t from[2] = {5, 6};
    CUdeviceptr written = 0, unwritten = 0, copies = 0;
    assert_ok(cuMemAlloc(&written, 8));
    assert_ok(cuMemAlloc(&unwritten, 8));
    assert_ok(cuMemAlloc(&copies, 8));
    assert_ok(cuMemcpyHtoD(written, from, 8));
    assert_ok(cuMemcpyDtoD(copies, written, 8));
    assert_ok(run_word(fixture->add_word, NULL, copies + 4, 1));
    assert_int_equal(read_word(copies + 4), 7);
    assert_ok(cuMemcpyDtoD(copies, unwritten, 4));
    assert_ok(run_word(fixture->add_word, NULL, copies + 4, 1)); // the other word
    assert_int_equal(read_word(copies + 4), 8);
    assert_ok(run_word(fixture->add_word, NULL, copies, 1));
    assert_int_not_equal(cuCtxSynchronize(), CUDA_SUCCESS);
    assert_int_equal(moejit_emulator_findings(NULL, 0), 1);
}

struct host_call {
    CUresult result;
    int calls;
};

static void CUDA_CB call_the_driver(void *user) {
    struct host_call *call = user;
    CUcontext context = NULL;
    call->result = cuCtxGetCurrent(&context);
    call->calls++;
}

static void test_host_functions(void **state) {
    (void)state;
    struct host_call call = {CUDA_SUCCESS, 0};
    CUstream stream = make_stream();
    CUcontext context = NULL;
    assert_int_equal(cuLaunchHostFunc(stream, NULL, &call), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuLaunchHostFunc(stream, call_the_driver, &call));
    assert_ok(cuStreamSynchronize(stream));
    assert_int_equal(call.calls, 1);
    assert_int_equal(call.result, CUDA_ERROR_NOT_PERMITTED);
    assert_ok(cuCtxGetCurrent(&context));
}

static void test_injection(void **state) {
    (void)state;
    CUdeviceptr words = 0;
    int count = 0;
    assert_int_equal(moejit_emulator_fail_at("cuNothingAtAll", 1, CUDA_ERROR_UNKNOWN), 0);
    assert_int_equal(moejit_emulator_fail_at("cuMemAlloc_v2", 2, CUDA_ERROR_OUT_OF_MEMORY), 1);
    assert_ok(cuMemAlloc(&words, 16));
    assert_ok(cuDeviceGetCount(&count)); // another entry does not count
    assert_int_equal(moejit_emulator_failures(), 0);
    assert_int_equal(cuMemAlloc(&words, 16), CUDA_ERROR_OUT_OF_MEMORY);
    assert_int_equal(moejit_emulator_failures(), 1);
    assert_ok(cuMemAlloc(&words, 16)); // once only
    assert_int_equal(moejit_emulator_fail_at(NULL, 3, CUDA_ERROR_ECC_UNCORRECTABLE), 1);
    assert_ok(cuDeviceGetCount(&count));
    assert_ok(cuMemAlloc(&words, 16));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ECC_UNCORRECTABLE);
    assert_ok(cuCtxSynchronize());
    assert_int_equal(moejit_emulator_fail_at(NULL, 1, CUDA_ERROR_UNKNOWN), 1);
    assert_int_equal(moejit_emulator_fail_at(NULL, 0, CUDA_ERROR_UNKNOWN), 1); // disarmed
    assert_ok(cuCtxSynchronize());
    assert_int_equal(moejit_emulator_failures(), 2);
}

// A little program; returns the first error that it met.
static CUresult program(const struct fixture *fixture, uint32_t *word) {
    CUdeviceptr words = 0;
    CUstream stream = NULL;
    CUresult result = cuMemAlloc(&words, 4), cleanup = CUDA_SUCCESS;
    if (result == CUDA_SUCCESS) result = cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING);
    if (result == CUDA_SUCCESS) result = run_word(fixture->store_word, stream, words, 77);
    if (result == CUDA_SUCCESS) result = cuStreamSynchronize(stream);
    if (result == CUDA_SUCCESS) result = cuMemcpyDtoH(word, words, 4);
    if (stream != NULL) cleanup = cuStreamDestroy(stream);
    if (cleanup != CUDA_SUCCESS) cuStreamDestroy(stream); // injected failures do nothing, so once more
    if (words != 0 && cuMemFree(words) != CUDA_SUCCESS) cleanup = CUDA_ERROR_UNKNOWN, cuMemFree(words);
    return result != CUDA_SUCCESS ? result : cleanup;
}

static void test_every_call_fails_once(void **state) {
    const struct fixture *fixture = *state;
    uint64_t n = 1, failed = 0;
    size_t free_before = 0, free_after = 0, total = 0;
    assert_ok(cuMemGetInfo(&free_before, &total));
    for (;; n++) {
        uint32_t word = 0;
        moejit_emulator_reset();
        moejit_emulator_fail_at(NULL, n, CUDA_ERROR_UNKNOWN);
        CUresult result = program(fixture, &word);
        failed = moejit_emulator_failures();
        moejit_emulator_fail_at(NULL, 0, CUDA_SUCCESS);
        if (failed == 0) {
            assert_ok(result);
            assert_int_equal(word, 77);
            break;
        }
        assert_int_equal(result, CUDA_ERROR_UNKNOWN);
    }
    assert_int_equal(n, 8); // seven calls
    assert_ok(cuMemGetInfo(&free_after, &total));
    assert_int_equal(free_before, free_after);
}

static void test_counters(void **state) {
    const struct fixture *fixture = *state;
    struct emu_counters sums = {0}, last = {0};
    char name[32];
    CUdeviceptr words = make_words(1);
    moejit_emulator_reset();
    assert_int_equal(moejit_emulator_calls(NULL), 0);
    assert_ok(run_word(fixture->store_word, NULL, words, 1));
    assert_ok(run_word(fixture->add_word, NULL, words, 1));
    assert_ok(cuCtxSynchronize());
    assert_int_equal(moejit_emulator_calls("cuLaunchKernel"), 2);
    assert_int_equal(moejit_emulator_calls("cuMemAlloc_v2"), 0);
    assert_int_equal(moejit_emulator_calls(NULL), 3);
    assert_int_equal(moejit_emulator_counters(&sums), 2);
    moejit_emulator_last_launch(&last, name, sizeof(name));
    assert_string_equal(name, "add_word");
    assert_true(last.thread_instructions > 0);
    assert_true(sums.thread_instructions > last.thread_instructions);
    moejit_emulator_reset();
    assert_int_equal(moejit_emulator_counters(&sums), 0);
    assert_int_equal(sums.thread_instructions, 0);
}

static void test_log_file(void **state) {
    const struct fixture *fixture = *state;
    char path[] = "emulator_log_XXXXXX", line[256] = "";
    int file = mkstemp(path);
    assert_true(file >= 0);
    set_switch("MOEJIT_EMULATOR_LOG", path);
    assert_ok(run_word(fixture->store_word, NULL, 64, 1));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_ILLEGAL_ADDRESS);
    set_switch("MOEJIT_EMULATOR_LOG", NULL);
    FILE *log = fdopen(file, "r");
    assert_non_null(log);
    assert_non_null(fgets(line, sizeof(line), log));
    assert_non_null(strstr(line, "store_word"));
    fclose(log);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_finding_sticks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nothing_runs_after_a_finding, setup, teardown),
        cmocka_unit_test_setup_teardown(test_use_after_free, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies_carry_what_was_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_host_functions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_injection, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_call_fails_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_log_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
