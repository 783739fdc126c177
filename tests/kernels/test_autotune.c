// Tuning of plans with a clock of the test's own: what is chosen, refused, kept, adopted and left alone. Runs on the
// emulator; the candidates' numbers are the kernels' own.
#include "../cmocka_all.h"

#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "flight.h"
#include "forward_rig.h"
#include "run/autotune.h"
#include "tuning_store.h"

static struct gpu gpu;
static char folder[64], path[1024], sources[96];
static int warnings;
static char warning[2048];

static void run_shell(const char *command) {
    if (system(command) != 0) fail_msg("%s failed", command);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/moejit_test_XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    // Images stay from run to run where the tests have a place for them.
    const char *place = getenv("MOEJIT_CACHE_DIR");
    snprintf(path, sizeof(path), "%s/test_autotune.db", place != NULL ? place : folder);
    snprintf(sources, sizeof(sources), "%s/sources", folder);
    return gpu_open(&gpu, NULL) ? 0 : -1;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    gpu_close(&gpu);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void forget_tunings(void) {
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    sqlite3_exec(database, "DROP TABLE IF EXISTS tunings;", NULL, NULL, NULL);
    sqlite3_close(database);
}

static int count_rows(const char *where) {
    char sql[256];
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM tunings WHERE %s;", where);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    int num = 0; // where nothing was ever kept there is no table
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) == SQLITE_OK) {
        assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
        num = sqlite3_column_int(statement, 0);
    }
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return num;
}

// ---- The clock: 100 us, and 20 more for each choice that is not the fastest.
struct fake {
    const char *fastest;
    int num_samples, last_num_tokens;
    double ms, ms_a_look;
};

static bool sample(void *user, int num_tokens, const struct mj_decision *decision, double *us) {
    struct fake *fake = user;
    struct mj_decision fastest = *decision;
    assert_true(mj_decision_read(fake->fastest, &fastest));
    *us = 100;
    for (int choice = 0; choice < MJ_NUM_CHOICES; choice++)
        *us += fastest.value[choice] != decision->value[choice] ? 20 : 0;
    fake->num_samples++;
    fake->last_num_tokens = num_tokens;
    return true;
}

static double look(void *user) {
    struct fake *fake = user;
    return fake->ms += fake->ms_a_look;
}

#define SLOW_ZEROING "gate_up=64x32x64 down=64x16x64 zeroing=in-stream"
#define OTHER_TILES "gate_up=64x8x64 down=64x32x64 zeroing=auxiliary"

static void log_warning(void *user, moejit_log_level level, const char *text) {
    (void)user;
    if (level != MOEJIT_LOG_WARNING) return;
    warnings++;
    snprintf(warning, sizeof(warning), "%s", text);
}

