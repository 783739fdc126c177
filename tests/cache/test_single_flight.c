// One compile a key, whoever asks: threads and processes at once, an owner that is killed, one that never ends.
// Counted, not timed. `test_single_flight N` kills at N moments (default 20).
#include "../cmocka_all.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake_plan.h"

#define NUM_PROCESSES 8
#define NUM_THREADS 4

static char folder[64], path[96], count_path[96];
static int num_moments = 20;

static int setup(void **state) {
    (void)state;
    fake_folder(folder);
    snprintf(path, sizeof(path), "%s/kernels.db", folder);
    snprintf(count_path, sizeof(count_path), "%s/count", folder);
    setenv("FAKE_NVRTC_COUNT", count_path, 1);
    setenv("FAKE_NVRTC_MS", "20", 1);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    unsetenv("FAKE_NVRTC_HANG");
    fake_remove(folder);
    return 0;
}

// What the compilers themselves have counted.
static int count_compiles(void) {
    struct stat status;
    return stat(count_path, &status) == 0 ? (int)status.st_size : 0;
}

struct sums { // of many plans
    int plans, kernels, failed;
    uint64_t compiles, hits, misses, waits;
};

static void add(struct sums *sums, const struct fake_outcome *outcome) {
    sums->plans++;
    sums->kernels += outcome->num_kernels;
    sums->failed += outcome->status != MOEJIT_STATUS_OK || outcome->warnings > 0;
    sums->compiles += outcome->counters.compiles;
    sums->hits += outcome->counters.cache_hits;
    sums->misses += outcome->counters.cache_misses;
    sums->waits += outcome->counters.waits;
    if (outcome->status != MOEJIT_STATUS_OK) fprintf(stderr, "%s\n", outcome->message);
    if (outcome->warnings > 0) fprintf(stderr, "%s\n", outcome->warning);
}

struct worker {
    pthread_t thread;
    int first;
    struct sums sums;
};

// Every arch, starting somewhere else than the others.
static void *prepare_all(void *user) {
    struct worker *worker = user;
    for (int i = 0; i < NUM_FAKE_ARCHS; i++) {
        moejit_context_options options;
        struct fake_outcome outcome;
        fake_options(&options, fake_archs[(worker->first + i) % NUM_FAKE_ARCHS], path);
        fake_plan(&options, &outcome);
        add(&worker->sums, &outcome);
    }
    return NULL;
}

static void run_process(int idx, int num_threads, int pipe_end) {
    struct worker workers[NUM_THREADS] = {0};
    for (int i = 0; i < num_threads; i++) {
        workers[i].first = idx + 2 * i;
        if (pthread_create(&workers[i].thread, NULL, prepare_all, &workers[i]) != 0) _exit(3);
    }
    for (int i = 0; i < num_threads; i++) {
        pthread_join(workers[i].thread, NULL);
        if (write(pipe_end, &workers[i].sums, sizeof(struct sums)) != sizeof(struct sums)) _exit(3);
    }
    _exit(0);
}

static void read_sums(int pipe_end, struct sums *total) {
    struct sums sums;
    while (read(pipe_end, &sums, sizeof(sums)) == sizeof(sums)) {
        total->plans += sums.plans;
        total->kernels += sums.kernels;
        total->failed += sums.failed;
        total->compiles += sums.compiles;
        total->hits += sums.hits;
        total->misses += sums.misses;
        total->waits += sums.waits;
    }
}

