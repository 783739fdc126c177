// Events: an event is the set of what its stream held when it was recorded.
#ifndef MOEJIT_EMULATOR_DRIVER_EVENT_H
#define MOEJIT_EMULATOR_DRIVER_EVENT_H

#include "driver_context.h"
#include "driver_graph.h"
#include "driver_queue.h"

struct emu_event {
    struct emu_object object;
    unsigned flags;
    uint64_t record;   // how often it was recorded; 0 = never
    uint64_t reached;  // the last recording that was reached
    uint64_t stamp_ns; // when
    struct emu_point point;
    uint64_t capture;      // the capture that it was last recorded in; 0 = recorded in earnest
    struct emu_nodes tips; // in that capture
};

// With the driver's lock held: the stream has come to this recording of the event. The handle may be stale.
void emu_event_reached(void *handle, uint64_t record);
void emu_event_destroy(struct emu_event *event);

#endif
