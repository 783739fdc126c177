// Memory of a module: allocated in pieces, freed at once.
#ifndef MOEJIT_EMULATOR_PTX_ARENA_H
#define MOEJIT_EMULATOR_PTX_ARENA_H

#include <stddef.h>

struct emu_arena {
    struct emu_arena_block *blocks;
};

void *emu_arena_allocate(struct emu_arena *arena, size_t bytes); // zeroed, aligned to 16; NULL where memory is out
char *emu_arena_text(struct emu_arena *arena, const char *text, size_t length);
void emu_arena_destroy(struct emu_arena *arena);

// A list that grows inside an arena: returns where the next element of `bytes` goes, or NULL. The old piece is left
// behind.
void *emu_arena_push(struct emu_arena *arena, void **list, size_t *count, size_t *capacity, size_t bytes);

#endif
