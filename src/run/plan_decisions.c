// What a plan tells about its decisions.
#include <stdio.h>
#include <string.h>

#include "key.h"
#include "run/plan.h"

int32_t moejit_plan_num_decisions(const moejit_plan *plan) {
    return plan != NULL ? plan->num_buckets : 0;
}

moejit_status moejit_plan_decision(const moejit_plan *plan, int32_t decision_idx, moejit_decision *decision) {
    if (plan == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    if (decision == NULL || decision_idx < 0 || decision_idx >= plan->num_buckets) {
        return mj_error_set(&plan->context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "decision_idx is %d, needs 0 to %d; decision is %p", decision_idx, plan->num_buckets - 1,
                            (void *)decision);
    }
    const struct mj_plan_bucket *bucket = &plan->buckets[decision_idx];
    const struct mj_decision decided = mj_plan_decide(plan, bucket->num_tokens);
    moejit_decision ours = {
        .struct_size = decision->struct_size,
        .first_num_tokens = decision_idx > 0 ? plan->buckets[decision_idx - 1].num_tokens + 1 : 1,
        .last_num_tokens = bucket->num_tokens,
        .decided = bucket->decided,
        .us = bucket->us,
        .noise_us = bucket->noise_us,
        .untuned_us = bucket->untuned_us,
        .num_samples = bucket->num_samples,
        .num_refused = bucket->num_refused,
    };
    mj_decision_write(&decided, ours.text);
    memcpy(decision, &ours, decision->struct_size < sizeof(ours) ? decision->struct_size : sizeof(ours));
    return MOEJIT_STATUS_OK;
}

// The rule is part of the library, so that its buckets need no more than their bounds.
static void append_bucket(struct mj_text *text, const struct mj_plan_bucket *bucket) {
    char decision[MJ_DECISION_BYTES] = "by rule";
    if (bucket->decided != MOEJIT_DECIDED_BY_RULE) mj_decision_write(&bucket->decision, decision);
    mj_text_append(text, "%d %s\n", bucket->num_tokens, decision);
}

moejit_status moejit_plan_digest(const moejit_plan *plan, char digest[33]) {
    if (plan == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    struct mj_error *error = &plan->context->error;
    if (digest == NULL) return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "digest is NULL");
    struct mj_text text = {0};
    struct mj_wanted wanted[MJ_MAX_PLAN_KERNELS];
    unsigned char hash[MJ_HASH_BYTES];
    int num = mj_plan_wanted(plan, wanted);
    mj_text_append(&text, "moejit plan 1\nsum %d\n", (int)moejit_plan_sum(plan));
    for (int i = 0; i < plan->num_buckets; i++) append_bucket(&text, &plan->buckets[i]);
    for (int i = 0; i < num; i++) {
        const struct mj_loaded_kernel *kernel = mj_plan_find(plan, wanted[i].id, wanted[i].tile_idx);
        if (kernel != NULL) mj_text_append_bytes(&text, kernel->key.data, kernel->key.bytes);
    }
    bool failed = text.failed;
    if (!failed) mj_key_hash(text.data, text.bytes, hash);
    mj_text_free(&text);
    if (failed) return mj_error_set(error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the digest");
    for (int i = 0; i < MJ_HASH_BYTES; i++) snprintf(digest + 2 * i, 3, "%02x", hash[i]);
    return MOEJIT_STATUS_OK;
}
