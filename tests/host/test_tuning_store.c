// The table of tunings: what is kept, what is not there, and that nothing is lost where several write.
#include "../cmocka_all.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "flight.h"
#include "store.h"
#include "tuning_store.h"

static char folder[64], path[128];
static int warnings;
static char warning[2048];

static void warn(void *user, const char *text) {
    (void)user;
    warnings++;
    snprintf(warning, sizeof(warning), "%s", text);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/moejit_test_XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/moejit.db", folder);
    warnings = 0;
    return 0;
}

static int teardown(void **state) {
    char command[160];
    (void)state;
    snprintf(command, sizeof(command), "chmod -R u+w '%s'; rm -rf '%s'", folder, folder);
    return system(command);
}

static struct mj_tuning_store *open_store(void) {
    return mj_tuning_store_open(path, false, warn, NULL);
}

static struct mj_tuning_row row_of(const char *candidate, const char *state) {
    return (struct mj_tuning_row){.candidate = candidate,
                                  .state = state,
                                  .reason = "",
                                  .us = 12.5,
                                  .noise_us = 0.25,
                                  .untuned_us = 13,
                                  .num_samples = 7};
}

static bool insert(struct mj_tuning_store *store, const char *key, const char *chosen, bool replace) {
    const struct mj_tuning_row rows[] = {row_of("slow", MJ_TUNING_TIMED), row_of(chosen, MJ_TUNING_CHOSEN)};
    return mj_tuning_store_insert(store, key, rows, 2, replace);
}

struct seen {
    char chosen[64];
    int num;
};

static bool see(void *user, const struct mj_tuning_row *row) {
    struct seen *seen = user;
    if (strcmp(row->state, MJ_TUNING_CHOSEN) == 0) snprintf(seen->chosen, sizeof(seen->chosen), "%s", row->candidate);
    assert_true(row->us == 12.5 && row->noise_us == 0.25 && row->untuned_us == 13 && row->num_samples == 7);
    seen->num++;
    return true;
}

static struct seen look(struct mj_tuning_store *store, const char *key) {
    struct seen seen = {"", 0};
    mj_tuning_store_each(store, key, see, &seen);
    return seen;
}

static void the_first_is_kept_unless_replaced(void **state) {
    (void)state;
    struct mj_tuning_store *store = open_store();
    assert_int_equal(look(store, "a").num, 0);
    assert_true(insert(store, "a", "one", false));
    assert_true(insert(store, "a", "two", false));
    assert_string_equal(look(store, "a").chosen, "one");
    assert_true(insert(store, "a", "two", true));
    assert_true(insert(store, "b", "three", false));
    mj_tuning_store_close(store);
    store = open_store(); // another process
    assert_string_equal(look(store, "a").chosen, "two");
    assert_int_equal(look(store, "a").num, 2);
    assert_int_equal(look(store, NULL).num, 4);
    assert_int_equal(look(store, "c").num, 0);
    mj_tuning_store_close(store);
    assert_int_equal(warnings, 0);
}

static void the_images_store_shares_the_database(void **state) {
    (void)state;
    const struct mj_store_options options = {.path = path, .packs = "", .max_bytes = 100, .warn = warn};
    struct mj_store *images = mj_store_open(&options);
    struct mj_tuning_store *store = open_store();
    struct mj_text key = {0};
    const struct mj_image_form form = {"cubin", "0123456789", 10};
    assert_true(insert(store, "a", "one", false));
    for (int i = 0; i < 20; i++) { // more than the cap: images leave, tunings stay
        mj_text_append(&key, "key %d\n", i);
        mj_store_insert(images, &key, "nvrtc 13.0", 13000, &form, 1);
    }
    assert_true(insert(store, "b", "two", false));
    assert_string_equal(look(store, "a").chosen, "one");
    mj_tuning_store_close(store);
    mj_store_close(images);
    mj_text_free(&key);
    store = mj_tuning_store_open(path, true, warn, NULL);
    assert_string_equal(look(store, "b").chosen, "two");
    assert_false(insert(store, "c", "three", false)); // only read
    mj_tuning_store_close(store);
    assert_int_equal(warnings, 0);
}

static void what_fails_is_a_warning(void **state) {
    (void)state;
    struct mj_tuning_store *store = mj_tuning_store_open("", false, warn, NULL); // memory, asked for
    assert_true(insert(store, "a", "one", false));
    assert_string_equal(look(store, "a").chosen, "one");
    mj_tuning_store_close(store);
    assert_int_equal(warnings, 0);
    store = mj_tuning_store_open("/proc/nowhere/moejit.db", false, warn, NULL);
    assert_int_equal(warnings, 1);
    assert_true(insert(store, "a", "one", false)); // memory instead
    assert_string_equal(look(store, "a").chosen, "one");
    mj_tuning_store_close(store);
    store = mj_tuning_store_open(path, true, warn, NULL); // there is none to read, and none is made
    assert_int_equal(warnings, 2);
    assert_int_equal(look(store, "a").num, 0);
    mj_tuning_store_close(store);
    assert_int_not_equal(access(path, F_OK), 0);
    FILE *file = fopen(path, "w");
    fputs("this is no database, but it is long enough to be looked at as one, if it has a hundred bytes and more......",
          file);
    fclose(file);
    chmod(path, 0600);
    store = open_store();
    assert_int_equal(warnings, 3);
    assert_true(insert(store, "a", "one", false));
    mj_tuning_store_close(store);
    file = fopen(path, "r"); // left alone
    assert_int_equal(fgetc(file), 't');
    fclose(file);
    assert_int_equal(look(NULL, "a").num, 0);
    mj_tuning_store_close(NULL);
}

