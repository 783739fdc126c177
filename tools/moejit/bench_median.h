#ifndef MOEJIT_TOOL_BENCH_MEDIAN_H
#define MOEJIT_TOOL_BENCH_MEDIAN_H

// The median of num > 0 values, which are sorted in place; the upper one of an even number.
double bench_median(double *values, int num);

#endif
