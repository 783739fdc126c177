#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

moejit_status mj_error_set(struct mj_error *error, moejit_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    error->status = status;
    vsnprintf(error->message, sizeof(error->message), format, arguments);
    va_end(arguments);
    return status;
}

void mj_error_clear(struct mj_error *error) {
    error->status = MOEJIT_STATUS_OK;
    error->message[0] = '\0';
}

void mj_error_copy(const struct mj_error *error, char *text, size_t bytes) {
    if (text != NULL && bytes > 0) snprintf(text, bytes, "%s", error->message);
}
