// How fast the emulator is: warp instructions a second of one core, with all checks, over whole forwards.
//
//     emulator_speed [SECONDS]      of each family (default 5)
//
// Runs on the emulator that MOEJIT_CUDA_LIBRARY names; the time is the process's own (CPU), so that a busy machine
// counts for little.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "../kernels/forward_rig.h"
#include "emulator.h"

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static bool create(struct rig *rig, struct gpu *gpu, moejit_family family) {
    moejit_layer layer = rig_layer();
    moejit_plan_options options;
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    layer.hidden = 512;
    layer.intermediate = 384;
    moejit_plan_options_init(&options);
    options.family = family;
    return mj_problem_create(&problem, &layer, &error) == MOEJIT_STATUS_OK &&
           layer_data_create(&data, &problem, 64, ROUTING_UNIFORM, false, 0) &&
           rig_create_planned(rig, gpu, &layer, &data, &options, NULL) == MOEJIT_STATUS_OK;
}

static bool measure(struct gpu *gpu, moejit_family family, const char *name, double seconds) {
    struct rig rig;
    struct emu_counters counters;
    uint64_t (*sums)(struct emu_counters *) = NULL;
    void (*reset)(void) = NULL;
    *(void **)(void *)&sums = dlsym(gpu->library, "moejit_emulator_counters");
    *(void **)(void *)&reset = dlsym(gpu->library, "moejit_emulator_reset");
    if (sums == NULL || !create(&rig, gpu, family)) return fprintf(stderr, "%s: cannot run\n", name), false;
    reset();
    double begin = cpu_seconds();
    bool good = true;
    while (good && cpu_seconds() - begin < seconds) good = rig_forward(&rig) == MOEJIT_STATUS_OK;
    double took = cpu_seconds() - begin;
    sums(&counters);
    printf("%-10s %6.2f million warp instructions a second (%llu in %.1f s; %.1f %% of them memory and tensor)\n", name,
           (double)counters.warp_instructions / took * 1e-6, (unsigned long long)counters.warp_instructions, took,
           100.0 *
               (double)(counters.warp_instructions - counters.integer_ops - counters.float_ops - counters.control_ops) /
               (double)counters.warp_instructions);
    rig_destroy(&rig);
    return good;
}

int main(int argc, char **argv) {
    struct gpu gpu;
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 5;
    if (!gpu_open(&gpu, NULL)) return fprintf(stderr, "%s\n", gpu.error), 1;
    bool good = measure(&gpu, MOEJIT_FAMILY_PORTABLE, "portable", seconds);
    good = measure(&gpu, MOEJIT_FAMILY_HOPPER, "hopper", seconds) && good;
    gpu_close(&gpu);
    return good ? 0 : 1;
}
