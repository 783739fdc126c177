// Warpgroup matrix multiplications: operands in shared memory, and the order of what runs asynchronously.
#ifndef MOEJIT_EMULATOR_EXEC_WGMMA_H
#define MOEJIT_EMULATOR_EXEC_WGMMA_H

#include "warp.h"

#define EMU_WGMMA_K 16
#define EMU_CHUNK_BYTES 16 // what a swizzle moves

// A factor of count rows (of A) or columns (of B), each of 16 elements of 16 bits, by its descriptor (PTX ISA, "Matrix
// Descriptor Format").
struct emu_matrix {
    uint32_t start, leading, stride; // bytes
    uint32_t atom_bytes;             // 16 without swizzle, else 32, 64, 128
    uint32_t base;         // where the swizzle's pattern begins: base times 128 bytes after a multiple of 1024
    uint32_t first, count; // of the rows or columns that are taken
    bool transposed;       // neighbours along k are not neighbours in memory
};

// Address of chunk 0 .. 2 * count - 1: half a row with k = 0 .. 7 or 8 .. 15 or, transposed, eight rows of one k.
uint32_t emu_matrix_chunk(const struct emu_matrix *matrix, uint32_t chunk);

// What one warp has under way. Each returns false with a finding.
struct emu_wgmma_registers {
    const uint32_t *accumulators, *factors; // operands
    uint32_t num_accumulators, num_factors;
};
bool emu_wgmma_issue(struct emu_warp *warp, const struct emu_wgmma_registers *registers);
bool emu_wgmma_reads(struct emu_warp *warp, const struct emu_matrix *matrix);
void emu_wgmma_fence(struct emu_warp *warp);
void emu_wgmma_commit(struct emu_warp *warp);
void emu_wgmma_wait(struct emu_warp *warp, uint32_t pending);

#endif
