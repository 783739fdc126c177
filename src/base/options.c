#include "base/options.h"

#include <stdlib.h>
#include <string.h>

#define SANE_STRUCT_BYTES 4096 // no struct of ours comes near: garbage in struct_size

moejit_status mj_options_read(const char *name, void *ours, size_t bytes, const void *theirs, struct mj_error *error) {
    if (theirs == NULL) return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is NULL", name);
    size_t given;
    memcpy(&given, theirs, sizeof(given));
    if (given < sizeof(size_t) || given > SANE_STRUCT_BYTES) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "%s has struct_size %zu; its initialiser sets it to at most %d", name, given,
                            SANE_STRUCT_BYTES);
    }
    for (size_t i = bytes; i < given; i++) {
        if (((const unsigned char *)theirs)[i] != 0) {
            return mj_error_set(
                error, MOEJIT_STATUS_UNSUPPORTED,
                "%s has struct_size %zu with a value at byte %zu; this moejit, %s, knows %zu bytes of it", name, given,
                i, moejit_version(), bytes);
        }
    }
    memcpy(ours, theirs, given < bytes ? given : bytes);
    memcpy(ours, &bytes, sizeof(bytes));
    return MOEJIT_STATUS_OK;
}

const char *mj_options_string(const char *option, const char *variable) {
    if (option != NULL) return option;
    const char *value = getenv(variable);
    return value != NULL && value[0] != '\0' ? value : NULL;
}
