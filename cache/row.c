#include "row.h"

#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

// "name length:value\n", as mj_key_append writes it.
static void update(XXH3_state_t *state, const char *name, const void *value, size_t bytes) {
    char prefix[48];
    int length = snprintf(prefix, sizeof(prefix), "%s %zu:", name, bytes);
    XXH3_128bits_update(state, prefix, (size_t)length);
    XXH3_128bits_update(state, value, bytes);
    XXH3_128bits_update(state, "\n", 1);
}

void mj_row_digest(const struct mj_row *row, unsigned char digest[MJ_HASH_BYTES]) {
    XXH3_state_t state;
    XXH128_canonical_t canonical;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    update(&state, "key", row->key, row->key_bytes);
    update(&state, "format", row->format, strlen(row->format));
    update(&state, "toolchain", row->toolchain, strlen(row->toolchain));
    update(&state, "image", row->image, row->image_bytes);
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
    memcpy(digest, canonical.digest, MJ_HASH_BYTES);
}

bool mj_row_good(const struct mj_row *row) {
    unsigned char digest[MJ_HASH_BYTES];
    if (row->key == NULL || row->format == NULL || row->toolchain == NULL || row->image == NULL) return false;
    if (row->digest == NULL || row->digest_bytes != MJ_HASH_BYTES) return false;
    mj_row_digest(row, digest);
    return memcmp(digest, row->digest, MJ_HASH_BYTES) == 0;
}
