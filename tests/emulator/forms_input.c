// The input words of a form: what is special about its kind of number, in all pairs, then random ones. The same on
// every machine.
#include "forms.h"

#include <string.h>

static uint64_t next_random(uint64_t *state) { // SplitMix64
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static const uint32_t special_bits[] = {0,           1,           2,           0x7f,       0x80,        0xff,
                                        0x7fff,      0x8000,      0xffff,      0x10000,    0x7fffffffu, 0x80000000u,
                                        0x80000001u, 0xfffffffeu, 0xffffffffu, 0xaaaaaaaau};
// Zeros, subnormal ones, the smallest normal one, powers and halves, the largest, infinities, NaNs.
static const uint32_t special_f32[] = {0,           0x80000000u, 1,           0x80000001u, 0x007fffffu, 0x00800000u,
                                       0x3f800000u, 0xbf800000u, 0x3f000000u, 0x40200000u, 0x4b000001u, 0x7f7fffffu,
                                       0xff7fffffu, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00001u, 0x7f800001u,
                                       0x477fe000u, 0x43e00000u, 0x33800000u, 0x4f000000u};
// The same of f16 and, in part, bf16.
static const uint16_t special_half[] = {0,      0x8000, 1,      0x8001, 0x03ff, 0x0400, 0x3c00, 0xbc00, 0x3800, 0x7bff,
                                        0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x7f80, 0xff80, 0x7fc0, 0x0080, 0x007f, 0x3f80};
#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static uint32_t random_f32(uint64_t *state, uint32_t lowest, uint32_t exponents) {
    uint64_t random = next_random(state);
    uint32_t exponent = lowest + (uint32_t)(random >> 40) % exponents;
    return (uint32_t)random << 31 | exponent << 23 | ((uint32_t)random >> 1 & 0x7fffffu);
}

// An f16 that is neither subnormal nor large, which as bf16 is about as moderate.
static uint32_t random_half(uint64_t *state, uint32_t lowest, uint32_t exponents) {
    uint64_t random = next_random(state);
    uint32_t exponent = lowest + (uint32_t)(random >> 40) % exponents;
    return ((uint32_t)random & 0x83ffu) | exponent << 10;
}

static uint32_t two_halves(uint64_t *state, uint32_t lowest, uint32_t exponents) {
    uint32_t low = random_half(state, lowest, exponents);
    return low | random_half(state, lowest, exponents) << 16;
}

static uint32_t any_half(uint64_t *state) {
    uint64_t random = next_random(state);
    return (random >> 60) < 6 ? special_half[random % COUNT(special_half)] : (uint32_t)random & 0xffff;
}

// Word `at` of a thread.
static uint32_t pick(enum form_input input, uint32_t thread, uint32_t at, uint64_t *state) {
    uint64_t random = next_random(state);
    bool accumulator = at >= 8; // of a matrix: f32 whatever the factors are
    switch (input) {
    case FORM_BITS:
        if (thread < 256 && at < 2) return special_bits[at == 0 ? thread % 16 : thread / 16];
        return random >> 62 == 0 ? special_bits[random % COUNT(special_bits)] : (uint32_t)random >> (random >> 40 & 31);
    case FORM_F32:
        if (thread < 22 * 22 && at < 2) return special_f32[at == 0 ? thread % 22 : thread / 22];
        return random >> 62 == 0 ? special_f32[random % COUNT(special_f32)] : random_f32(state, 0, 255);
    case FORM_NEAR: return random_f32(state, 120, 12);
    case FORM_POSITIVE: return random_f32(state, 90, 70) & 0x7fffffffu;
    case FORM_SMALL: return random_f32(state, 117, 13);
    case FORM_HALF:
        if (accumulator)
            return random >> 62 == 0 ? special_f32[random % COUNT(special_f32)] : random_f32(state, 0, 255);
        if (thread < 400 && at < 2) return special_half[at == 0 ? thread % 20 : thread / 20] | any_half(state) << 16;
        random = any_half(state);
        return (uint32_t)random | any_half(state) << 16;
    case FORM_NEARHALF: return accumulator ? random_f32(state, 122, 10) : two_halves(state, 13, 4);
    case FORM_WIDEHALF: return accumulator ? random_f32(state, 118, 18) : two_halves(state, 8, 13);
    case FORM_EVERY16: return at == 0 ? thread | thread << 16 : (uint32_t)random;
    }
    return 0;
}

unsigned form_blocks(const struct form *form) {
    return form->input == FORM_EVERY16 ? 65536 / FORM_THREADS : 16;
}

void form_fill(const struct form *form, uint32_t *words) {
    uint64_t state = 1; // not of the name: forms of one kind are compared on the same numbers
    for (uint32_t thread = 0; thread < form_blocks(form) * FORM_THREADS; thread++) {
        for (uint32_t at = 0; at < FORM_INPUTS; at++)
            words[thread * FORM_INPUTS + at] = pick(form->input, thread, at, &state);
    }
}
