// ldmatrix and mma.sync (PTX ISA "Warp-level matrix load instruction", "Matrix Fragments for mma.m16n8k16").
#include <string.h>

#include "arithmetic.h"
#include "exec.h"

static bool whole_warp(struct emu_warp *warp, uint32_t mask) {
    if (mask == EMU_FULL_MASK) return true;
    emu_warp_finding(warp, __builtin_ctz(mask), EMU_OUTCOME_LAUNCH_FAILED,
                     "a .sync.aligned instruction needs all 32 lanes of the warp; here are 0x%08x", mask);
    return false;
}

// Row r of matrix m is at the address of lane 8m + r; lane l gets columns 2 (l % 4) and the next of row l / 4.
static void load_matrices(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask, int count) {
    uint64_t addresses[EMU_LANES];
    if (!whole_warp(warp, mask)) return;
    emu_warp_addresses(warp, instruction, addresses);
    for (int m = 0; m < count; m++) {
        uint32_t *d = EMU_U32(m);
        for (int row = 0; row < 8; row++) {
            uint32_t words[4];
            uint64_t address = addresses[m * 8 + row];
            if (!emu_shared_check(warp, m * 8 + row, address, 16, EMU_ACCESS_READ)) return;
            emu_shared_read(warp, address, words, 16);
            memcpy(d + row * 4, words, 16);
        }
    }
    warp->cta->counters.shared_accesses += (uint64_t)count;
}

EMU_EXECUTE(load_matrix_x1) {
    load_matrices(warp, instruction, mask, 1);
}

EMU_EXECUTE(load_matrix_x2) {
    load_matrices(warp, instruction, mask, 2);
}

EMU_EXECUTE(load_matrix_x4) {
    load_matrices(warp, instruction, mask, 4);
}

// Operands: d[4], a[4], b[2], c[4].
EMU_EXECUTE(mma_m16n8k16_bf16) {
    uint16_t a[16][16], b[8][16];
    struct emu_factor fa[16][16], fb[8][16];
    enum emu_sums sums = warp->cta->launch->settings->sums;
    if (!whole_warp(warp, mask)) return;
    for (int lane = 0; lane < EMU_LANES; lane++) {
        int group = lane / 4, pair = lane % 4 * 2;
        for (int i = 0; i < 4; i++) {
            uint32_t word = EMU_U32(4 + i)[lane];
            int row = group + i % 2 * 8, column = pair + i / 2 * 8;
            a[row][column] = (uint16_t)word;
            a[row][column + 1] = (uint16_t)(word >> 16);
        }
        for (int i = 0; i < 2; i++) {
            uint32_t word = EMU_U32(8 + i)[lane];
            b[group][pair + i * 8] = (uint16_t)word;
            b[group][pair + i * 8 + 1] = (uint16_t)(word >> 16);
        }
    }
    for (int k = 0; k < 16; k++) {
        for (int row = 0; row < 16; row++) fa[row][k] = emu_factor_of_bf16(a[row][k]);
        for (int column = 0; column < 8; column++) fb[column][k] = emu_factor_of_bf16(b[column][k]);
    }
    for (int lane = 0; lane < EMU_LANES; lane++) {
        for (int i = 0; i < 4; i++) {
            int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = emu_float(EMU_U32(10 + i)[lane]);
            EMU_U32(i)[lane] = emu_bits(emu_tensor_step(fa[row], fb[column], a[row], b[column], sum, sums));
        }
    }
    warp->cta->counters.tensor_ops++;
}
