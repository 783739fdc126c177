#include "pairwise.h"

#include <string.h>

#define CANDIDATES 40 // a row is the best of so many: greedy, near enough to the smallest table

void pairwise_start(struct pairwise *table, const int *num_levels, int num_factors) {
    memset(table, 0, sizeof(*table));
    table->num_factors = num_factors;
    memcpy(table->num_levels, num_levels, (size_t)num_factors * sizeof(int));
    table->state = 1;
}

static int pick(struct pairwise *table, int count) {
    table->state = table->state * 6364136223846793005u + 1442695040888963407u; // Knuth's MMIX generator
    return (int)((table->state >> 33) % (unsigned)count);
}

// Pairs that the row would cover for the first time; marked if asked.
static int count_new(struct pairwise *table, const int *row, int mark) {
    int num = 0;
    for (int a = 0; a < table->num_factors; a++) {
        for (int b = a + 1; b < table->num_factors; b++) {
            unsigned char *covered = &table->covered[a][row[a]][b][row[b]];
            num += *covered == 0;
            if (mark) *covered = 1;
        }
    }
    return num;
}

// Some pair that is still open goes into the row, so that every row makes progress.
static int place_open_pair(struct pairwise *table, int *row) {
    for (int a = 0; a < table->num_factors; a++) {
        for (int b = a + 1; b < table->num_factors; b++) {
            for (int x = 0; x < table->num_levels[a]; x++) {
                for (int y = 0; y < table->num_levels[b]; y++) {
                    if (table->covered[a][x][b][y] != 0) continue;
                    row[a] = x;
                    row[b] = y;
                    return 1;
                }
            }
        }
    }
    return 0;
}

int pairwise_next(struct pairwise *table, int *row) {
    int best = -1, candidate[PAIRWISE_MAX_FACTORS];
    for (int i = 0; i < CANDIDATES; i++) {
        for (int f = 0; f < table->num_factors; f++) candidate[f] = pick(table, table->num_levels[f]);
        if (!place_open_pair(table, candidate)) return 0;
        int num = count_new(table, candidate, 0);
        if (num <= best) continue;
        best = num;
        memcpy(row, candidate, sizeof(candidate));
    }
    count_new(table, row, 1);
    return 1;
}

void pairwise_random(struct pairwise *table, int *row) {
    for (int f = 0; f < table->num_factors; f++) row[f] = pick(table, table->num_levels[f]);
}
