#include "tuning_store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "database.h"
#include "flight.h"
#include "store_path.h"

#define PATH_BYTES 1024
#define WAIT_MS 120000 // for one owner's tuning, as for a compile

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS tunings ("
    " key_hash BLOB NOT NULL, key_text TEXT NOT NULL, candidate TEXT NOT NULL, state TEXT NOT NULL,"
    " us REAL NOT NULL, noise_us REAL NOT NULL, untuned_us REAL NOT NULL, samples INTEGER NOT NULL,"
    " reason TEXT NOT NULL, created INTEGER NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (key_hash, candidate));";
#define COLUMNS "key_text, candidate, state, us, noise_us, untuned_us, samples, reason, created, digest, key_hash"
static const char one_sql[] = "SELECT " COLUMNS " FROM tunings WHERE key_hash = ?1"
                              " ORDER BY state <> '" MJ_TUNING_CHOSEN "', candidate;";
static const char all_sql[] =
    "SELECT " COLUMNS " FROM tunings ORDER BY key_text, state <> '" MJ_TUNING_CHOSEN "', candidate;";
static const char erase_sql[] = "DELETE FROM tunings WHERE key_hash = ?1;";
static const char insert_sql[] = "INSERT INTO tunings VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11);";

struct mj_tuning_store {
    struct mj_database database;
    struct mj_flight flight;
    pid_t owner;
    bool read_only, warned;
    mj_tuning_warn_fn warn;
    void *user;
};

static void warn(struct mj_tuning_store *store, const char *what, const char *why) {
    char text[2048];
    if (store->warn == NULL || store->warned) return;
    store->warned = true;
    snprintf(text, sizeof(text), "stored tunings: %s: %s", what, why);
    store->warn(store->user, text);
}

static void open_memory(struct mj_tuning_store *store) {
    enum mj_outcome outcome;
    char why[256];
    if (!mj_database_open(&store->database, MJ_MEMORY_DATABASE, MJ_DATABASE_USER, &outcome, why, sizeof(why))) {
        warn(store, "memory", why);
    }
}

static void open_file(struct mj_tuning_store *store, const char *path) {
    char why[1536], real[PATH_BYTES], lock[PATH_BYTES + 8];
    enum mj_outcome outcome;
    enum mj_database_kind kind = store->read_only ? MJ_DATABASE_READ : MJ_DATABASE_USER;
    bool safe = store->read_only ? mj_store_path_check_pack(path, real, sizeof(real), why, sizeof(why))
                                 : mj_store_path_prepare(path, real, sizeof(real), why, sizeof(why));
    if (!safe || !mj_database_open(&store->database, real, kind, &outcome, why, sizeof(why))) {
        warn(store, "kept in memory only", why);
        if (!store->read_only) open_memory(store);
        return;
    }
    if (store->read_only) return;
    snprintf(lock, sizeof(lock), "%s.lock", real);
    mj_flight_open(&store->flight, lock, WAIT_MS);
}

struct mj_tuning_store *mj_tuning_store_open(const char *path, bool read_only, mj_tuning_warn_fn warn_fn, void *user) {
    struct mj_tuning_store *store = calloc(1, sizeof(*store));
    if (store == NULL) return NULL;
    store->owner = getpid();
    store->read_only = read_only;
    store->warn = warn_fn;
    store->user = user;
    store->flight = (struct mj_flight){-1, WAIT_MS};
    if (path[0] != '\0') {
        open_file(store, path);
    } else if (!read_only) {
        open_memory(store);
    }
    return store;
}

void mj_tuning_store_close(struct mj_tuning_store *store) {
    if (store == NULL) return;
    // A connection must not cross a fork, not even to be closed.
    if (store->owner == getpid()) mj_database_close(&store->database);
    mj_flight_close(&store->flight);
    free(store);
}

static bool usable(struct mj_tuning_store *store) {
    if (store->owner != getpid()) {
        store->owner = getpid();
        memset(&store->database, 0, sizeof(store->database));
        warn(store, "kept in memory only", "the process was forked with the cache open");
        open_memory(store);
    }
    return store->database.handle != NULL;
}

// Over all that a row says: a changed or half row is none.
static void digest_of(const struct mj_tuning_row *row, unsigned char digest[MJ_HASH_BYTES]) {
    struct mj_text text = {0};
    mj_key_append(&text, "key", row->key, strlen(row->key));
    mj_key_append(&text, "candidate", row->candidate, strlen(row->candidate));
    mj_key_append(&text, "state", row->state, strlen(row->state));
    mj_key_append(&text, "reason", row->reason, strlen(row->reason));
    mj_text_append(&text, "%a %a %a %d", row->us, row->noise_us, row->untuned_us, row->num_samples);
    memset(digest, 0, MJ_HASH_BYTES);
    if (!text.failed) mj_key_hash(text.data, text.bytes, digest);
    mj_text_free(&text);
}

static bool read_row(sqlite3_stmt *statement, struct mj_tuning_row *row) {
    unsigned char digest[MJ_HASH_BYTES], hash[MJ_HASH_BYTES];
    *row = (struct mj_tuning_row){
        .key = (const char *)sqlite3_column_text(statement, 0),
        .candidate = (const char *)sqlite3_column_text(statement, 1),
        .state = (const char *)sqlite3_column_text(statement, 2),
        .us = sqlite3_column_double(statement, 3),
        .noise_us = sqlite3_column_double(statement, 4),
        .untuned_us = sqlite3_column_double(statement, 5),
        .num_samples = sqlite3_column_int(statement, 6),
        .reason = (const char *)sqlite3_column_text(statement, 7),
        .created = sqlite3_column_int64(statement, 8),
    };
    if (row->key == NULL || row->candidate == NULL || row->state == NULL || row->reason == NULL) return false;
    const void *stored = sqlite3_column_blob(statement, 9), *stored_hash = sqlite3_column_blob(statement, 10);
    if (sqlite3_column_bytes(statement, 9) != MJ_HASH_BYTES || sqlite3_column_bytes(statement, 10) != MJ_HASH_BYTES)
        return false;
    digest_of(row, digest);
    mj_key_hash(row->key, strlen(row->key), hash);
    return memcmp(stored, digest, MJ_HASH_BYTES) == 0 && memcmp(stored_hash, hash, MJ_HASH_BYTES) == 0;
}

// Where there is no table there are no rows.
static bool has_table(struct mj_tuning_store *store) {
    sqlite3_stmt *statement = NULL;
    bool has =
        sqlite3_prepare_v2(store->database.handle, "SELECT 1 FROM tunings LIMIT 0;", -1, &statement, NULL) == SQLITE_OK;
    sqlite3_finalize(statement);
    return has;
}

bool mj_tuning_store_each(struct mj_tuning_store *store, const char *key, mj_each_tuning_fn each, void *user) {
    unsigned char hash[MJ_HASH_BYTES];
    sqlite3_stmt *statement = NULL;
    if (store == NULL || !usable(store) || !has_table(store)) return store != NULL && store->database.handle != NULL;
    int result = sqlite3_prepare_v2(store->database.handle, key != NULL ? one_sql : all_sql, -1, &statement, NULL);
    if (result == SQLITE_OK && key != NULL) {
        mj_key_hash(key, strlen(key), hash);
        sqlite3_bind_blob(statement, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    }
    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct mj_tuning_row row;
        result = SQLITE_OK;
        if (!read_row(statement, &row) || (key != NULL && strcmp(row.key, key) != 0)) continue;
        if (!each(user, &row)) {
            result = SQLITE_DONE;
            break;
        }
    }
    if (result != SQLITE_DONE) warn(store, "reading", sqlite3_errmsg(store->database.handle));
    sqlite3_finalize(statement);
    return result == SQLITE_DONE;
}

static bool note_chosen(void *user, const struct mj_tuning_row *row) {
    bool *chosen = user;
    *chosen = strcmp(row->state, MJ_TUNING_CHOSEN) == 0;
    return false; // it comes first
}

static int run(struct mj_tuning_store *store, const char *sql, const unsigned char hash[MJ_HASH_BYTES],
               const struct mj_tuning_row *row) {
    unsigned char digest[MJ_HASH_BYTES];
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->database.handle, sql, -1, &statement, NULL);
    if (result != SQLITE_OK) return result;
    sqlite3_bind_blob(statement, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    if (row != NULL) {
        digest_of(row, digest);
        sqlite3_bind_text(statement, 2, row->key, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 3, row->candidate, -1, SQLITE_STATIC);
        sqlite3_bind_text(statement, 4, row->state, -1, SQLITE_STATIC);
        sqlite3_bind_double(statement, 5, row->us);
        sqlite3_bind_double(statement, 6, row->noise_us);
        sqlite3_bind_double(statement, 7, row->untuned_us);
        sqlite3_bind_int(statement, 8, row->num_samples);
        sqlite3_bind_text(statement, 9, row->reason, -1, SQLITE_STATIC);
        sqlite3_bind_int64(statement, 10, row->created);
        sqlite3_bind_blob(statement, 11, digest, MJ_HASH_BYTES, SQLITE_STATIC);
    }
    result = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

static int write_rows(struct mj_tuning_store *store, const char *key, const struct mj_tuning_row *rows, int num,
                      bool replace) {
    unsigned char hash[MJ_HASH_BYTES];
    bool chosen = false;
    int result = sqlite3_exec(store->database.handle, schema, NULL, NULL, NULL);
    if (result != SQLITE_OK) return result;
    if (!replace && mj_tuning_store_each(store, key, note_chosen, &chosen) && chosen) return SQLITE_OK;
    mj_key_hash(key, strlen(key), hash);
    result = run(store, erase_sql, hash, NULL);
    for (int i = 0; result == SQLITE_OK && i < num; i++) {
        struct mj_tuning_row row = rows[i];
        row.key = key;
        if (row.reason == NULL) row.reason = "";
        if (row.created == 0) row.created = (int64_t)time(NULL);
        result = run(store, insert_sql, hash, &row);
    }
    return result;
}

bool mj_tuning_store_insert(struct mj_tuning_store *store, const char *key, const struct mj_tuning_row *rows, int num,
                            bool replace) {
    if (store == NULL || !usable(store) || store->read_only) return false;
    for (int attempt = 0; attempt < 2; attempt++) {
        enum mj_outcome outcome = mj_database_begin(&store->database);
        if (outcome == MJ_OUTCOME_GOOD) {
            outcome = mj_database_outcome(&store->database, write_rows(store, key, rows, num, replace));
        }
        if (outcome == MJ_OUTCOME_GOOD) outcome = mj_database_commit(&store->database);
        if (outcome == MJ_OUTCOME_GOOD) return true;
        warn(store, "not kept", mj_database_error(&store->database));
        mj_database_rollback(&store->database);
        // A damaged database of ours is emptied, as the images' store does.
        if (outcome != MJ_OUTCOME_DAMAGED || !mj_database_reset(&store->database)) break;
    }
    return false;
}

bool mj_tuning_store_claim(struct mj_tuning_store *store, const char *key, struct mj_flight_wait *wait) {
    unsigned char hash[MJ_HASH_BYTES];
    if (store == NULL || !usable(store)) return true;
    mj_key_hash(key, strlen(key), hash);
    return mj_flight_take(&store->flight, hash, wait) != MJ_TURN_WAIT;
}

void mj_tuning_store_leave(struct mj_tuning_store *store, const char *key) {
    unsigned char hash[MJ_HASH_BYTES];
    if (store == NULL) return;
    mj_key_hash(key, strlen(key), hash);
    mj_flight_leave(&store->flight, hash);
}
