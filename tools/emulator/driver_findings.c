#include "driver_findings.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT_BYTES 4096 // a finding is a few lines; the deadlock report of a whole CTA is the longest

static struct {
    pthread_mutex_t lock;
    uint64_t count;
    char last[MAX_TEXT_BYTES];
} findings = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void write_line(const char *text) {
    const char *path = getenv("MOEJIT_EMULATOR_LOG");
    FILE *file = path != NULL && path[0] != '\0' ? fopen(path, "ae") : NULL;
    FILE *out = file != NULL ? file : stderr; // a log that cannot be opened must not swallow the finding
    size_t length = strlen(text);
    fprintf(out, "moejit emulator: %s%s", text, length > 0 && text[length - 1] == '\n' ? "" : "\n");
    if (file != NULL) fclose(file);
}

void emu_findings_report(const char *text) {
    pthread_mutex_lock(&findings.lock);
    findings.count++;
    snprintf(findings.last, sizeof(findings.last), "%s", text);
    write_line(text);
    pthread_mutex_unlock(&findings.lock);
}

void emu_findings_reportf(const char *format, ...) {
    char text[MAX_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    emu_findings_report(text);
}

uint64_t emu_findings_count(char *last, size_t bytes) {
    pthread_mutex_lock(&findings.lock);
    uint64_t count = findings.count;
    if (last != NULL && bytes > 0) snprintf(last, bytes, "%s", findings.last);
    pthread_mutex_unlock(&findings.lock);
    return count;
}

void emu_findings_reset(void) {
    pthread_mutex_lock(&findings.lock);
    findings.count = 0;
    findings.last[0] = '\0';
    pthread_mutex_unlock(&findings.lock);
}
