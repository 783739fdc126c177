// How many compilers this machine, or the container that we are in, can feed.
#ifndef MOEJIT_JIT_COMPILE_LIMITS_H
#define MOEJIT_JIT_COMPILE_LIMITS_H

// By the cores that this process may use, the container's share of processor time, and free memory. At least 1.
int mj_compile_limits_workers(void);

#endif
