// A line that is left out of the next modules, for tests that show what the emulator would say.
#ifndef MOEJIT_EMULATOR_DRIVER_EDIT_H
#define MOEJIT_EMULATOR_DRIVER_EDIT_H

#include <stdint.h>

// Arms it: the n-th line of the kernel that holds the words. n = 0 disarms.
void emu_edit_drop(const char *kernel, const char *words, uint64_t n);
uint64_t emu_edit_dropped(void); // lines since it was armed

// A copy of the text without that line (it is blank: the others keep their numbers), to be freed; NULL where the text
// has no such line, or nothing is armed.
char *emu_edit_apply(const char *text);

#endif
