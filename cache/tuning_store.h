// What tuning has found: a table beside the images of the same database. Opaque candidates under opaque keys: of each
// key at most one is chosen. Whatever fails turns into nothing found and one warning; a row that is not as it was
// written counts as not there. A store belongs to one thread at a time; many, in many processes, may share a database:
// all rows of a key are written in one transaction, and who comes second finds what the first has chosen.
#ifndef MOEJIT_CACHE_TUNING_STORE_H
#define MOEJIT_CACHE_TUNING_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/text.h"

struct mj_tuning_store;
struct mj_flight_wait;

#define MJ_TUNING_CHOSEN "chosen" // the states; others are kept and shown, and mean nothing here
#define MJ_TUNING_TIMED "timed"
#define MJ_TUNING_REFUSED "refused"
#define MJ_TUNING_PRUNED "pruned"

struct mj_tuning_row {                      // points into memory of somebody else's
    const char *key;                        // text
    const char *candidate, *state, *reason; // reason: "" or a sentence
    double us, noise_us;
    double untuned_us; // of a chosen row: of what would be done without tuning
    int num_samples;
    int64_t created; // seconds since 1970
};

typedef void (*mj_tuning_warn_fn)(void *user, const char *text);

// path: the database, as mj_store_path tells; "" for memory only. read_only: nothing is made where there is none, and
// nothing is written. NULL where memory has run out; a file that cannot be used is a warning, and memory instead.
struct mj_tuning_store *mj_tuning_store_open(const char *path, bool read_only, mj_tuning_warn_fn warn, void *user);
void mj_tuning_store_close(struct mj_tuning_store *store);

// Calls for each good row of a key, the chosen one first, then by candidate; of every key where key is NULL. Rows live
// until the call returns; false from `each` ends. False where the database could not be read.
typedef bool (*mj_each_tuning_fn)(void *user, const struct mj_tuning_row *row);
bool mj_tuning_store_each(struct mj_tuning_store *store, const char *key, mj_each_tuning_fn each, void *user);

// Writes all rows of one key, in place of those there are. replace = false leaves a key that has a chosen row alone.
// False where it could not be written.
bool mj_tuning_store_insert(struct mj_tuning_store *store, const char *key, const struct mj_tuning_row *rows, int num,
                            bool replace);

// As mj_store_claim: true: nobody else tunes under the key, or all the same we should. False: ask again in a moment.
bool mj_tuning_store_claim(struct mj_tuning_store *store, const char *key, struct mj_flight_wait *wait);
void mj_tuning_store_leave(struct mj_tuning_store *store, const char *key);

#endif
