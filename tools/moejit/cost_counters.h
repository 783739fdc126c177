// What the main loop of a tile asks of memory, counted by the emulator.
#ifndef MOEJIT_TOOL_COST_COUNTERS_H
#define MOEJIT_TOOL_COST_COUNTERS_H

#include "cost_row.h"

// Sets sectors and conflicts of the rows: of one step of block_k columns of one tile. emulator: its path. cache_path:
// as the context's. False, with a sentence.
bool cost_counters_read(const char *emulator, const char *cache_path, struct cost_row *rows, int num_rows,
                        char *message, size_t message_bytes);

#endif
