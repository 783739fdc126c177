#include "bench_check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "moe/accuracy.h"
#include "moe/nvfp4.h"
#include "moe/tile.h"

struct outputs { // host copies
    unsigned char *ours, *others;
    size_t bytes;
};

static bool run_forward(struct bench *bench, const moejit_plan *plan, const struct bench_call *call,
                        moejit_executor *executor, const moejit_forward_args *args, unsigned char *host, size_t bytes) {
    struct gpu *gpu = &bench->gpu;
    if (!gpu_ok(gpu, gpu->cuMemsetD8((CUdeviceptr)args->output.data, 0xff, bytes), "poisoning the output") ||
        !gpu_ok(gpu, gpu->cuCtxSynchronize(), "poisoning the output")) {
        return bench_fail("check", gpu->error);
    }
    if (moejit_forward(plan, call->layer->weights[0], args, executor, bench->stream) != MOEJIT_STATUS_OK)
        return bench_fail("check", moejit_executor_error(executor));
    if (!gpu_ok(gpu, gpu->cuStreamSynchronize(bench->stream), "waiting for forward") ||
        !gpu_download(gpu, host, args->output.data, bytes)) {
        return bench_fail("check", gpu->error);
    }
    return true;
}

// As timed; but where bits are compared one that shares no tile, which the portable family does not do: a sum of two
// CTAs' sums has other bits (docs/decisions/0014-shared-tiles.md).
static bool choose_executor(struct bench *bench, const struct bench_call *call, bool exact,
                            moejit_executor **executor) {
    moejit_executor_options options;
    *executor = call->executor;
    if (!exact) return true;
    moejit_executor_options_init(&options);
    options.max_tile_ctas = 1;
    return moejit_executor_create(bench->context, &options, executor) == MOEJIT_STATUS_OK ||
           bench_fail("check", moejit_context_error(bench->context));
}

static bool run_other(struct bench *bench, const struct bench_call *call, const moejit_layer *description,
                      moejit_family family, moejit_executor *executor, struct outputs *outputs) {
    moejit_plan_options options;
    moejit_plan *plan = NULL;
    moejit_forward_args args = call->args[0];
    int kept = bench->num_memory;
    moejit_plan_options_init(&options);
    options.max_num_tokens = call->num_tokens;
    options.family = family;
    if (moejit_plan_create(bench->context, description, &options, &plan) != MOEJIT_STATUS_OK)
        return bench_fail("check", moejit_context_error(bench->context));
    args.workspace_bytes = moejit_plan_workspace_bytes(plan);
    args.workspace = bench_upload(bench, NULL, args.workspace_bytes);
    bool good = args.workspace != NULL || bench_fail("check", bench->gpu.error);
    good = good && run_forward(bench, plan, call, executor, &args, outputs->others, outputs->bytes);
    moejit_plan_destroy(plan);
    bench_release(bench, kept);
    return good;
}

static double element_value(moejit_dtype dtype, const unsigned char *bytes, size_t i) {
    float single;
    uint16_t half;
    if (dtype == MOEJIT_DTYPE_F32) {
        memcpy(&single, bytes + i * 4, 4);
        return (double)single;
    }
    memcpy(&half, bytes + i * 2, 2);
    return (double)(dtype == MOEJIT_DTYPE_BF16 ? mj_bf16_value(half) : mj_f16_value(half));
}

// A rank that no token chose is all zeros; NaN stays NaN, which no limit lets pass.
static double relative(double error, double scale) {
    return error == 0 && scale == 0 ? 0 : sqrt(error / scale);
}

