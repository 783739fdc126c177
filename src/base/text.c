#include "base/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct mj_text *text, size_t bytes) {
    if (text->failed) return false;
    size_t needed = text->bytes + bytes + 1;
    if (needed <= text->capacity) return true;
    size_t capacity = needed < 256 ? 256 : needed * 2;
    char *data = realloc(text->data, capacity);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void mj_text_append_bytes(struct mj_text *text, const void *data, size_t bytes) {
    if (!reserve(text, bytes)) return;
    if (bytes > 0) memcpy(text->data + text->bytes, data, bytes);
    text->bytes += bytes;
    text->data[text->bytes] = '\0';
}

void mj_text_append(struct mj_text *text, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    if (length >= 0 && reserve(text, (size_t)length)) {
        vsnprintf(text->data + text->bytes, (size_t)length + 1, format, again);
        text->bytes += (size_t)length;
    }
    va_end(again);
    va_end(arguments);
}

void mj_text_free(struct mj_text *text) {
    free(text->data);
    *text = (struct mj_text){0};
}
