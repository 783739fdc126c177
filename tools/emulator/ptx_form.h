// The words of a mnemonic, and templates that they must follow.
#ifndef MOEJIT_EMULATOR_PTX_FORM_H
#define MOEJIT_EMULATOR_PTX_FORM_H

#include "ptx.h"

#define EMU_MAX_MNEMONIC_WORDS 16

struct emu_mnemonic {
    const char *words[EMU_MAX_MNEMONIC_WORDS]; // the first is the instruction's name
    size_t lengths[EMU_MAX_MNEMONIC_WORDS];
    int num_words;
};

bool emu_mnemonic_split(struct emu_mnemonic *mnemonic, const char *text, size_t length);
bool emu_mnemonic_named(const struct emu_mnemonic *mnemonic, const char *name);

// A template is a list of elements with blanks between, each a set of words with '|' between, after '?' if it may be
// left out; the element T stands for any type. "?sat u32|s32" takes ".sat.u32" and ".s32". True, with the form, on a
// match.
bool emu_form_match(struct emu_form *form, const char *template, const struct emu_mnemonic *mnemonic);

enum emu_type emu_type_find(const char *text, size_t length); // EMU_NONE: no type
unsigned emu_type_bits(enum emu_type type);
char emu_type_kind(enum emu_type type); // 'U', 'S', 'B', 'F'
const char *emu_type_name(enum emu_type type);

#endif
