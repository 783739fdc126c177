// The benchmark's own kernels: random bits where they are asked for and nowhere else, the same for the same seed; a
// read that changes nothing. Runs on the emulator or a GPU.
#include "../cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "bench_kernels.h"

#define WORDS 5000 // 1250 threads: more than one block, and the last one not full
#define GUARD 8    // words past them

static struct gpu gpu;
static struct bench_kernels kernels;
static CUstream stream;

static int open_gpu(void **state) {
    (void)state;
    if (!gpu_open(&gpu, NULL) || !bench_kernels_create(&kernels, &gpu) ||
        gpu.cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING) != CUDA_SUCCESS) {
        print_message("%s\n", gpu.error);
        return -1;
    }
    return 0;
}

static int close_gpu(void **state) {
    (void)state;
    bench_kernels_destroy(&kernels, &gpu);
    gpu.cuStreamDestroy(stream);
    gpu_close(&gpu);
    return 0;
}

// Device memory of WORDS + GUARD words that hold 0xff, then the pattern in the first WORDS.
static void *filled(struct bench_pattern pattern, uint32_t seed) {
    void *memory = gpu_upload(&gpu, NULL, (WORDS + GUARD) * 4);
    assert_non_null(memory);
    assert_true(bench_fill_enqueue(&kernels, &gpu, memory, WORDS * 4, pattern, seed, stream));
    assert_int_equal(gpu.cuStreamSynchronize(stream), CUDA_SUCCESS);
    return memory;
}

static void fill(struct bench_pattern pattern, uint32_t seed, uint32_t words[WORDS + GUARD]) {
    void *memory = filled(pattern, seed);
    assert_true(gpu_download(&gpu, words, memory, (WORDS + GUARD) * 4));
    gpu_free(&gpu, memory);
}

static int compare_words(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void patterns_are_kept_and_bits_are_random(void **state) {
    (void)state;
    const struct bench_pattern *patterns[] = {&bench_random_codes, &bench_random_scales, &bench_random_bf16};
    static uint32_t words[WORDS + GUARD];
    for (size_t p = 0; p < 3; p++) {
        int ones[32] = {0};
        fill(*patterns[p], (uint32_t)p, words);
        for (int i = 0; i < WORDS; i++) {
            assert_int_equal(words[i] & ~patterns[p]->mask, patterns[p]->fixed);
            for (int bit = 0; bit < 32; bit++) ones[bit] += (words[i] >> bit & 1) != 0;
        }
        for (int i = WORDS; i < WORDS + GUARD; i++) assert_int_equal(words[i], 0xffffffffu);
        for (int bit = 0; bit < 32; bit++) { // half of them, within six standard deviations (35 each)
            if (patterns[p]->mask >> bit & 1) assert_in_range(ones[bit], WORDS / 2 - 212, WORDS / 2 + 212);
        }
    }
    fill(bench_random_codes, 0, words); // the hash is a bijection: no word comes twice
    qsort(words, WORDS, sizeof(words[0]), compare_words);
    for (int i = 1; i < WORDS; i++) assert_int_not_equal(words[i], words[i - 1]);
}

static void a_seed_gives_its_bytes(void **state) {
    (void)state;
    static uint32_t first[WORDS + GUARD], again[WORDS + GUARD], other[WORDS + GUARD];
    fill(bench_random_codes, 5, first);
    fill(bench_random_codes, 5, again);
    fill(bench_random_codes, 6, other);
    assert_memory_equal(first, again, sizeof(first));
    for (int i = 0; i < WORDS; i++) assert_int_not_equal(first[i], other[i]);
}

static void reading_changes_nothing(void **state) {
    (void)state;
    static uint32_t before[WORDS + GUARD], after[WORDS + GUARD];
    void *memory = filled(bench_random_bf16, 1);
    assert_true(gpu_download(&gpu, before, memory, sizeof(before)));
    assert_true(bench_read_enqueue(&kernels, &gpu, memory, WORDS * 4, stream));
    assert_true(bench_empty_enqueue(&kernels, &gpu, stream));
    assert_int_equal(gpu.cuStreamSynchronize(stream), CUDA_SUCCESS);
    assert_true(gpu_download(&gpu, after, memory, sizeof(after)));
    assert_memory_equal(before, after, sizeof(before));
    gpu_free(&gpu, memory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_are_kept_and_bits_are_random),
        cmocka_unit_test(a_seed_gives_its_bytes),
        cmocka_unit_test(reading_changes_nothing),
    };
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
