#include "ptx_form.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *spelling;
    uint8_t bits;
    char kind;
} types[EMU_NUM_TYPES] = {
#define EMU_TYPE(name, spelling, bits, kind) [EMU_##name] = {spelling, bits, #kind[0]},
#include "ptx_types.def"
#undef EMU_TYPE
};

static const struct {
    const char *spelling;
    enum emu_word_group group;
} words[EMU_NUM_WORDS] = {
    [EMU_W_NONE] = {"", EMU_NUM_GROUPS},
#define EMU_WORD(name, spelling, group) [EMU_W_##name] = {spelling, EMU_GROUP_##group},
#include "ptx_words.def"
#undef EMU_WORD
};

static bool same(const char *text, size_t length, const char *other) {
    return text[0] == other[0] && strncmp(text, other, length) == 0 && other[length] == '\0'; // most differ at once
}

enum emu_type emu_type_find(const char *text, size_t length) {
    for (int i = 1; i < EMU_NUM_TYPES; i++) {
        if (same(text, length, types[i].spelling)) return (enum emu_type)i;
    }
    return EMU_NONE;
}

unsigned emu_type_bits(enum emu_type type) {
    return types[type].bits;
}

char emu_type_kind(enum emu_type type) {
    return types[type].kind;
}

const char *emu_type_name(enum emu_type type) {
    return types[type].spelling;
}

bool emu_mnemonic_split(struct emu_mnemonic *mnemonic, const char *text, size_t length) {
    const char *end = text + length;
    mnemonic->num_words = 0;
    while (text < end) {
        const char *dot = memchr(text, '.', (size_t)(end - text));
        if (dot == NULL) dot = end;
        if (mnemonic->num_words == EMU_MAX_MNEMONIC_WORDS) return false;
        mnemonic->words[mnemonic->num_words] = text;
        mnemonic->lengths[mnemonic->num_words++] = (size_t)(dot - text);
        text = dot + 1;
    }
    return mnemonic->num_words > 0;
}

bool emu_mnemonic_named(const struct emu_mnemonic *mnemonic, const char *name) {
    return same(mnemonic->words[0], mnemonic->lengths[0], name);
}

static void record_word(struct emu_form *form, enum emu_word word) {
    enum emu_word_group group = words[word].group;
    form->flags[word / 64] |= (uint64_t)1 << (word % 64);
    if (group == EMU_GROUP_SPACE && form->words[group] != EMU_W_NONE) {
        form->second_space = (uint8_t)word;
    } else {
        form->words[group] = (uint8_t)word;
    }
    if (group == EMU_GROUP_VECTOR) form->count = (uint8_t)(words[word].spelling[1] - '0');
}

static void record_shape(struct emu_form *form, const char *text, size_t length) {
    const char *columns = memchr(text, 'n', length);
    if (columns != NULL) form->columns = (uint16_t)strtoul(columns + 1, NULL, 10);
}

static void record(struct emu_form *form, const char *text, size_t length) {
    enum emu_type type = emu_type_find(text, length);
    if (type != EMU_NONE) {
        if (form->num_types < 3) form->types[form->num_types] = (uint8_t)type;
        form->num_types++;
        return;
    }
    if (length == 2 && text[1] == 'd' && text[0] >= '1' && text[0] <= '5') form->count = (uint8_t)(text[0] - '0');
    if (length > 1 && text[0] == 'm' && text[1] >= '0' && text[1] <= '9') record_shape(form, text, length);
    for (int i = 1; i < EMU_NUM_WORDS; i++) {
        if (same(text, length, words[i].spelling)) {
            record_word(form, (enum emu_word)i);
            return;
        }
    }
}

static bool in_element(const char *element, size_t element_length, const char *text, size_t length) {
    const char *end = element + element_length;
    if (element_length == 1 && element[0] == 'T') return emu_type_find(text, length) != EMU_NONE;
    while (element < end) {
        const char *bar = memchr(element, '|', (size_t)(end - element));
        if (bar == NULL) bar = end;
        if ((size_t)(bar - element) == length && memcmp(element, text, length) == 0) return true;
        element = bar + 1;
    }
    return false;
}

bool emu_form_match(struct emu_form *form, const char *template, const struct emu_mnemonic *mnemonic) {
    *form = (struct emu_form){.count = 1};
    int at = 1;
    while (*template != '\0') {
        size_t length = strcspn(template, " ");
        bool optional = template[0] == '?';
        const char *element = template + optional;
        if (at < mnemonic->num_words &&
            in_element(element, length - optional, mnemonic->words[at], mnemonic->lengths[at])) {
            record(form, mnemonic->words[at], mnemonic->lengths[at]);
            at++;
        } else if (!optional) {
            return false;
        }
        template += length;
        template += strspn(template, " ");
    }
    return at == mnemonic->num_words;
}
