#include "moe/search.h"

#include <stdio.h>
#include <string.h>

struct stage { // the candidates of one choice that may win
    const struct mj_search *search;
    struct mj_decision decisions[MJ_MAX_CANDIDATES];
    struct mj_searched *searched[MJ_MAX_CANDIDATES]; // where their timing goes; NULL: nowhere
    struct mj_timing timings[MJ_MAX_CANDIDATES];
    int num;
};

static void list_values(struct mj_search *search, const struct mj_problem *problem, moejit_family family,
                        int forced_tile, enum mj_choice choice) {
    int *values = search->values[choice];
    int num = mj_decision_values(problem, family, forced_tile, choice, values);
    for (int i = 1; i < num; i++) { // the untuned one comes first
        if (values[i] != search->untuned.value[choice]) continue;
        memmove(values + 1, values, (size_t)i * sizeof(*values));
        values[0] = search->untuned.value[choice];
    }
    search->num_values[choice] = num;
}

static void model(struct mj_search *search, enum mj_choice choice, const struct mj_device_figures *device,
                  const struct mj_step_size *step) {
    for (int i = 0; i < search->num_values[choice]; i++) {
        search->modelled_us[choice][i] = mj_cost_step(device, &mj_tiles[search->values[choice][i]], step);
    }
}

void mj_search_describe(struct mj_search *search, const struct mj_problem *problem, moejit_family family,
                        int forced_tile, int num_tokens, const struct mj_device_figures *device,
                        const int *expert_tokens) {
    const moejit_layer *layer = &problem->layer;
    const struct mj_step_size gate_up = {problem->gate_up_rows, layer->hidden, expert_tokens, layer->num_local_experts};
    const struct mj_step_size down = {layer->hidden, layer->intermediate, expert_tokens, layer->num_local_experts};
    memset(search, 0, sizeof(*search));
    search->untuned = mj_decision_untuned(problem, family, forced_tile, num_tokens);
    for (int choice = 0; choice < MJ_NUM_CHOICES; choice++)
        list_values(search, problem, family, forced_tile, (enum mj_choice)choice);
    if (device == NULL) return;
    model(search, MJ_CHOICE_GATE_UP_TILE, device, &gate_up);
    model(search, MJ_CHOICE_DOWN_TILE, device, &down);
}

static bool sample(void *user, int candidate, double *us) {
    struct stage *stage = user;
    return stage->search->sample(stage->search->user, &stage->decisions[candidate], us);
}

static bool is_pruned(const struct mj_search *search, enum mj_choice choice, int i) {
    const double *modelled = search->modelled_us[choice];
    double least = 0;
    for (int j = 0; j < search->num_values[choice]; j++) {
        if (modelled[j] > 0 && (least == 0 || modelled[j] < least)) least = modelled[j];
    }
    return search->values[choice][i] != search->untuned.value[choice] && modelled[i] > MJ_PRUNE_FACTOR * least;
}

static struct mj_searched *note(struct mj_found *found, const struct mj_decision *decision, enum mj_choice choice) {
    if (found->num_searched == MJ_MAX_SEARCHED) return NULL;
    struct mj_searched *searched = &found->searched[found->num_searched++];
    memset(searched, 0, sizeof(*searched));
    searched->decision = *decision;
    searched->choice = choice;
    return searched;
}

// What is not worth timing, what is wrong, and what races.
static enum mj_search_end gather(struct stage *stage, enum mj_choice choice, struct mj_found *found) {
    const struct mj_search *search = stage->search;
    stage->num = 0;
    for (int i = 0; i < search->num_values[choice] && stage->num < MJ_MAX_CANDIDATES; i++) {
        struct mj_decision decision = found->decision;
        decision.value[choice] = search->values[choice][i];
        struct mj_searched *searched = note(found, &decision, choice);
        if (is_pruned(search, choice, i)) {
            if (searched != NULL) searched->state = MJ_SEARCHED_PRUNED;
            if (searched != NULL) searched->modelled_us = search->modelled_us[choice][i];
            continue;
        }
        char reason[MJ_REASON_BYTES] = "";
        enum mj_verdict verdict = search->check(search->user, choice, &decision, reason);
        if (verdict == MJ_VERDICT_STOPPED) return MJ_SEARCH_STOPPED;
        if (verdict == MJ_VERDICT_REFUSED) {
            found->num_refused++;
            if (searched == NULL) continue;
            searched->state = MJ_SEARCHED_REFUSED;
            memcpy(searched->reason, reason, sizeof(reason));
            continue;
        }
        stage->decisions[stage->num] = decision;
        stage->searched[stage->num++] = searched;
    }
    return stage->num > 0 ? MJ_SEARCH_FOUND : MJ_SEARCH_ALL_REFUSED;
}

static bool race(struct stage *stage, struct mj_found *found) {
    int best = mj_halving_run(stage->num, sample, stage, stage->timings);
    if (best < 0) return false;
    for (int i = 0; i < stage->num; i++) {
        if (stage->searched[i] != NULL) stage->searched[i]->timing = stage->timings[i];
    }
    found->decision = stage->decisions[best];
    found->timing = stage->timings[best];
    return true;
}

static bool was_refused(const struct mj_found *found, const struct mj_decision *untuned) {
    for (int i = 0; i < found->num_searched; i++) {
        const struct mj_searched *searched = &found->searched[i];
        if (searched->state == MJ_SEARCHED_REFUSED &&
            searched->decision.value[searched->choice] == untuned->value[searched->choice]) {
            return true;
        }
    }
    return false;
}

// The found decision against the untuned one, which comes first: it wins where the two are equal. Where there is
// nothing to race against, and nothing was raced before, one decision is timed alone.
static enum mj_search_end duel(struct stage *stage, struct mj_found *found) {
    const struct mj_decision *untuned = &stage->search->untuned;
    bool same = mj_decision_equal(&found->decision, untuned), refused = was_refused(found, untuned);
    if ((same || refused) && found->timing.num_samples > 0) {
        found->untuned_us = same ? found->timing.us : 0;
        return MJ_SEARCH_FOUND;
    }
    stage->num = 0;
    if (!refused) stage->decisions[stage->num++] = *untuned;
    if (!same) stage->decisions[stage->num++] = found->decision;
    stage->searched[0] = stage->searched[1] = NULL;
    if (!race(stage, found)) return MJ_SEARCH_STOPPED;
    found->untuned_us = refused ? 0 : stage->timings[0].us;
    return MJ_SEARCH_FOUND;
}

enum mj_search_end mj_search_run(const struct mj_search *search, struct mj_found *found) {
    struct stage stage = {.search = search};
    memset(found, 0, sizeof(*found));
    found->decision = search->untuned;
    for (int choice = 0; choice < MJ_NUM_CHOICES; choice++) {
        enum mj_search_end end = gather(&stage, (enum mj_choice)choice, found);
        if (end != MJ_SEARCH_FOUND) return end;
        if (stage.num == 1) { // nothing to time: the only one that is left
            found->decision = stage.decisions[0];
            continue;
        }
        if (!race(&stage, found)) return MJ_SEARCH_STOPPED;
    }
    return duel(&stage, found);
}
