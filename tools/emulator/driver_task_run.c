// Running a task: what the copy engines and the launcher do.
#include "driver_task.h"

#include <string.h>

#include "driver_context.h"
#include "driver_entry.h"
#include "driver_findings.h"
#include "driver_function.h"
#include "driver_queue.h"
#include "driver_tally.h"

struct run {
    const struct emu_task *task;
    struct emu_context *context;
    struct emu_operation *operation;
    uint64_t seed;
    struct emu_footprint *footprint;
};

static const char *fault_text(enum emu_access_fault fault) {
    return fault == EMU_FAULT_USE_AFTER_FREE ? "memory that was freed" : "memory outside any allocation";
}

// Checks one row of a rectangle and notes it in the footprint. Pageable host memory is nobody's business but the
// host's.
static CUresult touch(const struct run *run, const struct emu_rectangle *rectangle, size_t row, size_t width,
                      enum emu_access_kind kind) {
    struct emu_memory *memory = run->context->memory;
    uintptr_t address = rectangle->address + row * rectangle->pitch;
    if (!rectangle->device && emu_memory_find(memory, address) == NULL) return CUDA_SUCCESS;
    enum emu_access_fault fault = emu_memory_check(memory, address, width, 1, kind, false);
    if (fault != EMU_FAULT_NONE) {
        char text[128];
        emu_task_describe(run->task, text, sizeof(text));
        emu_findings_reportf("%s touched %zu bytes at 0x%llx, which is %s.", text, width, (unsigned long long)address,
                             fault_text(fault));
        return CUDA_ERROR_ILLEGAL_ADDRESS;
    }
    if (run->footprint != NULL) emu_footprint_add(run->footprint, address, width, kind);
    return CUDA_SUCCESS;
}

// A copy hands on what it does not know: bytes that nobody wrote stay unwritten in the destination.
static void copy_written(struct emu_memory *memory, uintptr_t destination, uintptr_t source, size_t bytes) {
    const struct emu_allocation *from = emu_memory_find(memory, source);
    const struct emu_allocation *to = emu_memory_find(memory, destination);
    if (to == NULL) return;
    if (from == NULL || emu_memory_check(memory, source, bytes, 1, EMU_ACCESS_READ, true) == EMU_FAULT_NONE) {
        emu_memory_mark_written(memory, destination, bytes);
        return;
    }
    for (size_t i = 0; i < bytes; i++) {
        size_t there = source + i - from->base, here = destination + i - to->base;
        bool written = (from->written[there / 8] >> (there % 8) & 1) != 0;
        if (written) {
            emu_memory_mark_written(memory, destination + i, 1);
        } else {
            to->written[here / 8] &= (uint8_t) ~(1u << (here % 8));
        }
    }
}

static CUresult run_copy(const struct run *run) {
    const struct emu_rectangle *destination = &run->task->copy.destination, *source = &run->task->copy.source;
    const char *staged = run->task->copy.staged;
    size_t width = run->task->copy.width;
    for (size_t row = 0; row < run->task->copy.height; row++) {
        CUresult result = staged == NULL ? touch(run, source, row, width, EMU_ACCESS_READ) : CUDA_SUCCESS;
        if (result == CUDA_SUCCESS) result = touch(run, destination, row, width, EMU_ACCESS_WRITE);
        if (result != CUDA_SUCCESS) return result;
        uintptr_t to = destination->address + row * destination->pitch;
        uintptr_t from = staged != NULL ? (uintptr_t)(staged + row * width) : source->address + row * source->pitch;
        memmove((void *)to, (const void *)from, width);
        copy_written(run->context->memory, to, from, width);
    }
    return CUDA_SUCCESS;
}

static CUresult run_fill(const struct run *run) {
    const struct emu_rectangle *destination = &run->task->fill.destination;
    size_t width = run->task->fill.width, step = run->task->fill.value_bytes;
    for (size_t row = 0; row < run->task->fill.height; row++) {
        CUresult result = touch(run, destination, row, width, EMU_ACCESS_WRITE);
        if (result != CUDA_SUCCESS) return result;
        unsigned char *to = (unsigned char *)(destination->address + row * destination->pitch);
        for (size_t i = 0; i < width; i += step) memcpy(to + i, &run->task->fill.value, step);
        emu_memory_mark_written(run->context->memory, (uintptr_t)to, width);
    }
    return CUDA_SUCCESS;
}

static CUresult result_of(enum emu_outcome outcome) {
    switch (outcome) {
    case EMU_OUTCOME_OK: return CUDA_SUCCESS;
    case EMU_OUTCOME_ILLEGAL_ADDRESS: return CUDA_ERROR_ILLEGAL_ADDRESS;
    case EMU_OUTCOME_ILLEGAL_INSTRUCTION: return CUDA_ERROR_ILLEGAL_INSTRUCTION;
    case EMU_OUTCOME_MISALIGNED: return CUDA_ERROR_MISALIGNED_ADDRESS;
    case EMU_OUTCOME_OUT_OF_RESOURCES: return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    case EMU_OUTCOME_LAUNCH_FAILED: break;
    }
    return CUDA_ERROR_LAUNCH_FAILED;
}

static void report(void *user, const char *text) {
    (void)user;
    emu_findings_report(text);
}

static bool await(void *user) {
    return emu_queue_await(user);
}

static CUresult run_kernel(const struct run *run) {
    struct emu_counters counters = {0};
    struct emu_launch launch = {
        .kernel = run->task->kernel.function->kernel,
        .dynamic_shared_bytes = run->task->kernel.dynamic_shared_bytes,
        .parameters = run->task->kernel.parameters,
        .memory = run->context->memory,
        .settings = &run->context->settings,
        .schedule_seed = run->seed,
        .footprint = run->footprint,
        .counters = &counters,
    };
    if (run->operation->prerequisite != 0) {
        launch.await = await;
        launch.await_user = run->operation;
        launch.early = run->operation->early;
    }
    memcpy(launch.grid, run->task->kernel.grid, sizeof(launch.grid));
    memcpy(launch.block, run->task->kernel.block, sizeof(launch.block));
    memcpy(launch.cluster, run->task->kernel.cluster, sizeof(launch.cluster));
    enum emu_outcome outcome = emu_machine_run(&launch, report, NULL);
    emu_tally_launch(run->task->kernel.function->facts.name, &counters);
    return result_of(outcome);
}

CUresult emu_task_run(struct emu_operation *operation, uint64_t seed) {
    const struct emu_task *task = &operation->task;
    const struct run run = {task, operation->context, operation, seed, operation->footprint};
    switch (task->kind) {
    case EMU_TASK_KERNEL: return run_kernel(&run);
    case EMU_TASK_COPY: return run_copy(&run);
    case EMU_TASK_FILL: return run_fill(&run);
    case EMU_TASK_HOST:
        emu_entry_forbid(true);
        task->host.function(task->host.user);
        emu_entry_forbid(false);
        break;
    case EMU_TASK_EMPTY:
    case EMU_TASK_EVENT: // the queue does these two, under its lock
    case EMU_TASK_FREE: break;
    }
    return CUDA_SUCCESS;
}
