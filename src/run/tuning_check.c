// A candidate's numbers beside the portable kernels': h' for gate_up, the output for all else. What a step writes is
// poisoned before, so that what it leaves out is found.
#include <stdio.h>
#include <string.h>

#include "moe/accuracy.h"
#include "moe/agreement.h"
#include "run/tuning_bench.h"

#define POISON 0xff // NaN in every dtype of ours
#define LEAST_ROUNDING 2e-3
// Another order of sums may turn an e2m1 value of h' into its neighbour, up to half as large again.
#define NVFP4_ROUNDING 5e-2

static double rounding_of(const struct mj_problem *problem) {
    const struct mj_accuracy_case what = {problem, false, false};
    double bound = mj_accuracy_bound(&what);
    if (problem->layer.activation_format == MOEJIT_FORMAT_NVFP4) return NVFP4_ROUNDING;
    return bound > LEAST_ROUNDING ? bound : LEAST_ROUNDING;
}

static struct mj_decision portable(const struct mj_tuning_bench *bench) {
    struct mj_decision decision = mj_plan_untuned(bench->plan, bench->num_tokens);
    decision.value[MJ_CHOICE_GATE_UP_TILE] = decision.value[MJ_CHOICE_DOWN_TILE] = bench->reference_tile;
    return decision;
}

static CUresult poison(struct mj_tuning_bench *bench, size_t offset, size_t bytes) {
    return bench->plan->context->driver.cuMemsetD8Async((CUdeviceptr)(bench->scratch.memory + offset), POISON, bytes,
                                                        bench->stream);
}

static CUresult poison_workspace(struct mj_tuning_bench *bench) {
    return poison(bench, bench->scratch.layout.workspace, bench->plan->workspace.total);
}

// Steps until h' with the decision's gate_up tile.
static moejit_status run_gate_up(struct mj_tuning_bench *bench, const struct mj_decision *decision) {
    const struct moejit_plan *trial = mj_tuning_bench_under(bench, decision);
    const moejit_forward_args args = mj_tuning_scratch_args(&bench->scratch, bench->num_tokens, MJ_CHECK_ROUTING);
    moejit_status status = moejit_route(trial, &args, bench->executor, bench->stream);
    if (status == MOEJIT_STATUS_OK) status = moejit_quantize(trial, &args, bench->executor, bench->stream);
    if (status != MOEJIT_STATUS_OK) return status;
    return moejit_gate_up(trial, &bench->scratch.weights[0], &args, bench->executor, bench->stream);
}

static moejit_status run_down(struct mj_tuning_bench *bench, const struct mj_decision *decision) {
    const moejit_forward_args args = mj_tuning_scratch_args(&bench->scratch, bench->num_tokens, MJ_CHECK_ROUTING);
    return moejit_down(mj_tuning_bench_under(bench, decision), &bench->scratch.weights[0], &args, bench->executor,
                       bench->stream);
}

static moejit_status run_forward(struct mj_tuning_bench *bench, const struct mj_decision *decision) {
    const moejit_forward_args args = mj_tuning_scratch_args(&bench->scratch, bench->num_tokens, MJ_CHECK_ROUTING);
    return moejit_forward(mj_tuning_bench_under(bench, decision), &bench->scratch.weights[0], &args, bench->executor,
                          bench->stream);
}

static long long row_idx(long long num_rows, int i) {
    return num_rows <= MJ_CHECK_ROWS ? i : (num_rows - 1) * i / (MJ_CHECK_ROWS - 1);
}

static int num_kept(long long num_rows) {
    return num_rows < MJ_CHECK_ROWS ? (int)num_rows : MJ_CHECK_ROWS;
}

// Waits.
static CUresult read_rows(struct mj_tuning_bench *bench, const unsigned char *memory, size_t row_bytes,
                          long long num_rows, void *rows) {
    const struct mj_driver *driver = &bench->plan->context->driver;
    CUresult result = CUDA_SUCCESS;
    for (int i = 0; i < num_kept(num_rows) && result == CUDA_SUCCESS; i++) {
        result = driver->cuMemcpyDtoHAsync((char *)rows + (size_t)i * row_bytes,
                                           (CUdeviceptr)(memory + (size_t)row_idx(num_rows, i) * row_bytes), row_bytes,
                                           bench->stream);
    }
    return result == CUDA_SUCCESS ? driver->cuStreamSynchronize(bench->stream) : result;
}

struct place { // what a step writes
    const char *what;
    const unsigned char *memory;
    size_t row_bytes, columns;
    moejit_dtype dtype;
    struct mj_checked_rows *reference;
};

static struct place intermediate_place(struct mj_tuning_bench *bench) {
    const struct mj_tuning_scratch *scratch = &bench->scratch;
    size_t columns = (size_t)bench->plan->problem.layer.intermediate;
    return (struct place){"h'",
                          scratch->memory + scratch->layout.workspace + bench->plan->workspace.intermediate,
                          columns * 2,
                          columns,
                          MOEJIT_DTYPE_BF16,
                          &bench->intermediate};
}

static struct place output_place(struct mj_tuning_bench *bench) {
    const moejit_layer *layer = &bench->plan->problem.layer;
    size_t columns = (size_t)layer->hidden;
    return (struct place){"the output",
                          bench->scratch.memory + bench->scratch.layout.output,
                          columns * mj_dtype_bytes(layer->output_dtype),
                          columns,
                          layer->output_dtype,
                          &bench->output};
}

static moejit_status failed(struct mj_tuning_bench *bench, CUresult result) {
    return mj_driver_failed(&bench->plan->context->driver, result, "checking a candidate of tuning", bench->error);
}

