// A context: its memory, its streams, its settings, and the error that sticks to it.
#ifndef MOEJIT_EMULATOR_DRIVER_CONTEXT_H
#define MOEJIT_EMULATOR_DRIVER_CONTEXT_H

#include <cuda.h>

#include "driver_allocations.h"
#include "driver_handles.h"
#include "driver_parts.h"
#include "driver_tally.h"
#include "machine.h"

struct emu_stream;
struct emu_operation;

struct emu_context {
    struct emu_object object;
    uint64_t id;
    unsigned flags;
    bool primary;
    int users;       // threads inside an entry point with this context
    bool closing;    // being destroyed: no new entry gets in
    CUresult sticky; // the error that every later call returns
    size_t limits[CU_LIMIT_MAX];
    struct emu_settings settings;
    struct emu_part part;
    struct emu_memory *memory;
    struct emu_allocations allocations;
    struct emu_stream *streams; // all of them, the legacy one last
    struct emu_stream *legacy;  // the default stream, which waits for the others
    unsigned next_stream;
    struct emu_operation *running; // the innermost: a dependent launch awaits others while it runs
    int overlapping;               // how many run, each awaited by the one before
    uint64_t next_operation;
    uint64_t dice; // state of the seed's random numbers
    struct emu_trace trace;
};

// With the driver's lock held. The destroyer runs what is still queued, then frees all that the context owns.
CUresult emu_context_create(unsigned flags, bool primary, struct emu_context **context);
void emu_context_destroy(struct emu_context *context);

// Sets the sticky error; operations that still wait will be dropped, not run.
void emu_context_fail(struct emu_context *context, CUresult result);

// The context on top of this thread's stack; NULL when there is none.
CUcontext emu_context_current(void);
struct emu_context *emu_context_find(CUcontext handle);

#endif
