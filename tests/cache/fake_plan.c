#include "../cmocka_all.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"
#include "fake_plan.h"

const char *const fake_archs[NUM_FAKE_ARCHS] = {"sm_80",   "sm_86",   "sm_89",   "sm_90a",
                                                "sm_100a", "sm_103a", "sm_120a", "sm_121a"};

void fake_options(moejit_context_options *options, const char *arch, const char *path) {
    moejit_context_options_init(options);
    options->attach = MOEJIT_ATTACH_ARCH;
    options->arch = arch;
    options->cache_path = path;
    options->cache_packs = "";
    options->nvrtc_library = getenv("FAKE_NVRTC");
    options->compile_workers = 2;
}

static void log_warning(void *user, moejit_log_level level, const char *text) {
    struct fake_outcome *outcome = user;
    if (level != MOEJIT_LOG_WARNING) return;
    outcome->warnings++;
    snprintf(outcome->warning, sizeof(outcome->warning), "%s", text);
}

static void describe(moejit_layer *layer, moejit_plan_options *options) {
    moejit_layer_init(layer, MOEJIT_ACTIVATION_SWIGLU);
    layer->hidden = 64;
    layer->intermediate = 32;
    layer->num_experts = layer->num_local_experts = 4;
    layer->top_k = 2;
    moejit_plan_options_init(options);
    options->max_num_tokens = 1;
    options->family = MOEJIT_FAMILY_PORTABLE;
}

void fake_plan(const moejit_context_options *given, struct fake_outcome *outcome) {
    moejit_context_options options = *given;
    moejit_context *context = NULL;
    moejit_plan *plan = NULL;
    moejit_layer layer;
    moejit_plan_options plan_options;
    memset(outcome, 0, sizeof(*outcome));
    options.log = log_warning;
    options.log_user = outcome;
    outcome->counters.struct_size = sizeof(outcome->counters);
    outcome->status = moejit_context_create(&options, &context, outcome->message, sizeof(outcome->message));
    if (outcome->status != MOEJIT_STATUS_OK) return;
    describe(&layer, &plan_options);
    outcome->status = moejit_plan_create(context, &layer, &plan_options, &plan);
    outcome->num_kernels = moejit_plan_num_kernels(plan);
    snprintf(outcome->message, sizeof(outcome->message), "%s", moejit_context_error(context));
    moejit_context_counters_read(context, &outcome->counters);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

void fake_folder(char folder[64]) {
    snprintf(folder, 64, "%s/moejit_test_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL) abort();
}

void fake_remove(const char *folder) {
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    if (system(command) != 0) abort();
}

static bool count_row(void *user, const struct mj_row *row) {
    int *counts = user;
    if (!mj_row_good(row)) fail_msg("a row of %s is not as it was written", row->format);
    counts[0] += strcmp(row->format, "cubin") == 0;
    counts[1] += strcmp(row->format, "ptx") == 0;
    return true;
}

static int ok_row(void *user, int num, char **values, char **names) {
    (void)names;
    *(int *)user += num == 1 && strcmp(values[0], "ok") == 0;
    return 0;
}

int fake_count_keys(const char *path) {
    struct mj_database database;
    enum mj_outcome outcome;
    char why[512];
    int counts[2] = {0}, good = 0;
    if (!mj_database_open(&database, path, MJ_DATABASE_USER, &outcome, why, sizeof(why))) fail_msg("%s: %s", path, why);
    assert_int_equal(outcome, MJ_OUTCOME_GOOD);
    assert_int_equal(sqlite3_exec(database.handle, "PRAGMA integrity_check;", ok_row, &good, NULL), SQLITE_OK);
    assert_int_equal(good, 1);
    assert_int_equal(mj_database_each(&database, count_row, counts), MJ_OUTCOME_NONE);
    mj_database_close(&database);
    assert_int_equal(counts[0], counts[1]);
    return counts[0];
}
