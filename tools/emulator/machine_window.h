// Where shared memory lies among generic addresses: no allocation of a Linux process reaches up here.
#ifndef MOEJIT_EMULATOR_MACHINE_WINDOW_H
#define MOEJIT_EMULATOR_MACHINE_WINDOW_H

#define EMU_SHARED_WINDOW 0x7fff000000000000u
#define EMU_SHARED_WINDOW_BYTES 0x1000000u

#endif
