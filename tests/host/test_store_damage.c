// A database that is not as it was written: bits flipped, cut off, zeroed, somebody else's. A lookup gives the right
// image or a miss; what was a miss can be inserted and is then found; at most one warning tells of it.
#include "../cmocka_all.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "key.h"
#include "store.h"

#define NUM_KEYS 6
#define IMAGE_BYTES 9000 // pages of its own
#define PAGE 4096

static char folder[64], path[96];
static int warnings;
static int num_flips = 100; // of bits anywhere, beside one in every 512 bytes; the first argument
static unsigned char *pristine;
static size_t pristine_bytes;

static void warn(void *user, const char *text) {
    (void)user;
    (void)text;
    warnings++;
}

static struct mj_store *open_store(void) {
    const struct mj_store_options options = {.path = path, .packs = "", .warn = warn};
    return mj_store_open(&options);
}

static struct mj_text make_key(int idx) {
    struct mj_text key = {0};
    char text[32];
    snprintf(text, sizeof(text), "kernel %d", idx);
    mj_key_append(&key, "unit", text, strlen(text));
    return key;
}

static void make_image(int idx, unsigned char image[IMAGE_BYTES]) {
    for (int i = 0; i < IMAGE_BYTES; i++) image[i] = (unsigned char)(i * 7 + idx * 31);
}

static void insert(struct mj_store *store, int idx) {
    unsigned char image[IMAGE_BYTES];
    struct mj_text key = make_key(idx);
    make_image(idx, image);
    const struct mj_image_form forms[] = {{"cubin", image, IMAGE_BYTES}, {"ptx", image, IMAGE_BYTES / 2}};
    mj_store_insert(store, &key, "nvrtc 1", 1, forms, 2);
    mj_text_free(&key);
}

// True: found, and then it is right.
static bool find(struct mj_store *store, int idx) {
    static const char *const formats[] = {"cubin", "ptx", NULL};
    const struct mj_lookup lookup = {formats, 2, NULL, 0};
    unsigned char image[IMAGE_BYTES];
    struct mj_blob found[MJ_MAX_FORMATS];
    struct mj_text key = make_key(idx);
    char toolchain[64];
    bool hit = mj_store_lookup(store, &key, &lookup, found, toolchain);
    if (hit) {
        make_image(idx, image);
        assert_int_equal(found[0].bytes, IMAGE_BYTES);
        assert_int_equal(found[1].bytes, IMAGE_BYTES / 2);
        assert_memory_equal(found[0].data, image, IMAGE_BYTES);
        assert_memory_equal(found[1].data, image, IMAGE_BYTES / 2);
    }
    for (int i = 0; i < MJ_MAX_FORMATS; i++) free(found[i].data);
    mj_text_free(&key);
    return hit;
}

static void put_file(const void *data, size_t bytes) {
    char journal[128];
    snprintf(journal, sizeof(journal), "%s-journal", path);
    unlink(journal);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof(folder), "%s/moejit_test_XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(path, sizeof(path), "%s/kernels.db", folder);
    struct mj_store *store = open_store();
    for (int i = 0; i < NUM_KEYS; i++) insert(store, i);
    mj_store_close(store);
    FILE *file = fopen(path, "rb");
    if (file == NULL) return -1;
    pristine = malloc(1 << 20);
    pristine_bytes = fread(pristine, 1, 1 << 20, file);
    fclose(file);
    return pristine_bytes > 16 * PAGE && pristine_bytes % PAGE == 0 ? 0 : -1;
}

