// Compilers that refuse, abort, hang, are killed, are not there: each is one failed kernel with its sentence, the
// others are in the cache, and the host is as it was.
#include "../cmocka_all.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_plan.h"

static char folder[64], path[96];
static moejit_context_options options;
static struct fake_outcome outcome;
static const char *const troubles[] = {"FAKE_NVRTC_REFUSE", "FAKE_NVRTC_ABORT",   "FAKE_NVRTC_HANG", "FAKE_NVRTC_KILL",
                                       "FAKE_NVRTC_MS",     "FAKE_NVRTC_VERSION", "FAKE_NVRTC_COUNT"};

static int setup(void **state) {
    (void)state;
    fake_folder(folder);
    snprintf(path, sizeof(path), "%s/kernels.db", folder);
    fake_options(&options, "sm_90a", path);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) unsetenv(troubles[i]);
    fake_remove(folder);
    return 0;
}

static void expect(moejit_status status, const char *message, int compiles, int failures) {
    fake_plan(&options, &outcome);
    if (outcome.status != status || strstr(outcome.message, message) == NULL) {
        fail_msg("status %d, wanted %d and \"%s\" in: %s", outcome.status, status, message, outcome.message);
    }
    assert_int_equal(outcome.counters.compiles, compiles);
    assert_int_equal(outcome.counters.failures, failures);
}

// One kernel of five; *its* error is the result, and the others are kept.
static void one_kernel_fails_and_the_others_are_kept(void **state) {
    (void)state;
    setenv("FAKE_NVRTC_REFUSE", "route", 1);
    for (int i = 0; i < 2; i++) { // in processes, then here
        options.compile_workers = i == 0 ? 3 : -1;
        expect(MOEJIT_STATUS_COMPILE_FAILED, "moejit_route.cu(7): error: the fake was told so", 5, 1);
        assert_int_equal(outcome.warnings, 0);
        assert_int_equal(fake_count_keys(path), 4);
        unlink(path);
    }
}

static void a_failure_is_remembered_for_one_build_and_for_a_while(void **state) {
    (void)state;
    setenv("FAKE_NVRTC_REFUSE", "route", 1);
    expect(MOEJIT_STATUS_COMPILE_FAILED, "moejit_route.cu(7)", 5, 1);
    expect(MOEJIT_STATUS_COMPILE_FAILED, "moejit_route.cu(7): error: the fake was told so\n\n(remembered", 0, 1);
    options.compile_workers = -1;
    expect(MOEJIT_STATUS_COMPILE_FAILED, "(remembered", 0, 1);
    // Another build of the compiler tries for itself; a host that wants no memory too.
    setenv("FAKE_NVRTC_VERSION", "13.1", 1);
    expect(MOEJIT_STATUS_COMPILE_FAILED, "moejit_route.cu(7)", 1, 1);
    expect(MOEJIT_STATUS_COMPILE_FAILED, "(remembered", 0, 1);
    unsetenv("FAKE_NVRTC_REFUSE");
    expect(MOEJIT_STATUS_COMPILE_FAILED, "(remembered", 0, 1);
    options.cache_failures_s = -1;
    expect(MOEJIT_STATUS_OK, "", 1, 0);
    assert_int_equal(fake_count_keys(path), 5);
}

static void a_remembered_failure_expires(void **state) {
    (void)state;
    setenv("FAKE_NVRTC_REFUSE", "route", 1);
    options.cache_failures_s = 1;
    expect(MOEJIT_STATUS_COMPILE_FAILED, "moejit_route.cu(7)", 5, 1);
    sleep(2);
    expect(MOEJIT_STATUS_COMPILE_FAILED, "moejit_route.cu(7)", 1, 1);
    sleep(2);
    unsetenv("FAKE_NVRTC_REFUSE");
    expect(MOEJIT_STATUS_OK, "", 1, 0);
}

// By itself a context takes what is there; one that wants its own NVRTC's compiles what others made.
static void the_present_toolchain_can_be_asked_for(void **state) {
    (void)state;
    expect(MOEJIT_STATUS_OK, "", 5, 0);
    setenv("FAKE_NVRTC_VERSION", "13.1", 1);
    expect(MOEJIT_STATUS_OK, "", 0, 0);
    options.cache_present_toolchain = 1;
    expect(MOEJIT_STATUS_OK, "", 5, 0);
    assert_int_equal(fake_count_keys(path), 10); // rows of both
    setenv("FAKE_NVRTC_VERSION", "13.0", 1);
    expect(MOEJIT_STATUS_OK, "", 0, 0);
    options.nvrtc_library = "/nowhere/libnvrtc.so";
    expect(MOEJIT_STATUS_LIBRARY_NOT_FOUND, "no NVRTC", 0, 0);
    options.cache_present_toolchain = 0;
    expect(MOEJIT_STATUS_OK, "", 0, 0);
}

