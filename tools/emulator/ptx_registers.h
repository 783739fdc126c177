// How many 32-bit registers a thread of the kernel needs at least: the most that are live at once.
#ifndef MOEJIT_EMULATOR_PTX_REGISTERS_H
#define MOEJIT_EMULATOR_PTX_REGISTERS_H

#include "ptx.h"

int emu_registers_estimate(const struct emu_kernel *kernel);

#endif
