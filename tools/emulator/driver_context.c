#include "driver_context.h"

#include <stdlib.h>

#include "driver_capture.h"
#include "driver_device.h"
#include "driver_entry.h"
#include "driver_event.h"
#include "driver_function.h"
#include "driver_graph.h"
#include "driver_queue.h"
#include "driver_schedule.h"
#include "driver_stream.h"

#define NO_LIMIT (SIZE_MAX / 4) // the list of allocations keeps the device's limit; pinned memory has none

static uint64_t next_id = 1;

CUresult emu_context_create(unsigned flags, bool primary, struct emu_context **context) {
    CUresult result = emu_device_read();
    if (result != CUDA_SUCCESS) return result;
    struct emu_context *made = calloc(1, sizeof(*made));
    if (made == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    made->flags = flags;
    made->primary = primary;
    made->settings = *emu_device_settings();
    made->part = *emu_device_part();
    made->limits[CU_LIMIT_STACK_SIZE] = 1024;
    made->limits[CU_LIMIT_PRINTF_FIFO_SIZE] = 1 << 20;
    made->limits[CU_LIMIT_MALLOC_HEAP_SIZE] = 8 << 20;
    emu_schedule_start(made);
    made->memory = emu_memory_create(NO_LIMIT);
    bool ok = made->memory != NULL && emu_handles_add(&made->object, EMU_KIND_CONTEXT, NULL);
    if (!ok || emu_stream_create(made, CU_STREAM_DEFAULT, 0, &made->legacy) != CUDA_SUCCESS) {
        emu_handles_remove(&made->object);
        emu_memory_destroy(made->memory);
        free(made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->id = next_id++;
    *context = made;
    return CUDA_SUCCESS;
}

static void destroy_objects(struct emu_context *context) {
    void *object;
    while (context->streams != NULL) emu_stream_destroy(context->streams); // and the captures with them
    while ((object = emu_handles_any(EMU_KIND_EVENT, context)) != NULL) emu_event_destroy(object);
    while ((object = emu_handles_any(EMU_KIND_EXEC, context)) != NULL) emu_exec_destroy(object);
    while ((object = emu_handles_any(EMU_KIND_GRAPH, context)) != NULL) emu_graph_destroy(object);
    emu_queue_forget(context); // messages name functions, so before these
    while ((object = emu_handles_any(EMU_KIND_MODULE, context)) != NULL) emu_image_unload(object);
}

void emu_context_destroy(struct emu_context *context) {
    emu_handles_remove(&context->object); // from here on nobody gets in
    context->closing = true;
    while (context->users > 0) emu_wait();
    emu_queue_finish_all(context);
    while (context->users > 0) emu_wait();
    destroy_objects(context);
    emu_allocations_clear(context);
    emu_memory_destroy(context->memory);
    free(context);
}

void emu_context_fail(struct emu_context *context, CUresult result) {
    if (context->sticky == CUDA_SUCCESS) context->sticky = result;
}

struct emu_context *emu_context_find(CUcontext handle) {
    return emu_handles_find(handle, EMU_KIND_CONTEXT);
}
