// The cache: hits, healing, and everything that must turn into a miss instead of a failure.
#include "../cmocka_all.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "key.h"
#include "store.h"

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
    snprintf(path, sizeof(path), "%s/sub/kernels.db", folder);
    warnings = 0;
    warning[0] = '\0';
    return 0;
}

static int teardown(void **state) {
    char command[160];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

static struct mj_text make_key(const char *text) {
    struct mj_text key = {0};
    mj_key_append(&key, "unit", text, strlen(text));
    assert_false(key.failed);
    return key;
}

static void insert(struct mj_store *store, const char *key_text, const char *image, int rank) {
    struct mj_text key = make_key(key_text);
    char toolchain[32];
    snprintf(toolchain, sizeof(toolchain), "nvrtc %d", rank);
    mj_store_insert(store, &key, "cubin", toolchain, rank, image, strlen(image));
    mj_text_free(&key);
}

static void expect(struct mj_store *store, const char *key_text, const char *image) {
    struct mj_text key = make_key(key_text);
    struct mj_blob found;
    assert_int_equal(mj_store_lookup(store, &key, "cubin", &found), image != NULL);
    if (image != NULL) {
        assert_int_equal(found.bytes, strlen(image));
        assert_memory_equal(found.data, image, found.bytes);
    }
    free(found.data);
    mj_text_free(&key);
}

static void run_sql(const char *sql) {
    sqlite3 *database = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void keys_are_length_prefixed(void **state) {
    (void)state;
    struct mj_text key = {0};
    mj_key_append(&key, "arch", "sm_90a", 6);
    mj_key_append_hash(&key, "a.cuh", "", 0);
    assert_string_equal(key.data, "arch 6:sm_90a\na.cuh:99aa06d3014798d86001c324468d497f\n"); // XXH3-128 of nothing
    mj_text_free(&key);
}

static void images_survive_the_process_and_newest_wins(void **state) {
    (void)state;
    struct mj_store *store = mj_store_open(path, warn, NULL);
    expect(store, "a", NULL);
    insert(store, "a", "old image", 12008);
    insert(store, "a", "new image", 13000);
    insert(store, "a", "other image", 12009);
    mj_store_close(store);
    store = mj_store_open(path, warn, NULL);
    assert_string_equal(mj_store_path(store), path);
    expect(store, "a", "new image");
    expect(store, "b", NULL);
    mj_store_close(store);
    assert_int_equal(warnings, 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

// Bit rot in any column is a miss, the row goes, and a new one heals it.
static void a_changed_row_is_never_returned(void **state) {
    static const char *const damage[] = {"UPDATE images SET image = CAST('rotten' AS BLOB);",
                                         "UPDATE images SET digest = zeroblob(16);",
                                         "UPDATE images SET toolchain = 'nvrtc 99';",
                                         "UPDATE images SET key_text = zeroblob(8);",
                                         "UPDATE images SET image = CAST(substr(image, 1, 4) AS BLOB);",
                                         "UPDATE images SET digest = zeroblob(3);"};
    (void)state;
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        struct mj_store *store = mj_store_open(path, warn, NULL);
        insert(store, "a", "good image", 1);
        expect(store, "a", "good image");
        run_sql(damage[i]);
        expect(store, "a", NULL);
        assert_int_equal(mj_store_counters_read(store).heals, 1);
        insert(store, "a", "good image", 1);
        expect(store, "a", "good image");
        mj_store_close(store);
    }
}

static void works_in_memory(struct mj_store *store) {
    assert_non_null(store);
    assert_string_equal(mj_store_path(store), "");
    insert(store, "a", "image", 1);
    expect(store, "a", "image");
    mj_store_close(store);
}

static void a_foreign_file_is_left_alone(void **state) {
    (void)state;
    mj_store_close(mj_store_open(path, warn, NULL));
    FILE *file = fopen(path, "wb");
    fputs("this is no database, but somebody's file, which is long enough to be looked at", file);
    fclose(file);
    works_in_memory(mj_store_open(path, warn, NULL));
    assert_int_equal(warnings, 1);
    char text[32] = "";
    file = fopen(path, "rb");
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_memory_equal(text, "this is no database", 19);
}

static void a_newer_format_is_left_alone(void **state) {
    (void)state;
    mj_store_close(mj_store_open(path, warn, NULL));
    run_sql("PRAGMA user_version = 2;");
    works_in_memory(mj_store_open(path, warn, NULL));
    assert_non_null(strstr(warning, "has format 2, this moejit writes 1"));
}

static void a_database_of_something_else_is_left_alone(void **state) {
    (void)state;
    mj_store_close(mj_store_open(path, warn, NULL));
    run_sql("DROP TABLE images; PRAGMA user_version = 0; CREATE TABLE theirs (a);");
    works_in_memory(mj_store_open(path, warn, NULL));
    assert_non_null(strstr(warning, "is a database of something else"));
    run_sql("INSERT INTO theirs VALUES (1);");
}

static void unsafe_places_are_refused(void **state) {
    (void)state;
    mj_store_close(mj_store_open(path, warn, NULL));
    assert_int_equal(chmod(path, 0666), 0);
    works_in_memory(mj_store_open(path, warn, NULL));
    assert_non_null(strstr(warning, "may be written by other users"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/tmp/elsewhere", path), 0);
    works_in_memory(mj_store_open(path, warn, NULL));
    assert_non_null(strstr(warning, "is not an ordinary file"));
    works_in_memory(mj_store_open("/proc/nowhere/kernels.db", warn, NULL));
    assert_non_null(strstr(warning, "cannot make the folder"));
    works_in_memory(mj_store_open("", warn, NULL));
}

static void the_environment_names_the_place(void **state) {
    (void)state;
    char want[160];
    setenv("MOEJIT_CACHE_DIR", folder, 1);
    struct mj_store *store = mj_store_open(NULL, warn, NULL);
    snprintf(want, sizeof(want), "%s/moejit.db", folder);
    assert_string_equal(mj_store_path(store), want);
    mj_store_close(store);
    unsetenv("MOEJIT_CACHE_DIR");
    setenv("XDG_CACHE_HOME", folder, 1);
    store = mj_store_open(NULL, warn, NULL);
    snprintf(want, sizeof(want), "%s/moejit/moejit.db", folder);
    assert_string_equal(mj_store_path(store), want);
    mj_store_close(store);
    unsetenv("XDG_CACHE_HOME");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(keys_are_length_prefixed),        TEST(images_survive_the_process_and_newest_wins),
        TEST(a_changed_row_is_never_returned), TEST(a_foreign_file_is_left_alone),
        TEST(a_newer_format_is_left_alone),    TEST(a_database_of_something_else_is_left_alone),
        TEST(unsafe_places_are_refused),       TEST(the_environment_names_the_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
