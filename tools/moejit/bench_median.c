#include "bench_median.h"

#include <stdlib.h>

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int num) {
    qsort(values, (size_t)num, sizeof(values[0]), compare);
    return values[num / 2];
}
