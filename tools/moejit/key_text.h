// Cache keys as people read them: found by hash or in a file, and compared field by field.
#ifndef MOEJIT_TOOL_KEY_TEXT_H
#define MOEJIT_TOOL_KEY_TEXT_H

#include <stdbool.h>

#include "base/text.h"

// name: a file, or the first hexadecimal digits (at least four) of a key's hash in the cache (NULL: the user's). False,
// with the sentence printed, where that is none or not one.
bool key_text_read(const char *name, const char *cache, struct mj_text *key);
// Prints each field that differs, the unit line by line. True: they differ.
bool key_text_diff(const struct mj_text *a, const struct mj_text *b, bool json);

#endif
