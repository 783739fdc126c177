// Races between operations: two touched the same byte, one wrote it, and nothing orders them.
#ifndef MOEJIT_EMULATOR_DRIVER_RACES_H
#define MOEJIT_EMULATOR_DRIVER_RACES_H

#include "driver_queue.h"

// Compares an operation that has just run with those of all that have run that are not before it. A race is reported,
// and breaks the context as a failed launch does.
CUresult emu_races_check(const struct emu_operation *operation, struct emu_operation *const *others,
                         const struct emu_set *done);

#endif
