// From a kernel's unit to its image: look up, else compile and insert.
#ifndef MOEJIT_RUN_IMAGE_SOURCE_H
#define MOEJIT_RUN_IMAGE_SOURCE_H

#include "base/text.h"
#include "jit/compiler.h"
#include "run/context.h"

// The canonical key of a unit: its text, the hash of each header that it pulls in, options and arch. Pure: nothing else
// is in it.
void mj_image_source_key(const char *arch_name, const char *options, const struct mj_source_set *sources,
                         const char *unit, struct mj_text *key);

struct mj_image_request {
    const char *unit, *symbol;
    const struct mj_text *key;
    int num_refused; // images of the cache that the driver has refused: pass over them
};

// *cached: the image is the cache's, so there may be another where the driver refuses this one.
moejit_status mj_image_source_get(struct moejit_context *context, const struct mj_image_request *request,
                                  struct mj_image *image, bool *cached);

#endif
