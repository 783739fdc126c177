#include "store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "database.h"
#include "flight.h"
#include "store_path.h"
#include "use_log.h"

#define DEFAULT_MAX_BYTES ((uint64_t)4 << 30)
#define DEFAULT_WAIT_MS 120000
#define PATH_BYTES 1024

struct pack {
    struct mj_database database; // closed: left out
    char path[PATH_BYTES];
    bool warned;
};

struct mj_store {
    struct mj_database user;    // the database, or memory
    struct mj_database overlay; // memory before it, from the first image on that could not be written
    struct pack *packs;
    int num_packs;
    struct mj_use_log uses;
    struct mj_flight flight;
    uint64_t max_bytes;
    pid_t owner;
    char path[PATH_BYTES];
    struct mj_store_counters counters;
    mj_store_warn_fn warn;
    void *warn_user;
    bool warned;
};

static void say(const struct mj_store *store, const char *what, const char *why) {
    char text[2048];
    if (store->warn == NULL) return;
    snprintf(text, sizeof(text), "kernel cache: %s: %s", what, why);
    store->warn(store->warn_user, text);
}

// The database's trouble is told once.
static void warn(struct mj_store *store, const char *what, const char *why) {
    if (store->warned) return;
    store->warned = true;
    say(store, what, why);
}

static void warn_pack(struct mj_store *store, struct pack *pack, const char *what, const char *why) {
    char text[PATH_BYTES + 64];
    if (pack->warned) return;
    pack->warned = true;
    snprintf(text, sizeof(text), "the pack %s %s", pack->path, what);
    say(store, text, why);
}

static void open_memory(struct mj_store *store, struct mj_database *database) {
    enum mj_outcome outcome;
    char why[256];
    if (!mj_database_open(database, MJ_MEMORY_DATABASE, MJ_DATABASE_USER, &outcome, why, sizeof(why))) {
        warn(store, "memory", why);
    }
}

// From here on in memory: what was found on disk stays there untouched.
static void fall_back(struct mj_store *store, const char *what, const char *reason) {
    warn(store, what, reason);
    mj_database_close(&store->user);
    mj_flight_close(&store->flight);
    store->path[0] = '\0';
    open_memory(store, &store->user);
}

// A connection must not cross a fork, not even to be closed: the child leaves it where it is.
static void check_owner(struct mj_store *store) {
    if (store->owner == getpid()) return;
    store->owner = getpid();
    memset(&store->user, 0, sizeof(store->user));
    memset(&store->overlay, 0, sizeof(store->overlay));
    store->num_packs = 0;
    mj_use_log_clear(&store->uses);
    store->warned = false;
    fall_back(store, "memory is used", "the process was forked with the cache open; a new context may open it again");
}

// True: the database is usable again (and empty), once.
static bool recover(struct mj_store *store, const char *doing, enum mj_outcome outcome) {
    char what[PATH_BYTES + 64], why[256];
    snprintf(why, sizeof(why), "%s", mj_database_error(&store->user));
    mj_database_rollback(&store->user);
    if (outcome == MJ_OUTCOME_MEMORY) return false;
    if (outcome == MJ_OUTCOME_DAMAGED && store->path[0] != '\0' && mj_database_reset(&store->user)) {
        snprintf(what, sizeof(what), "%s was damaged and is emptied", store->path);
        store->counters.heals++;
        warn(store, what, why);
        return true;
    }
    snprintf(what, sizeof(what), "%s failed, memory is used", doing);
    fall_back(store, what, why);
    return false;
}

static void open_user(struct mj_store *store) {
    char what[PATH_BYTES + 64], why[1536], lock[PATH_BYTES + 8], real[PATH_BYTES];
    enum mj_outcome outcome;
    if (store->path[0] == '\0') {
        open_memory(store, &store->user);
        return;
    }
    snprintf(what, sizeof(what), "%s is not used, memory is", store->path);
    if (!mj_store_path_prepare(store->path, real, sizeof(real), why, sizeof(why)) ||
        !mj_database_open(&store->user, real, MJ_DATABASE_USER, &outcome, why, sizeof(why))) {
        fall_back(store, what, why);
        return;
    }
    if (outcome == MJ_OUTCOME_DAMAGED) {
        store->counters.heals++;
        snprintf(what, sizeof(what), "%s was damaged and is emptied", store->path);
        warn(store, what, why);
    }
    snprintf(lock, sizeof(lock), "%s.lock", real);
    mj_flight_open(&store->flight, lock, store->flight.bound_ms);
}

