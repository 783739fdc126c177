#include "pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool mj_pack_create(struct mj_pack *pack, const char *path, char *why, size_t why_bytes) {
    enum mj_outcome outcome;
    memset(pack, 0, sizeof(*pack));
    if (strlen(path) >= sizeof(pack->path)) {
        snprintf(why, why_bytes, "%s is too long a path", path);
        return false;
    }
    snprintf(pack->path, sizeof(pack->path), "%s", path);
    snprintf(pack->part, sizeof(pack->part), "%s.part", path);
    unlink(pack->part); // what an earlier run left
    if (mj_database_open(&pack->database, pack->part, MJ_DATABASE_NEW, &outcome, why, why_bytes) &&
        mj_database_begin(&pack->database) == MJ_OUTCOME_GOOD) {
        return true;
    }
    mj_pack_discard(pack);
    return false;
}

enum mj_outcome mj_pack_add(struct mj_pack *pack, const struct mj_row *row) {
    struct mj_row timeless = *row;
    timeless.created = 0;
    return mj_database_insert(&pack->database, &timeless);
}

void mj_pack_discard(struct mj_pack *pack) {
    mj_database_close(&pack->database);
    if (pack->part[0] != '\0') unlink(pack->part);
    pack->part[0] = '\0';
}

// SQLite was told not to wait for the disk: the bytes must be on the disk before the name is.
static bool synchronise(const char *path) {
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    bool good = descriptor >= 0 && fsync(descriptor) == 0;
    if (descriptor >= 0) close(descriptor);
    return good;
}

bool mj_pack_finish(struct mj_pack *pack, char *why, size_t why_bytes) {
    bool good = mj_database_commit(&pack->database) == MJ_OUTCOME_GOOD;
    if (!good) snprintf(why, why_bytes, "%s: %s", pack->path, mj_database_error(&pack->database));
    mj_database_close(&pack->database);
    if (good && (!synchronise(pack->part) || rename(pack->part, pack->path) != 0)) {
        snprintf(why, why_bytes, "%s: %s", pack->path, strerror(errno));
        good = false;
    }
    if (!good) unlink(pack->part);
    pack->part[0] = '\0';
    return good;
}

struct entry { // what a row of a source sorts by
    unsigned char hash[MJ_HASH_BYTES];
    char format[16], toolchain[MJ_TOOLCHAIN_BYTES];
    int toolchain_rank, source;
};

struct listing {
    struct entry *entries;
    size_t num, capacity;
    int source;
    const struct mj_pack_selection *selection;
    struct mj_pack_counts *counts;
    bool no_memory;
};

static int compare_hashes(const void *one, const void *other) {
    return memcmp(one, other, MJ_HASH_BYTES);
}

static bool list_row(void *user, const struct mj_row *row) {
    struct listing *listing = user;
    struct entry entry = {.toolchain_rank = row->toolchain_rank, .source = listing->source};
    if (row->format != NULL && strcmp(row->format, MJ_FORMAT_FAILURE) == 0) return true;
    if (!mj_row_good(row) || strlen(row->format) >= sizeof(entry.format) ||
        strlen(row->toolchain) >= sizeof(entry.toolchain)) {
        listing->counts->bad++;
        return true;
    }
    mj_key_hash(row->key, row->key_bytes, entry.hash);
    const struct mj_pack_selection *selection = listing->selection;
    if (selection->hashes != NULL &&
        bsearch(entry.hash, selection->hashes, selection->num_hashes, MJ_HASH_BYTES, compare_hashes) == NULL) {
        return true;
    }
    if (listing->num == listing->capacity) {
        size_t capacity = listing->capacity > 0 ? listing->capacity * 2 : 256;
        struct entry *entries = realloc(listing->entries, capacity * sizeof(*entries));
        listing->no_memory = entries == NULL;
        if (entries == NULL) return false;
        listing->entries = entries;
        listing->capacity = capacity;
    }
    strcpy(entry.format, row->format);
    strcpy(entry.toolchain, row->toolchain);
    listing->entries[listing->num++] = entry;
    return true;
}

