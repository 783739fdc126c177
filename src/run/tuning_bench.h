// The layer under one decision, on memory of the tuning run's own: timed as a captured graph, and checked step by step
// against the portable kernels.
#ifndef MOEJIT_RUN_TUNING_BENCH_H
#define MOEJIT_RUN_TUNING_BENCH_H

#include "moe/search.h"
#include "run/executor.h"
#include "run/tuning_scratch.h"

#define MJ_CHECK_ROWS 256 // compared of an output; of more, so many evenly spread

struct mj_checked_rows { // of h' or of the output, as the portable kernels write them
    void *rows;          // host; NULL: not made yet
    long long num_rows;  // there are, of which at most MJ_CHECK_ROWS are kept
};

struct mj_tuning_graph {
    struct mj_decision decision;
    CUgraphExec exec;
};

struct mj_tuning_bench {
    struct moejit_plan *plan;
    struct moejit_plan trial; // the plan with one decision
    struct mj_decision decision;
    struct mj_tuning_scratch scratch;
    struct moejit_executor *executor;
    CUstream stream;
    CUevent started, ended;
    int num_tokens, num_forwards; // of a graph
    struct mj_tuning_graph graphs[MJ_MAX_SEARCHED];
    int num_graphs;
    int reference_tile; // a portable one
    struct mj_checked_rows intermediate, output;
    void *candidate_rows; // host
    struct mj_error *error;
};

// The portable tile that candidates are compared with: one for all token counts.
int mj_tuning_reference_tile(const struct moejit_plan *plan);

// The context must be entered for all of these, and until close. scratch: the caller's memory, or NULL.
moejit_status mj_tuning_bench_open(struct mj_tuning_bench *bench, struct moejit_plan *plan, void *scratch,
                                   size_t scratch_bytes);
void mj_tuning_bench_close(struct mj_tuning_bench *bench);

// Turns to another number of tokens. expert_tokens [num_local_experts]: of one routing.
moejit_status mj_tuning_bench_begin(struct mj_tuning_bench *bench, const struct mj_routing *routing, int num_tokens,
                                    int *expert_tokens);

// Microseconds of one forward. Its kernels must be prepared.
moejit_status mj_tuning_bench_sample(struct mj_tuning_bench *bench, const struct mj_decision *decision, double *us);

// Whether the choice's step gives what the portable kernels give. Prepares the kernels; *good is false, with a sentence
// in `reason`, where one cannot be prepared or is wrong. The status is of what concerns no candidate.
moejit_status mj_tuning_bench_check(struct mj_tuning_bench *bench, enum mj_choice choice,
                                    const struct mj_decision *decision, bool *good, char reason[MJ_REASON_BYTES]);

// For mj_tuning_check alone: a forward's arguments with the check's ids, and the trial plan under a decision.
const struct moejit_plan *mj_tuning_bench_under(struct mj_tuning_bench *bench, const struct mj_decision *decision);

#endif
