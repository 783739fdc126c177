// Packs: read-only databases with reproducible bytes. The same images and the same SQLite give the same file: rows in
// the order of their keys, written once, no times.
#ifndef MOEJIT_CACHE_PACK_H
#define MOEJIT_CACHE_PACK_H

#include "database.h"

// A pack in the making: PATH.part, which becomes PATH with mj_pack_finish.
struct mj_pack {
    struct mj_database database;
    char path[1024], part[1032];
};

bool mj_pack_create(struct mj_pack *pack, const char *path, char *why, size_t why_bytes);
// Rows must come in the order of key hash, format and toolchain for the bytes to be reproducible.
enum mj_outcome mj_pack_add(struct mj_pack *pack, const struct mj_row *row);
// Puts the file in its place; false, with a sentence in `why`, and no file left.
bool mj_pack_finish(struct mj_pack *pack, char *why, size_t why_bytes);
void mj_pack_discard(struct mj_pack *pack);

// Which rows of the sources a pack gets: all, or those whose keys are listed (sorted hashes) with their newest
// toolchain. The first source that has a row gives it. Bad rows are left out and counted.
struct mj_pack_selection {
    const unsigned char (*hashes)[MJ_HASH_BYTES]; // NULL: every row
    size_t num_hashes;
};
struct mj_pack_counts {
    uint64_t rows, bad;
};
bool mj_pack_write(const char *path, struct mj_database *sources, int num_sources,
                   const struct mj_pack_selection *selection, struct mj_pack_counts *counts, char *why,
                   size_t why_bytes);

#endif
