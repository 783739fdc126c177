// The emulator's switches, read from the environment; docs/emulator.md explains each.
#ifndef MOEJIT_EMULATOR_SETTINGS_H
#define MOEJIT_EMULATOR_SETTINGS_H

#include "machine.h"

// Fills settings from MOEJIT_EMULATOR_{ARCH,SEED,CHECKS,SUMS,SCHEDULE,THREADS}. On a value that it does not know it
// returns false, with a sentence in why; settings then hold the defaults for what was wrong.
bool emu_settings_read(struct emu_settings *settings, char *why, size_t why_bytes);

// MOEJIT_EMULATOR_SMS: how many SMs the part is to have, so that a grid made for the whole part stays small; 0 = its
// own.
bool emu_settings_read_sms(int *sms, char *why, size_t why_bytes);

// "sm_90a" for the arch of settings.
void emu_settings_arch_name(const struct emu_settings *settings, char *text, size_t bytes);

#endif
