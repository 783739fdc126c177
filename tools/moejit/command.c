#include "command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int command_usage(const char *name, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "moejit %s: ", name);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\nTry 'moejit %s --help'.\n", name);
    va_end(arguments);
    return EXIT_USAGE;
}

bool command_number(const char *name, const char *option, const char *text, long long low, long long high,
                    long long *number) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end != text && *end == '\0' && errno == 0 && low <= value && value <= high) {
        *number = value;
        return true;
    }
    command_usage(name, "--%s is \"%s\", needs a whole number from %lld to %lld", option, text, low, high);
    return false;
}

bool command_choice(const char *name, const char *option, const char *text, const char *const *words, int *choice) {
    char all[512] = "";
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *choice = i;
            return true;
        }
        snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", i > 0 ? ", " : "", words[i]);
    }
    command_usage(name, "--%s is \"%s\", needs one of: %s", option, text, all);
    return false;
}

void command_log(void *user, moejit_log_level level, const char *text) {
    (void)user;
    if (level == MOEJIT_LOG_WARNING) fprintf(stderr, "moejit: warning: %s\n", text);
}

void command_json_string(const char *text, size_t length) {
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\') {
            printf("\\%c", text[i]);
        } else if (text[i] == '\n') {
            printf("\\n");
        } else if ((unsigned char)text[i] < ' ') {
            printf("\\u%04x", (unsigned)text[i]);
        } else {
            putchar(text[i]);
        }
    }
    putchar('"');
}

#define BAR_WIDTH 28

int command_progress(void *title, int32_t done, int32_t total, const char *current) {
    if (!isatty(STDERR_FILENO)) return 0;
    char bar[BAR_WIDTH + 1];
    int filled = total > 0 ? (int)((long long)BAR_WIDTH * done / total) : BAR_WIDTH;
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < filled ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    fprintf(stderr, "\r\033[K%s [%s] %d/%d %.44s", (const char *)title, bar, (int)done, (int)total, current);
    if (done == total) fprintf(stderr, "\r\033[K");
    fflush(stderr);
    return 0;
}
