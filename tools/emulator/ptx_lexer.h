// The text of a module as tokens, and diagnostics that point into it. After a failure every token is the end, so that
// the parser unwinds by itself.
#ifndef MOEJIT_EMULATOR_PTX_LEXER_H
#define MOEJIT_EMULATOR_PTX_LEXER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum emu_token_kind { EMU_TOKEN_END, EMU_TOKEN_WORD, EMU_TOKEN_NUMBER, EMU_TOKEN_STRING, EMU_TOKEN_PUNCTUATION };

struct emu_token {
    enum emu_token_kind kind;
    const char *text; // a word runs over dots and "::": "ld.shared::cta.u32", "%tid.x", ".reg"
    size_t length;
    int line;
};

struct emu_lexer {
    const char *begin, *cursor, *end;
    int line;
    struct emu_token token, next; // the current one, and one ahead
    bool failed;
    char *diagnostic;
    size_t diagnostic_bytes;
};

void emu_lexer_start(struct emu_lexer *lexer, const char *text, size_t bytes, char *diagnostic,
                     size_t diagnostic_bytes);
void emu_lexer_advance(struct emu_lexer *lexer);

bool emu_lexer_is(const struct emu_lexer *lexer, const char *text); // is the current token this?
bool emu_lexer_take(struct emu_lexer *lexer, const char *text);     // and if so goes on
void emu_lexer_expect(struct emu_lexer *lexer, const char *text);   // or fails
bool emu_token_is(const struct emu_token *token, const char *text);

// Writes "line:column: reason", the line and a caret; the first failure counts.
__attribute__((format(printf, 3, 4))) void emu_lexer_fail(struct emu_lexer *lexer, const struct emu_token *at,
                                                          const char *format, ...);

// A number's value: integers wrap to 64 bits; 0f and 0d give a float's bits; a decimal fraction gives a double.
enum emu_number_kind { EMU_NUMBER_INTEGER, EMU_NUMBER_F32, EMU_NUMBER_F64 };
bool emu_token_number(const struct emu_token *token, enum emu_number_kind *kind, uint64_t *bits);

#endif