static moejit_context *open_context(const char *kernel_sources) {
    moejit_context_options options;
    moejit_context *context = NULL;
    char message[512];
    moejit_context_options_init(&options);
    options.cuda_library = gpu.path;
    options.cache_path = path;
    options.cache_packs = "";
    options.kernel_sources_dir = kernel_sources;
    options.log = log_warning;
    if (moejit_context_create(&options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK)
        fail_msg("%s", message);
    return context;
}

static moejit_plan *make_plan(moejit_context *context, moejit_tune tune, int max_num_tokens, moejit_sum sum) {
    moejit_layer layer = rig_layer();
    moejit_plan_options options;
    moejit_plan *plan = NULL;
    layer.sum = sum;
    moejit_plan_options_init(&options);
    options.max_num_tokens = max_num_tokens;
    options.family = MOEJIT_FAMILY_PORTABLE;
    options.tune = tune;
    if (moejit_plan_create(context, &layer, &options, &plan) != MOEJIT_STATUS_OK)
        fail_msg("%s", moejit_context_error(context));
    return plan;
}

static moejit_status tune(moejit_plan *plan, const moejit_tune_options *options, struct fake *fake) {
    const struct mj_timing_source source = {sample, look, fake};
    return mj_autotune(plan, options, &source);
}

static void assert_decision(const moejit_plan *plan, int idx, moejit_decided decided, const char *text) {
    moejit_decision decision = {.struct_size = sizeof(decision)};
    assert_int_equal(moejit_plan_decision(plan, idx, &decision), MOEJIT_STATUS_OK);
    assert_string_equal(decision.text, text);
    assert_int_equal(decision.decided, decided);
    if (decided == MOEJIT_DECIDED_BY_RULE) return;
    assert_true(fabs(decision.us - 100) < 1e-9 && decision.untuned_us >= 100 && decision.num_samples >= 3);
}

static void the_plan_follows_the_clock_and_others_adopt(void **state) {
    struct fake fake = {.fastest = SLOW_ZEROING}, idle = {.fastest = OTHER_TILES};
    char digest[33], adopted[33], untuned[33];
    (void)state;
    moejit_context *context = open_context(NULL), *second = open_context(NULL);
    forget_tunings();
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 3, MOEJIT_SUM_DEFAULT);
    assert_int_equal(moejit_plan_num_decisions(plan), 3);
    assert_int_equal(moejit_plan_digest(plan, untuned), MOEJIT_STATUS_OK);
    assert_decision(plan, 2, MOEJIT_DECIDED_BY_RULE, "gate_up=64x8x64 down=64x8x64 zeroing=auxiliary");
    assert_int_equal(tune(plan, NULL, &fake), MOEJIT_STATUS_OK);
    for (int i = 0; i < 3; i++) assert_decision(plan, i, MOEJIT_DECIDED_BY_TUNING, SLOW_ZEROING);
    assert_int_equal(fake.last_num_tokens, 3);
    assert_int_equal(moejit_plan_digest(plan, digest), MOEJIT_STATUS_OK);
    assert_string_not_equal(digest, untuned);
    assert_int_equal(count_rows("state = 'chosen'"), 3);
    // What is stored is not measured again, by nobody.
    assert_int_equal(tune(plan, NULL, &idle), MOEJIT_STATUS_OK);
    moejit_plan *other = make_plan(second, MOEJIT_TUNE_MISSING, 3, MOEJIT_SUM_DEFAULT);
    assert_int_equal(idle.num_samples, 0);
    for (int i = 0; i < 3; i++) assert_decision(other, i, MOEJIT_DECIDED_BY_STORE, SLOW_ZEROING);
    assert_int_equal(moejit_plan_digest(other, adopted), MOEJIT_STATUS_OK);
    assert_string_equal(adopted, digest);
    // It needs the kernels of its decisions, and none of the rule's: pack, route, zero, gate_up and down.
    assert_int_equal(moejit_plan_num_kernels(other), 5);
    // Asked to, it measures anew, and replaces.
    moejit_tune_options redo;
    moejit_tune_options_init(&redo);
    redo.redo = 1;
    assert_int_equal(tune(other, &redo, &idle), MOEJIT_STATUS_OK);
    assert_true(idle.num_samples > 0);
    for (int i = 0; i < 3; i++) assert_decision(other, i, MOEJIT_DECIDED_BY_TUNING, OTHER_TILES);
    assert_int_equal(count_rows("state = 'chosen'"), 3);
    moejit_plan_destroy(other);
    moejit_plan_destroy(plan);
    moejit_context_destroy(second);
    moejit_context_destroy(context);
}

