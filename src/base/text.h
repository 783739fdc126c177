// A text that grows. After a failed allocation it stays as it was, `failed` is set, and appends do nothing: check once,
// at the end.
#ifndef MOEJIT_BASE_TEXT_H
#define MOEJIT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct mj_text {
    char *data; // terminated; NULL while empty
    size_t bytes, capacity;
    bool failed;
};

__attribute__((format(printf, 2, 3))) void mj_text_append(struct mj_text *text, const char *format, ...);
void mj_text_append_bytes(struct mj_text *text, const void *data, size_t bytes);
void mj_text_free(struct mj_text *text);

#endif