static void a_crash_is_a_failed_kernel(void **state) {
    (void)state;
    setenv("FAKE_NVRTC_ABORT", "zero", 1);
    expect(MOEJIT_STATUS_COMPILE_FAILED,
           "compiling moejit_zero for sm_90a: the compiler's process was ended by signal 6", 5, 1);
    assert_non_null(strstr(outcome.message, "it printed:\nfake compiler: lost its mind over moejit_zero.cu"));
    assert_int_equal(fake_count_keys(path), 4);
    expect(MOEJIT_STATUS_COMPILE_FAILED, "(remembered", 0, 1);
}

// The machine had no memory: that is not the kernel's fault.
static void a_killed_compiler_is_not_remembered(void **state) {
    (void)state;
    setenv("FAKE_NVRTC_KILL", "zero", 1);
    fake_plan(&options, &outcome);
    assert_int_equal(outcome.status, MOEJIT_STATUS_OUT_OF_MEMORY);
    assert_non_null(strstr(outcome.message, "was ended by signal 9"));
    unsetenv("FAKE_NVRTC_KILL");
    fake_plan(&options, &outcome);
    assert_int_equal(outcome.status, MOEJIT_STATUS_OK);
    assert_int_equal(fake_count_keys(path), 5);
}

static void a_hang_is_a_failed_kernel(void **state) {
    (void)state;
    setenv("FAKE_NVRTC_HANG", "zero", 1);
    options.compile_timeout_ms = 5000;
    expect(MOEJIT_STATUS_COMPILE_FAILED, "the compiler's process was ended: it took longer than 5000 ms", 5, 1);
    assert_int_equal(fake_count_keys(path), 4);
}

static void no_compiler_is_told_once_and_not_remembered(void **state) {
    (void)state;
    options.nvrtc_library = "/nowhere/libnvrtc.so";
    for (int i = 0; i < 2; i++) {
        options.compile_workers = i == 0 ? 3 : -1;
        expect(MOEJIT_STATUS_LIBRARY_NOT_FOUND, "no NVRTC, which compiles kernels that the cache lacks: /nowhere/", 0,
               0);
    }
    options.nvrtc_library = getenv("FAKE_NVRTC");
    expect(MOEJIT_STATUS_OK, "", 5, 0);
}

static void without_a_helper_it_is_done_here(void **state) {
    static const char *const helpers[] = {"/nowhere/moejit-compile", "/bin/true", "/bin/cat", "/etc/passwd"};
    (void)state;
    for (size_t i = 0; i < sizeof(helpers) / sizeof(helpers[0]); i++) {
        options.compile_helper = helpers[i];
        expect(MOEJIT_STATUS_OK, "", 5, 0);
        assert_int_equal(outcome.warnings, 1);
        assert_non_null(strstr(outcome.warning, "NVRTC is used in this process: the helper does not start: "));
        assert_int_equal(fake_count_keys(path), 5);
        unlink(path);
    }
}

static int count_descriptors(void) {
    int num = 0;
    DIR *descriptors = opendir("/proc/self/fd");
    while (readdir(descriptors) != NULL) num++;
    closedir(descriptors);
    return num;
}

static void expect_no_child(void) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void catch_child(int number) {
    int kept = errno;
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) continue;
    errno = kept;
}

// Also where the host ignores its children, or reaps them all.
static void the_host_is_as_it_was(void **state) {
    struct sigaction before, after;
    struct rlimit limits[2][2];
    sigset_t mask[2];
    (void)state;
    int descriptors = count_descriptors();
    for (int i = 0; i < 3; i++) {
        signal(SIGCHLD, i == 0 ? SIG_DFL : i == 1 ? SIG_IGN : catch_child);
        sigaction(SIGCHLD, NULL, &before);
        getrlimit(RLIMIT_STACK, &limits[0][0]);
        getrlimit(RLIMIT_CORE, &limits[0][1]);
        memset(mask, 0, sizeof(mask)); // the kernel's part of it is shorter
        sigprocmask(SIG_BLOCK, NULL, &mask[0]);
        expect(MOEJIT_STATUS_OK, "", 5, 0);
        setenv("FAKE_NVRTC_ABORT", "zero", 1);
        unlink(path);
        fake_plan(&options, &outcome);
        assert_int_equal(outcome.status, MOEJIT_STATUS_COMPILE_FAILED);
        unsetenv("FAKE_NVRTC_ABORT");
        unlink(path);
        sigaction(SIGCHLD, NULL, &after);
        getrlimit(RLIMIT_STACK, &limits[1][0]);
        getrlimit(RLIMIT_CORE, &limits[1][1]);
        sigprocmask(SIG_BLOCK, NULL, &mask[1]);
        assert_ptr_equal(before.sa_handler, after.sa_handler);
        assert_memory_equal(limits[0], limits[1], sizeof(limits[0]));
        assert_memory_equal(&mask[0], &mask[1], sizeof(mask[0]));
        assert_int_equal(count_descriptors(), descriptors);
        expect_no_child();
    }
    signal(SIGCHLD, SIG_DFL);
}