static void the_key_holds_what_matters(void **state) {
    struct fake fake = {.fastest = SLOW_ZEROING};
    moejit_tune_options options;
    float histogram[4] = {1, 2, 3, 4};
    (void)state;
    forget_tunings();
    moejit_context *context = open_context(NULL);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
    moejit_tune_options_init(&options);
    assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
    for (int i = 0; i < 4; i++) { // each a key of its own
        int before = fake.num_samples;
        options.routing = i < 2 ? MOEJIT_ROUTING_ZIPF : MOEJIT_ROUTING_HISTOGRAM;
        options.zipf_exponent = i == 1 ? 1.5f : 0;
        options.histogram = i < 2 ? NULL : histogram;
        histogram[0] = (float)i;
        moejit_plan_destroy(plan);
        plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
        assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
        assert_true(fake.num_samples > before);
    }
    moejit_plan_destroy(plan);
    // Another sum is another key; it stays, and has nothing to zero.
    plan = make_plan(context, MOEJIT_TUNE_STORED, 1, MOEJIT_SUM_DETERMINISTIC);
    assert_decision(plan, 0, MOEJIT_DECIDED_BY_RULE, "gate_up=64x8x64 down=64x8x64 zeroing=auxiliary");
    fake.fastest = OTHER_TILES;
    assert_int_equal(tune(plan, NULL, &fake), MOEJIT_STATUS_OK);
    assert_decision(plan, 0, MOEJIT_DECIDED_BY_TUNING, OTHER_TILES);
    assert_int_equal(moejit_plan_sum(plan), MOEJIT_SUM_DETERMINISTIC);
    assert_int_equal(count_rows("state = 'chosen'"), 6);
    assert_int_equal(count_rows("key_text LIKE '%gpu %H100%'"), count_rows("1"));
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

// Sources in which two tiles are wrong: gate values of one, and a token that another leaves out in down.
static void write_wrong_sources(void) {
    char command[512];
    snprintf(command, sizeof(command),
             "cp -r '%s' '%s' && "
             "sed -i 's/float gate = finish(/float gate = (Config::block_tokens == 32 ? 1.05f : 1.0f) * finish(/' "
             "'%s/gate_up_epilogue.cuh' && "
             "sed -i 's/int column = first_column + local;/& "
             "if (Config::block_tokens == 16 \\&\\& token == 0) return;/' '%s/down_epilogue.cuh'",
             KERNEL_SOURCES, sources, sources, sources);
    run_shell(command);
    snprintf(command, sizeof(command),
             "grep -q '1.05f' '%s/gate_up_epilogue.cuh' && grep -q 'token == 0' '%s/down_epilogue.cuh'", sources,
             sources);
    run_shell(command);
}

static void wrong_candidates_never_win(void **state) {
    struct fake fake = {.fastest = SLOW_ZEROING}; // both of its tiles are wrong
    moejit_decision decision = {.struct_size = sizeof(decision)};
    (void)state;
    forget_tunings();
    write_wrong_sources();
    moejit_context *context = open_context(sources);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
    warnings = 0;
    assert_int_equal(tune(plan, NULL, &fake), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_plan_decision(plan, 0, &decision), MOEJIT_STATUS_OK);
    assert_string_equal(decision.text, "gate_up=64x8x64 down=64x8x64 zeroing=in-stream");
    assert_int_equal(decision.num_refused, 2);
    assert_int_equal(
        count_rows(
            "state = 'refused' AND candidate LIKE 'gate_up=64x32x64 %' AND reason LIKE '%row _ of h%times as far%'"),
        1);
    assert_int_equal(
        count_rows(
            "state = 'refused' AND candidate LIKE '%down=64x16x64%' AND reason LIKE '%the output is nan times%'"),
        0);
    assert_int_equal(
        count_rows("state = 'refused' AND candidate LIKE '%down=64x16x64%' AND reason LIKE '%row _ of the output%'"),
        1);
    assert_int_equal(count_rows("state = 'refused'"), 2);
    assert_int_equal(warnings, 0);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

static void the_budget_is_kept_to_a_sample(void **state) {
    struct fake fake = {.fastest = SLOW_ZEROING, .ms_a_look = 10};
    moejit_tune_options options;
    char rule[33], now[33];
    (void)state;
    forget_tunings();
    moejit_context *context = open_context(NULL);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 2, MOEJIT_SUM_DEFAULT);
    assert_int_equal(moejit_plan_digest(plan, rule), MOEJIT_STATUS_OK);
    moejit_tune_options_init(&options);
    options.budget_ms = 400; // a look is 10 ms: before each kernel, check and sample
    assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
    assert_true(fake.ms <= 410 + 10);
    assert_true(fake.num_samples > 0);
    assert_int_equal(moejit_plan_digest(plan, now), MOEJIT_STATUS_OK);
    assert_string_equal(now, rule); // a bucket that was not finished is not decided
    options.budget_ms = 1;
    fake.num_samples = 0;
    assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
    assert_int_equal(fake.num_samples, 0);
    // With time enough for one of two: the first is kept, and the next call does the rest.
    options.budget_ms = 1500;
    while (fake.num_samples == 0 || fake.last_num_tokens == 1) {
        assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
        if (count_rows("1") > 0) break;
        options.budget_ms += 200;
    }
    assert_decision(plan, 0, MOEJIT_DECIDED_BY_TUNING, SLOW_ZEROING);
    options.budget_ms = 0; // a minute
    assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
    assert_decision(plan, 0, MOEJIT_DECIDED_BY_STORE, SLOW_ZEROING);
    assert_decision(plan, 1, MOEJIT_DECIDED_BY_TUNING, SLOW_ZEROING);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

struct asking {
    int num, cancel_at, last_done, total;
    bool ended;
};

static int ask(void *user, int32_t done, int32_t total, const char *current) {
    struct asking *asking = user;
    assert_true(done >= asking->last_done && done <= total && current != NULL);
    asking->last_done = done;
    asking->total = total;
    asking->ended = done == total;
    return ++asking->num == asking->cancel_at;
}

static void progress_is_told_and_may_cancel(void **state) {
    struct fake fake = {.fastest = SLOW_ZEROING};
    struct asking asking = {0};
    moejit_tune_options options;
    (void)state;
    forget_tunings();
    moejit_context *context = open_context(NULL);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 2, MOEJIT_SUM_DEFAULT);
    moejit_tune_options_init(&options);
    options.progress = ask;
    options.progress_user = &asking;
    assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
    assert_true(asking.ended && asking.total == 2 && asking.num > fake.num_samples);
    int all = asking.num;
    for (int at = 1; at < all; at += 1 + at / 2) {
        struct asking cancelling = {.cancel_at = at};
        forget_tunings();
        moejit_plan_destroy(plan);
        plan = make_plan(context, MOEJIT_TUNE_NEVER, 2, MOEJIT_SUM_DEFAULT);
        options.progress_user = &cancelling;
        assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_CANCELLED);
        assert_non_null(strstr(moejit_context_error(context), "tuning was cancelled with"));
        assert_int_equal(cancelling.num, at); // not asked again
    }
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

static void options_are_checked(void **state) {
    float histogram[4] = {0};
    moejit_tune_options good, options;
    (void)state;
    moejit_context *context = open_context(NULL);
    forget_tunings();
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
    moejit_tune_options_init(&good);
#define REFUSED(change, message)                                                                                       \
    do {                                                                                                               \
        options = good;                                                                                                \
        change;                                                                                                        \
        assert_int_equal(moejit_plan_tune(plan, &options), MOEJIT_STATUS_INVALID_ARGUMENT);                            \
        if (strstr(moejit_context_error(context), message) == NULL) fail_msg("%s", moejit_context_error(context));     \
    } while (0)
    REFUSED(options.struct_size = 3, "tune options has struct_size 3");
    REFUSED(options.routing = (moejit_routing)3, "tuning has routing = 3, needs 0 (uniform)");
    REFUSED(options.zipf_exponent = -1, "zipf_exponent = -1, needs 0 to 10");
    REFUSED(options.zipf_exponent = NAN, "zipf_exponent = nan");
    REFUSED(options.histogram = histogram, "the routing HISTOGRAM (2), and no other, takes one");
    REFUSED(options.routing = MOEJIT_ROUTING_HISTOGRAM, "routing = 2 and histogram = (nil)");
    REFUSED((options.routing = MOEJIT_ROUTING_HISTOGRAM, options.histogram = histogram),
            "needs 4 finite numbers >= 0 that are not all 0");
    REFUSED(options.budget_ms = -1, "budget_ms = -1, needs at least 0");
    REFUSED((options.scratch = (void *)4096, options.scratch_bytes = 1000), "scratch_bytes = 1000, needs ");
    REFUSED((options.scratch = (void *)4100, options.scratch_bytes = 1000), "aligned to 256 bytes");
    assert_int_equal(moejit_plan_tune(NULL, &good), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_plan_tune_bytes(plan, NULL, NULL), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_plan_digest(plan, NULL), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_plan_decision(plan, 1, NULL), MOEJIT_STATUS_INVALID_ARGUMENT);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

// The memory stated is the memory used: guards around it stay, and none is allocated.
static void scratch_memory_is_as_stated(void **state) {
    enum { GUARD = 4096 };
    struct fake fake = {.fastest = SLOW_ZEROING};
    moejit_tune_options options;
    uint64_t (*calls)(const char *entry);
    unsigned char guard[GUARD];
    size_t bytes = 0;
    (void)state;
    *(void **)(void *)&calls = dlsym(gpu.library, "moejit_emulator_calls");
    forget_tunings();
    moejit_context *context = open_context(NULL);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 2, MOEJIT_SUM_DEFAULT);
    assert_int_equal(moejit_plan_tune_bytes(plan, NULL, &bytes), MOEJIT_STATUS_OK);
    unsigned char *memory = gpu_upload(&gpu, NULL, bytes + 2 * GUARD);
    assert_non_null(memory);
    moejit_tune_options_init(&options);
    options.scratch = memory + GUARD;
    options.scratch_bytes = bytes;
    uint64_t before = calls("cuMemAlloc_v2");
    assert_int_equal(tune(plan, &options, &fake), MOEJIT_STATUS_OK);
    assert_int_equal(calls("cuMemAlloc_v2"), before);
    assert_true(gpu_download(&gpu, guard, memory, GUARD));
    for (int i = 0; i < GUARD; i++) assert_int_equal(guard[i], 0xff);
    assert_true(gpu_download(&gpu, guard, memory + GUARD + bytes, GUARD));
    for (int i = 0; i < GUARD; i++) assert_int_equal(guard[i], 0xff);
    gpu_free(&gpu, memory);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

static void a_tuned_plan_computes_the_same(void **state) {
    struct fake fake = {.fastest = "gate_up=hopper_256x64x128 down=hopper_64x16x256 zeroing=in-stream"};
    float before[RIG_MAX_TOKENS * 64], after[RIG_MAX_TOKENS * 64];
    moejit_layer layer = rig_layer();
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    struct rig rig;
    (void)state;
    moejit_tune_options redo; // the rig's database may know
    moejit_tune_options_init(&redo);
    redo.redo = 1;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    assert_true(layer_data_create(&data, &problem, 2, ROUTING_UNIFORM, false, 4));
    assert_int_equal(rig_create(&rig, &gpu, &layer, &data), MOEJIT_STATUS_OK);
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, before) && rig_fill_output(&rig, 7));
    assert_int_equal(tune(rig.plan, &redo, &fake), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, after));
    for (int i = 0; i < 2 * 64; i++) assert_true(after[i] == 7); // tuning touches nothing of the caller's
    assert_decision(rig.plan, 1, MOEJIT_DECIDED_BY_TUNING, fake.fastest);
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, after));
    for (int i = 0; i < 2 * 64; i++) assert_true(fabsf(after[i] - before[i]) <= 1e-5f * (1 + fabsf(before[i])));
    rig_destroy(&rig);
}

