// Between a plan's buckets and the store of tunings.
#ifndef MOEJIT_RUN_TUNING_RECORD_H
#define MOEJIT_RUN_TUNING_RECORD_H

#include "moe/search.h"
#include "run/plan.h"

struct mj_flight_wait;

struct mj_tuning_record {
    struct mj_tuning_store *store;
    struct mj_text key; // but for the tokens
};

// The context must be entered. On failure nothing is open; closing is fine all the same.
moejit_status mj_tuning_record_open(struct mj_tuning_record *record, struct moejit_plan *plan,
                                    const moejit_tune_options *options);
void mj_tuning_record_close(struct mj_tuning_record *record);

// Makes the bucket follow what is stored for it. False where nothing is, or nothing that this plan may do.
bool mj_tuning_record_adopt(struct mj_tuning_record *record, struct moejit_plan *plan, int bucket_idx);
// Makes the bucket follow what was found, and keeps it; where somebody else was first, theirs.
void mj_tuning_record_insert(struct mj_tuning_record *record, struct moejit_plan *plan, int bucket_idx,
                             const struct mj_found *found, bool replace);

bool mj_tuning_record_claim(struct mj_tuning_record *record, struct mj_flight_wait *wait);
void mj_tuning_record_leave(struct mj_tuning_record *record);

#endif
