#include "ptx_reader.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int emu_reader_line(const struct emu_reader *reader, const char *place) {
    int line = 1;
    for (const char *c = reader->text; c < place; c++) line += *c == '\n';
    return line;
}

void emu_refuse(struct emu_reader *reader, const char *place, const char *format, ...) {
    char reason[512], line_text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    const char *line = place;
    while (line > reader->text && line[-1] != '\n') line--;
    size_t length = strcspn(line, "\n"), column = (size_t)(place - line);
    snprintf(line_text, sizeof(line_text), "%.*s", (int)(length < 250 ? length : 250), line);
    for (char *c = line_text; *c != '\0'; c++) *c = *c == '\t' ? ' ' : *c;
    snprintf(reader->message, reader->message_bytes, "ptx:%d:%zu: %s\n%s\n%*s^", emu_reader_line(reader, place),
             column + 1, reason, line_text, (int)column, "");
    longjmp(reader->refused, 1);
}

void emu_skip_blanks(struct emu_reader *reader) {
    const char *c = reader->at;
    for (;;) {
        while (isspace((unsigned char)*c)) c++;
        if (c[0] == '/' && c[1] == '/') {
            c += strcspn(c, "\n");
        } else if (c[0] == '/' && c[1] == '*') {
            const char *end = strstr(c + 2, "*/");
            c = end != NULL ? end + 2 : c + strlen(c);
        } else {
            break;
        }
    }
    reader->at = c;
}

bool emu_take(struct emu_reader *reader, char c) {
    emu_skip_blanks(reader);
    if (*reader->at != c) return false;
    reader->at++;
    return true;
}

void emu_expect(struct emu_reader *reader, char c) {
    if (!emu_take(reader, c)) emu_refuse(reader, reader->at, "expected '%c'", c);
}

static bool is_word_character(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
}

bool emu_take_word(struct emu_reader *reader, char word[EMU_WORD_BYTES]) {
    size_t length = 0;
    emu_skip_blanks(reader);
    const char *c = reader->at;
    while (is_word_character(*c) || (c[0] == ':' && c[1] == ':')) {
        int step = *c == ':' ? 2 : 1;
        if (length + 3 > EMU_WORD_BYTES)
            emu_refuse(reader, reader->at, "a word of more than %d characters", EMU_WORD_BYTES - 3);
        for (int i = 0; i < step; i++) word[length++] = *c++;
    }
    word[length] = '\0';
    reader->at = c;
    return length > 0;
}

void emu_expect_word(struct emu_reader *reader, char word[EMU_WORD_BYTES]) {
    if (!emu_take_word(reader, word)) emu_refuse(reader, reader->at, "expected a name");
}

bool emu_take_number(struct emu_reader *reader, int64_t *value) {
    emu_skip_blanks(reader);
    const char *start = reader->at;
    bool negative = *start == '-';
    const char *c = negative ? start + 1 : start;
    if (!isdigit((unsigned char)*c)) return false;
    char *end;
    uint64_t bits;
    if (c[0] == '0' && strchr("fFdD", c[1]) != NULL && c[1] != '\0' && isxdigit((unsigned char)c[2])) {
        bits = strtoull(c + 2, &end, 16); // IEEE bits
        if (negative) bits ^= (uint64_t)1 << (strchr("fF", c[1]) != NULL ? 31 : 63);
    } else {
        bits = strtoull(c, &end, 0);
        if (*end == 'U') end++;
        if (negative) bits = 0 - bits;
    }
    reader->at = end;
    *value = (int64_t)bits;
    return true;
}

int64_t emu_expect_number(struct emu_reader *reader) {
    int64_t value;
    if (!emu_take_number(reader, &value)) emu_refuse(reader, reader->at, "expected a number");
    return value;
}

void *emu_reader_grow(struct emu_reader *reader, void *list, size_t count, size_t *capacity, size_t item_bytes) {
    if (count < *capacity) return list;
    size_t larger = *capacity * 2 + 64;
    void *grown = realloc(list, larger * item_bytes);
    if (grown == NULL) emu_refuse(reader, reader->at, "the emulator has no memory for the module");
    memset((char *)grown + *capacity * item_bytes, 0, (larger - *capacity) * item_bytes);
    *capacity = larger;
    return grown;
}
