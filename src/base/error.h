// The last-error record: one sentence with what was tried, the value met and the rule broken.
#ifndef MOEJIT_BASE_ERROR_H
#define MOEJIT_BASE_ERROR_H

#include <stddef.h>

#include "moejit/moejit.h"

struct mj_error {
    moejit_status status;
    char message[2048];
};

// Records status and sentence; returns status, so that a failing function can return the call.
__attribute__((format(printf, 3, 4))) moejit_status mj_error_set(struct mj_error *error, moejit_status status,
                                                                 const char *format, ...);
void mj_error_clear(struct mj_error *error);
// Copies the sentence, cut to bytes; text may be NULL.
void mj_error_copy(const struct mj_error *error, char *text, size_t bytes);

#endif