static void spoil(const char *change) {
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, change, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void half_and_unknown_rows_are_not_there(void **state) {
    static const char *const changes[] = {
        "UPDATE tunings SET us = us + 1 WHERE state = 'chosen'",
        "UPDATE tunings SET candidate = 'gate_up=64x8x64 down=64x64x64' WHERE state = 'chosen'",
        "UPDATE tunings SET digest = zeroblob(3)",
        "UPDATE tunings SET key_text = key_text || 'x'",
        "UPDATE tunings SET state = 'chosen'",
        "UPDATE tunings SET candidate = CAST(zeroblob(5) AS TEXT) WHERE state = 'chosen'",
        "DELETE FROM tunings WHERE state = 'chosen'",
    };
    struct fake fake = {.fastest = SLOW_ZEROING};
    (void)state;
    forget_tunings();
    moejit_context *context = open_context(NULL);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        assert_int_equal(tune(plan, NULL, &fake), MOEJIT_STATUS_OK);
        assert_decision(plan, 0, MOEJIT_DECIDED_BY_TUNING, SLOW_ZEROING);
        spoil(changes[i]);
        moejit_plan_destroy(plan);
        plan = make_plan(context, MOEJIT_TUNE_STORED, 1, MOEJIT_SUM_DEFAULT);
        moejit_decision decision = {.struct_size = sizeof(decision)};
        moejit_plan_decision(plan, 0, &decision);
        // The fifth change leaves the true chosen row as it was.
        assert_int_equal(decision.decided, i == 4 ? MOEJIT_DECIDED_BY_STORE : MOEJIT_DECIDED_BY_RULE);
        if (i == 4) {
            spoil("DELETE FROM tunings");
            moejit_plan_destroy(plan);
            plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
        }
    }
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

struct rank {
    const char *fastest;
    char digest[33];
    int num_samples;
};

static void *tune_as_rank(void *user) {
    struct rank *rank = user;
    struct fake fake = {.fastest = rank->fastest};
    gpu.cuCtxSetCurrent(gpu.context);
    moejit_context *context = open_context(NULL);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 3, MOEJIT_SUM_DEFAULT);
    assert_int_equal(tune(plan, NULL, &fake), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_plan_digest(plan, rank->digest), MOEJIT_STATUS_OK);
    rank->num_samples = fake.num_samples;
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
    return NULL;
}

