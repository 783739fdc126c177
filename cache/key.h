// Cache keys: canonical, length-prefixed text, and its XXH3-128. No path and no toolchain is ever in one.
#ifndef MOEJIT_CACHE_KEY_H
#define MOEJIT_CACHE_KEY_H

#include "base/text.h"

#define MJ_HASH_BYTES 16

// Appends "name length:value\n".
void mj_key_append(struct mj_text *key, const char *name, const void *value, size_t bytes);
// Appends "name:<32 hex digits of the value's hash>\n".
void mj_key_append_hash(struct mj_text *key, const char *name, const void *value, size_t bytes);
void mj_key_hash(const void *data, size_t bytes, unsigned char hash[MJ_HASH_BYTES]);

#endif
