// The device code in kernel_sources/: embedded in the library, or read from a folder for developers.
#ifndef MOEJIT_JIT_SOURCE_SET_H
#define MOEJIT_JIT_SOURCE_SET_H

#include <stdbool.h>

#include "base/error.h"

#define MJ_MAX_SOURCES 64

struct mj_source {
    const char *name; // "gate_up_portable.cuh"
    const char *text; // terminated
    size_t bytes;
};

// Written by the build (cmake/embed_sources.cmake), sorted by name.
extern const struct mj_source mj_embedded_sources[];
extern const int mj_num_embedded_sources;

struct mj_source_set {
    struct mj_source sources[MJ_MAX_SOURCES];
    int num_sources;
    char *owned[MJ_MAX_SOURCES]; // texts read from a folder
};

// directory: NULL for what is embedded.
moejit_status mj_source_set_create(struct mj_source_set *set, const char *directory, struct mj_error *error);
void mj_source_set_destroy(struct mj_source_set *set);

// Marks in `used` (num_sources flags) what a unit includes, directly or through others.
void mj_source_set_closure(const struct mj_source_set *set, const char *unit, bool *used);

#endif
