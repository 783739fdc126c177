// A covering table: rows of levels in which every pair of levels of any two factors stands together at least once. The
// same table every time.
#ifndef MOEJIT_TESTS_PAIRWISE_H
#define MOEJIT_TESTS_PAIRWISE_H

#define PAIRWISE_MAX_FACTORS 24
#define PAIRWISE_MAX_LEVELS 12

struct pairwise {
    int num_factors;
    int num_levels[PAIRWISE_MAX_FACTORS];
    unsigned char covered[PAIRWISE_MAX_FACTORS][PAIRWISE_MAX_LEVELS][PAIRWISE_MAX_FACTORS][PAIRWISE_MAX_LEVELS];
    unsigned long long state;
};

void pairwise_start(struct pairwise *table, const int *num_levels, int num_factors);
// Fills the next row; 0 when every pair has been covered.
int pairwise_next(struct pairwise *table, int *row);

// A row drawn at random, for longer runs.
void pairwise_random(struct pairwise *table, int *row);

#endif
