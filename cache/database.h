// One SQLite database of images: the user's, one in memory, or a pack. A connection belongs to one thread at a time.
#ifndef MOEJIT_CACHE_DATABASE_H
#define MOEJIT_CACHE_DATABASE_H

#include "row.h"

struct sqlite3;
struct sqlite3_stmt;

#define MJ_MEMORY_DATABASE ":memory:"

enum mj_database_kind {
    MJ_DATABASE_USER, // read and written; made where there is none
    MJ_DATABASE_PACK, // a file that nobody changes: no lock, no journal
    MJ_DATABASE_READ, // a user's database, only read
    MJ_DATABASE_NEW,  // a pack in the making: a new file, journal in memory
};

enum mj_outcome {
    MJ_OUTCOME_GOOD,
    MJ_OUTCOME_NONE,    // no such row
    MJ_OUTCOME_MEMORY,  // none left; the database is as it was
    MJ_OUTCOME_DAMAGED, // the file contradicts itself
    MJ_OUTCOME_FAILED,  // locked for too long, full, an error of input or output
};

struct mj_database {
    struct sqlite3 *handle; // NULL: closed
    struct sqlite3_stmt *toolchains, *rows, *erase, *insert, *use;
    enum mj_database_kind kind;
    bool ours; // it carries our mark: may be emptied where it is damaged
};

// False, with a sentence in `why`, where the file cannot be used; the database is then closed. *outcome tells how.
bool mj_database_open(struct mj_database *database, const char *path, enum mj_database_kind kind,
                      enum mj_outcome *outcome, char *why, size_t why_bytes);
void mj_database_close(struct mj_database *database);
const char *mj_database_error(const struct mj_database *database);
// What the last call of SQLite came to.
enum mj_outcome mj_database_outcome(const struct mj_database *database, int result);

// Empties a damaged database of ours in place, under SQLite's own locks, so that other processes may have it open.
bool mj_database_reset(struct mj_database *database);

#define MJ_MAX_TOOLCHAINS 8
struct mj_toolchains { // that hold a key, the newest first
    char names[MJ_MAX_TOOLCHAINS][MJ_TOOLCHAIN_BYTES];
    int num;
};
enum mj_outcome mj_database_toolchains(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES],
                                       struct mj_toolchains *toolchains);

// Calls for each row, which lives until the call returns, as it is stored: not verified. False from `each` ends.
typedef bool (*mj_each_row_fn)(void *user, const struct mj_row *row);
enum mj_outcome mj_database_rows(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES],
                                 const char *toolchain, mj_each_row_fn each, void *user);
// Every row, by key hash, format and toolchain. NULL in a row is a value of another type than the schema's.
enum mj_outcome mj_database_each(struct mj_database *database, mj_each_row_fn each, void *user);

enum mj_outcome mj_database_begin(struct mj_database *database); // waits for other writers
enum mj_outcome mj_database_commit(struct mj_database *database);
void mj_database_rollback(struct mj_database *database);
// digest is computed here; origin NULL is "compiled". A row of the same key, format and toolchain is replaced.
enum mj_outcome mj_database_insert(struct mj_database *database, const struct mj_row *row);
enum mj_outcome mj_database_erase(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES],
                                  const char *toolchain);
enum mj_outcome mj_database_use(struct mj_database *database, const unsigned char hash[MJ_HASH_BYTES], int64_t when);

// Removes keys, the least recently used first, until the images have at most max_bytes, and keys last used before
// `before` (0: none); never `kept` (may be NULL). *evicted counts keys.
enum mj_outcome mj_database_evict(struct mj_database *database, uint64_t max_bytes, int64_t before,
                                  const unsigned char *kept, uint64_t *evicted);
// Removes the rows of every other toolchain. *removed counts rows.
enum mj_outcome mj_database_keep_toolchain(struct mj_database *database, const char *toolchain, uint64_t *removed);
// Gives free pages back to the file system.
enum mj_outcome mj_database_shrink(struct mj_database *database);

#endif
