// The one device: the part that the environment asks for.
#ifndef MOEJIT_EMULATOR_DRIVER_DEVICE_H
#define MOEJIT_EMULATOR_DRIVER_DEVICE_H

#include "driver_parts.h"
#include "machine.h"

// Reads the environment anew, as cuInit and every new context do. A wrong switch is a finding and
// CUDA_ERROR_INVALID_VALUE. With the driver's lock held.
CUresult emu_device_read(void);
const struct emu_part *emu_device_part(void);
const struct emu_settings *emu_device_settings(void);

#endif
