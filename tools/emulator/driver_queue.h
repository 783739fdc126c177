// The queue: operations that wait, run, or have run and are remembered, of all contexts together.
//
// An operation knows the set of operations that must have run before it: what its stream held, what the events it
// waited for held. It is ready when none of these is still waiting. Nothing runs until the host waits for something (or
// polls, or a coin of the seed says so), so that a seed has many orders to choose from; then ready operations run one
// at a time in each context, on the thread that waits.
//
// Operations that have run are remembered with the bytes they touched until nothing can race with them any more.
#ifndef MOEJIT_EMULATOR_DRIVER_QUEUE_H
#define MOEJIT_EMULATOR_DRIVER_QUEUE_H

#include "driver_set.h"
#include "driver_task.h"

struct emu_operation {
    struct emu_task task;
    struct emu_context *context;
    uint64_t number; // in the order of the calls of this context
    uint64_t age;    // in the order of the calls of the process
    unsigned stream; // its number, for messages
    size_t place;
    bool running;
    struct emu_set before;           // its start comes after these
    struct emu_footprint *footprint; // once it has run, when checks are on

    // Of a programmatic dependent launch:
    uint64_t prerequisite;       // age of the kernel whose end only griddepcontrol.wait comes after; 0: ordinary
    struct emu_set awaited;      // what comes before the end of that wait
    bool waited;                 // a thread executed it
    struct emu_footprint *early; // what was touched before
};

// A moment in the order of things that a stream, an event or a graph holds: all of these operations have happened.
// Registered ones are kept true while places are used again.
struct emu_point {
    struct emu_set set;
    struct emu_point *next, *previous;
};
void emu_point_register(struct emu_point *point);
void emu_point_forget(struct emu_point *point);

// All below with the driver's lock held. It is let go while an operation runs.

// Makes sure that `count` operations can be added; may run some. Sets that are not registered are worthless after it.
CUresult emu_queue_reserve(struct emu_context *context, size_t count);

// What the start of a programmatic dependent launch comes after, and the age of the kernel that it may overlap.
struct emu_start {
    struct emu_set set;
    uint64_t prerequisite;
};

// Adds an operation after `before`, which then contains it too; start is NULL for all but programmatic dependent
// launches. Takes the task. Returns its age; 0: out of host memory, task cleared.
uint64_t emu_queue_add(struct emu_context *context, struct emu_task *task, unsigned stream, struct emu_set *before,
                       const struct emu_start *start);

// griddepcontrol.wait of an operation that runs: without the lock, on any thread. Runs what it awaits. False: that
// failed.
bool emu_queue_await(struct emu_operation *operation);

bool emu_queue_pending(const struct emu_set *set); // does any of these still wait or run?
void emu_queue_poll(const struct emu_set *set);    // runs one operation that brings the set nearer, if one is ready
void emu_queue_maybe(struct emu_context *context); // runs one ready operation if the seed's coin says so

// Runs until all of point's operations have run; the host has seen them then. The point must be registered.
void emu_queue_finish(struct emu_point *point);
void emu_queue_finish_all(struct emu_context *context);
void emu_queue_observe(const struct emu_set *set); // the host has learnt that all of set has run

void emu_queue_forget(struct emu_context *context); // nothing of it is pending: drops what is remembered of it

#endif
