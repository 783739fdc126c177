#include "driver_handles.h"

#include <stdint.h>
#include <stdlib.h>

#define FIRST_HANDLE ((uintptr_t)0x7e0000000000) // no malloc'd or small value looks like it
#define HANDLE_STEP ((uintptr_t)16)
#define FIRST_CAPACITY 256

static struct {
    struct emu_object **objects; // by number; NULL once removed
    size_t count, capacity;
    size_t first_live; // nothing below is live
} handles;

static bool make_room(void) {
    if (handles.count < handles.capacity) return true;
    size_t capacity = handles.capacity == 0 ? FIRST_CAPACITY : handles.capacity * 2;
    struct emu_object **grown = realloc(handles.objects, capacity * sizeof(grown[0]));
    if (grown == NULL) return false;
    handles.objects = grown;
    handles.capacity = capacity;
    return true;
}

bool emu_handles_add(struct emu_object *object, enum emu_kind kind, struct emu_context *context) {
    if (!make_room()) return false;
    object->kind = kind;
    object->context = context;
    object->handle = (void *)(FIRST_HANDLE + handles.count * HANDLE_STEP);
    handles.objects[handles.count++] = object;
    return true;
}

static bool number_of(const void *handle, size_t *number) {
    uintptr_t value = (uintptr_t)handle;
    if (value < FIRST_HANDLE || (value - FIRST_HANDLE) % HANDLE_STEP != 0) return false;
    *number = (value - FIRST_HANDLE) / HANDLE_STEP;
    return *number < handles.count;
}

void emu_handles_remove(struct emu_object *object) {
    size_t number;
    if (object == NULL || !number_of(object->handle, &number)) return;
    handles.objects[number] = NULL;
    while (handles.first_live < handles.count && handles.objects[handles.first_live] == NULL) handles.first_live++;
}

void *emu_handles_find(const void *handle, enum emu_kind kind) {
    size_t number;
    if (!number_of(handle, &number)) return NULL;
    struct emu_object *object = handles.objects[number];
    return object != NULL && object->kind == kind ? object : NULL;
}

void *emu_handles_any(enum emu_kind kind, const struct emu_context *context) {
    for (size_t i = handles.first_live; i < handles.count; i++) {
        struct emu_object *object = handles.objects[i];
        if (object != NULL && object->kind == kind && object->context == context) return object;
    }
    return NULL;
}

// The table lives as long as the library: numbers are never used twice.
__attribute__((destructor)) static void free_table(void) {
    free(handles.objects);
    handles.objects = NULL;
    handles.count = handles.capacity = 0;
}
