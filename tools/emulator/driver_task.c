#include "driver_task.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver_function.h"

static bool copy_bytes(void **to, const void *from, size_t bytes) {
    *to = NULL;
    if (from == NULL || bytes == 0) return true;
    *to = malloc(bytes);
    if (*to != NULL) memcpy(*to, from, bytes);
    return *to != NULL;
}

bool emu_task_copy(struct emu_task *to, const struct emu_task *from) {
    *to = *from;
    bool copied = true;
    if (from->kind == EMU_TASK_KERNEL) {
        copied = copy_bytes(&to->kernel.parameters, from->kernel.parameters, from->kernel.parameter_bytes);
    } else if (from->kind == EMU_TASK_COPY) {
        copied = copy_bytes(&to->copy.staged, from->copy.staged, from->copy.width * from->copy.height);
    }
    if (!copied) to->kind = EMU_TASK_EMPTY;
    return copied;
}

void emu_task_clear(struct emu_task *task) {
    if (task->kind == EMU_TASK_KERNEL) free(task->kernel.parameters);
    if (task->kind == EMU_TASK_COPY) free(task->copy.staged);
    task->kind = EMU_TASK_EMPTY;
}

static const char *side(const struct emu_rectangle *rectangle) {
    return rectangle->device ? "device" : "host";
}

void emu_task_describe(const struct emu_task *task, char *text, size_t bytes) {
    switch (task->kind) {
    case EMU_TASK_EMPTY: snprintf(text, bytes, "an empty step"); break;
    case EMU_TASK_EVENT: snprintf(text, bytes, "an event record"); break;
    case EMU_TASK_HOST: snprintf(text, bytes, "a host function"); break;
    case EMU_TASK_FREE: snprintf(text, bytes, "a free"); break;
    case EMU_TASK_KERNEL: snprintf(text, bytes, "kernel %s", task->kernel.function->facts.name); break;
    case EMU_TASK_FILL: snprintf(text, bytes, "a memset of %zu bytes", task->fill.width * task->fill.height); break;
    case EMU_TASK_COPY:
        snprintf(text, bytes, "a copy of %zu bytes from %s to %s", task->copy.width * task->copy.height,
                 side(&task->copy.source), side(&task->copy.destination));
        break;
    }
}
