#include "driver_edit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    pthread_mutex_t lock;
    char kernel[256], words[128];
    uint64_t n, dropped;
} edit = {.lock = PTHREAD_MUTEX_INITIALIZER};

void emu_edit_drop(const char *kernel, const char *words, uint64_t n) {
    pthread_mutex_lock(&edit.lock);
    snprintf(edit.kernel, sizeof(edit.kernel), ".entry %s(", n > 0 ? kernel : "");
    snprintf(edit.words, sizeof(edit.words), "%s", n > 0 ? words : "");
    edit.n = n;
    edit.dropped = 0;
    pthread_mutex_unlock(&edit.lock);
}

uint64_t emu_edit_dropped(void) {
    pthread_mutex_lock(&edit.lock);
    uint64_t dropped = edit.dropped;
    pthread_mutex_unlock(&edit.lock);
    return dropped;
}

// The offset of the line, or of the text's end.
static size_t find_line(const char *text) {
    const char *at = strstr(text, edit.kernel);
    const char *end = at != NULL ? strstr(at + 1, ".entry ") : NULL;
    uint64_t seen = 0;
    while (at != NULL && (at = strstr(at, edit.words)) != NULL && (end == NULL || at < end)) {
        const char *line = at;
        while (line > text && line[-1] != '\n') line--;
        if (++seen == edit.n) return (size_t)(line - text);
        at += strcspn(at, "\n");
    }
    return strlen(text);
}

char *emu_edit_apply(const char *text) {
    char *copy = NULL;
    pthread_mutex_lock(&edit.lock);
    size_t line = edit.n > 0 ? find_line(text) : strlen(text);
    if (text[line] != '\0') copy = strdup(text);
    if (copy != NULL) {
        memset(copy + line, ' ', strcspn(copy + line, "\n"));
        edit.dropped++;
    }
    pthread_mutex_unlock(&edit.lock);
    return copy;
}
