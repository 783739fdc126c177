// One row of the table of images, and the digest that tells whether it is as it was written.
#ifndef MOEJIT_CACHE_ROW_H
#define MOEJIT_CACHE_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "key.h"

#define MJ_TOOLCHAIN_BYTES 64       // longer names are cut
#define MJ_FORMAT_FAILURE "failure" // a text in an image's place, dated, so that no pack gets it

struct mj_row { // points into memory of somebody else's
    const void *key;
    size_t key_bytes;
    const char *format, *toolchain, *origin;
    int toolchain_rank;
    const void *image;
    size_t image_bytes;
    const void *digest; // as stored
    size_t digest_bytes;
    int64_t created, used; // seconds since 1970; 0: not known
};

// Over everything that an image's meaning hangs on: key, format, toolchain and image.
void mj_row_digest(const struct mj_row *row, unsigned char digest[MJ_HASH_BYTES]);
// Nothing is missing and the stored digest is the row's.
bool mj_row_good(const struct mj_row *row);

#endif
