// Where the database is, and whether that place may be trusted: a cubin is code.
#ifndef MOEJIT_CACHE_STORE_PATH_H
#define MOEJIT_CACHE_STORE_PATH_H

#include <stdbool.h>
#include <stddef.h>

// Fills `path` with the usual place, or with "" where the environment names none.
void mj_store_path_find(char *path, size_t bytes);

// Makes the folders (0700) and, where it does not exist, an empty file (0600). False, with a sentence in `why`, where
// the file or its folder is not ours, is a symbolic link, or may be written by others. `real`: the same file with no
// link above it, which SQLite asks for.
bool mj_store_path_prepare(const char *path, char *real, size_t real_bytes, char *why, size_t why_bytes);

// A pack may also be root's, and its folder anybody's; else the same.
bool mj_store_path_check_pack(const char *path, char *real, size_t real_bytes, char *why, size_t why_bytes);

#endif