static void open_pack(struct mj_store *store, const char *path, size_t length) {
    struct pack *packs = realloc(store->packs, (size_t)(store->num_packs + 1) * sizeof(*packs));
    char why[1536], real[PATH_BYTES];
    enum mj_outcome outcome;
    if (packs == NULL) return;
    store->packs = packs;
    struct pack *pack = &packs[store->num_packs];
    memset(pack, 0, sizeof(*pack));
    snprintf(pack->path, sizeof(pack->path), "%.*s", (int)length, path);
    if (length < sizeof(pack->path) && mj_store_path_check_pack(pack->path, real, sizeof(real), why, sizeof(why)) &&
        mj_database_open(&pack->database, real, MJ_DATABASE_PACK, &outcome, why, sizeof(why))) {
        store->num_packs++;
    } else {
        warn_pack(store, pack, "is left out", length < sizeof(pack->path) ? why : "too long a path");
    }
}

static void open_packs(struct mj_store *store, const char *list) {
    while (list != NULL && list[0] != '\0') {
        size_t length = strcspn(list, ":");
        if (length > 0) open_pack(store, list, length);
        list += length + (list[length] == ':');
    }
}

static uint64_t read_max_bytes(struct mj_store *store, uint64_t option) {
    const char *text = getenv("MOEJIT_CACHE_MAX_BYTES");
    if (option > 0) return option;
    if (text == NULL || text[0] == '\0') return DEFAULT_MAX_BYTES;
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno == 0 && *end == '\0' && text[0] != '-' && value > 0) return value;
    say(store, "MOEJIT_CACHE_MAX_BYTES is no whole number above 0, 4 GiB is used", text);
    return DEFAULT_MAX_BYTES;
}

struct mj_store *mj_store_open(const struct mj_store_options *options) {
    struct mj_store *store = calloc(1, sizeof(*store));
    if (store == NULL) return NULL;
    store->warn = options->warn;
    store->warn_user = options->user;
    store->owner = getpid();
    store->max_bytes = read_max_bytes(store, options->max_bytes);
    store->flight = (struct mj_flight){-1, options->wait_ms > 0 ? options->wait_ms : DEFAULT_WAIT_MS};
    if (options->path == NULL) {
        mj_store_path_find(store->path, sizeof(store->path));
        if (store->path[0] == '\0') {
            warn(store, "memory only", "none of MOEJIT_CACHE_DIR, XDG_CACHE_HOME and HOME names a usable place");
        }
    } else if (strlen(options->path) < sizeof(store->path)) {
        memcpy(store->path, options->path, strlen(options->path) + 1);
    } else {
        warn(store, "memory only", "cache_path is too long a path");
    }
    open_user(store);
    open_packs(store, options->packs != NULL ? options->packs : getenv("MOEJIT_CACHE_PACKS"));
    return store;
}

// Inside a transaction. What fails here is lost, and only makes eviction less wise.
static void write_uses(struct mj_store *store) {
    static const unsigned char none[MJ_HASH_BYTES];
    for (size_t i = 0; i < store->uses.capacity; i++) {
        if (memcmp(store->uses.hashes[i], none, MJ_HASH_BYTES) == 0) continue;
        mj_database_use(&store->user, store->uses.hashes[i], (int64_t)time(NULL));
    }
    mj_use_log_clear(&store->uses);
}

static void flush_uses(struct mj_store *store) {
    if (store->uses.num == 0 || store->user.use == NULL) return;
    if (mj_database_begin(&store->user) == MJ_OUTCOME_GOOD) {
        write_uses(store);
        if (mj_database_commit(&store->user) == MJ_OUTCOME_GOOD) return;
    }
    mj_database_rollback(&store->user);
}