// Two that disagree tune at once: one measures, and both do what it found.
static void ranks_that_tune_at_once_agree(void **state) {
    struct rank ranks[2] = {{.fastest = SLOW_ZEROING}, {.fastest = OTHER_TILES}};
    pthread_t threads[2];
    (void)state;
    forget_tunings();
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, tune_as_rank, &ranks[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    assert_string_equal(ranks[0].digest, ranks[1].digest);
    assert_true((ranks[0].num_samples == 0) != (ranks[1].num_samples == 0));
    assert_int_equal(count_rows("state = 'chosen'"), 3);
}

struct other_process { // measures while we wait
    struct fake fake;
    int looks;
};

static double look_while_waiting(void *user) {
    struct other_process *other = user;
    // The other is done as our time ends.
    if (++other->looks == 5) spoil("ALTER TABLE aside RENAME TO tunings");
    return other->fake.ms += 10;
}

static bool sample_never(void *user, int num_tokens, const struct mj_decision *decision, double *us) {
    (void)user;
    (void)num_tokens;
    (void)decision;
    (void)us;
    fail_msg("there was no turn to take");
    return false;
}

static void who_waits_too_long_takes_what_there_is(void **state) {
    struct other_process other = {.looks = 0};
    struct fake fake = {.fastest = SLOW_ZEROING};
    const struct mj_timing_source source = {sample_never, look_while_waiting, &other};
    struct mj_flight_wait wait = {0};
    moejit_tune_options options;
    char key[4096] = "";
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    (void)state;
    moejit_context *context = open_context(NULL);
    forget_tunings();
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
    assert_int_equal(tune(plan, NULL, &fake), MOEJIT_STATUS_OK);
    moejit_plan_destroy(plan);
    // The other process: it holds the lock of the key without the tokens, and has not written yet.
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, "SELECT key_text FROM tunings", -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    snprintf(key, sizeof(key), "%s", (const char *)sqlite3_column_text(statement, 0));
    sqlite3_finalize(statement);
    sqlite3_close(database);
    *strstr(key, "tokens ") = '\0';
    spoil("ALTER TABLE tunings RENAME TO aside");
    struct mj_tuning_store *store = mj_tuning_store_open(path, false, NULL, NULL);
    assert_true(mj_tuning_store_claim(store, key, &wait));
    plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
    moejit_tune_options_init(&options);
    options.budget_ms = 50;
    assert_int_equal(mj_autotune(plan, &options, &source), MOEJIT_STATUS_OK);
    assert_decision(plan, 0, MOEJIT_DECIDED_BY_STORE, SLOW_ZEROING);
    mj_tuning_store_close(store);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

// Whatever call of the driver fails: a sentence, a plan that works as before, and no memory lost.
static void a_failure_at_any_call_leaves_the_plan_as_it_was(void **state) {
    int (*fail_at)(const char *entry, uint64_t n, CUresult result);
    uint64_t (*failures)(void);
    struct fake fake = {.fastest = SLOW_ZEROING};
    moejit_tune_options options;
    size_t before = 0, after = 0, total = 0;
    CUresult (*memory_info)(size_t *, size_t *);
    char digest[33], now[33];
    (void)state;
    *(void **)(void *)&fail_at = dlsym(gpu.library, "moejit_emulator_fail_at");
    *(void **)(void *)&failures = dlsym(gpu.library, "moejit_emulator_failures");
    *(void **)(void *)&memory_info = dlsym(gpu.library, "cuMemGetInfo_v2");
    forget_tunings();
    moejit_context *context = open_context(NULL);
    moejit_plan *plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
    moejit_tune_options_init(&options);
    options.budget_ms = 1;
    fake.ms_a_look = 0.001;
    const struct mj_decision all[] = {{{2, 2, 0}}, {{1, 1, 0}}, {{3, 3, 0}}, {{4, 4, 0}}};
    for (size_t i = 0; i < 4; i++) assert_int_equal(mj_plan_prepare_decision(plan, &all[i]), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_plan_digest(plan, digest), MOEJIT_STATUS_OK);
    assert_int_equal(memory_info(&before, &total), CUDA_SUCCESS);
    for (uint64_t n = 1;; n += 1 + n / 12) {
        uint64_t seen = failures();
        assert_int_equal(fail_at(NULL, n, CUDA_ERROR_OPERATING_SYSTEM), 1);
        moejit_status status = tune(plan, NULL, &fake);
        fail_at(NULL, 0, CUDA_SUCCESS);
        if (failures() == seen) {
            assert_int_equal(status, MOEJIT_STATUS_OK);
            break;
        }
        assert_int_equal(memory_info(&after, &total), CUDA_SUCCESS);
        // Destroying may fail too, and then the driver keeps what it keeps.
        if (status == MOEJIT_STATUS_OK) {
            forget_tunings();
            moejit_plan_destroy(plan);
            plan = make_plan(context, MOEJIT_TUNE_NEVER, 1, MOEJIT_SUM_DEFAULT);
            for (size_t i = 0; i < 4; i++) assert_int_equal(mj_plan_prepare_decision(plan, &all[i]), MOEJIT_STATUS_OK);
            memory_info(&before, &total);
            continue;
        }
        assert_int_equal(status, MOEJIT_STATUS_CUDA_FAILED);
        assert_non_null(strstr(moejit_context_error(context), "CUDA_ERROR_OPERATING_SYSTEM"));
        assert_int_equal(after, before);
        assert_int_equal(moejit_plan_digest(plan, now), MOEJIT_STATUS_OK);
        assert_string_equal(now, digest);
    }
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

static int note_tokens(void *user, int32_t done, int32_t total, const char *current) {
    (void)done;
    (void)total;
    if (strstr(current, "1 tokens: gate_up=") != NULL) *(bool *)user = true;
    return 0;
}

// The GPU's own clock: graphs of a forced tile, whose only choice is how to zero.
static void the_gpus_clock_times_graphs(void **state) {
    uint64_t (*calls)(const char *entry);
    moejit_layer layer = rig_layer();
    moejit_plan_options options;
    moejit_plan *plan = NULL;
    moejit_decision decision = {.struct_size = sizeof(decision)};
    (void)state;
    *(void **)(void *)&calls = dlsym(gpu.library, "moejit_emulator_calls");
    forget_tunings();
    moejit_context *context = open_context(NULL);
    moejit_plan_options_init(&options);
    options.max_num_tokens = 1;
    options.tile = 1;
    options.tune = MOEJIT_TUNE_MISSING;
    options.progress = note_tokens; // of the plan's, told of tuning too
    bool told = false;
    options.progress_user = &told;
    warnings = 0;
    uint64_t launches = calls("cuGraphLaunch");
    assert_int_equal(moejit_plan_create(context, &layer, &options, &plan), MOEJIT_STATUS_OK);
    assert_int_equal(warnings, 0);
    assert_true(told);
    assert_int_equal(moejit_plan_decision(plan, 0, &decision), MOEJIT_STATUS_OK);
    assert_int_equal(decision.decided, MOEJIT_DECIDED_BY_TUNING);
    assert_true(decision.us > 0 && calls("cuGraphLaunch") - launches >= 8); // two to warm up, three samples each
    assert_non_null(strstr(decision.text, "gate_up=64x8x64 down=64x8x64"));
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plan_follows_the_clock_and_others_adopt),
        cmocka_unit_test(the_key_holds_what_matters),
        cmocka_unit_test(wrong_candidates_never_win),
        cmocka_unit_test(the_budget_is_kept_to_a_sample),
        cmocka_unit_test(progress_is_told_and_may_cancel),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(scratch_memory_is_as_stated),
        cmocka_unit_test(a_tuned_plan_computes_the_same),
        cmocka_unit_test(half_and_unknown_rows_are_not_there),
        cmocka_unit_test(ranks_that_tune_at_once_agree),
        cmocka_unit_test(who_waits_too_long_takes_what_there_is),
        cmocka_unit_test(a_failure_at_any_call_leaves_the_plan_as_it_was),
        cmocka_unit_test(the_gpus_clock_times_graphs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
