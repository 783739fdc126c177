#include "driver_event.h"

#include <stdlib.h>
#include <time.h>

#include "driver_aliases.h"
#include "driver_capture.h"
#include "driver_entry.h"
#include "driver_stream.h"

void emu_event_reached(void *handle, uint64_t record) {
    struct emu_event *event = emu_handles_find(handle, EMU_KIND_EVENT);
    if (event == NULL || record < event->reached) return;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    event->reached = record;
    event->stamp_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void emu_event_destroy(struct emu_event *event) {
    emu_point_forget(&event->point);
    emu_nodes_clear(&event->tips);
    emu_handles_remove(&event->object);
    free(event);
}

CUresult CUDAAPI cuEventCreate(CUevent *phEvent, unsigned int Flags) {
    EMU_BEGIN(cuEventCreate);
    const unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING;
    if (phEvent == NULL || (Flags & ~(known | CU_EVENT_INTERPROCESS)) != 0) EMU_END(CUDA_ERROR_INVALID_VALUE);
    if ((Flags & CU_EVENT_INTERPROCESS) != 0) EMU_END(CUDA_ERROR_NOT_SUPPORTED);
    struct emu_event *event = calloc(1, sizeof(*event));
    if (event == NULL || !emu_handles_add(&event->object, EMU_KIND_EVENT, context)) {
        free(event);
        EMU_END(CUDA_ERROR_OUT_OF_MEMORY);
    }
    event->flags = Flags;
    emu_point_register(&event->point);
    *phEvent = event->object.handle;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuEventDestroy_v2(CUevent hEvent) {
    EMU_BEGIN(cuEventDestroy_v2);
    struct emu_event *event = emu_handles_find(hEvent, EMU_KIND_EVENT);
    if (event == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    emu_event_destroy(event);
    EMU_END(CUDA_SUCCESS);
}

static CUresult record(struct emu_context *context, CUevent event_handle, CUstream stream_handle, unsigned flags) {
    struct emu_event *event = emu_handles_find(event_handle, EMU_KIND_EVENT);
    struct emu_stream *stream = emu_stream_find(context, stream_handle);
    if (event == NULL || stream == NULL) return CUDA_ERROR_INVALID_HANDLE;
    if (event->object.context != context) return CUDA_ERROR_INVALID_HANDLE;
    if (flags == CU_EVENT_RECORD_EXTERNAL) return CUDA_ERROR_NOT_SUPPORTED;
    if (flags != CU_EVENT_RECORD_DEFAULT) return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture != NULL) return emu_capture_record(stream, event);
    CUresult result = emu_queue_reserve(context, 1);
    event = emu_handles_find(event_handle, EMU_KIND_EVENT); // reserving may let go of the lock
    stream = emu_stream_find(context, stream_handle);
    if (result != CUDA_SUCCESS) return result;
    if (event == NULL || stream == NULL || stream->capture != NULL) return CUDA_ERROR_INVALID_HANDLE;
    struct emu_task task = {.kind = EMU_TASK_EVENT, .event = {.event = event_handle, .record = event->record + 1}};
    struct emu_set done;
    result = emu_stream_enqueue(stream, &task, &done);
    if (result != CUDA_SUCCESS) return result;
    event->record++;
    event->capture = 0;
    emu_nodes_clear(&event->tips);
    event->point.set = done;
    emu_queue_maybe(context);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventRecord(CUevent hEvent, CUstream hStream) {
    EMU_BEGIN(cuEventRecord);
    EMU_END(record(context, hEvent, hStream, CU_EVENT_RECORD_DEFAULT));
}

CUresult CUDAAPI cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags) {
    EMU_BEGIN(cuEventRecordWithFlags);
    EMU_END(record(context, hEvent, hStream, flags));
}

// An event that a capture recorded is no event that anybody could wait for outside it.
static CUresult waitable(const struct emu_event *event) {
    if (event == NULL) return CUDA_ERROR_INVALID_HANDLE;
    if (event->capture != 0) return CUDA_ERROR_CAPTURED_EVENT;
    return emu_capture_check_unsafe();
}

CUresult CUDAAPI cuEventSynchronize(CUevent hEvent) {
    EMU_BEGIN(cuEventSynchronize);
    struct emu_event *event = emu_handles_find(hEvent, EMU_KIND_EVENT);
    CUresult result = waitable(event);
    if (result != CUDA_SUCCESS) EMU_END(result);
    struct emu_point point = {.set = event->point.set}; // the event may be recorded again or destroyed meanwhile
    emu_point_register(&point);
    emu_queue_finish(&point);
    emu_point_forget(&point);
    EMU_END(context->sticky);
}

CUresult CUDAAPI cuEventQuery(CUevent hEvent) {
    EMU_BEGIN(cuEventQuery);
    struct emu_event *event = emu_handles_find(hEvent, EMU_KIND_EVENT);
    CUresult result = waitable(event);
    if (result != CUDA_SUCCESS) EMU_END(result);
    struct emu_set set = event->point.set;
    if (!emu_queue_pending(&set)) {
        emu_queue_observe(&set);
        EMU_END(CUDA_SUCCESS);
    }
    emu_queue_poll(&set);
    EMU_END(context->sticky != CUDA_SUCCESS ? context->sticky : CUDA_ERROR_NOT_READY);
}

static CUresult elapsed(float *milliseconds, CUevent start_handle, CUevent end_handle) {
    const struct emu_event *start = emu_handles_find(start_handle, EMU_KIND_EVENT);
    const struct emu_event *end = emu_handles_find(end_handle, EMU_KIND_EVENT);
    if (milliseconds == NULL) return CUDA_ERROR_INVALID_VALUE;
    if (start == NULL || end == NULL || start->record == 0 || end->record == 0) return CUDA_ERROR_INVALID_HANDLE;
    if (((start->flags | end->flags) & CU_EVENT_DISABLE_TIMING) != 0) return CUDA_ERROR_INVALID_HANDLE;
    if (start->capture != 0 || end->capture != 0) return CUDA_ERROR_CAPTURED_EVENT;
    if (start->reached != start->record || end->reached != end->record) return CUDA_ERROR_NOT_READY;
    *milliseconds = (float)((double)(int64_t)(end->stamp_ns - start->stamp_ns) * 1e-6);
    return CUDA_SUCCESS;
}

// The emulator's own time, good for a program that only wants a number: it says nothing of a GPU's.
CUresult CUDAAPI cuEventElapsedTime_v2(float *pMilliseconds, CUevent hStart, CUevent hEnd) {
    EMU_BEGIN(cuEventElapsedTime_v2);
    EMU_END(elapsed(pMilliseconds, hStart, hEnd));
}

CUresult CUDAAPI cuEventElapsedTime(float *pMilliseconds, CUevent hStart, CUevent hEnd) {
    EMU_BEGIN(cuEventElapsedTime);
    EMU_END(elapsed(pMilliseconds, hStart, hEnd));
}