static int cancel_at_work(void *user, int32_t done, int32_t total, const char *current) {
    int *calls = user;
    assert_true(done <= total);
    return strstr(current, "moejit_zero") != NULL && ++*calls == 3;
}

static moejit_status make_plan(moejit_context *context, moejit_progress_fn progress, void *user) {
    moejit_layer layer;
    moejit_plan_options plan_options;
    moejit_plan *plan = NULL;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_RELU2);
    layer.hidden = 64;
    layer.intermediate = 32;
    layer.num_experts = layer.num_local_experts = 4;
    layer.top_k = 2;
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = 1;
    plan_options.progress = progress;
    plan_options.progress_user = user;
    moejit_status status = moejit_plan_create(context, &layer, &plan_options, &plan);
    moejit_plan_destroy(plan);
    return status;
}

// While a compiler hangs, the host says stop: no process is left, and the next call finds the key free.
static void a_running_compile_can_be_cancelled(void **state) {
    moejit_context *context = NULL;
    int calls = 0;
    (void)state;
    setenv("FAKE_NVRTC_HANG", "zero", 1);
    assert_int_equal(moejit_context_create(&options, &context, NULL, 0), MOEJIT_STATUS_OK);
    assert_int_equal(make_plan(context, cancel_at_work, &calls), MOEJIT_STATUS_CANCELLED);
    assert_int_equal(calls, 3);
    assert_non_null(strstr(moejit_context_error(context), "cancelled with "));
    expect_no_child();
    unsetenv("FAKE_NVRTC_HANG");
    assert_int_equal(make_plan(context, NULL, NULL), MOEJIT_STATUS_OK);
    moejit_context_counters counters = {.struct_size = sizeof(counters)};
    moejit_context_counters_read(context, &counters);
    assert_int_equal(counters.waits, 0);
    moejit_context_destroy(context);
}

struct heard {
    int times;
    int answer;
};

static int hear(void *user, const char *symbol) {
    struct heard *heard = user;
    assert_memory_equal(symbol, "moejit_", 7);
    heard->times++;
    return heard->answer;
}

static void a_sealed_context_tells_of_compiles_or_forbids_them(void **state) {
    moejit_context *context = NULL;
    moejit_context_counters counters = {.struct_size = sizeof(counters)};
    struct heard heard = {0, 1};
    (void)state;
    fake_plan(&options, &outcome);
    assert_int_equal(moejit_context_create(&options, &context, NULL, 0), MOEJIT_STATUS_OK);
    moejit_context_seal(context, NULL, NULL);
    assert_int_equal(make_plan(context, NULL, NULL), MOEJIT_STATUS_NOT_PREPARED); // another layer than the warm one
    assert_non_null(strstr(moejit_context_error(context), "is not in the cache, and the context is sealed"));
    moejit_context_seal(context, hear, &heard);
    assert_int_equal(make_plan(context, NULL, NULL), MOEJIT_STATUS_NOT_PREPARED);
    assert_int_equal(heard.times, 1);
    moejit_context_counters_read(context, &counters);
    assert_int_equal(counters.sealed_compiles, 2);
    assert_int_equal(counters.compiles, 0);
    heard = (struct heard){0, 0};
    assert_int_equal(make_plan(context, NULL, NULL), MOEJIT_STATUS_OK);
    assert_true(heard.times > 0);
    moejit_context_counters_read(context, &counters);
    assert_int_equal(counters.sealed_compiles, 2 + heard.times);
    assert_int_equal(counters.compiles, heard.times);
    // What the cache has is no event.
    heard.times = 0;
    assert_int_equal(make_plan(context, NULL, NULL), MOEJIT_STATUS_OK);
    assert_int_equal(heard.times, 0);
    moejit_context_destroy(context);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_kernel_fails_and_the_others_are_kept),
        TEST(a_failure_is_remembered_for_one_build_and_for_a_while),
        TEST(a_remembered_failure_expires),
        TEST(the_present_toolchain_can_be_asked_for),
        TEST(a_crash_is_a_failed_kernel),
        TEST(a_killed_compiler_is_not_remembered),
        TEST(a_hang_is_a_failed_kernel),
        TEST(no_compiler_is_told_once_and_not_remembered),
        TEST(without_a_helper_it_is_done_here),
        TEST(the_host_is_as_it_was),
        TEST(a_running_compile_can_be_cancelled),
        TEST(a_sealed_context_tells_of_compiles_or_forbids_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
