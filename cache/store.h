// Where compiled images live: a SQLite database, or memory where there is none, over any number of read-only packs.
// The store never learns what a kernel is: opaque images under opaque keys. Every image is verified when it is read; a
// bad row is deleted and counted. Whatever fails turns into a miss and a warning: a cache is never the reason that a
// layer does not run. A store belongs to one thread at a time; many stores, in many processes, may share a database.
#ifndef MOEJIT_CACHE_STORE_H
#define MOEJIT_CACHE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "row.h"

struct mj_store;

typedef void (*mj_store_warn_fn)(void *user, const char *text);

struct mj_store_options {
    const char *path;  // the database; "" for memory only; NULL for the usual place (MOEJIT_CACHE_DIR, XDG_CACHE_HOME,
                       // HOME/.cache)
    const char *packs; // files, colon separated, searched in that order after the database; NULL for MOEJIT_CACHE_PACKS
    uint64_t max_bytes; // of images; 0 for MOEJIT_CACHE_MAX_BYTES, else 4 GiB
    int64_t wait_ms;    // the longest wait for one owner's compile; 0: two minutes
    mj_store_warn_fn warn;
    void *user;
};

struct mj_store_counters {
    uint64_t hits, misses, heals, evictions, waits;
};

struct mj_blob { // memory of malloc
    void *data;
    size_t bytes;
};

struct mj_image_form { // one form of an image
    const char *name;
    const void *data;
    size_t bytes;
};

// NULL is returned only when memory has run out.
struct mj_store *mj_store_open(const struct mj_store_options *options);
// Writes down which keys were used.
void mj_store_close(struct mj_store *store);

// The database in use, "" for memory only.
const char *mj_store_path(const struct mj_store *store);
struct mj_store_counters mj_store_counters_read(const struct mj_store *store);

struct mj_lookup {
    const char *const *formats; // ended by NULL
    int num_needed;             // of the first formats: a row set without them is no hit
    const char *toolchain;      // only this one's; NULL: any
    int skip;                   // pass over that many hits, which the driver has refused
};
#define MJ_MAX_FORMATS 4

// The images of a key, in the order of lookup->formats, all of one toolchain: the database's before a pack's, the
// newest toolchain's first. False is a miss. The caller frees them.
bool mj_store_lookup(struct mj_store *store, const struct mj_text *key, const struct mj_lookup *lookup,
                     struct mj_blob images[MJ_MAX_FORMATS], char toolchain[MJ_TOOLCHAIN_BYTES]);
// Counts one lookup's outcome.
void mj_store_count(struct mj_store *store, bool hit);

// toolchain: "nvrtc 13.0"; toolchain_rank: newer is larger. Replaces rows of the same key, format and toolchain.
void mj_store_insert(struct mj_store *store, const struct mj_text *key, const char *toolchain, int toolchain_rank,
                     const struct mj_image_form *formats, int num_formats);

// True: nobody else compiles the key, or all the same we should: look up once more, compile, leave. False: somebody
// else does; look up once more and ask again in a moment. *wait: zeros before the first call. Several keys may be
// claimed at a time, each once; leaving what is not claimed does nothing.
struct mj_flight_wait;
bool mj_store_claim(struct mj_store *store, const struct mj_text *key, struct mj_flight_wait *wait);
void mj_store_leave(struct mj_store *store, const struct mj_text *key);

#endif
