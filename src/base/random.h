// Numbers that look random and are the same on every machine.
#ifndef MOEJIT_BASE_RANDOM_H
#define MOEJIT_BASE_RANDOM_H

#include <stdint.h>

struct mj_random {
    uint64_t state; // the seed
};

uint64_t mj_random_next(struct mj_random *random);
double mj_random_uniform(struct mj_random *random); // [0, 1)
double mj_random_normal(struct mj_random *random);  // near enough: variance 1, tails to 6

#endif
