#include "key.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

void mj_key_append(struct mj_text *key, const char *name, const void *value, size_t bytes) {
    mj_text_append(key, "%s %zu:", name, bytes);
    mj_text_append_bytes(key, value, bytes);
    mj_text_append(key, "\n");
}

void mj_key_append_hash(struct mj_text *key, const char *name, const void *value, size_t bytes) {
    unsigned char hash[MJ_HASH_BYTES];
    mj_key_hash(value, bytes, hash);
    mj_text_append(key, "%s:", name);
    for (int i = 0; i < MJ_HASH_BYTES; i++) mj_text_append(key, "%02x", hash[i]);
    mj_text_append(key, "\n");
}

// The canonical (big-endian) form, so that a pack serves every machine.
void mj_key_hash(const void *data, size_t bytes, unsigned char hash[MJ_HASH_BYTES]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    memcpy(hash, canonical.digest, MJ_HASH_BYTES);
}
