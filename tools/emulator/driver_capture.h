// Stream capture: streams that note their tasks as nodes of a graph in place of running them.
#ifndef MOEJIT_EMULATOR_DRIVER_CAPTURE_H
#define MOEJIT_EMULATOR_DRIVER_CAPTURE_H

#include "driver_event.h"
#include "driver_stream.h"

struct emu_capture {
    uint64_t id;
    CUstreamCaptureMode mode;
    uint64_t thread; // that began it
    bool invalid;    // an illegal call was made: EndCapture will say so
    struct emu_stream *origin;
    struct emu_graph *graph;
    struct emu_capture *next;
};

// All with the driver's lock held.

CUresult emu_capture_begin(struct emu_stream *stream, CUstreamCaptureMode mode);
CUresult emu_capture_end(struct emu_stream *stream, struct emu_graph **graph);
CUstreamCaptureMode emu_capture_exchange_mode(CUstreamCaptureMode mode); // the calling thread's

// The stream of a capture takes a task as a node. Takes the task, also when it fails.
CUresult emu_capture_issue(struct emu_stream *stream, struct emu_task *task);
CUresult emu_capture_record(struct emu_stream *stream, struct emu_event *event);
// A wait in which the stream is capturing, or the event was recorded in a capture.
CUresult emu_capture_wait(struct emu_stream *stream, struct emu_event *event);

// CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, with the captures spoilt, when a call that might synchronise (an allocation, a
// module's load, a synchronous copy) is not allowed now: because this thread captures, or another one in global mode.
CUresult emu_capture_check_unsafe(void);
// The same for waiting for a stream, an event or a whole context that captures.
CUresult emu_capture_check_stream(const struct emu_stream *stream);
CUresult emu_capture_check_context(const struct emu_context *context);
// An operation of the default stream would come after blocking streams that capture.
bool emu_capture_is_implicit(const struct emu_stream *stream);
CUresult emu_capture_check_implicit(const struct emu_stream *stream); // if it would, the captures are spoilt

bool emu_capture_owns(const struct emu_graph *graph); // it is still being captured
void emu_capture_leave(struct emu_stream *stream);    // the stream is going away

#endif
