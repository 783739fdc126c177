#include "run/autotune.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "flight.h"
#include "moe/cost.h"
#include "run/tuning_bench.h"
#include "run/tuning_options.h"
#include "run/tuning_record.h"

#define DEFAULT_BUDGET_MS 60000
#define WAIT_NS 20000000 // between two looks whether another process is done

struct tuning {
    struct moejit_plan *plan;
    moejit_tune_options options; // read and checked
    const struct mj_timing_source *source;
    struct mj_tuning_record record;
    struct mj_tuning_bench bench;
    struct mj_routing routing;
    struct mj_device_figures device;
    struct mj_found found;
    double end_ms;
    int bucket_idx, done, total; // buckets
    bool out_of_time;
    moejit_status status; // why the search was stopped
};

static double system_ms(void *user) {
    struct timespec now;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static double now_ms(const struct tuning *tuning) {
    return tuning->source != NULL ? tuning->source->now_ms(tuning->source->user) : system_ms(NULL);
}

static void set_cancelled(struct tuning *tuning) {
    tuning->status =
        mj_error_set(&tuning->plan->context->error, MOEJIT_STATUS_CANCELLED,
                     "tuning was cancelled with %d of %d token counts measured", tuning->done, tuning->total);
}

// Asked before each sample, and whatever else takes its time.
static bool may_go_on(struct tuning *tuning, const char *doing) {
    char current[MJ_DECISION_BYTES + 32];
    tuning->out_of_time = now_ms(tuning) >= tuning->end_ms;
    if (tuning->out_of_time) return false;
    snprintf(current, sizeof(current), "%d tokens: %s", tuning->plan->buckets[tuning->bucket_idx].num_tokens, doing);
    if (tuning->options.progress == NULL ||
        tuning->options.progress(tuning->options.progress_user, tuning->done, tuning->total, current) == 0) {
        return true;
    }
    tuning->status =
        mj_error_set(&tuning->plan->context->error, MOEJIT_STATUS_CANCELLED,
                     "tuning was cancelled with %d of %d token counts measured", tuning->done, tuning->total);
    return false;
}

static enum mj_verdict check(void *user, enum mj_choice choice, const struct mj_decision *decision,
                             char reason[MJ_REASON_BYTES]) {
    struct tuning *tuning = user;
    char doing[MJ_DECISION_BYTES];
    bool good = false;
    snprintf(doing, sizeof(doing), "checking %s %s", mj_choice_name(choice),
             mj_choice_value_name(choice, decision->value[choice]));
    if (!may_go_on(tuning, doing)) return MJ_VERDICT_STOPPED;
    tuning->status = mj_tuning_bench_check(&tuning->bench, choice, decision, &good, reason);
    if (tuning->status != MOEJIT_STATUS_OK) return MJ_VERDICT_STOPPED;
    return good ? MJ_VERDICT_GOOD : MJ_VERDICT_REFUSED;
}

static bool sample(void *user, const struct mj_decision *decision, double *us) {
    struct tuning *tuning = user;
    char doing[MJ_DECISION_BYTES];
    mj_decision_write(decision, doing);
    if (!may_go_on(tuning, doing)) return false;
    if (tuning->source == NULL) {
        tuning->status = mj_tuning_bench_sample(&tuning->bench, decision, us);
    } else if (!tuning->source->sample(tuning->source->user, tuning->bench.num_tokens, decision, us)) {
        tuning->status = mj_error_set(&tuning->plan->context->error, MOEJIT_STATUS_INTERNAL, "the clock failed");
    }
    return tuning->status == MOEJIT_STATUS_OK;
}

static void warn_all_refused(const struct tuning *tuning) {
    char text[MJ_REASON_BYTES + 160];
    const struct mj_searched *last = &tuning->found.searched[tuning->found.num_searched - 1];
    snprintf(text, sizeof(text), "tuning %d tokens: no candidate for %s is right, the plan is not tuned there; %s",
             tuning->bench.num_tokens, mj_choice_name(last->choice), last->reason);
    mj_context_log(tuning->plan->context, MOEJIT_LOG_WARNING, text);
}

// False ends the run: out of time, cancelled or failed.
static bool tune_bucket(struct tuning *tuning) {
    struct mj_plan_bucket *bucket = &tuning->plan->buckets[tuning->bucket_idx];
    struct mj_search search;
    int expert_tokens[MJ_MAX_EXPERTS];
    // Somebody else may have been here meanwhile.
    if (!tuning->options.redo && mj_tuning_record_adopt(&tuning->record, tuning->plan, tuning->bucket_idx)) {
        tuning->status = mj_plan_prepare_decision(tuning->plan, &bucket->decision);
        return tuning->status == MOEJIT_STATUS_OK;
    }
    tuning->status = mj_tuning_bench_begin(&tuning->bench, &tuning->routing, bucket->num_tokens, expert_tokens);
    if (tuning->status != MOEJIT_STATUS_OK) return false;
    mj_search_describe(&search, &tuning->plan->problem, tuning->plan->family, tuning->plan->forced_tile,
                       bucket->num_tokens, &tuning->device, expert_tokens);
    search.check = check;
    search.sample = sample;
    search.user = tuning;
    enum mj_search_end end = mj_search_run(&search, &tuning->found);
    if (end == MJ_SEARCH_STOPPED) return false;
    if (end == MJ_SEARCH_ALL_REFUSED) {
        warn_all_refused(tuning);
        return true;
    }
    mj_tuning_record_insert(&tuning->record, tuning->plan, tuning->bucket_idx, &tuning->found, tuning->options.redo);
    tuning->status = mj_plan_prepare_decision(tuning->plan, &bucket->decision);
    return tuning->status == MOEJIT_STATUS_OK;
}

static bool is_missing(const struct tuning *tuning, int bucket_idx) {
    return tuning->options.redo || tuning->plan->buckets[bucket_idx].decided == MOEJIT_DECIDED_BY_RULE;
}

static void tune_buckets(struct tuning *tuning) {
    const struct moejit_plan *plan = tuning->plan;
    for (int i = 0; i < plan->num_buckets; i++) {
        if (!is_missing(tuning, i)) continue;
        tuning->bucket_idx = i;
        if (!tune_bucket(tuning)) return;
        tuning->done++;
    }
    if (tuning->options.progress != NULL)
        tuning->options.progress(tuning->options.progress_user, tuning->total, tuning->total, "");
}

static moejit_status read_device(struct tuning *tuning) {
    const struct moejit_context *context = tuning->plan->context;
    const struct mj_driver *driver = &context->driver;
    int sm_khz = 0, memory_khz = 0, bus_bits = 0;
    CUresult result = driver->cuDeviceGetAttribute(&sm_khz, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, context->device);
    if (result == CUDA_SUCCESS)
        result = driver->cuDeviceGetAttribute(&memory_khz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, context->device);
    if (result == CUDA_SUCCESS) {
        result = driver->cuDeviceGetAttribute(&bus_bits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, context->device);
    }
    if (result != CUDA_SUCCESS)
        return mj_driver_failed(driver, result, "asking for the GPU's clocks", &tuning->plan->context->error);
    mj_device_figures_arch(context->arch->name, &tuning->device);
    tuning->device.num_sms = context->num_sms;
    tuning->device.sm_ghz = sm_khz > 0 ? sm_khz / 1e6 : 1;
    // Two transfers a clock.
    tuning->device.memory_gb_s = memory_khz > 0 && bus_bits > 0 ? 2.0 * memory_khz * 1e3 * bus_bits / 8 / 1e9 : 1000;
    return MOEJIT_STATUS_OK;
}

static int go_on_preparing(void *user, int32_t done, int32_t total, const char *current) {
    char doing[MJ_DECISION_BYTES];
    snprintf(doing, sizeof(doing), "%d of %d kernels prepared, now %s", done, total, current);
    return !may_go_on(user, doing);
}

// All candidates at once, in as many processes as there are. One that cannot be compiled is refused when its turn
// comes.
static bool prepare_candidates(struct tuning *tuning) {
    struct moejit_plan *plan = tuning->plan;
    struct mj_wanted list[2 * MJ_NUM_TILES + 2];
    int tiles[MJ_MAX_VALUES], reference = mj_tuning_reference_tile(plan), num = 0;
    int num_tiles = mj_decision_values(&plan->problem, plan->family, plan->forced_tile, MJ_CHOICE_GATE_UP_TILE, tiles);
    list[num++] = (struct mj_wanted){mj_kernel_gate_up(&mj_tiles[reference]), reference};
    list[num++] = (struct mj_wanted){mj_kernel_down(&mj_tiles[reference]), reference};
    for (int i = 0; i < num_tiles; i++) {
        list[num++] = (struct mj_wanted){mj_kernel_gate_up(&mj_tiles[tiles[i]]), tiles[i]};
        list[num++] = (struct mj_wanted){mj_kernel_down(&mj_tiles[tiles[i]]), tiles[i]};
    }
    moejit_status status = mj_plan_prepare(plan, list, num, go_on_preparing, tuning);
    if (status == MOEJIT_STATUS_CANCELLED) { // or time has run out: the batch does not know
        if (!tuning->out_of_time) set_cancelled(tuning);
        return false;
    }
    if (status == MOEJIT_STATUS_COMPILE_FAILED || status == MOEJIT_STATUS_UNSUPPORTED) status = MOEJIT_STATUS_OK;
    tuning->status = status;
    return status == MOEJIT_STATUS_OK;
}

// One at a time where a database is shared, so that nobody's work disturbs or repeats another's.
static bool wait_for_turn(struct tuning *tuning) {
    struct mj_flight_wait wait = {0};
    while (!mj_tuning_record_claim(&tuning->record, &wait)) {
        const struct timespec moment = {.tv_nsec = WAIT_NS};
        if (!may_go_on(tuning, "waiting for another process that tunes")) return false;
        nanosleep(&moment, NULL);
    }
    return true;
}

static void open_and_tune(struct tuning *tuning) {
    const moejit_tune_options *options = &tuning->options;
    tuning->status = mj_tuning_bench_open(&tuning->bench, tuning->plan, options->scratch, options->scratch_bytes);
    if (tuning->status != MOEJIT_STATUS_OK) return;
    tune_buckets(tuning);
    mj_tuning_bench_close(&tuning->bench);
}

static void measure(struct tuning *tuning) {
    tuning->status = read_device(tuning);
    if (tuning->status != MOEJIT_STATUS_OK || !wait_for_turn(tuning)) return;
    if (prepare_candidates(tuning)) open_and_tune(tuning);
    mj_tuning_record_leave(&tuning->record);
}

static moejit_status prepare_adopted(struct moejit_plan *plan) {
    moejit_status status = MOEJIT_STATUS_OK;
    for (int i = 0; i < plan->num_buckets && status == MOEJIT_STATUS_OK; i++) {
        if (plan->buckets[i].decided != MOEJIT_DECIDED_BY_RULE)
            status = mj_plan_prepare_decision(plan, &plan->buckets[i].decision);
    }
    return status;
}

// What others have stored while time ran out is free.
static moejit_status adopt_rest(struct tuning *tuning) {
    for (int i = 0; i < tuning->plan->num_buckets; i++) {
        if (tuning->plan->buckets[i].decided == MOEJIT_DECIDED_BY_RULE)
            mj_tuning_record_adopt(&tuning->record, tuning->plan, i);
    }
    return prepare_adopted(tuning->plan);
}

static moejit_status tune(struct tuning *tuning) {
    struct moejit_plan *plan = tuning->plan;
    mj_tuning_options_routing(&plan->problem.layer, &tuning->options, &tuning->routing);
    moejit_status status = mj_tuning_record_open(&tuning->record, plan, &tuning->options);
    if (status != MOEJIT_STATUS_OK) return status;
    for (int i = 0; i < plan->num_buckets; i++) {
        if (!tuning->options.redo) mj_tuning_record_adopt(&tuning->record, plan, i);
        tuning->total += is_missing(tuning, i);
    }
    status = prepare_adopted(plan);
    if (status == MOEJIT_STATUS_OK && tuning->total > 0) {
        measure(tuning);
        status = tuning->status;
    }
    if (status == MOEJIT_STATUS_OK && tuning->out_of_time) status = adopt_rest(tuning);
    mj_tuning_record_close(&tuning->record);
    return status;
}

moejit_status mj_autotune(struct moejit_plan *plan, const moejit_tune_options *given,
                          const struct mj_timing_source *source) {
    struct tuning *tuning = calloc(1, sizeof(*tuning));
    struct mj_entered entered;
    if (plan->describe_only) {
        free(tuning);
        return mj_error_set(&plan->context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "the plan was made with describe_only = 1: it has no kernel to measure");
    }
    if (tuning == NULL) return mj_error_set(&plan->context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for tuning");
    tuning->plan = plan;
    tuning->source = source;
    moejit_status status = mj_tuning_options_read(&plan->problem.layer, given, &tuning->options, &plan->context->error);
    if (status == MOEJIT_STATUS_OK) status = mj_context_enter(plan->context, &entered, &plan->context->error);
    if (status == MOEJIT_STATUS_OK) {
        int64_t budget = tuning->options.budget_ms > 0 ? tuning->options.budget_ms : DEFAULT_BUDGET_MS;
        tuning->end_ms = now_ms(tuning) + (double)budget;
        status = tune(tuning);
        mj_context_leave(plan->context, &entered);
    }
    free(tuning);
    return status;
}
