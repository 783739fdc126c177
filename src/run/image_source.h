// From a kernel's unit to its image: look up, else compile and insert.
#ifndef MOEJIT_RUN_IMAGE_SOURCE_H
#define MOEJIT_RUN_IMAGE_SOURCE_H

#include "base/text.h"
#include "jit/compiler.h"
#include "run/context.h"

// The canonical key of a unit: its text, the hash of each header that it pulls in, options and arch.
void mj_image_source_key(const struct moejit_context *context, const char *unit, struct mj_text *key);

moejit_status mj_image_source_get(struct moejit_context *context, const char *unit, const char *symbol,
                                  const struct mj_text *key, struct mj_image *image);

#endif
