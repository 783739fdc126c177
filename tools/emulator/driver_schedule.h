// Which of the ready operations runs next: the seed's draw, or the nastiest.
#ifndef MOEJIT_EMULATOR_DRIVER_SCHEDULE_H
#define MOEJIT_EMULATOR_DRIVER_SCHEDULE_H

#include "driver_queue.h"

size_t emu_schedule_pick(struct emu_context *context, struct emu_operation *const *ready, size_t count);

// May an operation run before the host waits for anything? Never in the adversarial order: what is not waited for must
// not be relied on.
bool emu_schedule_runs_early(struct emu_context *context);

// For the order of warps and blocks within one launch: the same for the n-th operation of a context, whenever it runs.
uint64_t emu_schedule_launch_seed(const struct emu_context *context, uint64_t number);

void emu_schedule_start(struct emu_context *context);

#endif
