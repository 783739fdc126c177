// Images of the cache that the driver refuses, though their digests fit: each is a miss, recompiled and replaced. Runs
// on the emulator.
#include "../cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "database.h"
#include "moejit/moejit.h"

static char folder[64], path[96];
static int warnings;

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/moejit_test_XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/kernels.db", folder);
    return 0;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static void log_warning(void *user, moejit_log_level level, const char *text) {
    (void)user;
    (void)text;
    warnings += level == MOEJIT_LOG_WARNING;
}

// A plan on the GPU, which loads every kernel. nvrtc: NULL for the usual one.
static moejit_status prepare_from(const char *place, const char *nvrtc, int ptx_only,
                                  moejit_context_counters *counters) {
    moejit_context_options options;
    moejit_context *context = NULL;
    moejit_plan_options plan_options;
    moejit_plan *plan = NULL;
    moejit_layer layer;
    char message[512] = "";
    moejit_context_options_init(&options);
    options.attach = MOEJIT_ATTACH_PRIMARY;
    options.cache_path = place;
    options.ptx_only = ptx_only;
    options.cache_packs = "";
    options.nvrtc_library = nvrtc;
    options.log = log_warning;
    if (moejit_context_create(&options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK)
        fail_msg("%s", message);
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 64;
    layer.intermediate = 32;
    layer.num_experts = layer.num_local_experts = 4;
    layer.top_k = 2;
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = 8;
    moejit_status status = moejit_plan_create(context, &layer, &plan_options, &plan);
    counters->struct_size = sizeof(*counters);
    moejit_context_counters_read(context, counters);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
    return status;
}

static moejit_status prepare(const char *nvrtc, moejit_context_counters *counters) {
    return prepare_from(path, nvrtc, -1, counters);
}

enum forgery { OTHERS_IMAGE, GARBAGE, EMPTY };
struct forging {
    struct mj_database to;
    enum forgery how;
    char *first[2]; // cubin and PTX of the first key
    size_t first_bytes[2];
    int rows;
};

static bool forge(void *user, const struct mj_row *row) {
    static const char garbage[] = "\177ELF, it says, and a good digest over it";
    struct forging *forging = user;
    struct mj_row forged = *row;
    int idx = strcmp(row->format, "cubin") == 0 ? 0 : 1;
    if (strcmp(row->format, "log") == 0) return true;
    if (forging->first[idx] == NULL) {
        forging->first[idx] = malloc(row->image_bytes);
        forging->first_bytes[idx] = row->image_bytes;
        memcpy(forging->first[idx], row->image, row->image_bytes);
        return true;
    }
    forged.image = forging->how == OTHERS_IMAGE ? forging->first[idx] : garbage;
    forged.image_bytes = forging->how == OTHERS_IMAGE ? forging->first_bytes[idx] : sizeof(garbage);
    if (forging->how == EMPTY) forged.image_bytes = 0;
    assert_int_equal(mj_database_insert(&forging->to, &forged), MJ_OUTCOME_GOOD);
    forging->rows += idx == 0;
    return true;
}

// Every kernel but one gets another image, with a digest that fits. The number of kernels forged.
static int forge_all(enum forgery how) {
    struct mj_database from;
    struct forging forging = {.how = how};
    enum mj_outcome outcome;
    char why[256];
    assert_true(mj_database_open(&from, path, MJ_DATABASE_PACK, &outcome, why, sizeof(why)));
    assert_true(mj_database_open(&forging.to, path, MJ_DATABASE_USER, &outcome, why, sizeof(why)));
    assert_int_equal(mj_database_begin(&forging.to), MJ_OUTCOME_GOOD);
    assert_int_equal(mj_database_each(&from, forge, &forging), MJ_OUTCOME_NONE);
    assert_int_equal(mj_database_commit(&forging.to), MJ_OUTCOME_GOOD);
    mj_database_close(&from);
    mj_database_close(&forging.to);
    free(forging.first[0]);
    free(forging.first[1]);
    return forging.rows;
}

static void what_the_driver_refuses_is_compiled_again(void **state) {
    static const enum forgery forgeries[] = {OTHERS_IMAGE, GARBAGE, EMPTY};
    (void)state;
    moejit_context_counters cold = {0}, counters = {0};
    assert_int_equal(prepare(NULL, &cold), MOEJIT_STATUS_OK);
    assert_true(cold.compiles >= 5);
    assert_int_equal(cold.cache_misses, cold.compiles);
    for (size_t i = 0; i < sizeof(forgeries) / sizeof(forgeries[0]); i++) {
        uint64_t forged = (uint64_t)forge_all(forgeries[i]);
        assert_int_equal(forged, cold.compiles - 1);
        assert_int_equal(prepare(NULL, &counters), MOEJIT_STATUS_OK);
        // What is empty is no image to begin with; what is one reaches the driver.
        assert_int_equal(forgeries[i] == EMPTY ? counters.heals : counters.refusals, forged);
        assert_int_equal(counters.compiles, forged);
        // Replaced: the next finds all, and needs no NVRTC.
        assert_int_equal(prepare("/nowhere/libnvrtc.so", &counters), MOEJIT_STATUS_OK);
        assert_int_equal(counters.refusals, 0);
        assert_int_equal(counters.compiles, 0);
        assert_int_equal(counters.cache_hits, cold.compiles);
    }
    assert_int_equal(warnings, 0);
}

// Where nothing can be compiled the refusal is an error that says what is missing.
static void without_nvrtc_a_refusal_is_an_error(void **state) {
    (void)state;
    moejit_context_counters counters = {0};
    assert_int_equal(prepare(NULL, &counters), MOEJIT_STATUS_OK);
    forge_all(GARBAGE);
    assert_int_equal(prepare("/nowhere/libnvrtc.so", &counters), MOEJIT_STATUS_LIBRARY_NOT_FOUND);
    assert_int_equal(prepare(NULL, &counters), MOEJIT_STATUS_OK);
}

static bool count_cubins(void *user, const struct mj_row *row) {
    *(uint64_t *)user += strcmp(row->format, "cubin") == 0;
    return true;
}

static uint64_t num_cubins(const char *place) {
    struct mj_database database;
    enum mj_outcome outcome;
    uint64_t num = 0;
    char why[256];
    assert_true(mj_database_open(&database, place, MJ_DATABASE_PACK, &outcome, why, sizeof(why)));
    assert_int_equal(mj_database_each(&database, count_cubins, &num), MJ_OUTCOME_NONE);
    mj_database_close(&database);
    return num;
}

// Images without cubins serve who wants none; who wants them compiles, and then both are served.
static void ptx_alone_serves_who_wants_no_cubin(void **state) {
    static const char nowhere[] = "/nowhere/libnvrtc.so";
    char place[96];
    (void)state;
    moejit_context_counters counters = {0}, first = {0};
    snprintf(place, sizeof(place), "%s/ptx.db", folder);
    assert_int_equal(prepare_from(place, NULL, 1, &first), MOEJIT_STATUS_OK);
    assert_true(first.compiles >= 5);
    assert_int_equal(num_cubins(place), 0);
    assert_int_equal(prepare_from(place, nowhere, 1, &counters), MOEJIT_STATUS_OK);
    assert_int_equal(counters.cache_hits, first.compiles);
    assert_int_equal(prepare_from(place, nowhere, -1, &counters), MOEJIT_STATUS_LIBRARY_NOT_FOUND);
    assert_int_equal(prepare_from(place, NULL, -1, &counters), MOEJIT_STATUS_OK);
    assert_int_equal(counters.compiles, first.compiles);
    assert_int_equal(num_cubins(place), first.compiles);
    for (int ptx_only = -1; ptx_only <= 1; ptx_only += 2) {
        assert_int_equal(prepare_from(place, nowhere, ptx_only, &counters), MOEJIT_STATUS_OK);
        assert_int_equal(counters.cache_hits, first.compiles);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_driver_refuses_is_compiled_again),
        cmocka_unit_test(without_nvrtc_a_refusal_is_an_error),
        cmocka_unit_test(ptx_alone_serves_who_wants_no_cubin),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
