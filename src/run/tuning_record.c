#include "run/tuning_record.h"

#include <stdio.h>
#include <string.h>

#include "run/tuning_key.h"
#include "tuning_store.h"

static void warn(void *user, const char *text) {
    mj_context_log(user, MOEJIT_LOG_WARNING, text);
}

moejit_status mj_tuning_record_open(struct mj_tuning_record *record, struct moejit_plan *plan,
                                    const moejit_tune_options *options) {
    struct moejit_context *context = plan->context;
    memset(record, 0, sizeof(*record));
    moejit_status status = mj_tuning_key_write(plan, options, &record->key, &context->error);
    if (status == MOEJIT_STATUS_OK) {
        record->store = mj_tuning_store_open(mj_store_path(context->store), false, warn, context);
        if (record->store == NULL)
            status = mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the store of tunings");
    }
    if (status != MOEJIT_STATUS_OK) mj_tuning_record_close(record);
    return status;
}

void mj_tuning_record_close(struct mj_tuning_record *record) {
    mj_tuning_store_close(record->store);
    mj_text_free(&record->key);
    record->store = NULL;
}

static struct mj_text bucket_key(const struct mj_tuning_record *record, const struct mj_plan_bucket *bucket) {
    struct mj_text key = {0};
    mj_text_append_bytes(&key, record->key.data, record->key.bytes);
    mj_tuning_key_append_tokens(&key, bucket->num_tokens);
    return key;
}

static bool is_legal(const struct moejit_plan *plan, const struct mj_decision *decision) {
    for (int choice = 0; choice < MJ_NUM_CHOICES; choice++) {
        int values[MJ_MAX_VALUES];
        int num = mj_decision_values(&plan->problem, plan->family, plan->forced_tile, (enum mj_choice)choice, values);
        bool found = false;
        for (int i = 0; i < num; i++) found = found || values[i] == decision->value[choice];
        if (!found) return false;
    }
    return true;
}

struct adopting {
    const struct moejit_plan *plan;
    struct mj_plan_bucket bucket;
    bool adopted;
};

static bool adopt_row(void *user, const struct mj_tuning_row *row) {
    struct adopting *adopting = user;
    struct mj_plan_bucket *bucket = &adopting->bucket;
    if (strcmp(row->state, MJ_TUNING_REFUSED) == 0) bucket->num_refused++;
    if (strcmp(row->state, MJ_TUNING_CHOSEN) != 0) return true;
    struct mj_decision decision = mj_plan_untuned(adopting->plan, bucket->num_tokens);
    if (!mj_decision_read(row->candidate, &decision) || !is_legal(adopting->plan, &decision)) return true;
    adopting->adopted = true;
    bucket->decided = MOEJIT_DECIDED_BY_STORE;
    bucket->decision = decision;
    bucket->us = row->us;
    bucket->noise_us = row->noise_us;
    bucket->untuned_us = row->untuned_us;
    bucket->num_samples = row->num_samples;
    return true;
}

bool mj_tuning_record_adopt(struct mj_tuning_record *record, struct moejit_plan *plan, int bucket_idx) {
    struct adopting adopting = {.plan = plan, .bucket = {.num_tokens = plan->buckets[bucket_idx].num_tokens}};
    struct mj_text key = bucket_key(record, &plan->buckets[bucket_idx]);
    if (!key.failed) mj_tuning_store_each(record->store, key.data, adopt_row, &adopting);
    mj_text_free(&key);
    if (adopting.adopted) plan->buckets[bucket_idx] = adopting.bucket;
    return adopting.adopted;
}

// The chosen one first; the others as they were seen last.
static int write_rows(const struct mj_found *found, struct mj_tuning_row *rows, char (*texts)[MJ_DECISION_BYTES],
                      char (*reasons)[64]) {
    static const char *const states[] = {
        [MJ_SEARCHED_TIMED] = MJ_TUNING_TIMED,
        [MJ_SEARCHED_REFUSED] = MJ_TUNING_REFUSED,
        [MJ_SEARCHED_PRUNED] = MJ_TUNING_PRUNED,
    };
    int num = 1;
    mj_decision_write(&found->decision, texts[0]);
    rows[0] = (struct mj_tuning_row){.candidate = texts[0],
                                     .state = MJ_TUNING_CHOSEN,
                                     .reason = "",
                                     .us = found->timing.us,
                                     .noise_us = found->timing.noise_us,
                                     .untuned_us = found->untuned_us,
                                     .num_samples = found->timing.num_samples};
    for (int i = 0; i < found->num_searched; i++) {
        const struct mj_searched *searched = &found->searched[i];
        int at = 0;
        mj_decision_write(&searched->decision, texts[num]);
        while (at < num && strcmp(texts[at], texts[num]) != 0) at++;
        if (at < num && (at == 0 || searched->state != MJ_SEARCHED_REFUSED)) continue;
        reasons[at][0] = '\0';
        if (searched->state == MJ_SEARCHED_PRUNED)
            snprintf(reasons[at], sizeof(reasons[at]), "modelled at %.4g us", searched->modelled_us);
        rows[at] =
            (struct mj_tuning_row){.candidate = texts[at],
                                   .state = states[searched->state],
                                   .reason = searched->state == MJ_SEARCHED_REFUSED ? searched->reason : reasons[at],
                                   .us = searched->timing.us,
                                   .noise_us = searched->timing.noise_us,
                                   .num_samples = searched->timing.num_samples};
        if (at == num) num++;
    }
    return num;
}

void mj_tuning_record_insert(struct mj_tuning_record *record, struct moejit_plan *plan, int bucket_idx,
                             const struct mj_found *found, bool replace) {
    struct mj_tuning_row rows[MJ_MAX_SEARCHED + 1];
    char texts[MJ_MAX_SEARCHED + 2][MJ_DECISION_BYTES], reasons[MJ_MAX_SEARCHED + 1][64];
    struct mj_plan_bucket *bucket = &plan->buckets[bucket_idx];
    struct mj_text key = bucket_key(record, bucket);
    int num = write_rows(found, rows, texts, reasons);
    bool kept = !key.failed && mj_tuning_store_insert(record->store, key.data, rows, num, replace);
    mj_text_free(&key);
    *bucket = (struct mj_plan_bucket){
        .num_tokens = bucket->num_tokens,
        .decided = MOEJIT_DECIDED_BY_TUNING,
        .decision = found->decision,
        .us = found->timing.us,
        .noise_us = found->timing.noise_us,
        .untuned_us = found->untuned_us,
        .num_samples = found->timing.num_samples,
        .num_refused = found->num_refused,
    };
    // Where two measured at once, both follow the one that was kept.
    struct mj_decision ours = bucket->decision;
    if (kept && !replace && mj_tuning_record_adopt(record, plan, bucket_idx) &&
        mj_decision_equal(&ours, &bucket->decision)) {
        bucket->decided = MOEJIT_DECIDED_BY_TUNING;
    }
}

bool mj_tuning_record_claim(struct mj_tuning_record *record, struct mj_flight_wait *wait) {
    return mj_tuning_store_claim(record->store, record->key.data, wait);
}

void mj_tuning_record_leave(struct mj_tuning_record *record) {
    mj_tuning_store_leave(record->store, record->key.data);
}
