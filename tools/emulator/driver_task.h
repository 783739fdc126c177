// A task: what one operation of a stream, or one node of a graph, does. It owns what it needs (parameters, staged
// bytes).
#ifndef MOEJIT_EMULATOR_DRIVER_TASK_H
#define MOEJIT_EMULATOR_DRIVER_TASK_H

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "machine.h"

struct emu_context;
struct emu_function;

enum emu_task_kind {
    EMU_TASK_EMPTY,
    EMU_TASK_EVENT, // marks an event as reached
    EMU_TASK_KERNEL,
    EMU_TASK_COPY,
    EMU_TASK_FILL,
    EMU_TASK_HOST,
    EMU_TASK_FREE, // cuMemFreeAsync
};

// A rectangle of bytes; a plain range has one row.
struct emu_rectangle {
    uintptr_t address;
    size_t pitch;
    bool device; // else the host's: pinned when an allocation of the context holds it
};

struct emu_task {
    enum emu_task_kind kind;
    union {
        struct {
            void *event;     // handle: the event may be gone by then
            uint64_t record; // the number of its recording
        } event;
        struct {
            struct emu_function *function;
            void *function_handle; // a graph may outlive the function
            unsigned grid[3], block[3], cluster[3];
            unsigned dynamic_shared_bytes;
            void *parameters;
            size_t parameter_bytes;
            bool programmatic; // may start before the kernel before it in its stream has ended
        } kernel;
        struct {
            struct emu_rectangle destination, source;
            size_t width, height;
            void *staged; // the source's bytes as they were at the call, when the source is pageable; rows of `width`
        } copy;
        struct {
            struct emu_rectangle destination;
            size_t width, height; // bytes, rows
            uint32_t value;
            size_t value_bytes; // 1, 2 or 4
        } fill;
        struct {
            CUhostFn function;
            void *user;
        } host;
        uintptr_t free_address;
    };
};

bool emu_task_copy(struct emu_task *to, const struct emu_task *from); // false: out of host memory, nothing made
void emu_task_clear(struct emu_task *task);
void emu_task_describe(const struct emu_task *task, char *text, size_t bytes);

struct emu_operation;

// Without the driver's lock. Notes what was touched in the operation's footprints, which may be NULL.
CUresult emu_task_run(struct emu_operation *operation, uint64_t seed);

#endif
