#include "base/random.h"

// SplitMix64 (Steele, Lea, Flood 2014).
uint64_t mj_random_next(struct mj_random *random) {
    uint64_t z = random->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

double mj_random_uniform(struct mj_random *random) {
    return (double)(mj_random_next(random) >> 11) * 0x1p-53;
}

double mj_random_normal(struct mj_random *random) {
    double sum = -6;
    for (int i = 0; i < 12; i++) sum += mj_random_uniform(random);
    return sum;
}
