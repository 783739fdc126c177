// What launches counted, summed over the process and for the last one.
#ifndef MOEJIT_EMULATOR_DRIVER_TALLY_H
#define MOEJIT_EMULATOR_DRIVER_TALLY_H

#include "machine.h"

// All are thread safe.
void emu_tally_launch(const char *kernel, const struct emu_counters *counters);
uint64_t emu_tally_sums(struct emu_counters *counters); // the number of launches
void emu_tally_last(struct emu_counters *counters, char *kernel, size_t kernel_bytes);
void emu_tally_reset(void);

// The order in which operations ran: each context has the hash of its own order, and how threads interleave contexts
// does not count. A reset starts all of them afresh.
struct emu_trace {
    uint64_t hash, resets;
};
void emu_tally_trace(struct emu_trace *trace, uint64_t operation);
uint64_t emu_tally_trace_hash(void);

#endif
