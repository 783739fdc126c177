#include "driver_capture.h"

#include <stdlib.h>

#include "driver_function.h"
#include "driver_thread.h"

static struct emu_capture *captures; // all that were begun and not ended
static uint64_t next_id = 1;
static _Thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

CUstreamCaptureMode emu_capture_exchange_mode(CUstreamCaptureMode mode) {
    CUstreamCaptureMode old = thread_mode;
    thread_mode = mode;
    return old;
}

static struct emu_capture *find(uint64_t id) {
    struct emu_capture *capture = captures;
    while (capture != NULL && capture->id != id) capture = capture->next;
    return capture;
}

static CUresult refuse(struct emu_capture *capture, CUresult why) {
    capture->invalid = true;
    return why;
}

CUresult emu_capture_begin(struct emu_stream *stream, CUstreamCaptureMode mode) {
    if (stream->thread == 0 && stream == stream->object.context->legacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture != NULL) return CUDA_ERROR_ILLEGAL_STATE;
    struct emu_capture *capture = calloc(1, sizeof(*capture));
    struct emu_graph *graph = capture == NULL ? NULL : emu_graph_create(stream->object.context);
    if (graph == NULL) return free(capture), CUDA_ERROR_OUT_OF_MEMORY;
    *capture = (struct emu_capture){
        .id = next_id++, .mode = mode, .thread = emu_thread_id(), .origin = stream, .graph = graph, .next = captures};
    captures = capture;
    stream->capture = capture;
    stream->last = NULL;
    emu_nodes_clear(&stream->tips);
    return CUDA_SUCCESS;
}

// All streams of the capture go back to ordinary life. The graph is the caller's, or destroyed.
static struct emu_graph *finish(struct emu_capture *capture, bool keep_graph) {
    for (struct emu_stream *stream = capture->graph->object.context->streams; stream != NULL; stream = stream->next) {
        if (stream->capture != capture) continue;
        stream->capture = NULL;
        emu_nodes_clear(&stream->tips);
    }
    struct emu_capture **link = &captures;
    while (*link != capture) link = &(*link)->next;
    *link = capture->next;
    struct emu_graph *graph = capture->graph;
    free(capture);
    if (keep_graph) return graph;
    emu_graph_destroy(graph);
    return NULL;
}

// Is every node before the end of the origin stream? What comes after a node has a greater index, so one pass will do.
static CUresult check_joined(const struct emu_capture *capture) {
    const struct emu_nodes *nodes = &capture->graph->nodes;
    bool *joined = calloc(nodes->count + 1, sizeof(*joined));
    if (joined == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    for (size_t i = 0; i < capture->origin->tips.count; i++) joined[capture->origin->tips.items[i]->index] = true;
    CUresult result = CUDA_SUCCESS;
    for (size_t i = nodes->count; i-- > 0;) {
        const struct emu_nodes *after = &nodes->items[i]->after;
        if (!joined[i]) result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
        for (size_t j = 0; j < after->count; j++) joined[after->items[j]->index] |= joined[i];
    }
    free(joined);
    return result;
}

CUresult emu_capture_end(struct emu_stream *stream, struct emu_graph **graph) {
    struct emu_capture *capture = stream->capture;
    *graph = NULL;
    if (capture == NULL) return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != emu_thread_id()) {
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    }
    CUresult result = capture->invalid ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : check_joined(capture);
    *graph = finish(capture, result == CUDA_SUCCESS);
    return result;
}

CUresult emu_capture_issue(struct emu_stream *stream, struct emu_task *task) {
    struct emu_capture *capture = stream->capture;
    if (capture->invalid) return emu_task_clear(task), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    struct emu_node *node = emu_graph_add(capture->graph, task, &stream->tips);
    if (node == NULL) return refuse(capture, CUDA_ERROR_OUT_OF_MEMORY);
    const struct emu_node *last = stream->last;
    bool programmatic = node->task.kind == EMU_TASK_KERNEL && node->task.kernel.programmatic;
    if (programmatic && last != NULL && last->task.kind == EMU_TASK_KERNEL &&
        last->task.kernel.function->facts.launches_dependents) {
        node->overlapped = last->index + 1;
    }
    emu_nodes_clear(&stream->tips);
    stream->last = node;
    return emu_nodes_add(&stream->tips, node) ? CUDA_SUCCESS : refuse(capture, CUDA_ERROR_OUT_OF_MEMORY);
}

