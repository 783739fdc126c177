// What leaves a database: by bytes, by age, by toolchain.
#include <sqlite3.h>
#include <string.h>

#include "database.h"

static int execute(struct mj_database *database, const char *sql) {
    return sqlite3_exec(database->handle, sql, NULL, NULL, NULL);
}

static int total_bytes(struct mj_database *database, uint64_t *bytes) {
    sqlite3_stmt *statement = NULL;
    // length() of a blob reads the head of the row, not the blob.
    int result = sqlite3_prepare_v2(database->handle, "SELECT coalesce(sum(length(image)), 0) FROM images;", -1,
                                    &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    if (result == SQLITE_ROW) *bytes = (uint64_t)sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW ? SQLITE_OK : result;
}

static int erase_key(struct mj_database *database, const void *hash, int bytes) {
    static const char *const sqls[] = {"DELETE FROM images WHERE key_hash = ?1;",
                                       "DELETE FROM uses WHERE key_hash = ?1;"};
    int result = SQLITE_DONE;
    for (int i = 0; i < 2 && result == SQLITE_DONE; i++) {
        sqlite3_stmt *statement = NULL;
        result = sqlite3_prepare_v2(database->handle, sqls[i], -1, &statement, NULL);
        if (result == SQLITE_OK) {
            sqlite3_bind_blob(statement, 1, hash, bytes, SQLITE_TRANSIENT);
            result = sqlite3_step(statement);
        }
        sqlite3_finalize(statement);
    }
    return result == SQLITE_DONE ? SQLITE_OK : result;
}

enum mj_outcome mj_database_evict(struct mj_database *database, uint64_t max_bytes, int64_t before,
                                  const unsigned char *kept, uint64_t *evicted) {
    static const char oldest_sql[] =
        "SELECT images.key_hash, sum(length(image)), max(coalesce(used, created)) AS last"
        " FROM images LEFT JOIN uses USING (key_hash) GROUP BY images.key_hash ORDER BY last, images.key_hash;";
    sqlite3_stmt *statement = NULL;
    uint64_t bytes = 0;
    int result = total_bytes(database, &bytes);
    if (result != SQLITE_OK) return mj_database_outcome(database, result);
    if (bytes <= max_bytes && before == 0) return MJ_OUTCOME_GOOD;
    result = sqlite3_prepare_v2(database->handle, oldest_sql, -1, &statement, NULL);
    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        const void *hash = sqlite3_column_blob(statement, 0);
        int hash_bytes = sqlite3_column_bytes(statement, 0);
        result = SQLITE_OK;
        if (bytes <= max_bytes && sqlite3_column_int64(statement, 2) >= before) break; // the rest is younger
        if (kept != NULL && hash_bytes == MJ_HASH_BYTES && memcmp(hash, kept, MJ_HASH_BYTES) == 0) continue;
        uint64_t freed = (uint64_t)sqlite3_column_int64(statement, 1);
        result = erase_key(database, hash, hash_bytes);
        bytes -= freed < bytes ? freed : bytes;
        if (result == SQLITE_OK) ++*evicted;
    }
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? MJ_OUTCOME_GOOD : mj_database_outcome(database, result);
}

enum mj_outcome mj_database_keep_toolchain(struct mj_database *database, const char *toolchain, uint64_t *removed) {
    sqlite3_stmt *statement = NULL;
    int result =
        sqlite3_prepare_v2(database->handle, "DELETE FROM images WHERE toolchain <> ?1;", -1, &statement, NULL);
    if (result == SQLITE_OK) {
        sqlite3_bind_text(statement, 1, toolchain, -1, SQLITE_STATIC);
        result = sqlite3_step(statement);
        if (result == SQLITE_DONE) *removed += (uint64_t)sqlite3_changes64(database->handle);
    }
    sqlite3_finalize(statement);
    if (result == SQLITE_DONE) {
        result = execute(database, "DELETE FROM uses WHERE key_hash NOT IN (SELECT key_hash FROM images);");
    }
    return mj_database_outcome(database, result);
}

enum mj_outcome mj_database_shrink(struct mj_database *database) {
    return mj_database_outcome(database, execute(database, "VACUUM;"));
}