static moejit_status count_pairs(struct mj_tuning_bench *bench, long long *num) {
    const struct mj_driver *driver = &bench->plan->context->driver;
    const unsigned char *offsets =
        bench->scratch.memory + bench->scratch.layout.workspace + bench->plan->workspace.expert_offsets;
    int32_t pairs = 0;
    CUresult result = driver->cuMemcpyDtoHAsync(
        &pairs, (CUdeviceptr)(offsets + (size_t)bench->plan->problem.layer.num_local_experts * sizeof(int32_t)),
        sizeof(pairs), bench->stream);
    if (result == CUDA_SUCCESS) result = driver->cuStreamSynchronize(bench->stream);
    *num = pairs;
    return result == CUDA_SUCCESS ? MOEJIT_STATUS_OK : failed(bench, result);
}

// What the portable kernels write; once for each number of tokens.
static moejit_status make_reference(struct mj_tuning_bench *bench) {
    struct mj_decision decision = portable(bench);
    if (bench->output.num_rows >= 0) return MOEJIT_STATUS_OK;
    moejit_status status = mj_plan_prepare_decision(bench->plan, &decision);
    if (status != MOEJIT_STATUS_OK) return status;
    CUresult result = poison_workspace(bench);
    if (result == CUDA_SUCCESS)
        result = poison(bench, bench->scratch.layout.output, bench->scratch.layout.output_bytes);
    if (result != CUDA_SUCCESS) return failed(bench, result);
    status = run_gate_up(bench, &decision);
    if (status == MOEJIT_STATUS_OK) status = run_down(bench, &decision);
    if (status != MOEJIT_STATUS_OK) {
        *bench->error = bench->executor->error;
        return status;
    }
    status = count_pairs(bench, &bench->intermediate.num_rows);
    if (status != MOEJIT_STATUS_OK) return status;
    struct place h = intermediate_place(bench), output = output_place(bench);
    result = read_rows(bench, h.memory, h.row_bytes, bench->intermediate.num_rows, bench->intermediate.rows);
    if (result == CUDA_SUCCESS)
        result = read_rows(bench, output.memory, output.row_bytes, bench->num_tokens, bench->output.rows);
    if (result != CUDA_SUCCESS) return failed(bench, result);
    bench->output.num_rows = bench->num_tokens;
    return MOEJIT_STATUS_OK;
}

static moejit_status compare(struct mj_tuning_bench *bench, const struct place *place, bool *good,
                             char reason[MJ_REASON_BYTES]) {
    long long num_rows = place->reference->num_rows;
    CUresult result = read_rows(bench, place->memory, place->row_bytes, num_rows, bench->candidate_rows);
    if (result != CUDA_SUCCESS) return failed(bench, result);
    struct mj_agreement agreement = {.row = -1, .good = true};
    double rounding = rounding_of(&bench->plan->problem);
    for (int i = 0; i < num_kept(num_rows); i++) {
        size_t offset = (size_t)i * place->row_bytes;
        mj_agreement_row(&agreement, row_idx(num_rows, i), (const char *)bench->candidate_rows + offset,
                         (const char *)place->reference->rows + offset, place->dtype, place->columns, rounding);
    }
    *good = agreement.good;
    if (!agreement.good) {
        snprintf(reason, MJ_REASON_BYTES,
                 "at %d tokens row %lld of %s is %.3g times as far from the portable kernels' as another order of sums "
                 "allows",
                 bench->num_tokens, agreement.row, place->what, agreement.worst);
    }
    return MOEJIT_STATUS_OK;
}

// Runs the step of the choice with all before it portable.
static moejit_status run_step(struct mj_tuning_bench *bench, enum mj_choice choice,
                              const struct mj_decision *decision) {
    struct mj_decision reference = portable(bench);
    CUresult result = poison_workspace(bench);
    if (result == CUDA_SUCCESS)
        result = poison(bench, bench->scratch.layout.output, bench->scratch.layout.output_bytes);
    if (result != CUDA_SUCCESS) return failed(bench, result);
    moejit_status status;
    switch (choice) {
    case MJ_CHOICE_GATE_UP_TILE: status = run_gate_up(bench, decision); break;
    case MJ_CHOICE_DOWN_TILE:
        status = run_gate_up(bench, &reference);
        if (status == MOEJIT_STATUS_OK) status = run_down(bench, decision);
        break;
    default: status = run_forward(bench, decision); break;
    }
    if (status != MOEJIT_STATUS_OK) *bench->error = bench->executor->error;
    return status;
}

moejit_status mj_tuning_bench_check(struct mj_tuning_bench *bench, enum mj_choice choice,
                                    const struct mj_decision *decision, bool *good, char reason[MJ_REASON_BYTES]) {
    *good = false;
    moejit_status status = make_reference(bench);
    if (status != MOEJIT_STATUS_OK) return status;
    status = mj_plan_prepare_decision(bench->plan, decision);
    // A candidate that this GPU or this compiler does not take is no failure of tuning.
    if (status == MOEJIT_STATUS_COMPILE_FAILED || status == MOEJIT_STATUS_UNSUPPORTED) {
        snprintf(reason, MJ_REASON_BYTES, "%s", bench->error->message);
        mj_error_clear(bench->error);
        return MOEJIT_STATUS_OK;
    }
    if (status == MOEJIT_STATUS_OK) status = run_step(bench, choice, decision);
    if (status != MOEJIT_STATUS_OK) return status;
    struct place place = choice == MJ_CHOICE_GATE_UP_TILE ? intermediate_place(bench) : output_place(bench);
    return compare(bench, &place, good, reason);
}
