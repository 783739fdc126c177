// Named ranges on this thread for a profiler that is attached (NVTX); nothing where none is.
#ifndef MOEJIT_TOOL_BENCH_RANGE_H
#define MOEJIT_TOOL_BENCH_RANGE_H

void bench_range_push(const char *name);
void bench_range_pop(void);

#endif
