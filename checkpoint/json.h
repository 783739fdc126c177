// JSON by jansson: bounded, strict, with our sentences.
#ifndef MOEJIT_CHECKPOINT_JSON_H
#define MOEJIT_CHECKPOINT_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

// An index of Kimi K2's size (384 experts, 60 layers, 12 tensors an expert: 280,000 names of about 100 bytes) has 30
// MB.
#define MJ_JSON_MAX_BYTES ((size_t)64 << 20)

// An object, with no name twice and no number that overflows. `where` begins the sentence.
moejit_status mj_json_parse(const void *text, size_t bytes, const char *where, json_t **object, struct mj_error *error);
// folder/name, likewise.
moejit_status mj_json_read(const char *folder, const char *name, json_t **object, struct mj_error *error);

// The string of that name, or NULL where there is none of any type.
const char *mj_json_string(const json_t *object, const char *name);
// Whether a text of a file may be printed: not empty, no control characters.
bool mj_json_printable(const char *text);

#endif
