#include "database.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define FORMAT_VERSION 1
#define APPLICATION_ID 0x6d6f656a // "moej", in the file's header
#define BUSY_TIMEOUT_MS 5000
// Of a new file: 100 KB are then read in 7 pieces, not in 25 (docs/benchmarks.md).
#define PAGE_SIZE "PRAGMA page_size = 16384;"

// Use times are apart from the images, so that noting one does not write an image again.
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS images ("
    " key_hash BLOB NOT NULL, key_text BLOB NOT NULL, format TEXT NOT NULL, toolchain TEXT NOT NULL,"
    " toolchain_rank INTEGER NOT NULL, origin TEXT NOT NULL, image BLOB NOT NULL,"
    " digest BLOB NOT NULL, created INTEGER NOT NULL,"
    " PRIMARY KEY (key_hash, format, toolchain, origin));";
static const char uses_schema[] =
    "CREATE TABLE IF NOT EXISTS uses (key_hash BLOB PRIMARY KEY, used INTEGER NOT NULL) WITHOUT ROWID;";
static const char toolchains_sql[] = "SELECT DISTINCT toolchain, toolchain_rank FROM images WHERE key_hash = ?1"
                                     " ORDER BY toolchain_rank DESC, toolchain;";
#define COLUMNS "key_text, format, toolchain, toolchain_rank, origin, image, digest, created"
static const char rows_sql[] = "SELECT " COLUMNS ", 0 FROM images WHERE key_hash = ?1 AND toolchain = ?2;";
static const char insert_sql[] = "INSERT OR REPLACE INTO images VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9);";
static const char erase_sql[] = "DELETE FROM images WHERE key_hash = ?1 AND toolchain = ?2;";
static const char use_sql[] = "INSERT OR REPLACE INTO uses SELECT ?1, ?2 WHERE EXISTS"
                              " (SELECT 1 FROM images WHERE key_hash = ?1);";

enum mj_outcome mj_database_outcome(const struct mj_database *database, int result) {
    (void)database;
    switch (result & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW: return MJ_OUTCOME_GOOD;
    case SQLITE_DONE: return MJ_OUTCOME_NONE;
    case SQLITE_NOMEM: return MJ_OUTCOME_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: return MJ_OUTCOME_DAMAGED;
    default: return MJ_OUTCOME_FAILED;
    }
}

const char *mj_database_error(const struct mj_database *database) {
    return database->handle != NULL ? sqlite3_errmsg(database->handle) : "out of memory";
}

void mj_database_close(struct mj_database *database) {
    sqlite3_finalize(database->toolchains);
    sqlite3_finalize(database->rows);
    sqlite3_finalize(database->erase);
    sqlite3_finalize(database->insert);
    sqlite3_finalize(database->use);
    sqlite3_close_v2(database->handle);
    memset(database, 0, sizeof(*database));
}

static int execute(struct mj_database *database, const char *sql) {
    return sqlite3_exec(database->handle, sql, NULL, NULL, NULL);
}

// The first column of the first row.
static int read_number(sqlite3 *handle, const char *sql, int64_t *number) {
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(handle, sql, -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    if (result == SQLITE_ROW) *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW ? SQLITE_OK : result;
}

// Whether the file says that it is ours. Of the header's bytes, through SQLite's own descriptor: SQLite reads no more
// of a file whose length is wrong, and a descriptor of our own would drop SQLite's locks when it is closed.
static bool is_marked(sqlite3 *handle) {
    static const unsigned char ours[] = {APPLICATION_ID >> 24, APPLICATION_ID >> 16 & 255, APPLICATION_ID >> 8 & 255,
                                         APPLICATION_ID & 255};
    unsigned char header[100];
    sqlite3_file *file = NULL;
    return sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER, &file) == SQLITE_OK && file != NULL &&
           file->pMethods != NULL && file->pMethods->xRead(file, header, sizeof(header), 0) == SQLITE_OK &&
           memcmp(header, "SQLite format 3", 16) == 0 && header[63] == FORMAT_VERSION &&
           memcmp(header + 68, ours, sizeof(ours)) == 0;
}

// Refuses a database that something else or a newer moejit wrote. Version 0 is an empty file, or not ours.
static bool check_version(struct mj_database *database, bool *empty, enum mj_outcome *outcome, char *why,
                          size_t why_bytes) {
    int64_t version = 0, tables = 0, application = 0;
    int result = execute(database, "BEGIN;"); // one moment: somebody may be making the tables
    if (result == SQLITE_OK) result = read_number(database->handle, "PRAGMA user_version;", &version);
    if (result == SQLITE_OK && version == 0) {
        result = read_number(database->handle, "SELECT count(*) FROM sqlite_master;", &tables);
    }
    if (result == SQLITE_OK) result = read_number(database->handle, "PRAGMA application_id;", &application);
    if (result == SQLITE_OK) result = execute(database, "COMMIT;");
    if (result != SQLITE_OK) mj_database_rollback(database);
    *empty = version == 0;
    database->ours = application == APPLICATION_ID;
    *outcome = result == SQLITE_OK ? MJ_OUTCOME_FAILED : mj_database_outcome(database, result);
    if (result != SQLITE_OK) {
        snprintf(why, why_bytes, "%s", sqlite3_errmsg(database->handle));
    } else if (version == 0 &&
               (tables > 0 || database->kind == MJ_DATABASE_PACK || database->kind == MJ_DATABASE_READ)) {
        snprintf(why, why_bytes, "is a database of something else, with %d tables and indices", (int)tables);
    } else if (application != 0 && application != APPLICATION_ID) {
        snprintf(why, why_bytes, "is a database of something else, with application_id %d", (int)application);
    } else if (version != 0 && version != FORMAT_VERSION) {
        snprintf(why, why_bytes, "has format %d, this moejit writes %d", (int)version, FORMAT_VERSION);
    } else {
        return true;
    }
    return false;
}

static int prepare(struct mj_database *database, const char *sql, sqlite3_stmt **statement) {
    return sqlite3_prepare_v3(database->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
}

static int write_marks(struct mj_database *database) {
    char sql[96];
    snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d;", APPLICATION_ID, FORMAT_VERSION);
    return execute(database, sql);
}

// Tables and marks come at one moment: others may be opening the same file.
static int write_schema(struct mj_database *database, bool empty) {
    int result = empty ? execute(database, "BEGIN IMMEDIATE;") : SQLITE_OK;
    if (result == SQLITE_OK) result = execute(database, schema);
    if (result == SQLITE_OK && database->kind == MJ_DATABASE_USER) result = execute(database, uses_schema);
    if (result == SQLITE_OK && empty) result = write_marks(database);
    if (result == SQLITE_OK && empty) result = execute(database, "COMMIT;");
    if (result != SQLITE_OK) mj_database_rollback(database);
    database->ours |= result == SQLITE_OK && empty;
    return result;
}

static int prepare_all(struct mj_database *database, bool empty) {
    bool uses = database->kind == MJ_DATABASE_USER, writes = uses || database->kind == MJ_DATABASE_NEW;
    int result = writes ? write_schema(database, empty) : SQLITE_OK;
    // A database that may only be read serves what it has.
    if (writes && !empty && (result & 0xff) == SQLITE_READONLY) {
        writes = false;
        result = SQLITE_OK;
    }
    if (result == SQLITE_OK) result = prepare(database, toolchains_sql, &database->toolchains);
    if (result == SQLITE_OK) result = prepare(database, rows_sql, &database->rows);
    if (result == SQLITE_OK && writes) result = prepare(database, erase_sql, &database->erase);
    if (result == SQLITE_OK && writes) result = prepare(database, insert_sql, &database->insert);
    if (result == SQLITE_OK && writes && uses) result = prepare(database, use_sql, &database->use);
    return result;
}

static void configure(struct mj_database *database) {
    sqlite3_extended_result_codes(database->handle, 1);
    sqlite3_db_config(database->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(database->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_busy_timeout(database->handle, BUSY_TIMEOUT_MS);
}

// A file name as SQLite's URI: immutable promises SQLite that nobody changes the file.
static bool pack_uri(const char *path, char *uri, size_t bytes) {
    size_t used = (size_t)snprintf(uri, bytes, "file:%s", path[0] == '/' ? "//" : "");
    for (const char *c = path; *c != '\0'; c++) {
        if (used + 24 > bytes) return false;
        bool plain = *c != '%' && *c != '?' && *c != '#';
        used += (size_t)snprintf(uri + used, bytes - used, plain ? "%c" : "%%%02x", (unsigned char)*c);
    }
    snprintf(uri + used, bytes - used, "?immutable=1");
    return true;
}

static int open_file(struct mj_database *database, const char *path) {
    static const int flags[] = {SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI,
                                SQLITE_OPEN_READONLY, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE};
    char uri[4096];
    if (database->kind == MJ_DATABASE_PACK) {
        if (!pack_uri(path, uri, sizeof(uri))) return SQLITE_CANTOPEN;
        path = uri;
    }
    return sqlite3_open_v2(path, &database->handle,
                           flags[database->kind] | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_FULLMUTEX, NULL);
}

static bool open_database(struct mj_database *database, const char *path, enum mj_outcome *outcome, char *why,
                          size_t why_bytes) {
    bool empty = false;
    int result = open_file(database, path);
    if (result == SQLITE_OK) {
        configure(database);
        result = execute(database, PAGE_SIZE "PRAGMA synchronous = FULL; PRAGMA cell_size_check = ON;");
    }
    if (result == SQLITE_OK && database->kind == MJ_DATABASE_NEW) {
        // Settings that a build of SQLite may have otherwise, and none that a pack would keep.
        result = execute(database, "PRAGMA auto_vacuum = NONE; PRAGMA encoding = 'UTF-8';"
                                   "PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;");
    }
    if (result == SQLITE_OK) {
        if (!check_version(database, &empty, outcome, why, why_bytes)) return false;
        result = prepare_all(database, empty);
    }
    *outcome = mj_database_outcome(database, result);
    snprintf(why, why_bytes, "%s", mj_database_error(database));
    return result == SQLITE_OK;
}

bool mj_database_open(struct mj_database *database, const char *path, enum mj_database_kind kind,
                      enum mj_outcome *outcome, char *why, size_t why_bytes) {
    memset(database, 0, sizeof(*database));
    database->kind = kind;
    if (open_database(database, path, outcome, why, why_bytes)) return true;
    // What contradicts itself but says that it is ours is a cache that may be emptied.
    database->ours = *outcome == MJ_OUTCOME_DAMAGED && kind == MJ_DATABASE_USER && is_marked(database->handle);
    if (database->ours && mj_database_reset(database)) return true;
    mj_database_close(database);
    return false;
}

bool mj_database_reset(struct mj_database *database) {
    struct mj_database kept = *database;
    if (!database->ours) return false;
    memset(database, 0, sizeof(*database));
    database->handle = kept.handle;
    database->kind = kept.kind;
    database->ours = true;
    kept.handle = NULL;
    mj_database_close(&kept); // its statements
    sqlite3_db_config(database->handle, SQLITE_DBCONFIG_RESET_DATABASE, 1, NULL);
    bool good = execute(database, "VACUUM;") == SQLITE_OK;
    sqlite3_db_config(database->handle, SQLITE_DBCONFIG_RESET_DATABASE, 0, NULL);
    return good && prepare_all(database, true) == SQLITE_OK;
}

// Ends a statement's run; what it said.
static enum mj_outcome finish(struct mj_database *database, sqlite3_stmt *statement, int result) {
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return mj_database_outcome(database, result);
}

enum mj_outcome mj_database_toolchains(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES],
                                       struct mj_toolchains *toolchains) {
    sqlite3_stmt *statement = database->toolchains;
    int result;
    toolchains->num = 0;
    sqlite3_bind_blob(statement, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(statement, 0);
        if (name == NULL || toolchains->num == MJ_MAX_TOOLCHAINS) continue;
        snprintf(toolchains->names[toolchains->num++], MJ_TOOLCHAIN_BYTES, "%s", name);
    }
    return finish(database, statement, result);
}

static struct mj_row read_row(sqlite3_stmt *statement) {
    struct mj_row row = {
        .key = sqlite3_column_blob(statement, 0),
        .format = (const char *)sqlite3_column_text(statement, 1),
        .toolchain = (const char *)sqlite3_column_text(statement, 2),
        .toolchain_rank = sqlite3_column_int(statement, 3),
        .origin = (const char *)sqlite3_column_text(statement, 4),
        .image = sqlite3_column_blob(statement, 5),
        .digest = sqlite3_column_blob(statement, 6),
        .created = sqlite3_column_int64(statement, 7),
        .used = sqlite3_column_int64(statement, 8),
    };
    row.key_bytes = (size_t)sqlite3_column_bytes(statement, 0);
    row.image_bytes = (size_t)sqlite3_column_bytes(statement, 5);
    row.digest_bytes = (size_t)sqlite3_column_bytes(statement, 6);
    return row;
}

static enum mj_outcome step_rows(struct mj_database *database, sqlite3_stmt *statement, mj_each_row_fn each,
                                 void *user) {
    int result;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        struct mj_row row = read_row(statement);
        if (!each(user, &row)) break;
    }
    return finish(database, statement, result);
}

enum mj_outcome mj_database_rows(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES],
                                 const char *toolchain, mj_each_row_fn each, void *user) {
    sqlite3_bind_blob(database->rows, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(database->rows, 2, toolchain, -1, SQLITE_STATIC);
    return step_rows(database, database->rows, each, user);
}

enum mj_outcome mj_database_each(struct mj_database *database, mj_each_row_fn each, void *user) {
    static const char with_uses[] =
        "SELECT " COLUMNS ", coalesce(used, created) FROM images LEFT JOIN uses USING (key_hash)"
        " ORDER BY key_hash, format, toolchain, origin;";
    static const char without[] = "SELECT " COLUMNS ", 0 FROM images ORDER BY key_hash, format, toolchain, origin;";
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(database->handle, with_uses, -1, &statement, NULL);
    if (result == SQLITE_ERROR) result = sqlite3_prepare_v2(database->handle, without, -1, &statement, NULL);
    enum mj_outcome outcome = mj_database_outcome(database, result);
    if (result == SQLITE_OK) outcome = step_rows(database, statement, each, user);
    sqlite3_finalize(statement);
    return outcome;
}

enum mj_outcome mj_database_begin(struct mj_database *database) {
    return mj_database_outcome(database, execute(database, "BEGIN IMMEDIATE;"));
}

enum mj_outcome mj_database_commit(struct mj_database *database) {
    return mj_database_outcome(database, execute(database, "COMMIT;"));
}

void mj_database_rollback(struct mj_database *database) {
    if (database->handle != NULL && !sqlite3_get_autocommit(database->handle)) execute(database, "ROLLBACK;");
}

enum mj_outcome mj_database_insert(struct mj_database *database, const struct mj_row *row) {
    unsigned char hash[MJ_HASH_BYTES], digest[MJ_HASH_BYTES];
    sqlite3_stmt *insert = database->insert;
    if (insert == NULL) return MJ_OUTCOME_FAILED;
    mj_key_hash(row->key, row->key_bytes, hash);
    mj_row_digest(row, digest);
    sqlite3_bind_blob(insert, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_blob64(insert, 2, row->key, row->key_bytes, SQLITE_STATIC);
    sqlite3_bind_text(insert, 3, row->format, -1, SQLITE_STATIC);
    sqlite3_bind_text(insert, 4, row->toolchain, -1, SQLITE_STATIC);
    sqlite3_bind_int(insert, 5, row->toolchain_rank);
    sqlite3_bind_text(insert, 6, row->origin != NULL ? row->origin : "compiled", -1, SQLITE_STATIC);
    sqlite3_bind_blob64(insert, 7, row->image, row->image_bytes, SQLITE_STATIC);
    sqlite3_bind_blob(insert, 8, digest, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 9, row->created);
    enum mj_outcome outcome = finish(database, insert, sqlite3_step(insert));
    return outcome == MJ_OUTCOME_NONE ? MJ_OUTCOME_GOOD : outcome;
}

enum mj_outcome mj_database_erase(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES],
                                  const char *toolchain) {
    if (database->erase == NULL) return MJ_OUTCOME_FAILED;
    sqlite3_bind_blob(database->erase, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(database->erase, 2, toolchain, -1, SQLITE_STATIC);
    enum mj_outcome outcome = finish(database, database->erase, sqlite3_step(database->erase));
    return outcome == MJ_OUTCOME_NONE ? MJ_OUTCOME_GOOD : outcome;
}

enum mj_outcome mj_database_use(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES], int64_t when) {
    if (database->use == NULL) return MJ_OUTCOME_FAILED;
    sqlite3_bind_blob(database->use, 1, hash, MJ_HASH_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(database->use, 2, when);
    enum mj_outcome outcome = finish(database, database->use, sqlite3_step(database->use));
    return outcome == MJ_OUTCOME_NONE ? MJ_OUTCOME_GOOD : outcome;
}
