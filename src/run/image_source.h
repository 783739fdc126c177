// From a kernel's unit to its image: the key, what the cache has, what it is given.
#ifndef MOEJIT_RUN_IMAGE_SOURCE_H
#define MOEJIT_RUN_IMAGE_SOURCE_H

#include "base/text.h"
#include "jit/compiler.h"
#include "jit/compile_message.h"
#include "run/context.h"

// The canonical key of a unit: its text, the hash of each header that it pulls in, options and arch. Pure: nothing else
// is in it.
void mj_image_source_key(const char *arch_name, const char *options, const struct mj_source_set *sources,
                         const char *unit, struct mj_text *key);

// An image of the cache's, the caller's to free. compiler: only of its toolchain; NULL: of any. num_refused: pass over
// those that the driver has refused.
bool mj_image_source_lookup(struct moejit_context *context, const struct mj_text *key,
                            const struct mj_compiler_identity *compiler, int num_refused, struct mj_image *image);
void mj_image_source_insert(struct moejit_context *context, const struct mj_text *key,
                            const struct mj_compiler_identity *compiler, const struct mj_image *image);

// Failed compiles are remembered for a while, with their sentence, for one build of the compiler.
void mj_image_source_insert_failure(struct moejit_context *context, const struct mj_text *key,
                                    const struct mj_compiler_identity *compiler, const char *message);
// True: that compiler has failed on the key; status and sentence are in the error.
bool mj_image_source_lookup_failure(struct moejit_context *context, const struct mj_text *key,
                                    const struct mj_compiler_identity *compiler, struct mj_error *error);

#endif
