// The entry points of streams, captures aside.
#include "driver_capture.h"
#include "driver_entry.h"
#include "driver_stream.h"

static const int greatest_priority = -5, least_priority = 0; // as on data-centre parts

static CUresult create(struct emu_context *context, CUstream *handle, unsigned flags, int priority) {
    if (handle == NULL || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING) != 0) return CUDA_ERROR_INVALID_VALUE;
    if (priority < greatest_priority) priority = greatest_priority;
    if (priority > least_priority) priority = least_priority;
    struct emu_stream *stream = NULL;
    CUresult result = emu_stream_create(context, flags, priority, &stream);
    if (result == CUDA_SUCCESS) *handle = stream->object.handle;
    return result;
}

CUresult CUDAAPI cuStreamCreate(CUstream *phStream, unsigned int Flags) {
    EMU_BEGIN(cuStreamCreate);
    EMU_END(create(context, phStream, Flags, 0));
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority) {
    EMU_BEGIN(cuStreamCreateWithPriority);
    EMU_END(create(context, phStream, flags, priority));
}

CUresult CUDAAPI cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority) {
    EMU_BEGIN(cuCtxGetStreamPriorityRange);
    if (leastPriority != NULL) *leastPriority = least_priority;
    if (greatestPriority != NULL) *greatestPriority = greatest_priority;
    EMU_END(CUDA_SUCCESS);
}

// Work that is still queued goes on without its stream.
CUresult CUDAAPI cuStreamDestroy_v2(CUstream hStream) {
    EMU_BEGIN(cuStreamDestroy_v2);
    struct emu_stream *stream = emu_handles_find(hStream, EMU_KIND_STREAM);
    if (stream == NULL || stream == stream->object.context->legacy) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    emu_stream_destroy(stream);
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuStreamSynchronize(CUstream hStream) {
    EMU_BEGIN(cuStreamSynchronize);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    CUresult result = emu_capture_check_implicit(stream);
    if (result == CUDA_SUCCESS) result = emu_capture_check_stream(stream);
    if (result != CUDA_SUCCESS) EMU_END(result);
    struct emu_point point = {0}; // the stream itself may be destroyed by another thread meanwhile
    emu_stream_before(stream, &point.set);
    emu_point_register(&point);
    emu_queue_finish(&point);
    emu_point_forget(&point);
    EMU_END(context->sticky);
}

CUresult CUDAAPI cuStreamQuery(CUstream hStream) {
    EMU_BEGIN(cuStreamQuery);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    CUresult result = emu_capture_check_implicit(stream);
    if (result == CUDA_SUCCESS) result = emu_capture_check_stream(stream);
    if (result != CUDA_SUCCESS) EMU_END(result);
    struct emu_set before;
    emu_stream_before(stream, &before);
    if (!emu_queue_pending(&before)) {
        emu_queue_observe(&before);
        EMU_END(CUDA_SUCCESS);
    }
    emu_queue_poll(&before); // so that a host that polls comes through
    EMU_END(context->sticky != CUDA_SUCCESS ? context->sticky : CUDA_ERROR_NOT_READY);
}

static CUresult wait_event(struct emu_context *context, CUstream handle, CUevent event_handle, unsigned flags) {
    struct emu_stream *stream = emu_stream_find(context, handle);
    struct emu_event *event = emu_handles_find(event_handle, EMU_KIND_EVENT);
    if (stream == NULL || event == NULL) return CUDA_ERROR_INVALID_HANDLE;
    if (flags == CU_EVENT_WAIT_EXTERNAL) return CUDA_ERROR_NOT_SUPPORTED;
    if (flags != CU_EVENT_WAIT_DEFAULT) return CUDA_ERROR_INVALID_VALUE;
    if (stream->capture != NULL || event->capture != 0) return emu_capture_wait(stream, event);
    CUresult result = emu_capture_check_implicit(stream);
    if (result != CUDA_SUCCESS) return result;
    emu_set_unite(&stream->point.set, &event->point.set);
    emu_set_unite(&stream->start.set, &event->point.set);
    return result;
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
    EMU_BEGIN(cuStreamWaitEvent);
    EMU_END(wait_event(context, hStream, hEvent, Flags));
}

CUresult CUDAAPI cuStreamGetCtx(CUstream hStream, CUcontext *pctx) {
    EMU_BEGIN(cuStreamGetCtx);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (pctx == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *pctx = stream->object.context->object.handle;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuStreamGetFlags(CUstream hStream, unsigned int *flags) {
    EMU_BEGIN(cuStreamGetFlags);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (flags == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *flags = stream->flags;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuStreamGetPriority(CUstream hStream, int *priority) {
    EMU_BEGIN(cuStreamGetPriority);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (priority == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *priority = stream->priority;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuStreamGetId(CUstream hStream, unsigned long long *streamId) {
    EMU_BEGIN(cuStreamGetId);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (streamId == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *streamId = stream->number;
    EMU_END(CUDA_SUCCESS);
}
