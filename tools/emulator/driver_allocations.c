#include "driver_allocations.h"

#include <stdlib.h>

#include "driver_context.h"

static size_t device_bytes; // in use, by all contexts
static uint64_t next_id = 1;

static bool make_room(struct emu_allocations *allocations) {
    if (allocations->count < allocations->capacity) return true;
    size_t capacity = allocations->capacity == 0 ? 64 : allocations->capacity * 2;
    struct emu_allocated *grown = realloc(allocations->rows, capacity * sizeof(grown[0]));
    if (grown == NULL) return false;
    allocations->rows = grown;
    allocations->capacity = capacity;
    return true;
}

static bool fits(const struct emu_context *context, enum emu_allocation_kind kind, size_t bytes) {
    return kind == EMU_ALLOCATION_PINNED || bytes <= context->part.memory_bytes - device_bytes;
}

CUresult emu_allocations_make(struct emu_context *context, enum emu_allocation_kind kind, size_t bytes,
                              uintptr_t *address) {
    struct emu_allocations *allocations = &context->allocations;
    if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    if (!fits(context, kind, bytes) || !make_room(allocations)) return CUDA_ERROR_OUT_OF_MEMORY;
    uintptr_t base = emu_memory_allocate(context->memory, bytes);
    if (base == 0) return CUDA_ERROR_OUT_OF_MEMORY;
    // The host writes such memory unseen, so it counts as written from the start.
    if (kind != EMU_ALLOCATION_DEVICE) emu_memory_mark_written(context->memory, base, bytes);
    if (kind != EMU_ALLOCATION_PINNED) device_bytes += bytes;
    allocations->rows[allocations->count++] =
        (struct emu_allocated){.base = base, .bytes = bytes, .kind = kind, .id = next_id++};
    *address = base;
    return CUDA_SUCCESS;
}

static void remove_row(struct emu_context *context, size_t row) {
    struct emu_allocations *allocations = &context->allocations;
    const struct emu_allocated *gone = &allocations->rows[row];
    if (gone->kind != EMU_ALLOCATION_PINNED) device_bytes -= gone->bytes;
    emu_memory_free(context->memory, gone->base);
    allocations->rows[row] = allocations->rows[--allocations->count];
}

bool emu_allocations_free(struct emu_context *context, uintptr_t base, bool pinned) {
    for (size_t i = 0; i < context->allocations.count; i++) {
        const struct emu_allocated *row = &context->allocations.rows[i];
        if (row->base != base || (row->kind == EMU_ALLOCATION_PINNED) != pinned) continue;
        remove_row(context, i);
        return true;
    }
    return false;
}

void emu_allocations_clear(struct emu_context *context) {
    while (context->allocations.count > 0) remove_row(context, context->allocations.count - 1);
    free(context->allocations.rows);
    context->allocations = (struct emu_allocations){0};
}

const struct emu_allocated *emu_allocations_find(const struct emu_context *context, uintptr_t address) {
    for (size_t i = 0; i < context->allocations.count; i++) {
        const struct emu_allocated *row = &context->allocations.rows[i];
        if (address - row->base < row->bytes) return row;
    }
    return NULL;
}

size_t emu_allocations_device_bytes(void) {
    return device_bytes;
}
