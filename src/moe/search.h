// The decision for one bucket of token counts: choice after choice, each by successive halving with the others held;
// then the found decision against the untuned one, which only leaves where it is slower by more than the noise. Pure:
// samples and checks are the caller's.
#ifndef MOEJIT_MOE_SEARCH_H
#define MOEJIT_MOE_SEARCH_H

#include "moe/cost.h"
#include "moe/decision.h"
#include "moe/halving.h"

#define MJ_REASON_BYTES 512
#define MJ_MAX_SEARCHED 40 // candidates of all choices
#define MJ_PRUNE_FACTOR 2.0

enum mj_verdict { MJ_VERDICT_GOOD, MJ_VERDICT_REFUSED, MJ_VERDICT_STOPPED };

struct mj_search {
    struct mj_decision untuned;
    int num_values[MJ_NUM_CHOICES]; // legal ones, in the order that decides among equals: the untuned one, then the
                                    // others as they stand in their table
    int values[MJ_NUM_CHOICES][MJ_MAX_VALUES];
    // Of the cost model; 0: none. What is over MJ_PRUNE_FACTOR times the least of a choice is not timed.
    double modelled_us[MJ_NUM_CHOICES][MJ_MAX_VALUES];
    // Whether the step with decision->value[choice] gives what it must; REFUSED with a sentence in `reason`.
    enum mj_verdict (*check)(void *user, enum mj_choice choice, const struct mj_decision *decision,
                             char reason[MJ_REASON_BYTES]);
    // One sample of the layer, in microseconds; false stops.
    bool (*sample)(void *user, const struct mj_decision *decision, double *us);
    void *user;
};

enum mj_searched_state { MJ_SEARCHED_TIMED, MJ_SEARCHED_REFUSED, MJ_SEARCHED_PRUNED };

struct mj_searched { // a candidate
    struct mj_decision decision;
    enum mj_choice choice; // that it was a candidate for
    enum mj_searched_state state;
    struct mj_timing timing;      // TIMED
    double modelled_us;           // PRUNED
    char reason[MJ_REASON_BYTES]; // REFUSED
};

struct mj_found {
    struct mj_decision decision;
    struct mj_timing timing;
    double untuned_us; // in the same run as timing; 0: the untuned decision was refused
    struct mj_searched searched[MJ_MAX_SEARCHED];
    int num_searched, num_refused;
};

enum mj_search_end {
    MJ_SEARCH_FOUND,
    MJ_SEARCH_STOPPED,
    MJ_SEARCH_ALL_REFUSED, // no value of some choice was good; found->searched tells
};

// Fills in what a problem and its tokens ask for: all but check, sample and user. device: NULL for no cost model.
// expert_tokens [num_local_experts]: of a typical routing.
void mj_search_describe(struct mj_search *search, const struct mj_problem *problem, moejit_family family,
                        int forced_tile, int num_tokens, const struct mj_device_figures *device,
                        const int *expert_tokens);

enum mj_search_end mj_search_run(const struct mj_search *search, struct mj_found *found);

#endif
