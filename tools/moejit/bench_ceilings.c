// What this GPU can do at most, in this run: the ratios of all other figures are to these.
#include <stdio.h>
#include <time.h>

#include "bench.h"

#define STREAM_BYTES ((size_t)2 << 30) // forty times the L2 cache of an H100
#define MATRIX_SIZE 8192
#define SUSTAINED_SECONDS 1.0 // enough for the power limit to bite
#define REST_SECONDS 0.5      // before a burst, for the clock to come back

struct streams {
    char *memory;
    size_t bytes;
};

static bool enqueue_read(struct bench *bench, void *user, int r) {
    const struct streams *streams = user;
    (void)r;
    return bench_read_enqueue(&bench->kernels, &bench->gpu, streams->memory, streams->bytes, bench->stream);
}

static bool enqueue_copy(struct bench *bench, void *user, int r) {
    const struct streams *streams = user;
    size_t half = streams->bytes / 2;
    (void)r;
    CUdeviceptr from = (CUdeviceptr)streams->memory;
    return gpu_ok(&bench->gpu, bench->gpu.cuMemcpyDtoDAsync(from + half, from, half, bench->stream), "copying");
}

static bool enqueue_fill(struct bench *bench, void *user, int r) {
    const struct streams *streams = user;
    (void)r;
    CUresult result = bench->gpu.cuMemsetD8Async((CUdeviceptr)streams->memory, 0, streams->bytes, bench->stream);
    return gpu_ok(&bench->gpu, result, "zeroing");
}

static bool measure_rate(struct bench *bench, const struct bench_work *work, double amount,
                         struct bench_ceiling *ceiling) {
    struct bench_timing timing = {0};
    if (!bench_time(bench, work, &timing)) return false;
    ceiling->rate = timing.us > 0 ? amount / timing.us * 1e-6 : 0;
    ceiling->sensors = timing.sensors;
    return true;
}

static bool measure_streams(struct bench *bench) {
    struct streams streams = {.bytes = bench->gpu.emulated ? (size_t)1 << 16 : STREAM_BYTES};
    int kept = bench->num_memory;
    struct bench_ceilings *all = &bench->ceilings;
    streams.memory = bench_upload(bench, NULL, streams.bytes);
    if (streams.memory == NULL) return bench_fail("ceilings", bench->gpu.error);
    double bytes = (double)streams.bytes;
    bool good =
        measure_rate(bench, &(struct bench_work){"read", enqueue_read, &streams, .count = 1}, bytes, &all->read) &&
        measure_rate(bench, &(struct bench_work){"copy", enqueue_copy, &streams, .count = 1}, bytes, &all->copy) &&
        measure_rate(bench, &(struct bench_work){"memset", enqueue_fill, &streams, .count = 1}, bytes, &all->fill);
    bench_release(bench, kept);
    return good;
}

struct matrices {
    int size;
    void *a, *b, *c;
};

static bool enqueue_product(struct bench *bench, void *user, int r) {
    const struct matrices *matrices = user;
    (void)r;
    return bench_cublas_enqueue(&bench->cublas, matrices->size, matrices->a, matrices->b, matrices->c) ||
           bench_fail("ceilings", "cublasGemmEx refused a bf16 product");
}

static bool make_matrices(struct bench *bench, struct matrices *matrices) {
    void **all[] = {&matrices->a, &matrices->b, &matrices->c};
    size_t bytes = (size_t)matrices->size * (size_t)matrices->size * 2;
    for (uint32_t i = 0; i < 3; i++) {
        *all[i] = bench_upload(bench, NULL, bytes);
        if (*all[i] == NULL || !bench_fill_enqueue(&bench->kernels, &bench->gpu, *all[i], bytes, bench_random_bf16,
                                                   1000 + i, bench->stream)) {
            return bench_fail("ceilings", bench->gpu.error);
        }
    }
    return true;
}

static bool measure_products(struct bench *bench) {
    struct matrices matrices = {.size = bench->gpu.emulated ? 64 : MATRIX_SIZE};
    struct bench_work sustained = {"cublas sustained",          enqueue_product, &matrices, 1, .eager = true,
                                   .seconds = SUSTAINED_SECONDS};
    struct bench_work burst = {"cublas burst", enqueue_product, &matrices,   1,
                               .eager = true,  .repeats = 3,    .cold = true};
    struct timespec rest = {.tv_nsec = (long)(REST_SECONDS * 1e9)};
    double size = matrices.size, operations = 2 * size * size * size;
    int kept = bench->num_memory;
    if (bench->cublas.library == NULL) return true;
    bool good =
        make_matrices(bench, &matrices) && measure_rate(bench, &sustained, operations, &bench->ceilings.sustained);
    if (good && !bench->gpu.emulated) nanosleep(&rest, NULL);
    good = good && measure_rate(bench, &burst, operations, &bench->ceilings.burst);
    bench_release(bench, kept);
    return good;
}

bool bench_ceilings_measure(struct bench *bench) {
    bench_progress(bench, "ceilings");
    return measure_streams(bench) && measure_products(bench);
}

static const struct {
    const char *key, *what, *unit;
    size_t offset;
} rows[] = {
#define CEILING(name) offsetof(struct bench_ceilings, name)
    {"read_tb_per_s", "streaming read of 2 GiB", "TB/s", CEILING(read)},
    {"copy_tb_per_s", "device copy, read + write", "TB/s", CEILING(copy)},
    {"fill_tb_per_s", "memset", "TB/s", CEILING(fill)},
    {"cublas_tflop_per_s", "cuBLAS bf16 8192^3, sustained for 1 s", "TFLOP/s", CEILING(sustained)},
    {"cublas_burst_tflop_per_s", "cuBLAS bf16 8192^3, a burst of three", "TFLOP/s", CEILING(burst)},
};

static void print_json(const struct bench *bench) {
    printf("{\"gpu\": \"%s\", \"arch\": \"%s\", \"driver\": %d", bench->gpu.name, moejit_context_arch(bench->context),
           bench->gpu.driver_version);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct bench_ceiling *ceiling = (const void *)((const char *)&bench->ceilings + rows[i].offset);
        if (ceiling->rate <= 0) continue;
        printf(", \"%s\": {\"rate\": %.3f, \"sm_mhz\": %.0f, \"watts\": %.0f}", rows[i].key, ceiling->rate,
               ceiling->sensors.sm_mhz, ceiling->sensors.watts);
    }
    printf("}\n");
}

void bench_ceilings_print(const struct bench *bench) {
    if (bench->options.json) {
        print_json(bench);
        return;
    }
    printf("%s, %s, driver %d.%d\n", bench->gpu.name, moejit_context_arch(bench->context),
           bench->gpu.driver_version / 1000, bench->gpu.driver_version % 1000 / 10);
    printf("%-40s %9s %-8s %7s %6s\n", "ceiling", "rate", "", "SM MHz", "W");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct bench_ceiling *ceiling = (const void *)((const char *)&bench->ceilings + rows[i].offset);
        if (ceiling->rate <= 0) continue;
        printf("%-40s %9.3f %-8s", rows[i].what, ceiling->rate, rows[i].unit);
        bench_sensors_print(&ceiling->sensors);
        printf("\n");
    }
    printf("\n");
    fflush(stdout);
}
