// What the driver knows of the calling thread.
#ifndef MOEJIT_EMULATOR_DRIVER_THREAD_H
#define MOEJIT_EMULATOR_DRIVER_THREAD_H

#include <cuda.h>
#include <stdint.h>

uint64_t emu_thread_id(void); // never used twice, from 1

#endif