static int compare_entries(const void *one, const void *other) {
    const struct entry *a = one, *b = other;
    int order = memcmp(a->hash, b->hash, MJ_HASH_BYTES);
    if (order == 0) order = strcmp(a->format, b->format);
    if (order == 0) order = strcmp(a->toolchain, b->toolchain);
    return order != 0 ? order : (a->source > b->source) - (a->source < b->source);
}

// A newer toolchain's row of the same key and format stands beside this one: entries of a key are neighbours.
static bool is_older(const struct listing *listing, size_t idx) {
    const struct entry *entry = &listing->entries[idx];
    size_t first = idx;
    while (first > 0 && memcmp(listing->entries[first - 1].hash, entry->hash, MJ_HASH_BYTES) == 0) first--;
    for (size_t i = first; i < listing->num; i++) {
        const struct entry *other = &listing->entries[i];
        if (memcmp(other->hash, entry->hash, MJ_HASH_BYTES) != 0) break;
        if (strcmp(other->format, entry->format) == 0 && other->toolchain_rank > entry->toolchain_rank) return true;
    }
    return false;
}

static bool is_repeated(const struct listing *listing, size_t idx) {
    if (idx == 0) return false;
    const struct entry *entry = &listing->entries[idx], *before = entry - 1;
    return memcmp(before->hash, entry->hash, MJ_HASH_BYTES) == 0 && strcmp(before->format, entry->format) == 0 &&
           strcmp(before->toolchain, entry->toolchain) == 0;
}

struct copy {
    struct mj_pack *pack;
    const struct entry *entry;
    struct mj_pack_counts *counts;
    enum mj_outcome outcome;
};

static bool copy_row(void *user, const struct mj_row *row) {
    struct copy *copy = user;
    if (row->format == NULL || strcmp(row->format, copy->entry->format) != 0) return true;
    if (!mj_row_good(row)) return true; // changed since it was listed
    copy->outcome = mj_pack_add(copy->pack, row);
    copy->counts->rows += copy->outcome == MJ_OUTCOME_GOOD;
    return false;
}

static bool copy_all(struct mj_pack *pack, struct mj_database *sources, const struct listing *listing, char *why,
                     size_t why_bytes) {
    for (size_t i = 0; i < listing->num; i++) {
        const struct entry *entry = &listing->entries[i];
        if (is_repeated(listing, i) || (listing->selection->hashes != NULL && is_older(listing, i))) continue;
        struct copy copy = {pack, entry, listing->counts, MJ_OUTCOME_GOOD};
        enum mj_outcome read =
            mj_database_rows(&sources[entry->source], entry->hash, entry->toolchain, copy_row, &copy);
        if (read != MJ_OUTCOME_GOOD && read != MJ_OUTCOME_NONE) {
            snprintf(why, why_bytes, "reading: %s", mj_database_error(&sources[entry->source]));
            return false;
        }
        if (copy.outcome == MJ_OUTCOME_GOOD) continue;
        snprintf(why, why_bytes, "writing: %s", mj_database_error(&pack->database));
        return false;
    }
    return true;
}

bool mj_pack_write(const char *path, struct mj_database *sources, int num_sources,
                   const struct mj_pack_selection *selection, struct mj_pack_counts *counts, char *why,
                   size_t why_bytes) {
    struct listing listing = {.selection = selection, .counts = counts};
    struct mj_pack pack;
    bool good = true;
    *counts = (struct mj_pack_counts){0};
    for (int i = 0; good && i < num_sources; i++) {
        listing.source = i;
        enum mj_outcome outcome = mj_database_each(&sources[i], list_row, &listing);
        good = outcome == MJ_OUTCOME_NONE && !listing.no_memory;
        if (!good) snprintf(why, why_bytes, "%s", listing.no_memory ? "out of memory" : mj_database_error(&sources[i]));
    }
    if (good && listing.num > 0) qsort(listing.entries, listing.num, sizeof(*listing.entries), compare_entries);
    good = good && mj_pack_create(&pack, path, why, why_bytes);
    if (good) {
        good = copy_all(&pack, sources, &listing, why, why_bytes);
        if (good) {
            good = mj_pack_finish(&pack, why, why_bytes);
        } else {
            mj_pack_discard(&pack);
        }
    }
    free(listing.entries);
    return good;
}
