// What a context has allocated: device memory, pinned host memory and managed memory, all of it in its emu_memory, so
// that kernels reach it; this list knows which is which.
#ifndef MOEJIT_EMULATOR_DRIVER_ALLOCATIONS_H
#define MOEJIT_EMULATOR_DRIVER_ALLOCATIONS_H

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct emu_context;

enum emu_allocation_kind { EMU_ALLOCATION_DEVICE, EMU_ALLOCATION_PINNED, EMU_ALLOCATION_MANAGED };

struct emu_allocated {
    uintptr_t base;
    size_t bytes;
    enum emu_allocation_kind kind;
    uint64_t id;
};

struct emu_allocations {
    struct emu_allocated *rows;
    size_t count, capacity;
};

// With the driver's lock held.
CUresult emu_allocations_make(struct emu_context *context, enum emu_allocation_kind kind, size_t bytes,
                              uintptr_t *address);
bool emu_allocations_free(struct emu_context *context, uintptr_t base, bool pinned);
void emu_allocations_clear(struct emu_context *context);
const struct emu_allocated *emu_allocations_find(const struct emu_context *context, uintptr_t address);
size_t emu_allocations_device_bytes(void); // in use, by all contexts

#endif
