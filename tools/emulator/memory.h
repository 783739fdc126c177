// Device memory of the emulator: registered allocations, their bytes, and the shadow state the sanitizer keeps per
// byte.
//
// The driver half (driver_*.c) allocates, frees, copies and sets; the machine half (machine.c, exec_*.c) loads and
// stores. A device address is the host address of the allocation's bytes, so that copies are memcpy; every access is
// still checked against the registered bounds. Freed ranges stay registered as freed until their address is used again,
// so that a use after free is told from a wild pointer.
#ifndef MOEJIT_EMULATOR_MEMORY_H
#define MOEJIT_EMULATOR_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct emu_memory; // one per context; thread safe

enum emu_access_kind { EMU_ACCESS_READ, EMU_ACCESS_WRITE, EMU_ACCESS_ATOMIC };

enum emu_access_fault {
    EMU_FAULT_NONE,
    EMU_FAULT_OUT_OF_BOUNDS,
    EMU_FAULT_USE_AFTER_FREE,
    EMU_FAULT_MISALIGNED,
    EMU_FAULT_UNWRITTEN, // a read of a byte nobody wrote
};

struct emu_allocation {
    uintptr_t base;
    size_t bytes;
    uint8_t *written; // one bit a byte, set once the byte was written
    uint64_t serial;  // allocation number of this context, for messages
    bool freed;
};

struct emu_memory *emu_memory_create(size_t total_bytes);
void emu_memory_destroy(struct emu_memory *memory);

// Returns 0 when the device is out of memory. The bytes are filled with a seeded garbage pattern and count as
// unwritten.
uintptr_t emu_memory_allocate(struct emu_memory *memory, size_t bytes);
bool emu_memory_free(struct emu_memory *memory, uintptr_t base); // false: not the base of a live allocation
size_t emu_memory_bytes_free(const struct emu_memory *memory);

// The allocation that holds the address, freed ones included; NULL for a wild address.
const struct emu_allocation *emu_memory_find(struct emu_memory *memory, uintptr_t address);

// Bounds, alignment (power of two, 1 = none), life and, for reads with check_written, initialisation of a whole access.
enum emu_access_fault emu_memory_check(struct emu_memory *memory, uintptr_t address, size_t bytes, size_t alignment,
                                       enum emu_access_kind kind, bool check_written);
// The same of a range inside an allocation that has been found, for those who keep it.
bool emu_memory_written(const struct emu_allocation *allocation, size_t offset, size_t bytes);
void emu_memory_mark(const struct emu_allocation *allocation, size_t offset, size_t bytes);
void emu_memory_mark_written(struct emu_memory *memory, uintptr_t address, size_t bytes);

#endif
