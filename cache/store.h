// Where compiled images live: a SQLite database, or memory where there is none. The store never learns what a kernel
// is: opaque images under opaque keys. Every image is verified when it is read; a bad row is deleted and counted.
// Whatever fails turns into a miss and one warning: a cache is never the reason that a layer does not run.
#ifndef MOEJIT_CACHE_STORE_H
#define MOEJIT_CACHE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"

struct mj_store;

typedef void (*mj_store_warn_fn)(void *user, const char *text);

struct mj_store_counters {
    uint64_t hits, misses, heals;
};

struct mj_blob { // memory of malloc
    void *data;
    size_t bytes;
};

// path: the database; "" for memory only; NULL for the usual place (MOEJIT_CACHE_DIR, XDG_CACHE_HOME, HOME/.cache).
// NULL is returned only when memory has run out.
struct mj_store *mj_store_open(const char *path, mj_store_warn_fn warn, void *user);
void mj_store_close(struct mj_store *store);

// The database in use, "" for memory only.
const char *mj_store_path(const struct mj_store *store);
struct mj_store_counters mj_store_counters_read(const struct mj_store *store);

// The image of that key and format, of the newest toolchain; false is a miss.
bool mj_store_lookup(struct mj_store *store, const struct mj_text *key, const char *format, struct mj_blob *image);
// Counts one lookup's outcome: an image may be asked for in several formats, but is one hit or miss.
void mj_store_count(struct mj_store *store, bool hit);

// toolchain: "nvrtc 13.0"; toolchain_rank: newer is larger. Replaces a row of the same key, format and toolchain.
void mj_store_insert(struct mj_store *store, const struct mj_text *key, const char *format, const char *toolchain,
                     int toolchain_rank, const void *image, size_t bytes);

#endif
