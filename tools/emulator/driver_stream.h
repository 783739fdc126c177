// Streams: a stream is the set of what was issued to it so far, which all that is issued later comes after.
#ifndef MOEJIT_EMULATOR_DRIVER_STREAM_H
#define MOEJIT_EMULATOR_DRIVER_STREAM_H

#include "driver_context.h"
#include "driver_graph.h"
#include "driver_queue.h"

struct emu_capture;

struct emu_stream {
    struct emu_object object;
    unsigned number; // within its context, for messages and cuStreamGetId; the legacy stream is 0
    unsigned flags;
    int priority;
    uint64_t thread; // whose default stream it is (CU_STREAM_PER_THREAD); 0 = an ordinary one
    struct emu_point point;
    struct emu_point start;      // what the start of its last kernel comes after, and waits for events since then
    struct emu_point reach;      // what a griddepcontrol.wait for that kernel comes after: not all, where it had none
    uint64_t overlappable;       // the age of that kernel, if it lets the next one start early; else 0
    struct emu_capture *capture; // NULL = not capturing
    struct emu_nodes tips;       // the nodes that the next one comes after, while capturing
    struct emu_node *last;       // the one among them that the stream itself made, if it is there
    struct emu_stream *next;
};

// With the driver's lock held.
CUresult emu_stream_create(struct emu_context *context, unsigned flags, int priority, struct emu_stream **stream);
void emu_stream_destroy(struct emu_stream *stream);

// The stream that a handle of this context means: NULL and CU_STREAM_LEGACY are the default stream,
// CU_STREAM_PER_THREAD the calling thread's. NULL when it means none.
struct emu_stream *emu_stream_find(struct emu_context *context, CUstream handle);

// Appends a task to a stream, or a node to its capture. Takes the task, also when it fails.
CUresult emu_stream_issue(struct emu_context *context, CUstream handle, struct emu_task *task);

// The same, and does not return before it has run. Capturing streams refuse.
CUresult emu_stream_issue_and_wait(struct emu_context *context, CUstream handle, struct emu_task *task);

// Appends to a stream that does not capture, with a place reserved; done, which may be NULL, then holds all that has
// happened once the task has run.
CUresult emu_stream_enqueue(struct emu_stream *stream, struct emu_task *task, struct emu_set *done);

// What an operation issued to the stream now comes after, with the default stream's rules.
void emu_stream_before(const struct emu_stream *stream, struct emu_set *before);

#endif
