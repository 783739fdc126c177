#include "store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "key.h"
#include "store_path.h"

#define FORMAT_VERSION 1
#define BUSY_TIMEOUT_MS 5000

struct mj_store {
    sqlite3 *database;
    sqlite3_stmt *lookup, *insert, *erase;
    char path[1024];
    struct mj_store_counters counters;
    mj_store_warn_fn warn;
    void *user;
    bool warned;
};

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS images ("
    " key_hash BLOB NOT NULL, key_text BLOB NOT NULL, format TEXT NOT NULL, toolchain TEXT NOT NULL,"
    " toolchain_rank INTEGER NOT NULL, origin TEXT NOT NULL, image BLOB NOT NULL,"
    " digest BLOB NOT NULL, created INTEGER NOT NULL,"
    " PRIMARY KEY (key_hash, format, toolchain, origin));";
static const char lookup_sql[] =
    "SELECT key_text, toolchain, image, digest FROM images"
    " WHERE key_hash = ?1 AND format = ?2 ORDER BY toolchain_rank DESC, toolchain LIMIT 1;";
static const char insert_sql[] = "INSERT OR REPLACE INTO images"
                                 " VALUES (?1, ?2, ?3, ?4, ?5, 'compiled', ?6, ?7, ?8);";
static const char erase_sql[] = "DELETE FROM images WHERE key_hash = ?1 AND format = ?2;";

static void warn(struct mj_store *store, const char *what, const char *why) {
    char text[2048];
    if (store->warned || store->warn == NULL) return;
    store->warned = true;
    snprintf(text, sizeof(text), "kernel cache: %s: %s", what, why);
    store->warn(store->user, text);
}

static void disconnect(struct mj_store *store) {
    sqlite3_finalize(store->lookup);
    sqlite3_finalize(store->insert);
    sqlite3_finalize(store->erase);
    sqlite3_close(store->database);
    store->lookup = store->insert = store->erase = NULL;
    store->database = NULL;
}

// The first column of the first row, or -1.
static int read_number(sqlite3 *database, const char *sql) {
    sqlite3_stmt *statement = NULL;
    int number = -1;
    if (sqlite3_prepare_v2(database, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW) {
        number = sqlite3_column_int(statement, 0);
    }
    sqlite3_finalize(statement);
    return number;
}

// Refuses a database that something else or a newer moejit wrote. Version 0 is an empty file, or not ours.
static bool check_version(sqlite3 *database, char *why, size_t why_bytes) {
    int version = read_number(database, "PRAGMA user_version;");
    int tables = version == 0 ? read_number(database, "SELECT count(*) FROM sqlite_master;") : 0;
    if (version == FORMAT_VERSION || (version == 0 && tables == 0)) return true;
    if (version < 0 || tables < 0) {
        snprintf(why, why_bytes, "%s", sqlite3_errmsg(database));
    } else if (version == 0) {
        snprintf(why, why_bytes, "is a database of something else, with %d tables and indices", tables);
    } else {
        snprintf(why, why_bytes, "has format %d, this moejit writes %d", version, FORMAT_VERSION);
    }
    return false;
}

static bool connect(struct mj_store *store, const char *path, char *why, size_t why_bytes) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_FULLMUTEX;
    char version_sql[64];
    snprintf(version_sql, sizeof(version_sql), "PRAGMA user_version = %d;", FORMAT_VERSION);
    snprintf(why, why_bytes, "out of memory");
    bool good = sqlite3_open_v2(path, &store->database, flags, NULL) == SQLITE_OK;
    if (good) {
        sqlite3_db_config(store->database, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(store->database, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        sqlite3_busy_timeout(store->database, BUSY_TIMEOUT_MS);
        if (!check_version(store->database, why, why_bytes)) {
            disconnect(store);
            return false;
        }
        good = sqlite3_exec(store->database, "PRAGMA synchronous = FULL;", NULL, NULL, NULL) == SQLITE_OK &&
               sqlite3_exec(store->database, schema, NULL, NULL, NULL) == SQLITE_OK &&
               sqlite3_exec(store->database, version_sql, NULL, NULL, NULL) == SQLITE_OK &&
               sqlite3_prepare_v2(store->database, lookup_sql, -1, &store->lookup, NULL) == SQLITE_OK &&
               sqlite3_prepare_v2(store->database, insert_sql, -1, &store->insert, NULL) == SQLITE_OK &&
               sqlite3_prepare_v2(store->database, erase_sql, -1, &store->erase, NULL) == SQLITE_OK;
    }
    if (good) return true;
    if (store->database != NULL) snprintf(why, why_bytes, "%s", sqlite3_errmsg(store->database));
    disconnect(store);
    return false;
}

// From here on in memory: what was found on disk stays there untouched.
static void fall_back(struct mj_store *store, const char *what, const char *reason) {
    char why[512];
    warn(store, what, reason);
    disconnect(store);
    store->path[0] = '\0';
    if (!connect(store, ":memory:", why, sizeof(why))) warn(store, "memory", why);
}

struct mj_store *mj_store_open(const char *path, mj_store_warn_fn warn_fn, void *user) {
    struct mj_store *store = calloc(1, sizeof(*store));
    if (store == NULL) return NULL;
    store->warn = warn_fn;
    store->user = user;
    char why[1536];
    if (path != NULL) {
        snprintf(store->path, sizeof(store->path), "%s", path);
    } else {
        mj_store_path_find(store->path, sizeof(store->path));
        if (store->path[0] == '\0') {
            warn(store, "memory only", "none of MOEJIT_CACHE_DIR, XDG_CACHE_HOME and HOME names a usable place");
        }
    }
    if (store->path[0] == '\0') {
        if (!connect(store, ":memory:", why, sizeof(why))) warn(store, "memory", why);
        return store;
    }
    char what[1152];
    snprintf(what, sizeof(what), "%s is not used, memory is", store->path);
    if (!mj_store_path_prepare(store->path, why, sizeof(why)) || !connect(store, store->path, why, sizeof(why))) {
        fall_back(store, what, why);
    }
    return store;
}

void mj_store_close(struct mj_store *store) {
    if (store == NULL) return;
    disconnect(store);
    free(store);
}

const char *mj_store_path(const struct mj_store *store) {
    return store->path;
}

struct mj_store_counters mj_store_counters_read(const struct mj_store *store) {
    return store->counters;
}

void mj_store_count(struct mj_store *store, bool hit) {
    if (hit) {
        store->counters.hits++;
    } else {
        store->counters.misses++;
    }
}

// Over everything that an image's meaning hangs on.
static bool digest(const struct mj_text *key, const char *format, const char *toolchain, const void *image,
                   size_t bytes, unsigned char hash[MJ_HASH_BYTES]) {
    struct mj_text all = {0};
    mj_key_append(&all, "key", key->data, key->bytes);
    mj_key_append(&all, "format", format, strlen(format));
    mj_key_append(&all, "toolchain", toolchain, strlen(toolchain));
    mj_key_append(&all, "image", image, bytes);
    bool good = !all.failed;
    if (good) mj_key_hash(all.data, all.bytes, hash);
    mj_text_free(&all);
    return good;
}

static void heal(struct mj_store *store, const unsigned char hash[MJ_HASH_BYTES], const char *format) {
    store->counters.heals++;
    sqlite3_bind_blob(store->erase, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(store->erase, 2, format, -1, SQLITE_STATIC);
    sqlite3_step(store->erase);
    sqlite3_reset(store->erase);
}

// Copies the row's image if all of it is as it was written.
static bool verify(struct mj_store *store, const struct mj_text *key, const char *format, struct mj_blob *image) {
    const void *key_text = sqlite3_column_blob(store->lookup, 0);
    size_t key_bytes = (size_t)sqlite3_column_bytes(store->lookup, 0);
    const char *toolchain = (const char *)sqlite3_column_text(store->lookup, 1);
    const void *data = sqlite3_column_blob(store->lookup, 2);
    size_t bytes = (size_t)sqlite3_column_bytes(store->lookup, 2);
    const void *written = sqlite3_column_blob(store->lookup, 3);
    size_t written_bytes = (size_t)sqlite3_column_bytes(store->lookup, 3);
    unsigned char hash[MJ_HASH_BYTES];
    if (key_bytes != key->bytes || key_text == NULL || memcmp(key_text, key->data, key_bytes) != 0) return false;
    if (toolchain == NULL || data == NULL || written == NULL || written_bytes != MJ_HASH_BYTES) return false;
    if (!digest(key, format, toolchain, data, bytes, hash) || memcmp(hash, written, MJ_HASH_BYTES) != 0) return false;
    image->data = malloc(bytes);
    if (image->data == NULL) return false;
    memcpy(image->data, data, bytes);
    image->bytes = bytes;
    return true;
}

bool mj_store_lookup(struct mj_store *store, const struct mj_text *key, const char *format, struct mj_blob *image) {
    *image = (struct mj_blob){0};
    if (store->database == NULL) return false;
    unsigned char hash[MJ_HASH_BYTES];
    mj_key_hash(key->data, key->bytes, hash);
    sqlite3_bind_blob(store->lookup, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(store->lookup, 2, format, -1, SQLITE_STATIC);
    int result = sqlite3_step(store->lookup);
    bool good = result == SQLITE_ROW && verify(store, key, format, image);
    sqlite3_reset(store->lookup);
    if (result == SQLITE_ROW && !good) heal(store, hash, format);
    if (result != SQLITE_ROW && result != SQLITE_DONE) {
        fall_back(store, "reading failed, memory is used", sqlite3_errmsg(store->database));
    }
    return good;
}

void mj_store_insert(struct mj_store *store, const struct mj_text *key, const char *format, const char *toolchain,
                     int toolchain_rank, const void *image, size_t bytes) {
    unsigned char key_hash[MJ_HASH_BYTES], image_hash[MJ_HASH_BYTES];
    if (store->database == NULL || !digest(key, format, toolchain, image, bytes, image_hash)) return;
    mj_key_hash(key->data, key->bytes, key_hash);
    sqlite3_stmt *insert = store->insert;
    sqlite3_bind_blob(insert, 1, key_hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob64(insert, 2, key->data, key->bytes, SQLITE_STATIC);
    sqlite3_bind_text(insert, 3, format, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 4, toolchain, -1, SQLITE_STATIC);
    sqlite3_bind_int(insert, 5, toolchain_rank);
    sqlite3_bind_blob64(insert, 6, image, bytes, SQLITE_STATIC);
    sqlite3_bind_blob(insert, 7, image_hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 8, (sqlite3_int64)time(NULL));
    int result = sqlite3_step(insert);
    sqlite3_reset(insert);
    sqlite3_clear_bindings(insert);
    if (result != SQLITE_DONE) warn(store, "an image is not kept", sqlite3_errmsg(store->database));
}
