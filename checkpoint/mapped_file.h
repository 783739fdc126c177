// A file of a checkpoint's folder, mapped for reading.
#ifndef MOEJIT_CHECKPOINT_MAPPED_FILE_H
#define MOEJIT_CHECKPOINT_MAPPED_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct mj_mapped_file {
    char *path; // as opened, links resolved
    char *name; // as asked for
    int descriptor;
    const uint8_t *data; // NULL where bytes is 0
    size_t bytes;
};

// Opens folder/name. `name` must be a plain file name; where it is a symbolic link, what it points to must lie in the
// folder too, or in the blobs of the Hugging Face cache whose snapshot the folder is. Only regular files of at most
// max_bytes are taken.
moejit_status mj_mapped_file_open(const char *folder, const char *name, size_t max_bytes, struct mj_mapped_file *file,
                                  struct mj_error *error);
void mj_mapped_file_close(struct mj_mapped_file *file); // zeroed or closed ones are fine
// Whether folder/name exists, whatever it is.
bool mj_file_exists(const char *folder, const char *name);
// From here on single places are read, not runs: the kernel shall not read ahead, which costs more than the places do.
void mj_mapped_file_scatter(const struct mj_mapped_file *file);
// These bytes of the file are read next, as a run.
void mj_mapped_file_prefetch(const struct mj_mapped_file *file, const uint8_t *data, size_t bytes);
// Whether the file still is as long as when it was mapped: reading past the end of a shortened one would be SIGBUS.
moejit_status mj_mapped_file_check(const struct mj_mapped_file *file, struct mj_error *error);

#endif
