#include "ptx_arena.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 65536

struct emu_arena_block {
    struct emu_arena_block *next;
    size_t used, capacity;
    _Alignas(16) unsigned char bytes[];
};

static struct emu_arena_block *add_block(struct emu_arena *arena, size_t bytes) {
    size_t capacity = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
    struct emu_arena_block *block = calloc(1, sizeof(*block) + capacity);
    if (block == NULL) return NULL;
    block->capacity = capacity;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *emu_arena_allocate(struct emu_arena *arena, size_t bytes) {
    struct emu_arena_block *block = arena->blocks;
    bytes = (bytes + 15) / 16 * 16;
    if (block == NULL || block->capacity - block->used < bytes) block = add_block(arena, bytes);
    if (block == NULL) return NULL;
    void *piece = block->bytes + block->used;
    block->used += bytes;
    return piece;
}

char *emu_arena_text(struct emu_arena *arena, const char *text, size_t length) {
    char *copy = emu_arena_allocate(arena, length + 1);
    if (copy != NULL) memcpy(copy, text, length);
    return copy;
}

void *emu_arena_push(struct emu_arena *arena, void **list, size_t *count, size_t *capacity, size_t bytes) {
    if (*count == *capacity) {
        size_t larger = *capacity * 2 + 16;
        void *copy = emu_arena_allocate(arena, larger * bytes);
        if (copy == NULL) return NULL;
        if (*count > 0) memcpy(copy, *list, *count * bytes);
        *list = copy;
        *capacity = larger;
    }
    return (unsigned char *)*list + (*count)++ * bytes;
}

void emu_arena_destroy(struct emu_arena *arena) {
    while (arena->blocks != NULL) {
        struct emu_arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
}
