// The entry points of stream capture.
#include "driver_aliases.h"
#include "driver_capture.h"
#include "driver_entry.h"

CUresult CUDAAPI cuStreamBeginCapture_v2(CUstream hStream, CUstreamCaptureMode mode) {
    EMU_BEGIN(cuStreamBeginCapture_v2);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if ((unsigned)mode > CU_STREAM_CAPTURE_MODE_RELAXED) EMU_END(CUDA_ERROR_INVALID_VALUE);
    EMU_END(emu_capture_begin(stream, mode));
}

CUresult CUDAAPI cuStreamEndCapture(CUstream hStream, CUgraph *phGraph) {
    EMU_BEGIN(cuStreamEndCapture);
    struct emu_stream *stream = emu_stream_find(context, hStream);
    struct emu_graph *graph = NULL;
    if (stream == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (phGraph == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    CUresult result = emu_capture_end(stream, &graph);
    *phGraph = graph == NULL ? NULL : graph->object.handle;
    EMU_END(result);
}

// Asking about the default stream is an error while another stream's capture forbids its use, but spoils nothing.
static CUresult status_of(const struct emu_stream *stream, CUstreamCaptureStatus *status) {
    if (stream == NULL) return CUDA_ERROR_INVALID_HANDLE;
    if (status == NULL) return CUDA_ERROR_INVALID_VALUE;
    *status = stream->capture == NULL    ? CU_STREAM_CAPTURE_STATUS_NONE
              : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                         : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return emu_capture_is_implicit(stream) ? CUDA_ERROR_STREAM_CAPTURE_IMPLICIT : CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus) {
    EMU_BEGIN(cuStreamIsCapturing);
    EMU_END(status_of(emu_stream_find(context, hStream), captureStatus));
}

static CUresult info_of(const struct emu_stream *stream, CUstreamCaptureStatus *status, cuuint64_t *id,
                        CUgraph *graph) {
    CUresult result = status_of(stream, status);
    if (result != CUDA_SUCCESS || *status == CU_STREAM_CAPTURE_STATUS_NONE) return result;
    if (id != NULL) *id = stream->capture->id;
    if (graph != NULL) *graph = stream->capture->graph->object.handle;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
                                        cuuint64_t *id_out) {
    EMU_BEGIN(cuStreamGetCaptureInfo);
    EMU_END(info_of(emu_stream_find(context, hStream), captureStatus_out, id_out, NULL));
}

// The nodes that the stream's next one would come after: who asks for them wants to add nodes by hand, which is not
// played.
CUresult CUDAAPI cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
                                           cuuint64_t *id_out, CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                           size_t *numDependencies_out) {
    EMU_BEGIN(cuStreamGetCaptureInfo_v2);
    if (dependencies_out != NULL || numDependencies_out != NULL) EMU_END(CUDA_ERROR_NOT_SUPPORTED);
    EMU_END(info_of(emu_stream_find(context, hStream), captureStatus_out, id_out, graph_out));
}

CUresult CUDAAPI cuStreamGetCaptureInfo_v3(CUstream hStream, CUstreamCaptureStatus *captureStatus_out,
                                           cuuint64_t *id_out, CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                           const CUgraphEdgeData **edgeData_out, size_t *numDependencies_out) {
    EMU_BEGIN(cuStreamGetCaptureInfo_v3);
    if (dependencies_out != NULL || edgeData_out != NULL || numDependencies_out != NULL) {
        EMU_END(CUDA_ERROR_NOT_SUPPORTED);
    }
    EMU_END(info_of(emu_stream_find(context, hStream), captureStatus_out, id_out, graph_out));
}

CUresult CUDAAPI cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
    EMU_BEGIN_DRIVER(cuThreadExchangeStreamCaptureMode);
    if (mode == NULL || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *mode = emu_capture_exchange_mode(*mode);
    return emu_leave(CUDA_SUCCESS);
}
