// moejit bench: what a layer costs, beside what this GPU can do.
#include <stddef.h>

#include "bench.h"

static bool run_ceilings(struct bench *bench) {
    bench->total = 1;
    bool good = bench_ceilings_measure(bench);
    bench_progress(bench, NULL);
    if (good) bench_ceilings_print(bench);
    return good;
}

static bool run(struct bench *bench) {
    switch (bench->options.mode) {
    case BENCH_CEILINGS: return run_ceilings(bench);
    case BENCH_ZEROING: return bench_zeroing_run(bench);
    case BENCH_OVERLAP: return bench_overlap_run(bench);
    case BENCH_HOST: return bench_host_run(bench);
    default: return bench_steps_run(bench);
    }
}

int command_bench(int argc, char **argv) {
    static struct bench bench; // large, and there is one
    int exit_status = EXIT_GOOD;
    if (!bench_options_parse(&bench.options, argc, argv, &exit_status)) return exit_status;
    bool good = bench_open(&bench) && run(&bench);
    bench_close(&bench);
    if (!good) return EXIT_UNAVAILABLE;
    return bench.checks_failed > 0 ? EXIT_WRONG : EXIT_GOOD;
}