static void eight_processes_of_four_threads_compile_each_kernel_once(void **state) {
    int ends[2], status;
    struct sums total = {0};
    (void)state;
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < NUM_PROCESSES; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) run_process(i, NUM_THREADS, ends[1]);
    }
    close(ends[1]);
    read_sums(ends[0], &total);
    close(ends[0]);
    for (int i = 0; i < NUM_PROCESSES; i++) {
        assert_true(wait(&status) > 0);
        assert_int_equal(status, 0);
    }
    int plans = NUM_PROCESSES * NUM_THREADS * NUM_FAKE_ARCHS;
    assert_int_equal(total.plans, plans);
    assert_int_equal(total.failed, 0);
    int kernels = total.kernels / (plans / NUM_FAKE_ARCHS);
    assert_true(kernels >= 40);
    assert_int_equal(total.compiles, kernels);
    assert_int_equal(total.misses, kernels);
    assert_int_equal(total.hits, total.kernels - kernels);
    assert_int_equal(count_compiles(), kernels);
    assert_int_equal(fake_count_keys(path), kernels);
    printf("%d plans: %d kernels, %d compiles, %d hits, %d waits\n", total.plans, kernels, (int)total.compiles,
           (int)total.hits, (int)total.waits);
}

static uint64_t random_next(uint64_t *random) {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random >> 11;
}

// Three processes; one is killed at a moment of the time that a run takes.
static void kill_one(uint64_t *random) {
    pid_t children[3];
    int ends[2], status;
    struct sums total = {0};
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        assert_true(children[i] >= 0);
        if (children[i] == 0) run_process(i, 1, ends[1]);
    }
    close(ends[1]);
    int victim = (int)(random_next(random) % 3);
    usleep((useconds_t)(random_next(random) % 400000));
    kill(children[victim], SIGKILL);
    read_sums(ends[0], &total);
    close(ends[0]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        if (i != victim) assert_int_equal(status, 0);
    }
    assert_int_equal(total.failed, 0);
    assert_true(total.plans >= 2 * NUM_FAKE_ARCHS);
    assert_int_equal(fake_count_keys(path), total.kernels / (total.plans / NUM_FAKE_ARCHS));
}

static void a_killed_compiler_keeps_nobody_waiting(void **state) {
    uint64_t random = 88172645463325252U;
    (void)state;
    setenv("FAKE_NVRTC_MS", "5", 1);
    for (int i = 0; i < num_moments; i++) {
        kill_one(&random);
        unlink(path);
    }
}

static void *prepare_held(void *user) {
    moejit_context_options options;
    fake_options(&options, "sm_80", path);
    options.compile_timeout_ms = 8000;
    fake_plan(&options, user);
    return NULL;
}

// Somebody compiles a kernel and does not come back: others' hits do not wait for that, and who needs the same kernel
// compiles it, once the bound is over.
static void nobody_waits_for_ever(void **state) {
    pthread_t thread;
    struct fake_outcome held, other;
    moejit_context_options options;
    (void)state;
    fake_options(&options, "sm_90a", path);
    fake_plan(&options, &other);
    assert_int_equal(other.status, MOEJIT_STATUS_OK);
    int compiles = count_compiles();
    setenv("FAKE_NVRTC_HANG", "moejit_route.cu --gpu-architecture=sm_80", 1);
    assert_int_equal(pthread_create(&thread, NULL, prepare_held, &held), 0);
    while (count_compiles() < compiles + other.num_kernels) usleep(1000); // all others of sm_80 are done or at work
    unsetenv("FAKE_NVRTC_HANG");
    fake_plan(&options, &other);
    assert_int_equal(other.status, MOEJIT_STATUS_OK);
    assert_int_equal(other.counters.waits, 0);
    assert_int_equal(other.counters.compiles, 0);
    fake_options(&options, "sm_80", path);
    options.cache_wait_ms = 100;
    fake_plan(&options, &other);
    assert_int_equal(other.status, MOEJIT_STATUS_OK);
    assert_true(other.counters.waits >= 1);
    assert_true(other.counters.compiles >= 1);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(held.status, MOEJIT_STATUS_COMPILE_FAILED);
    assert_non_null(strstr(held.message, "took longer than 8000 ms"));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(eight_processes_of_four_threads_compile_each_kernel_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_compiler_keeps_nobody_waiting, setup, teardown),
        cmocka_unit_test_setup_teardown(nobody_waits_for_ever, setup, teardown),
    };
    if (argc > 1) num_moments = atoi(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
