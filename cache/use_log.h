// Keys that were hit, remembered in memory until a write happens anyway: a hit writes nothing.
#ifndef MOEJIT_CACHE_USE_LOG_H
#define MOEJIT_CACHE_USE_LOG_H

#include "key.h"

struct mj_use_log {
    unsigned char (*hashes)[MJ_HASH_BYTES]; // open addressing; all zero: free
    size_t capacity, num;
};

// Forgets the use where memory has run out: eviction then takes the key earlier than it should.
void mj_use_log_add(struct mj_use_log *log, const unsigned char hash[MJ_HASH_BYTES]);
void mj_use_log_clear(struct mj_use_log *log);

#endif
