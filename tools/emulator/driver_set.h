// A set of operations, by their places in the queue. "All that must have happened before" is such a set, so the order
// between operations, whether one is ready and whether two are unordered are each a few words of bit arithmetic.
#ifndef MOEJIT_EMULATOR_DRIVER_SET_H
#define MOEJIT_EMULATOR_DRIVER_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EMU_SET_PLACES 2560 // operations that are queued or remembered at once (driver_queue.c says which)
#define EMU_SET_WORDS (EMU_SET_PLACES / 64)

struct emu_set {
    uint64_t words[EMU_SET_WORDS];
};

static inline void emu_set_insert(struct emu_set *set, size_t place) {
    set->words[place / 64] |= (uint64_t)1 << (place % 64);
}

static inline void emu_set_erase(struct emu_set *set, size_t place) {
    set->words[place / 64] &= ~((uint64_t)1 << (place % 64));
}

static inline bool emu_set_has(const struct emu_set *set, size_t place) {
    return (set->words[place / 64] >> (place % 64) & 1) != 0;
}

static inline void emu_set_unite(struct emu_set *set, const struct emu_set *other) {
    for (size_t i = 0; i < EMU_SET_WORDS; i++) set->words[i] |= other->words[i];
}

static inline void emu_set_intersect(struct emu_set *set, const struct emu_set *other) {
    for (size_t i = 0; i < EMU_SET_WORDS; i++) set->words[i] &= other->words[i];
}

static inline void emu_set_subtract(struct emu_set *set, const struct emu_set *other) {
    for (size_t i = 0; i < EMU_SET_WORDS; i++) set->words[i] &= ~other->words[i];
}

static inline bool emu_set_meets(const struct emu_set *set, const struct emu_set *other) {
    for (size_t i = 0; i < EMU_SET_WORDS; i++) {
        if ((set->words[i] & other->words[i]) != 0) return true;
    }
    return false;
}

// The first member at or after `from`; EMU_SET_PLACES when there is none.
static inline size_t emu_set_next(const struct emu_set *set, size_t from) {
    for (size_t i = from / 64; i < EMU_SET_WORDS; i++) {
        uint64_t word = set->words[i];
        if (i == from / 64) word &= ~(uint64_t)0 << (from % 64);
        if (word != 0) return i * 64 + (size_t)__builtin_ctzll(word);
    }
    return EMU_SET_PLACES;
}

#endif
