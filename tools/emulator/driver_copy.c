#include "driver_copy.h"

#include <stdlib.h>
#include <string.h>

#include "driver_capture.h"

bool emu_copy_in_bounds(struct emu_context *context, const struct emu_rectangle *rectangle, size_t width,
                        size_t height) {
    size_t extent = 0;
    if (__builtin_mul_overflow(height - 1, rectangle->pitch, &extent)) return false;
    if (__builtin_add_overflow(extent, width, &extent)) return false;
    return emu_memory_check(context->memory, rectangle->address, extent, 1, EMU_ACCESS_READ, false) == EMU_FAULT_NONE;
}

static bool is_device(struct emu_context *context, uintptr_t address) {
    const struct emu_allocated *own = emu_allocations_find(context, address);
    if (own != NULL) return own->kind != EMU_ALLOCATION_PINNED;
    const struct emu_allocation *any = emu_memory_find(context->memory, address);
    return any != NULL && !any->freed;
}

static bool is_pinned(const struct emu_context *context, uintptr_t address) {
    const struct emu_allocated *own = emu_allocations_find(context, address);
    return own != NULL && own->kind != EMU_ALLOCATION_DEVICE;
}

static CUresult place(struct emu_context *context, struct emu_rectangle *rectangle, enum emu_side side, size_t width,
                      size_t height) {
    bool known = emu_allocations_find(context, rectangle->address) != NULL;
    rectangle->device = side == EMU_SIDE_DEVICE || (side == EMU_SIDE_UNIFIED && is_device(context, rectangle->address));
    if (rectangle->pitch < width && height > 1) return CUDA_ERROR_INVALID_VALUE;
    // A driver with unified addressing takes a device pointer for a host one; here it is far likelier a mistake.
    if (side == EMU_SIDE_HOST && is_device(context, rectangle->address) && !is_pinned(context, rectangle->address)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (!rectangle->device && !known) return rectangle->address == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    return emu_copy_in_bounds(context, rectangle, width, height) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// A pageable source may be changed as soon as the call returns, so its bytes are taken now.
static bool stage(struct emu_task *task) {
    size_t width = task->copy.width;
    char *staged = malloc(width * task->copy.height);
    if (staged == NULL) return false;
    for (size_t row = 0; row < task->copy.height; row++) {
        memcpy(staged + row * width, (const char *)task->copy.source.address + row * task->copy.source.pitch, width);
    }
    task->copy.staged = staged;
    return true;
}

static void flatten(struct emu_task *task) {
    size_t width = task->copy.width;
    if (task->copy.source.pitch != width || task->copy.destination.pitch != width) return;
    task->copy.width *= task->copy.height;
    task->copy.height = 1;
}

CUresult emu_copy_issue(struct emu_context *context, const struct emu_copy *copy) {
    struct emu_stream *stream = emu_stream_find(context, copy->stream);
    if (stream == NULL) return CUDA_ERROR_INVALID_HANDLE;
    if (copy->width == 0 || copy->height == 0) return CUDA_SUCCESS;
    struct emu_task task = {.kind = EMU_TASK_COPY,
                            .copy = {.destination = {.address = copy->destination, .pitch = copy->destination_pitch},
                                     .source = {.address = copy->source, .pitch = copy->source_pitch},
                                     .width = copy->width,
                                     .height = copy->height}};
    struct emu_rectangle *destination = &task.copy.destination, *source = &task.copy.source;
    CUresult result = place(context, destination, copy->destination_side, copy->width, copy->height);
    if (result == CUDA_SUCCESS) result = place(context, source, copy->source_side, copy->width, copy->height);
    if (result != CUDA_SUCCESS) return result;
    flatten(&task);
    bool both_device = destination->device && source->device;
    if (copy->synchronous && both_device) { // in the default stream's order, but nobody waits for it
        result = emu_capture_check_implicit(stream);
        if (result == CUDA_SUCCESS) result = emu_capture_check_unsafe();
        return result != CUDA_SUCCESS ? result : emu_stream_issue(context, copy->stream, &task);
    }
    if (copy->synchronous) return emu_stream_issue_and_wait(context, copy->stream, &task);
    if (stream->capture != NULL) return emu_stream_issue(context, copy->stream, &task);
    bool pageable_source = !source->device && !is_pinned(context, source->address);
    bool pageable_destination = !destination->device && !is_pinned(context, destination->address);
    if (pageable_destination) return emu_stream_issue_and_wait(context, copy->stream, &task);
    if (pageable_source && !stage(&task)) return CUDA_ERROR_OUT_OF_MEMORY;
    return emu_stream_issue(context, copy->stream, &task);
}
