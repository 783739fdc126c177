#include "use_log.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const unsigned char free_slot[MJ_HASH_BYTES];

static unsigned char *slot_of(const struct mj_use_log *log, const unsigned char hash[MJ_HASH_BYTES]) {
    uint64_t at;
    memcpy(&at, hash, sizeof(at));
    for (;; at++) {
        unsigned char *slot = log->hashes[at & (log->capacity - 1)];
        if (memcmp(slot, free_slot, MJ_HASH_BYTES) == 0 || memcmp(slot, hash, MJ_HASH_BYTES) == 0) return slot;
    }
}

static bool grow(struct mj_use_log *log) {
    struct mj_use_log larger = {.capacity = log->capacity > 0 ? log->capacity * 2 : 64, .num = log->num};
    larger.hashes = calloc(larger.capacity, MJ_HASH_BYTES);
    if (larger.hashes == NULL) return false;
    for (size_t i = 0; i < log->capacity; i++) {
        if (memcmp(log->hashes[i], free_slot, MJ_HASH_BYTES) == 0) continue;
        memcpy(slot_of(&larger, log->hashes[i]), log->hashes[i], MJ_HASH_BYTES);
    }
    free(log->hashes);
    *log = larger;
    return true;
}

void mj_use_log_add(struct mj_use_log *log, const unsigned char hash[MJ_HASH_BYTES]) {
    if (log->num * 2 >= log->capacity && !grow(log)) return;
    unsigned char *slot = slot_of(log, hash);
    if (memcmp(slot, hash, MJ_HASH_BYTES) == 0) return;
    memcpy(slot, hash, MJ_HASH_BYTES);
    log->num++;
}

void mj_use_log_clear(struct mj_use_log *log) {
    free(log->hashes);
    *log = (struct mj_use_log){0};
}
