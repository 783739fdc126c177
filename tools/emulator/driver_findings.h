// Where a finding goes: the log (MOEJIT_EMULATOR_LOG, else stderr), and a counter with the last text for tests.
#ifndef MOEJIT_EMULATOR_DRIVER_FINDINGS_H
#define MOEJIT_EMULATOR_DRIVER_FINDINGS_H

#include <stddef.h>
#include <stdint.h>

// Thread safe; the text is one finding, with or without a final newline.
void emu_findings_report(const char *text);
void emu_findings_reportf(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t emu_findings_count(char *last, size_t bytes);
void emu_findings_reset(void);

#endif