CUresult emu_capture_record(struct emu_stream *stream, struct emu_event *event) {
    struct emu_capture *capture = stream->capture;
    if (capture->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    emu_nodes_clear(&event->tips);
    event->capture = capture->id;
    return emu_nodes_add_all(&event->tips, &stream->tips) ? CUDA_SUCCESS : refuse(capture, CUDA_ERROR_OUT_OF_MEMORY);
}

// A stream that does not capture is pulled into the capture of the event.
static CUresult join(struct emu_stream *stream, const struct emu_event *event, struct emu_capture *capture) {
    if (stream == stream->object.context->legacy) return refuse(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    if (stream->object.context != capture->graph->object.context) return refuse(capture, CUDA_ERROR_NOT_SUPPORTED);
    if (!emu_nodes_add_all(&stream->tips, &event->tips)) return refuse(capture, CUDA_ERROR_OUT_OF_MEMORY);
    stream->capture = capture;
    stream->last = NULL;
    return CUDA_SUCCESS;
}

CUresult emu_capture_wait(struct emu_stream *stream, struct emu_event *event) {
    struct emu_capture *own = stream->capture, *other = event->capture == 0 ? NULL : find(event->capture);
    if (own != NULL && own->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (event->capture != 0 && other == NULL) return CUDA_ERROR_CAPTURED_EVENT; // that capture has ended
    if (other == NULL) return refuse(own, CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    if (other->invalid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (own == NULL) return join(stream, event, other);
    if (own != other)
        return refuse(other, CUDA_ERROR_STREAM_CAPTURE_MERGE), refuse(own, CUDA_ERROR_STREAM_CAPTURE_MERGE);
    for (size_t i = 0; i < event->tips.count; i++) { // an edge to its end
        if (event->tips.items[i] == stream->last) stream->last = NULL;
    }
    return emu_nodes_add_all(&stream->tips, &event->tips) ? CUDA_SUCCESS : refuse(own, CUDA_ERROR_OUT_OF_MEMORY);
}

static bool forbids_unsafe(const struct emu_capture *capture) {
    if (thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED || capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED) return false;
    if (capture->thread == emu_thread_id()) return true;
    return thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

CUresult emu_capture_check_unsafe(void) {
    CUresult result = CUDA_SUCCESS;
    for (struct emu_capture *capture = captures; capture != NULL; capture = capture->next) {
        if (forbids_unsafe(capture)) result = refuse(capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return result;
}

CUresult emu_capture_check_stream(const struct emu_stream *stream) {
    if (stream->capture != NULL) return refuse(stream->capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    return emu_capture_check_unsafe();
}

CUresult emu_capture_check_context(const struct emu_context *context) {
    CUresult result = CUDA_SUCCESS;
    for (struct emu_capture *capture = captures; capture != NULL; capture = capture->next) {
        if (capture->graph->object.context != context) continue;
        result = refuse(capture, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    return result != CUDA_SUCCESS ? result : emu_capture_check_unsafe();
}

// The capture, if any, of the next blocking stream of the default stream's context.
static struct emu_capture *next_implicit(const struct emu_stream *stream, struct emu_stream **other) {
    if (stream != stream->object.context->legacy) return NULL;
    for (; *other != NULL; *other = (*other)->next) {
        if ((*other)->capture != NULL && ((*other)->flags & CU_STREAM_NON_BLOCKING) == 0) return (*other)->capture;
    }
    return NULL;
}

bool emu_capture_is_implicit(const struct emu_stream *stream) {
    struct emu_stream *other = stream->object.context->streams;
    return next_implicit(stream, &other) != NULL;
}

CUresult emu_capture_check_implicit(const struct emu_stream *stream) {
    CUresult result = CUDA_SUCCESS;
    struct emu_stream *other = stream->object.context->streams;
    for (struct emu_capture *capture; (capture = next_implicit(stream, &other)) != NULL; other = other->next) {
        result = refuse(capture, CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    }
    return result;
}

bool emu_capture_owns(const struct emu_graph *graph) {
    const struct emu_capture *capture = captures;
    while (capture != NULL && capture->graph != graph) capture = capture->next;
    return capture != NULL;
}

void emu_capture_leave(struct emu_stream *stream) {
    struct emu_capture *capture = stream->capture;
    if (capture == NULL) return;
    if (capture->origin == stream) {
        finish(capture, false); // nobody can end it any more
    } else {
        capture->invalid = true;
        stream->capture = NULL;
    }
}