static void write_pages_of_noise(void) {
    struct stat status;
    FILE *file = fopen(path, "r+");
    assert_int_equal(stat(path, &status), 0);
    fseek(file, 4096, SEEK_SET); // all but the header's page
    for (long i = 4096; i < status.st_size; i++) fputc((int)(i * 7 % 251), file);
    fclose(file);
}

static void a_damaged_database_of_ours_is_emptied(void **state) {
    (void)state;
    struct mj_tuning_store *store = open_store();
    assert_true(insert(store, "a", "one", false));
    mj_tuning_store_close(store);
    write_pages_of_noise();
    store = open_store();
    assert_int_equal(look(store, "a").num, 0);
    assert_true(insert(store, "a", "two", false) || warnings > 0);
    mj_tuning_store_close(store);
    store = open_store();
    insert(store, "b", "three", false);
    assert_string_equal(look(store, "b").chosen, "three");
    mj_tuning_store_close(store);
}

#define NUM_WRITERS 4
#define NUM_KEYS 40

// Each inserts keys of its own and keys that all insert.
static int write_as(int writer) {
    struct mj_tuning_store *store = mj_tuning_store_open(path, false, NULL, NULL);
    char key[32], chosen[32];
    int failed = 0;
    for (int i = 0; i < NUM_KEYS; i++) {
        snprintf(key, sizeof(key), "own %d %d", writer, i);
        snprintf(chosen, sizeof(chosen), "by %d", writer);
        failed += !insert(store, key, chosen, false);
        snprintf(key, sizeof(key), "shared %d", i);
        failed += !insert(store, key, chosen, false);
    }
    mj_tuning_store_close(store);
    return failed;
}

static void processes_that_write_at_once_lose_nothing(void **state) {
    pid_t children[NUM_WRITERS];
    (void)state;
    for (int w = 0; w < NUM_WRITERS; w++) {
        children[w] = fork();
        if (children[w] == 0) _exit(write_as(w));
    }
    for (int w = 0; w < NUM_WRITERS; w++) {
        int status = 0;
        waitpid(children[w], &status, 0);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    struct mj_tuning_store *store = open_store();
    assert_int_equal(look(store, NULL).num, 2 * (NUM_WRITERS + 1) * NUM_KEYS); // each key has one writer's two rows
    for (int i = 0; i < NUM_KEYS; i++) {
        char key[32];
        snprintf(key, sizeof(key), "shared %d", i);
        assert_int_equal(strncmp(look(store, key).chosen, "by ", 3), 0);
    }
    mj_tuning_store_close(store);
}

static void one_tunes_at_a_time(void **state) {
    struct mj_flight_wait wait = {0}, other = {0}, third = {0};
    (void)state;
    struct mj_tuning_store *a = open_store(), *b = open_store();
    assert_true(mj_tuning_store_claim(a, "key", &wait));
    assert_false(mj_tuning_store_claim(b, "key", &other));
    assert_true(mj_tuning_store_claim(b, "another key", &third));
    mj_tuning_store_leave(a, "key");
    assert_true(mj_tuning_store_claim(b, "key", &other));
    mj_tuning_store_close(b); // as a process that ends
    wait = (struct mj_flight_wait){0};
    assert_true(mj_tuning_store_claim(a, "key", &wait));
    mj_tuning_store_close(a);
}

static void a_child_has_memory_of_its_own(void **state) {
    int status = 0;
    (void)state;
    struct mj_tuning_store *store = open_store();
    assert_true(insert(store, "a", "one", false));
    pid_t child = fork();
    if (child == 0) {
        struct seen seen = {"", 0};
        mj_tuning_store_each(store, "a", see, &seen);
        bool good = seen.num == 0 && insert(store, "a", "two", false);
        mj_tuning_store_close(store);
        _exit(good ? 0 : 1);
    }
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_string_equal(look(store, "a").chosen, "one");
    mj_tuning_store_close(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_is_kept_unless_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(the_images_store_shares_the_database, setup, teardown),
        cmocka_unit_test_setup_teardown(what_fails_is_a_warning, setup, teardown),
        cmocka_unit_test_setup_teardown(a_damaged_database_of_ours_is_emptied, setup, teardown),
        cmocka_unit_test_setup_teardown(processes_that_write_at_once_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(one_tunes_at_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_has_memory_of_its_own, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