void mj_store_close(struct mj_store *store) {
    if (store == NULL) return;
    if (store->owner != getpid()) { // see check_owner
        memset(&store->user, 0, sizeof(store->user));
        memset(&store->overlay, 0, sizeof(store->overlay));
        store->num_packs = 0;
    } else if (store->path[0] != '\0') {
        flush_uses(store);
    }
    mj_use_log_clear(&store->uses);
    mj_database_close(&store->user);
    mj_database_close(&store->overlay);
    mj_flight_close(&store->flight);
    for (int i = 0; i < store->num_packs; i++) mj_database_close(&store->packs[i].database);
    free(store->packs);
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

struct gathering { // one toolchain's rows of a key
    const struct mj_text *key;
    const struct mj_lookup *lookup;
    struct mj_blob *images;
    bool bad, no_memory;
};

static int format_idx(const struct mj_lookup *lookup, const char *format) {
    for (int i = 0; format != NULL && i < MJ_MAX_FORMATS && lookup->formats[i] != NULL; i++) {
        if (strcmp(lookup->formats[i], format) == 0) return i;
    }
    return -1;
}

// Copies the row's image if all of it is as it was written.
static bool gather(void *user, const struct mj_row *row) {
    struct gathering *gathering = user;
    const struct mj_text *key = gathering->key;
    bool good = mj_row_good(row) && row->key_bytes == key->bytes && memcmp(row->key, key->data, key->bytes) == 0;
    if (!good) {
        gathering->bad = true;
        return false;
    }
    int idx = format_idx(gathering->lookup, row->format);
    if (idx < 0 || gathering->images[idx].data != NULL) return true;
    void *copy = malloc(row->image_bytes > 0 ? row->image_bytes : 1);
    if (copy == NULL) {
        gathering->no_memory = true;
        return false;
    }
    memcpy(copy, row->image, row->image_bytes);
    gathering->images[idx] = (struct mj_blob){copy, row->image_bytes};
    return true;
}

static void free_images(struct mj_blob images[MJ_MAX_FORMATS]) {
    for (int i = 0; i < MJ_MAX_FORMATS; i++) free(images[i].data);
    memset(images, 0, MJ_MAX_FORMATS * sizeof(*images));
}

struct search {
    const unsigned char *hash;
    const struct mj_text *key;
    const struct mj_lookup *lookup;
    int skip; // hits still to pass over
    struct mj_blob *images;
    char *toolchain;
    bool bad; // a row was
};

// NONE: no hit here. A bad row's toolchain is left in search->toolchain.
static enum mj_outcome search_toolchain(struct mj_database *database, struct search *search, const char *toolchain) {
    struct gathering gathering = {search->key, search->lookup, search->images, false, false};
    enum mj_outcome outcome = mj_database_rows(database, search->hash, toolchain, gather, &gathering);
    bool whole = outcome == MJ_OUTCOME_NONE && !gathering.bad && !gathering.no_memory;
    for (int i = 0; i < search->lookup->num_needed; i++) whole = whole && search->images[i].data != NULL;
    search->bad = gathering.bad;
    if (whole && search->skip-- == 0) return MJ_OUTCOME_GOOD;
    free_images(search->images);
    return outcome == MJ_OUTCOME_GOOD ? MJ_OUTCOME_NONE : outcome;
}

static enum mj_outcome search_database(struct mj_store *store, struct mj_database *database, struct search *search,
                                       bool *bad) {
    struct mj_toolchains toolchains;
    if (database->handle == NULL) return MJ_OUTCOME_NONE;
    enum mj_outcome outcome = mj_database_toolchains(database, search->hash, &toolchains);
    for (int i = 0; outcome == MJ_OUTCOME_NONE && i < toolchains.num; i++) {
        const char *name = toolchains.names[i];
        if (search->lookup->toolchain != NULL && strcmp(search->lookup->toolchain, name) != 0) continue;
        snprintf(search->toolchain, MJ_TOOLCHAIN_BYTES, "%s", name);
        outcome = search_toolchain(database, search, name);
        if (outcome != MJ_OUTCOME_NONE || !search->bad) continue;
        *bad = true;
        if (database->erase == NULL) continue; // a pack keeps what it has
        store->counters.heals++;
        if (mj_database_erase(database, search->hash, name) == MJ_OUTCOME_DAMAGED) outcome = MJ_OUTCOME_DAMAGED;
    }
    return outcome;
}

static bool search_packs(struct mj_store *store, struct search *search) {
    for (int i = 0; i < store->num_packs; i++) {
        struct pack *pack = &store->packs[i];
        bool bad = false;
        enum mj_outcome outcome = search_database(store, &pack->database, search, &bad);
        if (outcome == MJ_OUTCOME_GOOD) return true;
        if (bad) warn_pack(store, pack, "has bad rows", "they count as misses; make the pack anew");
        if (outcome == MJ_OUTCOME_NONE || outcome == MJ_OUTCOME_MEMORY) continue;
        warn_pack(store, pack, "is left out", mj_database_error(&pack->database));
        mj_database_close(&pack->database);
    }
    return false;
}

bool mj_store_lookup(struct mj_store *store, const struct mj_text *key, const struct mj_lookup *lookup,
                     struct mj_blob images[MJ_MAX_FORMATS], char toolchain[MJ_TOOLCHAIN_BYTES]) {
    unsigned char hash[MJ_HASH_BYTES];
    bool bad = false;
    struct search search = {hash, key, lookup, lookup->skip, images, toolchain, false};
    memset(images, 0, MJ_MAX_FORMATS * sizeof(*images));
    toolchain[0] = '\0';
    check_owner(store);
    mj_key_hash(key->data, key->bytes, hash);
    if (search_database(store, &store->overlay, &search, &bad) == MJ_OUTCOME_GOOD) return true;
    enum mj_outcome outcome = search_database(store, &store->user, &search, &bad);
    if (outcome == MJ_OUTCOME_GOOD) {
        mj_use_log_add(&store->uses, hash);
        return true;
    }
    if (outcome != MJ_OUTCOME_NONE) recover(store, "reading", outcome);
    return search_packs(store, &search);
}

struct insertion {
    const struct mj_text *key;
    const char *toolchain;
    int toolchain_rank;
    const struct mj_image_form *formats;
    int num_formats;
};

static enum mj_outcome insert_rows(struct mj_store *store, struct mj_database *database,
                                   const struct insertion *insertion) {
    unsigned char hash[MJ_HASH_BYTES];
    enum mj_outcome outcome = MJ_OUTCOME_GOOD;
    mj_key_hash(insertion->key->data, insertion->key->bytes, hash);
    for (int i = 0; outcome == MJ_OUTCOME_GOOD && i < insertion->num_formats; i++) {
        struct mj_row row = {
            .key = insertion->key->data,
            .key_bytes = insertion->key->bytes,
            .format = insertion->formats[i].name,
            .toolchain = insertion->toolchain,
            .toolchain_rank = insertion->toolchain_rank,
            .image = insertion->formats[i].data,
            .image_bytes = insertion->formats[i].bytes,
            .created = (int64_t)time(NULL),
        };
        outcome = mj_database_insert(database, &row);
    }
    if (outcome == MJ_OUTCOME_GOOD) outcome = mj_database_use(database, hash, (int64_t)time(NULL));
    if (outcome != MJ_OUTCOME_GOOD) return outcome;
    return mj_database_evict(database, store->max_bytes, 0, hash, &store->counters.evictions);
}

static enum mj_outcome insert_all(struct mj_store *store, struct mj_database *database,
                                  const struct insertion *insertion) {
    if (database->insert == NULL) return MJ_OUTCOME_FAILED;
    enum mj_outcome outcome = mj_database_begin(database);
    if (outcome != MJ_OUTCOME_GOOD) return outcome;
    if (database == &store->user) write_uses(store);
    outcome = insert_rows(store, database, insertion);
    if (outcome == MJ_OUTCOME_GOOD) outcome = mj_database_commit(database);
    return outcome;
}

void mj_store_insert(struct mj_store *store, const struct mj_text *key, const char *toolchain, int toolchain_rank,
                     const struct mj_image_form *formats, int num_formats) {
    const struct insertion insertion = {key, toolchain, toolchain_rank, formats, num_formats};
    check_owner(store);
    if (store->overlay.handle == NULL) {
        enum mj_outcome outcome = insert_all(store, &store->user, &insertion);
        if (outcome == MJ_OUTCOME_DAMAGED && recover(store, "writing", outcome)) {
            outcome = insert_all(store, &store->user, &insertion);
        }
        if (outcome == MJ_OUTCOME_GOOD) return;
        bool readable = store->user.insert != NULL || store->user.handle == NULL;
        warn(store, "images are kept in memory only from here on",
             readable ? mj_database_error(&store->user) : "the database can only be read");
        mj_database_rollback(&store->user);
        open_memory(store, &store->overlay);
    }
    if (insert_all(store, &store->overlay, &insertion) != MJ_OUTCOME_GOOD) mj_database_rollback(&store->overlay);
}

bool mj_store_claim(struct mj_store *store, const struct mj_text *key, struct mj_flight_wait *wait) {
    unsigned char hash[MJ_HASH_BYTES];
    check_owner(store);
    mj_key_hash(key->data, key->bytes, hash);
    bool first = !wait->begun;
    bool wait_more = mj_flight_take(&store->flight, hash, wait) == MJ_TURN_WAIT;
    if (wait_more && first) store->counters.waits++;
    return !wait_more;
}

void mj_store_leave(struct mj_store *store, const struct mj_text *key) {
    unsigned char hash[MJ_HASH_BYTES];
    check_owner(store);
    mj_key_hash(key->data, key->bytes, hash);
    mj_flight_leave(&store->flight, hash);
}
