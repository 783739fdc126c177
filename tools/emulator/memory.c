#include "memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_BYTES 512 // nobody's bytes before and after each allocation, so that a near miss meets no neighbour
#define ALIGNMENT 512   // cuMemAlloc's, as seen on real drivers

struct entry {
    struct emu_allocation facts;
    uint8_t *block; // of calloc, guards included
};

struct emu_memory {
    pthread_mutex_t lock;
    struct entry **entries; // ascending by base; pointers, so that a found allocation stays where it is
    size_t count, capacity, total, used;
    uint64_t next_serial;
};

struct emu_memory *emu_memory_create(size_t total_bytes) {
    struct emu_memory *memory = calloc(1, sizeof(*memory));
    if (memory == NULL) return NULL;
    pthread_mutex_init(&memory->lock, NULL);
    memory->total = total_bytes;
    return memory;
}

static void free_entry(struct entry *entry) {
    free(entry->block);
    free(entry->facts.written);
    free(entry);
}

void emu_memory_destroy(struct emu_memory *memory) {
    if (memory == NULL) return;
    for (size_t i = 0; i < memory->count; i++) free_entry(memory->entries[i]);
    free(memory->entries);
    pthread_mutex_destroy(&memory->lock);
    free(memory);
}

// Bytes that look like no number: NaN in every float format, and different from one another.
static void fill_garbage(uint8_t *bytes, size_t count, uint64_t serial) {
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)(0xfc | ((serial + i) & 3));
}

