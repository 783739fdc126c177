#include "driver_stream.h"

#include <stdlib.h>

#include "driver_capture.h"
#include "driver_entry.h"
#include "driver_function.h"
#include "driver_thread.h"

CUresult emu_stream_create(struct emu_context *context, unsigned flags, int priority, struct emu_stream **stream) {
    struct emu_stream *made = calloc(1, sizeof(*made));
    if (made == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    if (!emu_handles_add(&made->object, EMU_KIND_STREAM, context)) return free(made), CUDA_ERROR_OUT_OF_MEMORY;
    made->number = context->next_stream++;
    made->flags = flags;
    made->priority = priority;
    emu_point_register(&made->point);
    emu_point_register(&made->start);
    emu_point_register(&made->reach);
    made->next = context->streams;
    context->streams = made;
    *stream = made;
    return CUDA_SUCCESS;
}

void emu_stream_destroy(struct emu_stream *stream) {
    emu_capture_leave(stream);
    struct emu_stream **link = &stream->object.context->streams;
    while (*link != stream) link = &(*link)->next;
    *link = stream->next;
    emu_point_forget(&stream->point);
    emu_point_forget(&stream->start);
    emu_point_forget(&stream->reach);
    emu_nodes_clear(&stream->tips);
    emu_handles_remove(&stream->object);
    free(stream);
}

static struct emu_stream *per_thread(struct emu_context *context) {
    struct emu_stream *stream = context->streams;
    while (stream != NULL && stream->thread != emu_thread_id()) stream = stream->next;
    if (stream != NULL) return stream;
    if (emu_stream_create(context, CU_STREAM_DEFAULT, 0, &stream) != CUDA_SUCCESS) return NULL;
    stream->thread = emu_thread_id();
    return stream;
}

struct emu_stream *emu_stream_find(struct emu_context *context, CUstream handle) {
    if (handle == NULL || handle == CU_STREAM_LEGACY) return context->legacy;
    if (handle == CU_STREAM_PER_THREAD) return per_thread(context);
    struct emu_stream *stream = emu_handles_find(handle, EMU_KIND_STREAM);
    return stream != NULL && stream->object.context == context ? stream : NULL;
}

static bool is_blocking(const struct emu_stream *stream) {
    return (stream->flags & CU_STREAM_NON_BLOCKING) == 0;
}

// The default stream and blocking ones come after each other.
static void add_default_order(const struct emu_stream *stream, struct emu_set *before) {
    const struct emu_context *context = stream->object.context;
    if (stream != context->legacy) {
        if (is_blocking(stream)) emu_set_unite(before, &context->legacy->point.set);
        return;
    }
    for (const struct emu_stream *other = context->streams; other != NULL; other = other->next) {
        if (other != stream && is_blocking(other)) emu_set_unite(before, &other->point.set);
    }
}

void emu_stream_before(const struct emu_stream *stream, struct emu_set *before) {
    *before = stream->point.set;
    add_default_order(stream, before);
}

// The attribute of the launch, and a kernel before it that asks for the overlap. Records of events in between are no
// kernels; any other operation ends the chance.
static bool overlaps(const struct emu_stream *stream, const struct emu_task *task) {
    return task->kind == EMU_TASK_KERNEL && task->kernel.programmatic && stream->overlappable != 0;
}

CUresult emu_stream_enqueue(struct emu_stream *stream, struct emu_task *task, struct emu_set *done) {
    struct emu_set before;
    CUresult result = emu_capture_check_implicit(stream);
    if (result != CUDA_SUCCESS) return emu_task_clear(task), result;
    emu_stream_before(stream, &before);
    struct emu_start start = {.set = before, .prerequisite = stream->overlappable};
    struct emu_set awaited = before; // by its griddepcontrol.wait, or before it starts
    bool early = overlaps(stream, task), is_record = task->kind == EMU_TASK_EVENT;
    bool is_kernel = task->kind == EMU_TASK_KERNEL;
    const struct emu_kernel_facts *facts = is_kernel ? &task->kernel.function->facts : NULL;
    bool asks = is_kernel && facts->launches_dependents, waits = !early || facts->waits;
    // A kernel that has waited before it lets the next one start is over with all that it waited for by then.
    bool waited = asks && facts->waits_first;
    if (early) {
        start.set = stream->start.set;
        add_default_order(stream, &start.set);
        awaited = start.set;
        emu_set_unite(&awaited, &stream->reach.set);
    }
    struct emu_set own = before;
    uint64_t age = emu_queue_add(stream->object.context, task, stream->number, &before, early ? &start : NULL);
    if (age == 0) return CUDA_ERROR_OUT_OF_MEMORY;
    stream->point.set = before;
    if (!is_record) {
        struct emu_set reach = before; // itself
        emu_set_subtract(&reach, &own);
        emu_set_unite(&reach, waits ? &awaited : &start.set);
        stream->overlappable = asks ? age : 0;
        stream->reach.set = reach;
        if (is_kernel) stream->start.set = waited ? awaited : start.set;
    }
    if (done != NULL) *done = before;
    return CUDA_SUCCESS;
}

static CUresult issue(struct emu_context *context, CUstream handle, struct emu_task *task, struct emu_point *done) {
    CUresult result = emu_queue_reserve(context, 1);
    struct emu_stream *stream = emu_stream_find(context, handle); // only now: reserving may let go of the lock
    if (result == CUDA_SUCCESS && stream == NULL) result = CUDA_ERROR_INVALID_HANDLE;
    if (result == CUDA_SUCCESS && done != NULL) result = emu_capture_check_implicit(stream);
    if (result == CUDA_SUCCESS && done != NULL) result = emu_capture_check_stream(stream);
    if (result == CUDA_SUCCESS && stream->capture != NULL) return emu_capture_issue(stream, task);
    if (result == CUDA_SUCCESS) return emu_stream_enqueue(stream, task, done != NULL ? &done->set : NULL);
    emu_task_clear(task);
    return result;
}

CUresult emu_stream_issue(struct emu_context *context, CUstream handle, struct emu_task *task) {
    CUresult result = issue(context, handle, task, NULL);
    if (result == CUDA_SUCCESS) emu_queue_maybe(context);
    return result;
}

CUresult emu_stream_issue_and_wait(struct emu_context *context, CUstream handle, struct emu_task *task) {
    struct emu_point done = {0};
    CUresult result = issue(context, handle, task, &done);
    if (result != CUDA_SUCCESS) return result;
    emu_point_register(&done);
    emu_queue_finish(&done);
    emu_point_forget(&done);
    return context->sticky;
}
