// The cache: hits, healing, and everything that must turn into a miss instead of a failure.
#include "../cmocka_all.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static struct mj_store *open_store(const char *place) {
    const struct mj_store_options options = {.path = place, .warn = warn};
    return mj_store_open(&options);
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
    const struct mj_image_form format = {"cubin", image, strlen(image)};
    mj_store_insert(store, &key, toolchain, rank, &format, 1);
    mj_text_free(&key);
}

static void expect(struct mj_store *store, const char *key_text, const char *image) {
    struct mj_text key = make_key(key_text);
    static const char *const formats[] = {"cubin", NULL};
    const struct mj_lookup lookup = {formats, 1, NULL, 0};
    struct mj_blob images[MJ_MAX_FORMATS], found;
    char toolchain[64];
    assert_int_equal(mj_store_lookup(store, &key, &lookup, images, toolchain), image != NULL);
    found = images[0];
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
    struct mj_store *store = open_store(path);
    expect(store, "a", NULL);
    insert(store, "a", "old image", 12008);
    insert(store, "a", "new image", 13000);
    insert(store, "a", "other image", 12009);
    mj_store_close(store);
    store = open_store(path);
    assert_string_equal(mj_store_path(store), path);
    expect(store, "a", "new image");
    expect(store, "b", NULL);
    mj_store_close(store);
    assert_int_equal(warnings, 0);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

// What a lookup of cubin and PTX finds: which toolchain's cubin, "" for a miss.
static void expect_toolchain(struct mj_store *store, const char *only, int skip, const char *wanted) {
    static const char *const formats[] = {"cubin", "ptx", NULL};
    const struct mj_lookup lookup = {formats, 2, only, skip};
    struct mj_blob images[MJ_MAX_FORMATS];
    struct mj_text key = make_key("a");
    char toolchain[64];
    bool hit = mj_store_lookup(store, &key, &lookup, images, toolchain);
    assert_int_equal(hit, wanted[0] != '\0');
    if (hit) {
        assert_string_equal(toolchain, wanted);
        assert_memory_equal(images[0].data, wanted, strlen(wanted));
    }
    for (int i = 0; i < MJ_MAX_FORMATS; i++) free(images[i].data);
    mj_text_free(&key);
}

static void insert_forms(struct mj_store *store, const char *toolchain, int rank, int num_forms) {
    struct mj_text key = make_key("a");
    const struct mj_image_form forms[] = {{"cubin", toolchain, strlen(toolchain)}, {"ptx", "p", 1}};
    mj_store_insert(store, &key, toolchain, rank, forms, num_forms);
    mj_text_free(&key);
}

// The database's before a pack's; in each the newest that is whole; the next one after each that the driver refuses.
static void which_toolchain_is_taken_when(void **state) {
    char pack[160];
    (void)state;
    snprintf(pack, sizeof(pack), "%s/a.mjpack", folder);
    struct mj_store *store = open_store(pack);
    insert_forms(store, "nvrtc 14.0", 14000, 2);
    insert_forms(store, "nvrtc 12.8", 12008, 2);
    mj_store_close(store);
    const struct mj_store_options options = {.path = path, .packs = pack, .warn = warn};
    store = mj_store_open(&options);
    expect_toolchain(store, NULL, 0, "nvrtc 14.0"); // of the pack: the database has none
    insert_forms(store, "nvrtc 13.2", 13002, 1);    // a cubin without PTX is no hit
    expect_toolchain(store, NULL, 0, "nvrtc 14.0");
    insert_forms(store, "nvrtc 12.9", 12009, 2);
    expect_toolchain(store, NULL, 0, "nvrtc 12.9"); // the database's before the pack's newer one
    insert_forms(store, "nvrtc 13.0", 13000, 2);
    expect_toolchain(store, NULL, 0, "nvrtc 13.0");
    expect_toolchain(store, NULL, 1, "nvrtc 12.9");
    expect_toolchain(store, NULL, 2, "nvrtc 14.0");
    expect_toolchain(store, NULL, 3, "nvrtc 12.8");
    expect_toolchain(store, NULL, 4, "");
    expect_toolchain(store, "nvrtc 12.9", 0, "nvrtc 12.9"); // only the one asked for
    expect_toolchain(store, "nvrtc 12.8", 0, "nvrtc 12.8");
    expect_toolchain(store, "nvrtc 13.2", 0, "");
    expect_toolchain(store, "nvrtc 11.0", 0, "");
    mj_store_close(store);
    assert_int_equal(warnings, 0);
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
        struct mj_store *store = open_store(path);
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

static int64_t read_number(const char *sql) {
    sqlite3 *database = NULL;
    sqlite3_stmt *statement = NULL;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(database, sql, -1, &statement, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    int64_t number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(database);
    return number;
}

// Ten bytes an image, room for three: the key that was not used for the longest leaves, never the newest.
static void the_least_recently_used_leaves_first(void **state) {
    (void)state;
    const struct mj_store_options options = {.path = path, .warn = warn, .max_bytes = 35};
    struct mj_store *store = mj_store_open(&options);
    insert(store, "a", "0123456789", 1);
    insert(store, "b", "0123456789", 1);
    insert(store, "c", "0123456789", 1);
    run_sql("UPDATE uses SET used = 1000 + rowid FROM (SELECT key_hash AS k, rowid FROM images) WHERE key_hash = k;");
    expect(store, "a", "0123456789"); // a use: remembered, written with the next insert
    assert_int_equal(read_number("SELECT count(*) FROM uses WHERE used < 2000;"), 3);
    insert(store, "d", "0123456789", 1);
    assert_int_equal(mj_store_counters_read(store).evictions, 1);
    expect(store, "b", NULL);
    expect(store, "a", "0123456789");
    expect(store, "c", "0123456789");
    // Larger than the cap by itself: everything else goes, it stays.
    insert(store, "e", "0123456789012345678901234567890123456789", 1);
    assert_int_equal(mj_store_counters_read(store).evictions, 4);
    expect(store, "e", "0123456789012345678901234567890123456789");
    assert_int_equal(read_number("SELECT sum(length(image)) FROM images;"), 40);
    assert_int_equal(read_number("SELECT count(*) FROM uses;"), 1);
    mj_store_close(store);
    assert_int_equal(warnings, 0);
}

static void the_cap_comes_from_the_environment(void **state) {
    (void)state;
    setenv("MOEJIT_CACHE_MAX_BYTES", "25", 1);
    struct mj_store *store = open_store(path);
    for (const char *key = "abcdefgh"; *key != '\0'; key++) {
        insert(store, key, "0123456789", 1);
        assert_true(read_number("SELECT sum(length(image)) FROM images;") <= 25);
    }
    mj_store_close(store);
    assert_int_equal(warnings, 0);
    setenv("MOEJIT_CACHE_MAX_BYTES", "-3", 1);
    mj_store_close(open_store(path));
    assert_non_null(strstr(warning, "MOEJIT_CACHE_MAX_BYTES is no whole number"));
    unsetenv("MOEJIT_CACHE_MAX_BYTES");
}

// A hit changes no byte of the file; closing does, once.
static void hits_write_nothing(void **state) {
    (void)state;
    struct mj_store *store = open_store(path);
    insert(store, "a", "image", 1);
    run_sql("UPDATE uses SET used = 7;");
    for (int i = 0; i < 1000; i++) expect(store, "a", "image");
    assert_int_equal(read_number("SELECT used FROM uses;"), 7);
    mj_store_close(store);
    assert_true(read_number("SELECT used FROM uses;") > 7);
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
    mj_store_close(open_store(path));
    FILE *file = fopen(path, "wb");
    fputs("this is no database, but somebody's file, which is long enough to be looked at", file);
    fclose(file);
    works_in_memory(open_store(path));
    assert_int_equal(warnings, 1);
    char text[32] = "";
    file = fopen(path, "rb");
    assert_non_null(fgets(text, sizeof(text), file));
    fclose(file);
    assert_memory_equal(text, "this is no database", 19);
}

static void a_newer_format_is_left_alone(void **state) {
    (void)state;
    mj_store_close(open_store(path));
    run_sql("PRAGMA user_version = 2;");
    works_in_memory(open_store(path));
    assert_non_null(strstr(warning, "has format 2, this moejit writes 1"));
}

static void a_database_of_something_else_is_left_alone(void **state) {
    (void)state;
    mj_store_close(open_store(path));
    run_sql("DROP TABLE images; PRAGMA user_version = 0; CREATE TABLE theirs (a);");
    works_in_memory(open_store(path));
    assert_non_null(strstr(warning, "is a database of something else"));
    run_sql("INSERT INTO theirs VALUES (1);");
}

static void unsafe_places_are_refused(void **state) {
    (void)state;
    mj_store_close(open_store(path));
    assert_int_equal(chmod(path, 0666), 0);
    works_in_memory(open_store(path));
    assert_non_null(strstr(warning, "may be written by other users"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/tmp/elsewhere", path), 0);
    works_in_memory(open_store(path));
    assert_non_null(strstr(warning, "is not an ordinary file"));
    works_in_memory(open_store("/proc/nowhere/kernels.db"));
    assert_non_null(strstr(warning, "cannot make the folder"));
    works_in_memory(open_store(""));
}

static void the_environment_names_the_place(void **state) {
    (void)state;
    char want[160];
    setenv("MOEJIT_CACHE_DIR", folder, 1);
    struct mj_store *store = open_store(NULL);
    snprintf(want, sizeof(want), "%s/moejit.db", folder);
    assert_string_equal(mj_store_path(store), want);
    mj_store_close(store);
    unsetenv("MOEJIT_CACHE_DIR");
    setenv("XDG_CACHE_HOME", folder, 1);
    store = open_store(NULL);
    snprintf(want, sizeof(want), "%s/moejit/moejit.db", folder);
    assert_string_equal(mj_store_path(store), want);
    mj_store_close(store);
    unsetenv("XDG_CACHE_HOME");
}

// The child leaves the connection alone and keeps its images in memory; the parent goes on.
static void a_fork_leaves_the_database_to_the_parent(void **state) {
    int status;
    (void)state;
    struct mj_store *store = open_store(path);
    insert(store, "a", "image", 1);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        expect(store, "a", NULL);
        insert(store, "b", "the child's", 1);
        expect(store, "b", "the child's");
        bool good = warnings == 1 && strstr(warning, "the process was forked with the cache open") != NULL &&
                    mj_store_path(store)[0] == '\0';
        mj_store_close(store);
        _exit(good ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    expect(store, "a", "image");
    expect(store, "b", NULL);
    insert(store, "c", "the parent's", 1);
    mj_store_close(store);
    store = open_store(path);
    expect(store, "a", "image");
    expect(store, "c", "the parent's");
    mj_store_close(store);
    assert_int_equal(warnings, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(keys_are_length_prefixed),
        TEST(images_survive_the_process_and_newest_wins),
        TEST(which_toolchain_is_taken_when),
        TEST(a_changed_row_is_never_returned),
        TEST(a_foreign_file_is_left_alone),
        TEST(a_newer_format_is_left_alone),
        TEST(a_database_of_something_else_is_left_alone),
        TEST(the_least_recently_used_leaves_first),
        TEST(the_cap_comes_from_the_environment),
        TEST(hits_write_nothing),
        TEST(unsafe_places_are_refused),
        TEST(the_environment_names_the_place),
        TEST(a_fork_leaves_the_database_to_the_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
