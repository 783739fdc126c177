#ifndef MOEJIT_RUN_PLAN_H
#define MOEJIT_RUN_PLAN_H

#include "moe/bucket.h"
#include "moe/decision.h"
#include "moe/layout.h"
#include "run/loaded_kernel.h"

#define MJ_MAX_PLAN_KERNELS (MJ_NUM_KERNELS + 2 * MJ_NUM_TILES)

struct mj_plan_bucket {
    int num_tokens; // the most
    moejit_decided decided;
    struct mj_decision decision; // unless BY_RULE
    double us, noise_us, untuned_us;
    int num_samples, num_refused;
};

struct moejit_plan {
    struct moejit_context *context;
    struct mj_problem problem;
    int max_num_tokens;
    moejit_family family; // never AUTO
    int forced_tile;      // -1: none
    bool describe_only;   // nothing is loaded
    struct mj_workspace_layout workspace;
    struct mj_loaded_kernel kernels[MJ_MAX_PLAN_KERNELS];
    int num_kernels;
    struct mj_plan_bucket buckets[MJ_MAX_BUCKETS];
    int num_buckets;
    const struct mj_decision *trial; // a tuning run's; else NULL
};

// What forward does for a number of tokens, and what it would do untuned.
struct mj_decision mj_plan_decide(const struct moejit_plan *plan, int num_tokens);
struct mj_decision mj_plan_untuned(const struct moejit_plan *plan, int num_tokens);

// Every kernel that the plan's decisions use.
struct mj_wanted {
    enum mj_kernel_id id;
    int tile_idx;
};
int mj_plan_wanted(const struct moejit_plan *plan, struct mj_wanted list[MJ_MAX_PLAN_KERNELS]);

// Loads those that the plan does not hold yet; what could not be loaded leaves nothing behind. The context must be
// entered where it is attached. progress may be NULL.
moejit_status mj_plan_prepare(struct moejit_plan *plan, const struct mj_wanted *list, int num,
                              moejit_progress_fn progress, void *user);
// The same for both steps of a decision.
moejit_status mj_plan_prepare_decision(struct moejit_plan *plan, const struct mj_decision *decision);

// The kernel with that tile (-1 for kernels without one), or NULL where the plan does not hold it.
const struct mj_loaded_kernel *mj_plan_find(const struct moejit_plan *plan, enum mj_kernel_id id, int tile_idx);

#endif