static struct entry *make_entry(size_t bytes, uint64_t serial) {
    struct entry *entry = calloc(1, sizeof(*entry));
    if (entry == NULL) return NULL;
    entry->block = malloc(bytes + 2 * GUARD_BYTES + ALIGNMENT);
    entry->facts.written = calloc(bytes / 8 + 8, 1);
    if (entry->block == NULL || entry->facts.written == NULL) {
        free_entry(entry);
        return NULL;
    }
    uintptr_t first = (uintptr_t)entry->block + GUARD_BYTES;
    entry->facts.base = (first + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    entry->facts.bytes = bytes;
    entry->facts.serial = serial;
    fill_garbage((uint8_t *)entry->facts.base, bytes, serial);
    return entry;
}

// The index of the last entry that starts at or below the address, or count where there is none.
static size_t find_index(const struct emu_memory *memory, uintptr_t address) {
    size_t low = 0, high = memory->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (memory->entries[middle]->facts.base <= address) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low > 0 ? low - 1 : memory->count;
}

static bool insert(struct emu_memory *memory, struct entry *entry) {
    if (memory->count == memory->capacity) {
        size_t capacity = memory->capacity * 2 + 64;
        struct entry **entries = realloc(memory->entries, capacity * sizeof(*entries));
        if (entries == NULL) return false;
        memory->entries = entries;
        memory->capacity = capacity;
    }
    size_t at = find_index(memory, entry->facts.base);
    at = at == memory->count ? 0 : at + 1;
    memmove(memory->entries + at + 1, memory->entries + at, (memory->count - at) * sizeof(*memory->entries));
    memory->entries[at] = entry;
    memory->count++;
    return true;
}

uintptr_t emu_memory_allocate(struct emu_memory *memory, size_t bytes) {
    uintptr_t base = 0;
    pthread_mutex_lock(&memory->lock);
    if (bytes <= memory->total - memory->used) {
        struct entry *entry = make_entry(bytes, memory->next_serial);
        if (entry != NULL && insert(memory, entry)) {
            memory->next_serial++;
            memory->used += bytes;
            base = entry->facts.base;
        } else if (entry != NULL) {
            free_entry(entry);
        }
    }
    pthread_mutex_unlock(&memory->lock);
    return base;
}

// A freed entry keeps its place and its bytes until there are many of them: a use after free is then told by name.
#define KEPT_FREED_BYTES ((size_t)64 << 20)

static void drop_freed(struct emu_memory *memory) {
    size_t freed = 0, kept = 0;
    for (size_t i = 0; i < memory->count; i++)
        freed += memory->entries[i]->facts.freed ? memory->entries[i]->facts.bytes : 0;
    if (freed <= KEPT_FREED_BYTES) return;
    for (size_t i = 0; i < memory->count; i++) {
        if (memory->entries[i]->facts.freed) {
            free_entry(memory->entries[i]);
        } else {
            memory->entries[kept++] = memory->entries[i];
        }
    }
    memory->count = kept;
}

bool emu_memory_free(struct emu_memory *memory, uintptr_t base) {
    pthread_mutex_lock(&memory->lock);
    size_t at = find_index(memory, base);
    bool good = at < memory->count && memory->entries[at]->facts.base == base && !memory->entries[at]->facts.freed;
    if (good) {
        memory->entries[at]->facts.freed = true;
        memory->used -= memory->entries[at]->facts.bytes;
        drop_freed(memory);
    }
    pthread_mutex_unlock(&memory->lock);
    return good;
}

size_t emu_memory_bytes_free(const struct emu_memory *memory) {
    return memory->total - memory->used;
}

const struct emu_allocation *emu_memory_find(struct emu_memory *memory, uintptr_t address) {
    pthread_mutex_lock(&memory->lock);
    size_t at = find_index(memory, address);
    struct entry *entry = at < memory->count ? memory->entries[at] : NULL;
    pthread_mutex_unlock(&memory->lock);
    if (entry == NULL || address - entry->facts.base >= (entry->facts.bytes > 0 ? entry->facts.bytes : 1)) return NULL;
    return &entry->facts;
}

bool emu_memory_written(const struct emu_allocation *allocation, size_t offset, size_t bytes) {
    for (size_t i = offset; i < offset + bytes;) {
        if (i % 8 == 0 && offset + bytes - i >= 8) {
            if (allocation->written[i / 8] != 0xff) return false;
            i += 8;
        } else {
            if ((allocation->written[i / 8] >> (i % 8) & 1) == 0) return false;
            i++;
        }
    }
    return true;
}

enum emu_access_fault emu_memory_check(struct emu_memory *memory, uintptr_t address, size_t bytes, size_t alignment,
                                       enum emu_access_kind kind, bool check_written) {
    if (bytes == 0) return EMU_FAULT_NONE;
    const struct emu_allocation *allocation = emu_memory_find(memory, address);
    if (allocation == NULL) return EMU_FAULT_OUT_OF_BOUNDS;
    if (allocation->freed) return EMU_FAULT_USE_AFTER_FREE;
    size_t offset = address - allocation->base;
    if (bytes > allocation->bytes - offset) return EMU_FAULT_OUT_OF_BOUNDS;
    if (alignment > 1 && address % alignment != 0) return EMU_FAULT_MISALIGNED;
    bool reads = kind != EMU_ACCESS_WRITE;
    if (reads && check_written && !emu_memory_written(allocation, offset, bytes)) return EMU_FAULT_UNWRITTEN;
    return EMU_FAULT_NONE;
}

// CTAs may run on several threads: bits of one byte of the map may be set by two of them.
static void set_bits(uint8_t *byte, uint8_t bits) {
    if ((__atomic_load_n(byte, __ATOMIC_RELAXED) & bits) != bits) __atomic_fetch_or(byte, bits, __ATOMIC_RELAXED);
}

void emu_memory_mark(const struct emu_allocation *allocation, size_t offset, size_t bytes) {
    size_t i = offset, end = offset + bytes;
    for (; i < end && i % 8 != 0; i++) set_bits(&allocation->written[i / 8], (uint8_t)(1u << (i % 8)));
    for (; i + 8 <= end; i += 8) __atomic_store_n(&allocation->written[i / 8], 0xff, __ATOMIC_RELAXED);
    for (; i < end; i++) set_bits(&allocation->written[i / 8], (uint8_t)(1u << (i % 8)));
}

void emu_memory_mark_written(struct emu_memory *memory, uintptr_t address, size_t bytes) {
    const struct emu_allocation *allocation = bytes > 0 ? emu_memory_find(memory, address) : NULL;
    if (allocation == NULL || bytes > allocation->bytes - (address - allocation->base)) return;
    emu_memory_mark(allocation, address - allocation->base, bytes);
}