static int teardown(void **state) {
    char command[128];
    (void)state;
    free(pristine);
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

// Uses the file as it lies there. The number of keys that were still found.
static int use_damaged(const char *what, long where) {
    int hits = 0;
    warnings = 0;
    struct mj_store *store = open_store();
    assert_non_null(store);
    for (int i = 0; i < NUM_KEYS; i++) {
        bool hit = find(store, i);
        hits += hit;
        if (!hit) insert(store, i);
        if (!hit && !find(store, i)) fail_msg("%s %ld: key %d is not found after it was inserted", what, where, i);
    }
    // What a late discovery emptied, on this round at the latest, is a miss again, which the next insert mends.
    for (int n = 0; n < 2 * NUM_KEYS; n++) {
        int i = n % NUM_KEYS;
        if (!find(store, i)) insert(store, i);
        if (!find(store, i)) fail_msg("%s %ld: key %d was lost", what, where, i);
    }
    bool on_disk = mj_store_path(store)[0] != '\0';
    mj_store_close(store);
    if (warnings > 1) fail_msg("%s %ld: %d warnings", what, where, warnings);
    if (!on_disk && warnings != 1) fail_msg("%s %ld: memory without a warning", what, where);
    if (!on_disk) return hits;
    // Healed: the next process finds every row, without a word.
    warnings = 0;
    store = open_store();
    int found = 0;
    for (int i = 0; i < NUM_KEYS; i++) found += find(store, i);
    mj_store_close(store);
    if (found < NUM_KEYS || warnings > 0)
        fail_msg("%s %ld: %d keys after healing, %d warnings", what, where, found, warnings);
    return hits;
}

static void flip(size_t byte, unsigned bit, int *whole) {
    pristine[byte] ^= (unsigned char)(1U << bit);
    put_file(pristine, pristine_bytes);
    pristine[byte] ^= (unsigned char)(1U << bit);
    *whole += use_damaged("flipped byte", (long)byte) == NUM_KEYS;
}

static void a_flipped_bit_is_never_returned(void **state) {
    (void)state;
    int whole = 0, flips = 0;
    for (size_t byte = 0; byte < pristine_bytes; byte += 512, flips++) flip(byte, byte / 512 % 8, &whole);
    uint64_t random = 88172645463325252U;
    for (int i = 0; i < num_flips; i++, flips++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        flip((size_t)(random >> 8) % pristine_bytes, random & 7, &whole);
    }
    // Free space may flip unseen; a flip in an image may not.
    assert_true(whole < flips * 3 / 4);
}

static void a_truncated_file_is_mended(void **state) {
    (void)state;
    for (size_t bytes = 0; bytes < pristine_bytes; bytes += PAGE) {
        put_file(pristine, bytes);
        assert_true(use_damaged("cut to", (long)bytes) < NUM_KEYS);
    }
    put_file(pristine, pristine_bytes - 1);
    use_damaged("cut to", (long)pristine_bytes - 1);
    put_file(pristine, 100);
    use_damaged("cut to", 100);
}

static void expect_left_alone(const void *data, size_t bytes) {
    unsigned char *after = malloc(bytes + 1);
    put_file(data, bytes);
    assert_int_equal(use_damaged("foreign", (long)bytes), 0);
    assert_int_equal(warnings, 1);
    FILE *file = fopen(path, "rb");
    assert_int_equal(fread(after, 1, bytes + 1, file), bytes);
    fclose(file);
    assert_memory_equal(after, data, bytes);
    free(after);
}

static void zeros_and_others_files_are_left_alone(void **state) {
    (void)state;
    unsigned char *zeros = calloc(4, PAGE);
    expect_left_alone(zeros, 4 * PAGE);
    expect_left_alone(zeros, 5);
    free(zeros);
    expect_left_alone("somebody's letter", 17);
}

// A statement on the good database, as another program may run it.
static void run_sql(const char *sql) {
    sqlite3 *database = NULL;
    put_file(pristine, pristine_bytes);
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void expect_memory_after(const char *sql) {
    run_sql(sql);
    assert_int_equal(use_damaged(sql, 0), 0);
    assert_int_equal(warnings, 1);
}

static void others_databases_and_newer_ones_are_left_alone(void **state) {
    (void)state;
    expect_memory_after("PRAGMA user_version = 2;");
    expect_memory_after("PRAGMA user_version = 0;");
    expect_memory_after("DROP TABLE images; CREATE TABLE images (theirs);");
}

// The table is there, its rows are wrong: each is a miss and is mended.
static void rows_that_do_not_fit_are_misses(void **state) {
    static const char *const damage[] = {
        // each row has the next one's image, with its digest and without; and everything of it but the hash
        "CREATE TEMP TABLE old AS SELECT rowid AS r, * FROM images; UPDATE images SET image = (SELECT image FROM old"
        " WHERE r = (images.rowid + 1) % 12 + 1);",
        "CREATE TEMP TABLE old AS SELECT rowid AS r, * FROM images; UPDATE images SET (image, digest) = (SELECT image,"
        " digest FROM old WHERE r = (images.rowid + 1) % 12 + 1);",
        "CREATE TEMP TABLE old AS SELECT rowid AS r, * FROM images; UPDATE images SET (key_text, image, digest) ="
        " (SELECT key_text, image, digest FROM old WHERE r = (images.rowid + 1) % 12 + 1);",
        "UPDATE images SET image = 5, digest = 7.5;",
        "UPDATE images SET image = '', digest = '';",
        "UPDATE images SET toolchain = CAST(zeroblob(200000) AS TEXT);",
        "UPDATE images SET toolchain = '';",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
        run_sql(damage[i]);
        assert_int_equal(use_damaged(damage[i], 0), 0);
        assert_int_equal(warnings, 0);
    }
}

int main(int argc, char **argv) {
    if (argc > 1) num_flips = atoi(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flipped_bit_is_never_returned),
        cmocka_unit_test(a_truncated_file_is_mended),
        cmocka_unit_test(zeros_and_others_files_are_left_alone),
        cmocka_unit_test(others_databases_and_newer_ones_are_left_alone),
        cmocka_unit_test(rows_that_do_not_fit_are_misses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
