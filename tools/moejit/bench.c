#include "bench.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "moe/tile.h"

bool bench_fail(const char *what, const char *why) {
    fprintf(stderr, "moejit bench: %s: %s\n", what, why);
    return false;
}

void *bench_upload(struct bench *bench, const void *data, size_t bytes) {
    bool room = bench->num_memory < (int)(sizeof(bench->memory) / sizeof(bench->memory[0]));
    void *memory = room ? gpu_upload(&bench->gpu, data, bytes) : NULL;
    if (memory != NULL) bench->memory[bench->num_memory++] = memory;
    return memory;
}

void bench_release(struct bench *bench, int kept) {
    while (bench->num_memory > kept) gpu_free(&bench->gpu, bench->memory[--bench->num_memory]);
}

void bench_progress(struct bench *bench, const char *current) {
    if (current != NULL) {
        command_progress("bench", bench->done, bench->total, current);
    } else {
        bench->done++;
        if (isatty(STDERR_FILENO)) fprintf(stderr, "\r\033[K");
    }
}

static bool open_context(struct bench *bench) {
    char message[1024];
    moejit_context_options options;
    moejit_executor_options executor;
    moejit_context_options_init(&options);
    options.cuda_library = bench->gpu.path;
    options.log = command_log;
    if (moejit_context_create(&options, &bench->context, message, sizeof(message)) != MOEJIT_STATUS_OK)
        return bench_fail("context", message);
    moejit_executor_options_init(&executor);
    executor.max_tile_ctas = bench->options.max_tile_ctas;
    if (moejit_executor_create(bench->context, &executor, &bench->executor) != MOEJIT_STATUS_OK)
        return bench_fail("executor", moejit_context_error(bench->context));
    return true;
}

static void list_families(struct bench_options *options, const char *arch) {
    if (!options->all_families) return;
    options->num_families = 0;
    options->families[options->num_families++] = MOEJIT_FAMILY_PORTABLE;
    if (mj_family_runs_on(MOEJIT_FAMILY_HOPPER, arch))
        options->families[options->num_families++] = MOEJIT_FAMILY_HOPPER;
}

// What a figure needs beside the GPU is optional: without it, its columns stay empty. Nothing disturbs a host that is
// timed.
static void open_instruments(struct bench *bench) {
    char why[512];
    const struct bench_options *options = &bench->options;
    bool needs_cublas = options->mode == BENCH_CEILINGS || (options->mode == BENCH_STEPS && !options->no_ceilings);
    if (!bench->gpu.emulated && options->mode != BENCH_HOST)
        bench_nvml_open(&bench->nvml, &bench->gpu, "libnvidia-ml.so.1");
    if (!needs_cublas || (bench->gpu.emulated && options->cublas_library == NULL)) return; // it knows no emulator
    if (!bench_cublas_open(&bench->cublas, options->cublas_library, bench->stream, why))
        fprintf(stderr, "moejit bench: no compute ceiling: %s\n", why);
}

bool bench_open(struct bench *bench) {
    struct gpu *gpu = &bench->gpu;
    if (!gpu_open(gpu, bench->options.cuda_library)) return bench_fail("GPU", gpu->error);
    if (gpu->emulated) fprintf(stderr, "moejit bench: this is the emulator: its times say nothing about a GPU\n");
    if (!open_context(bench)) return false;
    if (!gpu_ok(gpu, gpu->cuStreamCreate(&bench->stream, CU_STREAM_NON_BLOCKING), "making a stream") ||
        !bench_kernels_create(&bench->kernels, gpu)) {
        return bench_fail("GPU", gpu->error);
    }
    list_families(&bench->options, moejit_context_arch(bench->context));
    open_instruments(bench);
    return true;
}

void bench_close(struct bench *bench) {
    struct gpu *gpu = &bench->gpu;
    if (gpu->library == NULL) return;
    bench_release(bench, 0);
    bench_cublas_close(&bench->cublas);
    bench_nvml_close(&bench->nvml);
    bench_kernels_destroy(&bench->kernels, gpu);
    moejit_executor_destroy(bench->executor);
    moejit_context_destroy(bench->context);
    for (int i = 0; i < bench->num_events; i++) gpu->cuEventDestroy(bench->events[i]);
    if (bench->stream != NULL) gpu->cuStreamDestroy(bench->stream);
    gpu_close(gpu);
}
