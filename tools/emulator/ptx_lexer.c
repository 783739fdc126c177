#include "ptx_lexer.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '$' || c == '%' || c == '.';
}

static void skip_blanks(struct emu_lexer *lexer) {
    while (lexer->cursor < lexer->end) {
        const char *c = lexer->cursor;
        size_t left = (size_t)(lexer->end - c);
        if (isspace((unsigned char)*c)) {
            lexer->line += *c == '\n';
            lexer->cursor++;
        } else if (left >= 2 && c[0] == '/' && c[1] == '/') {
            while (lexer->cursor < lexer->end && *lexer->cursor != '\n') lexer->cursor++;
        } else if (left >= 2 && c[0] == '/' && c[1] == '*') {
            for (lexer->cursor += 2; lexer->cursor < lexer->end; lexer->cursor++) {
                lexer->line += *lexer->cursor == '\n';
                if (lexer->cursor[-1] == '*' && lexer->cursor[0] == '/' && lexer->cursor - c >= 3) break;
            }
            if (lexer->cursor < lexer->end) lexer->cursor++;
        } else {
            return;
        }
    }
}

static const char *end_of_word(const char *c, const char *end) {
    while (c < end) {
        if (is_word(*c)) {
            c++;
        } else if (end - c >= 3 && c[0] == ':' && c[1] == ':' && is_word(c[2])) {
            c += 2;
        } else {
            break;
        }
    }
    return c;
}

static const char *end_of_number(const char *begin, const char *end) {
    bool prefixed = end - begin >= 2 && begin[0] == '0' && strchr("xXfFdDbB", begin[1]) != NULL;
    const char *c = begin;
    while (c < end) {
        bool exponent = !prefixed && c > begin && (c[-1] == 'e' || c[-1] == 'E') && (*c == '+' || *c == '-');
        if (!isalnum((unsigned char)*c) && *c != '.' && !exponent) break;
        c++;
    }
    return c;
}

static struct emu_token scan(struct emu_lexer *lexer) {
    skip_blanks(lexer);
    struct emu_token token = {EMU_TOKEN_END, lexer->cursor, 0, lexer->line};
    const char *c = lexer->cursor;
    if (lexer->failed || c >= lexer->end) return token;
    if (isdigit((unsigned char)*c)) {
        token.kind = EMU_TOKEN_NUMBER;
        lexer->cursor = end_of_number(c, lexer->end);
    } else if (is_word(*c)) {
        token.kind = EMU_TOKEN_WORD;
        lexer->cursor = end_of_word(c, lexer->end);
    } else if (*c == '"') {
        token.kind = EMU_TOKEN_STRING;
        for (lexer->cursor++; lexer->cursor < lexer->end && *lexer->cursor != '"'; lexer->cursor++) {
        }
        if (lexer->cursor < lexer->end) lexer->cursor++;
    } else {
        token.kind = EMU_TOKEN_PUNCTUATION;
        lexer->cursor++;
    }
    token.length = (size_t)(lexer->cursor - c);
    return token;
}

void emu_lexer_start(struct emu_lexer *lexer, const char *text, size_t bytes, char *diagnostic,
                     size_t diagnostic_bytes) {
    *lexer = (struct emu_lexer){.begin = text,
                                .cursor = text,
                                .end = text + bytes,
                                .line = 1,
                                .diagnostic = diagnostic,
                                .diagnostic_bytes = diagnostic_bytes};
    if (diagnostic_bytes > 0) diagnostic[0] = '\0';
    lexer->token = scan(lexer);
    lexer->next = scan(lexer);
}

void emu_lexer_advance(struct emu_lexer *lexer) {
    lexer->token = lexer->next;
    lexer->next = scan(lexer);
    if (lexer->failed) lexer->token.kind = EMU_TOKEN_END;
}

bool emu_token_is(const struct emu_token *token, const char *text) {
    return token->kind != EMU_TOKEN_END && token->kind != EMU_TOKEN_STRING && token->length == strlen(text) &&
           memcmp(token->text, text, token->length) == 0;
}

bool emu_lexer_is(const struct emu_lexer *lexer, const char *text) {
    return emu_token_is(&lexer->token, text);
}

bool emu_lexer_take(struct emu_lexer *lexer, const char *text) {
    if (!emu_lexer_is(lexer, text)) return false;
    emu_lexer_advance(lexer);
    return true;
}

void emu_lexer_expect(struct emu_lexer *lexer, const char *text) {
    if (emu_lexer_take(lexer, text)) return;
    emu_lexer_fail(lexer, &lexer->token, "expected \"%s\" here", text);
}

void emu_lexer_fail(struct emu_lexer *lexer, const struct emu_token *at, const char *format, ...) {
    char reason[512];
    va_list arguments;
    if (lexer->failed) return;
    lexer->failed = true;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    const char *first = at->text, *last = at->text;
    while (first > lexer->begin && first[-1] != '\n') first--;
    while (last < lexer->end && *last != '\n') last++;
    int column = (int)(at->text - first);
    char blanks[256]; // tabs stay tabs, so that the caret stands where it should
    int length = column < (int)sizeof(blanks) - 1 ? column : (int)sizeof(blanks) - 1;
    for (int i = 0; i < length; i++) blanks[i] = first[i] == '\t' ? '\t' : ' ';
    blanks[length] = '\0';
    snprintf(lexer->diagnostic, lexer->diagnostic_bytes, "ptx:%d:%d: %s\n%.*s\n%s^", at->line, column + 1, reason,
             (int)(last - first), first, blanks);
    lexer->token.kind = EMU_TOKEN_END;
}

bool emu_token_number(const struct emu_token *token, enum emu_number_kind *kind, uint64_t *bits) {
    char text[80], *end = text;
    if (token->kind != EMU_TOKEN_NUMBER || token->length >= sizeof(text)) return false;
    memcpy(text, token->text, token->length);
    text[token->length] = '\0';
    char prefix = text[0] == '0' ? (char)tolower((unsigned char)text[1]) : '\0';
    *kind = EMU_NUMBER_INTEGER;
    if (prefix == 'f' || prefix == 'd') {
        *kind = prefix == 'f' ? EMU_NUMBER_F32 : EMU_NUMBER_F64;
        *bits = strtoull(text + 2, &end, 16);
        return *end == '\0' && token->length == (prefix == 'f' ? 10u : 18u);
    }
    if (prefix != 'x' && strpbrk(text, ".eE") != NULL) {
        double value = strtod(text, &end);
        *kind = EMU_NUMBER_F64;
        memcpy(bits, &value, sizeof(value));
        return *end == '\0';
    }
    *bits = prefix == 'b' ? strtoull(text + 2, &end, 2) : strtoull(text, &end, 0);
    return *end == '\0' || ((*end == 'U' || *end == 'u') && end[1] == '\0');
}
