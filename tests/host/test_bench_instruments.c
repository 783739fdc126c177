// The instruments that bench opens at run time, with stand-ins for the libraries (stand_in_nvml.c, stand_in_cublas.c):
// the calls, in their order, with the types of the real headers, and what happens without them.
#include "../cmocka_all.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "bench_cublas.h"
#include "bench_median.h"
#include "bench_nvml.h"

static CUresult address_of_gpu(char *address, int bytes, CUdevice device) {
    (void)device;
    snprintf(address, (size_t)bytes, "0000:1b:00.0"); // what the stand-in knows
    return CUDA_SUCCESS;
}

static CUresult no_address(char *address, int bytes, CUdevice device) {
    (void)address;
    (void)bytes;
    (void)device;
    return CUDA_ERROR_INVALID_DEVICE;
}

static void medians_take_the_middle(void **state) {
    (void)state;
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, one[] = {7};
    assert_true(bench_median(odd, 3) == 2);
    assert_true(bench_median(even, 4) == 3);
    assert_true(bench_median(one, 1) == 7);
}

static void clock_and_instant_power_are_sampled(void **state) {
    (void)state;
    static struct bench_nvml nvml;
    struct gpu gpu = {.cuDeviceGetPCIBusId = address_of_gpu};
    assert_true(bench_nvml_open(&nvml, &gpu, STAND_IN_NVML));
    bench_nvml_start(&nvml);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    struct bench_sensors sensors = bench_nvml_stop(&nvml);
    assert_true(nvml.num_samples > 0);
    assert_true(sensors.sm_mhz == 1755);
    assert_true(sensors.watts == 612.5); // the instant power; the average, 400 W, is not asked for
    sensors = bench_nvml_stop(&nvml);    // not running: nothing is known
    assert_true(sensors.sm_mhz == 0 && sensors.watts == 0);
    bench_nvml_close(&nvml);
}

static void without_nvml_nothing_is_known(void **state) {
    (void)state;
    static struct bench_nvml nvml;
    struct gpu gpu = {.cuDeviceGetPCIBusId = no_address};
    assert_false(bench_nvml_open(&nvml, &gpu, STAND_IN_NVML)); // a GPU that NVML does not know
    assert_false(bench_nvml_open(&nvml, &gpu, "/nowhere/libnvidia-ml.so.1"));
    bench_nvml_start(&nvml);
    struct bench_sensors sensors = bench_nvml_stop(&nvml);
    assert_true(sensors.sm_mhz == 0 && sensors.watts == 0);
    bench_nvml_close(&nvml);
}

static void a_product_is_bf16_with_f32_sums(void **state) {
    (void)state;
    struct bench_cublas cublas;
    char why[512] = "";
    int a, b, c;
    assert_true(bench_cublas_open(&cublas, STAND_IN_CUBLAS, (CUstream)&a, why));
    assert_true(bench_cublas_enqueue(&cublas, 64, &a, &b, &c)); // the stand-in checks every argument
    assert_false(bench_cublas_enqueue(&cublas, 0, &a, &b, &c));
    bench_cublas_close(&cublas);
}

static void without_cublas_the_sentence_says_why(void **state) {
    (void)state;
    struct bench_cublas cublas;
    char why[512] = "";
    assert_false(bench_cublas_open(&cublas, "/nowhere/libcublas.so.13", NULL, why));
    assert_non_null(strstr(why, "/nowhere/libcublas.so.13"));
    assert_false(bench_cublas_open(&cublas, STAND_IN_NVML, NULL, why));
    assert_non_null(strstr(why, "lacks cublasCreate_v2"));
    assert_false(bench_cublas_open(&cublas, STAND_IN_CUBLAS, NULL, why)); // it refuses the null stream
    assert_non_null(strstr(why, "gave status 7"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(medians_take_the_middle),
        cmocka_unit_test(clock_and_instant_power_are_sampled),
        cmocka_unit_test(without_nvml_nothing_is_known),
        cmocka_unit_test(a_product_is_bf16_with_f32_sums),
        cmocka_unit_test(without_cublas_the_sentence_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
