// Writes the unit of one kernel: a Config and an entry point, named, never a kernel's body. A pure function: the same
// arguments give the same bytes.
#ifndef MOEJIT_JIT_GENERATOR_H
#define MOEJIT_JIT_GENERATOR_H

#include "base/text.h"
#include "jit/kernels.h"

#define MJ_SYMBOL_BYTES 96

// "moejit_gate_up_portable_64x16x64". tile: NULL for kernels without one.
void mj_generator_symbol(enum mj_kernel_id id, const struct mj_tile *tile, char symbol[MJ_SYMBOL_BYTES]);
void mj_generator_write(enum mj_kernel_id id, const struct mj_problem *problem, const struct mj_tile *tile,
                        const char *arch_name, struct mj_text *unit);

#endif
