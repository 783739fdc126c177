// The seed's random numbers: splitmix64, whose every state is a good one, so seeds 0, 1, 2 ... are as good as any.
#ifndef MOEJIT_EMULATOR_DRIVER_RANDOM_H
#define MOEJIT_EMULATOR_DRIVER_RANDOM_H

#include <stdint.h>

static inline uint64_t emu_random_mix(uint64_t value) {
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}

static inline uint64_t emu_random_next(uint64_t *state) {
    *state += 0x9e3779b97f4a7c15u;
    return emu_random_mix(*state);
}

#endif