// Rows are measured against the root mean square row, so that a row that cancels out does not divide by nothing.
static void measure(const moejit_layer *layer, size_t rows, const unsigned char *ours, const unsigned char *others,
                    struct bench_check *check) {
    size_t hidden = (size_t)layer->hidden, element = mj_dtype_bytes(layer->output_dtype);
    double error = 0, scale = 0, worst = 0;
    for (size_t r = 0; r < rows; r++) {
        double row_error = 0;
        for (size_t i = r * hidden; i < (r + 1) * hidden; i++) {
            double got = element_value(layer->output_dtype, ours, i);
            double want = element_value(layer->output_dtype, others, i);
            check->differing += memcmp(ours + i * element, others + i * element, element) != 0;
            row_error += (got - want) * (got - want);
            scale += want * want;
        }
        error += row_error;
        if (!isnan(worst) && !(row_error <= worst)) worst = row_error;
    }
    check->total = relative(error, scale);
    check->worst_row = relative(worst, scale / (double)rows);
}

void bench_check_compare(const struct mj_problem *problem, size_t rows, const void *ours, const void *others,
                         struct bench_check *check) {
    struct mj_accuracy_case what = {problem, false, false};
    measure(&problem->layer, rows, ours, others, check);
    check->limit = 2 * mj_accuracy_bound(&what) * sqrt(problem->layer.top_k);
    bool equal = check->differing == 0 && check->total == 0;
    bool near = check->total <= check->limit && check->worst_row <= 3 * check->limit;
    check->good = check->exact ? equal : near;
    check->done = true;
}

bool bench_check_run(struct bench *bench, struct bench_call *call, const struct bench_variant *variant,
                     struct bench_check *check) {
    const char *arch = moejit_context_arch(bench->context);
    moejit_family best = mj_family_best(arch);
    moejit_family own = variant->family == MOEJIT_FAMILY_AUTO ? best : variant->family;
    moejit_family other = own == MOEJIT_FAMILY_PORTABLE ? best : MOEJIT_FAMILY_PORTABLE;
    moejit_layer description = call->layer->problem.layer;
    description.sum = moejit_plan_sum(call->plan);
    moejit_layer others = description;
    if (other == own) others.sum = MOEJIT_SUM_DETERMINISTIC;
    check->against = other == own ? "deterministic" : mj_family_name(other);
    check->exact = description.sum != MOEJIT_SUM_ATOMIC && others.sum == description.sum;
    size_t bytes = (size_t)call->num_tokens * (size_t)description.hidden * mj_dtype_bytes(description.output_dtype);
    struct outputs outputs = {malloc(bytes), malloc(bytes), bytes};
    bool good = (outputs.ours != NULL && outputs.others != NULL) || bench_fail("check", "no host memory");
    moejit_executor *executor = NULL;
    good = good && choose_executor(bench, call, check->exact, &executor) &&
           run_forward(bench, call->plan, call, executor, &call->args[0], outputs.ours, bytes) &&
           run_other(bench, call, &others, other, executor, &outputs);
    if (executor != call->executor) moejit_executor_destroy(executor);
    struct mj_problem problem = call->layer->problem;
    problem.layer = description;
    problem.sum = description.sum == MOEJIT_SUM_ATOMIC ? MJ_SUM_ATOMIC : MJ_SUM_ORDERED;
    if (good) bench_check_compare(&problem, (size_t)call->num_tokens, outputs.ours, outputs.others, check);
    free(outputs.ours);
    free(outputs.others);
    return good;
}

void bench_check_print(const struct bench_check *check) {
    if (!check->done) return;
    printf("  %s %s: error %.2e of all, %.2e of the worst row, %lld elements differ", check->good ? "ok" : "BAD",
           check->against, check->total, check->worst_row, check->differing);
}

void bench_check_print_json(const struct bench_check *check) {
    if (!check->done) return;
    printf(", \"check\": {\"good\": %s, \"against\": \"%s\", \"exact\": %s, \"total\": %.3g, \"worst_row\": %.3g, "
           "\"differing\": %lld}",
           check->good ? "true" : "false", check->against, check->exact ? "true" : "false", fmin(check->total, DBL_MAX),
           fmin(check->worst_row, DBL_MAX), check->differing); // JSON has no NaN
}
