#include "moe/halving.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUM_ROUNDS 3
#define EQUAL_SHARE 0.01
#define MAD_TO_DEVIATION 1.4826 // of a normal distribution
#define MEDIAN_ERROR 1.2533     // standard error of a median, in standard deviations / sqrt(n)

static const int sweeps_until[NUM_ROUNDS] = {3, 7, MJ_MAX_SWEEPS};

struct race {
    int num;
    bool left[MJ_MAX_CANDIDATES];
    double us[MJ_MAX_CANDIDATES][MJ_MAX_SWEEPS];
    int num_sweeps;
    double share[MJ_MAX_CANDIDATES]; // median over sweeps of us / the sweep's reference
    double noise[MJ_MAX_CANDIDATES]; // of the share
};

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, int num) {
    double sorted[MJ_MAX_CANDIDATES > MJ_MAX_SWEEPS ? MJ_MAX_CANDIDATES : MJ_MAX_SWEEPS];
    memcpy(sorted, values, (size_t)num * sizeof(double));
    qsort(sorted, (size_t)num, sizeof(double), compare);
    return num % 2 == 1 ? sorted[num / 2] : (sorted[num / 2 - 1] + sorted[num / 2]) / 2;
}

static double median_error(const double *values, int num, double middle) {
    double off[MJ_MAX_SWEEPS];
    for (int i = 0; i < num; i++) off[i] = fabs(values[i] - middle);
    return MAD_TO_DEVIATION * MEDIAN_ERROR * median(off, num) / sqrt(num);
}

static int count_left(const struct race *race) {
    int num = 0;
    for (int i = 0; i < race->num; i++) num += race->left[i];
    return num;
}

// What a sweep's samples are measured against: the median of those of the candidates that are left. Who is alone has
// nothing to be measured against.
static double reference(const struct race *race, int sweep) {
    double us[MJ_MAX_CANDIDATES];
    int num = 0;
    if (count_left(race) == 1) return 1;
    for (int i = 0; i < race->num; i++) {
        if (race->left[i]) us[num++] = race->us[i][sweep];
    }
    return median(us, num);
}

static void rate(struct race *race, struct mj_timing *timings) {
    double references[MJ_MAX_SWEEPS], shares[MJ_MAX_SWEEPS];
    for (int s = 0; s < race->num_sweeps; s++) references[s] = reference(race, s);
    for (int i = 0; i < race->num; i++) {
        if (!race->left[i]) continue;
        for (int s = 0; s < race->num_sweeps; s++) shares[s] = race->us[i][s] / references[s];
        race->share[i] = median(shares, race->num_sweeps);
        race->noise[i] = median_error(shares, race->num_sweeps, race->share[i]);
        double us = median(race->us[i], race->num_sweeps);
        timings[i] = (struct mj_timing){us, us * race->noise[i] / race->share[i], race->num_sweeps};
    }
}

static int fastest(const struct race *race) {
    int best = -1;
    for (int i = 0; i < race->num; i++) {
        if (race->left[i] && (best < 0 || race->share[i] < race->share[best])) best = i;
    }
    return best;
}

static bool equals_fastest(const struct race *race, int candidate, int best) {
    double difference = race->share[candidate] - race->share[best];
    double noise = 2 * sqrt(race->noise[candidate] * race->noise[candidate] + race->noise[best] * race->noise[best]);
    return difference <= fmax(EQUAL_SHARE * race->share[best], noise);
}

// The slower half leaves, but nobody who equals the fastest.
static void halve(struct race *race) {
    int best = fastest(race), num = count_left(race);
    double shares[MJ_MAX_CANDIDATES];
    int n = 0;
    for (int i = 0; i < race->num; i++) {
        if (race->left[i]) shares[n++] = race->share[i];
    }
    qsort(shares, (size_t)n, sizeof(double), compare);
    double last = shares[(num + 1) / 2 - 1];
    for (int i = 0; i < race->num; i++) {
        if (race->left[i] && race->share[i] > last && !equals_fastest(race, i, best)) race->left[i] = false;
    }
}

// Every second sweep goes backwards, so that a steady drift inside a sweep favours nobody.
static bool sweep(struct race *race, mj_sample_fn sample, void *user) {
    for (int i = 0; i < race->num; i++) {
        int candidate = race->num_sweeps % 2 == 0 ? i : race->num - 1 - i;
        if (!race->left[candidate]) continue;
        if (!sample(user, candidate, &race->us[candidate][race->num_sweeps])) return false;
    }
    race->num_sweeps++;
    return true;
}

int mj_halving_run(int num, mj_sample_fn sample, void *user, struct mj_timing *timings) {
    struct race race = {.num = num};
    memset(timings, 0, (size_t)num * sizeof(*timings));
    for (int i = 0; i < num; i++) race.left[i] = true;
    for (int round = 0; round < NUM_ROUNDS; round++) {
        while (race.num_sweeps < sweeps_until[round]) {
            if (!sweep(&race, sample, user)) return -1;
        }
        rate(&race, timings);
        if (round + 1 < NUM_ROUNDS) halve(&race);
        if (num > 1 && count_left(&race) == 1) break;
    }
    int best = fastest(&race);
    for (int i = 0; i < num; i++) {
        if (race.left[i] && equals_fastest(&race, i, best)) return i;
    }
    return best;
}
