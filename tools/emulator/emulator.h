// What the emulator exports beside the driver's own entry points: for tests and for the `moejit` command, never for the
// library. All of it is of the process, not of a context, and may be called from any thread.
#ifndef MOEJIT_EMULATOR_H
#define MOEJIT_EMULATOR_H

#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

#include "machine.h" // struct emu_counters

#ifdef __cplusplus
extern "C" {
#endif

// The mark by which a program tells the emulator from a real driver.
int moejit_emulator_version(void);

// Forgets findings, counters, call counts, the trace, an armed failure and a line to be dropped.
void moejit_emulator_reset(void);

// Makes the n-th call from now (1 is the next one) of an entry ("cuMemAlloc_v2") fail with result and do nothing else.
// NULL counts the calls of all entries together; n = 0 disarms. Returns 0 when there is no such entry, else 1.
int moejit_emulator_fail_at(const char *entry, uint64_t n, CUresult result);
// The same, but that call does nothing and says that all went well.
int moejit_emulator_skip_at(const char *entry, uint64_t n);
// Leaves the n-th line that holds the words (1 is the first) out of that kernel in modules loaded from now on; n = 0
// disarms. What the emulator then finds shows that the line was needed.
void moejit_emulator_drop_line(const char *kernel, const char *words, uint64_t n);
uint64_t moejit_emulator_dropped(void); // lines left out since the last call of drop_line
// How many calls have been made to fail, or were skipped, since the last reset.
uint64_t moejit_emulator_failures(void);
// Calls of one entry, or of all of them together for NULL, since the last reset.
uint64_t moejit_emulator_calls(const char *entry);

// Sums over all launches that ended since the last reset; returns how many there were.
uint64_t moejit_emulator_counters(struct emu_counters *counters);
// The same for the last launch that ended; its kernel's name is copied to name, cut to name_bytes.
void moejit_emulator_last_launch(struct emu_counters *counters, char *name, size_t name_bytes);

// How many findings there were since the last reset; the last one's text is copied to text, cut to text_bytes.
uint64_t moejit_emulator_findings(char *text, size_t text_bytes);

// A hash of the order in which operations were executed, since the last reset. Equal programs with equal hashes took
// the same order. Each context has an order of its own: how threads interleave contexts does not count.
uint64_t moejit_emulator_trace_hash(void);

#ifdef __cplusplus
}
#endif

#endif
