// Handles: what a program holds in place of our pointers.
//
// A handle is a number that is never used twice, in the clothes of a pointer. So a destroyed handle, a handle of
// another kind and a wild value are all told apart from a live one without touching memory, for as long as the process
// runs.
#ifndef MOEJIT_EMULATOR_DRIVER_HANDLES_H
#define MOEJIT_EMULATOR_DRIVER_HANDLES_H

#include <stdbool.h>
#include <stddef.h>

struct emu_context;

enum emu_kind {
    EMU_KIND_CONTEXT,
    EMU_KIND_MODULE,
    EMU_KIND_FUNCTION,
    EMU_KIND_STREAM,
    EMU_KIND_EVENT,
    EMU_KIND_GRAPH,
    EMU_KIND_NODE,
    EMU_KIND_EXEC,
};

// The first member of everything that has a handle.
struct emu_object {
    enum emu_kind kind;
    struct emu_context *context; // whose it is; NULL for contexts
    void *handle;
};

// All of these are called with the driver's lock held.
bool emu_handles_add(struct emu_object *object, enum emu_kind kind, struct emu_context *context);
void emu_handles_remove(struct emu_object *object);
void *emu_handles_find(const void *handle, enum emu_kind kind); // the object, or NULL

// Any one live object of that kind and context, or NULL: to destroy what a context leaves behind.
void *emu_handles_any(enum emu_kind kind, const struct emu_context *context);

#endif
