// ldmatrix, stmatrix (PTX ISA, "Warp-level Matrix Instructions"): 8x8 matrices of 16-bit elements. Lane 8i + r gives
// the address of row r of matrix i; lane l holds elements 2 (l % 4) and the next one of row l / 4.
#include "warp.h"

static uint32_t rows_mask(uint32_t matrices) {
    return matrices == 4 ? EMU_FULL_MASK : (1u << 8 * matrices) - 1;
}

static bool find_rows(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t operand,
                      enum emu_access_kind kind, struct emu_access *access) {
    uint32_t mask = rows_mask(instruction->form.count);
    emu_access_addresses(warp, instruction, EMU_FULL_MASK, operand, 0, access);
    return emu_access_check(warp, mask, (enum emu_space)instruction->space, 16, 16, kind, access);
}

EMU_EXECUTE(load_matrix) {
    struct emu_access access;
    uint32_t count = instruction->form.count;
    (void)mask;
    if (!find_rows(warp, instruction, count, EMU_ACCESS_READ, &access)) return;
    bool transposed = EMU_FLAG(TRANS);
    for (uint32_t matrix = 0; matrix < count; matrix++) {
        uint32_t *d = emu_lanes(warp, instruction->operands[matrix]);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            uint16_t pair[2];
            uint32_t row = lane / 4, column = lane % 4 * 2;
            if (transposed) {
                memcpy(&pair[0], access.pointers[8 * matrix + column] + 2 * row, 2);
                memcpy(&pair[1], access.pointers[8 * matrix + column + 1] + 2 * row, 2);
            } else {
                memcpy(pair, access.pointers[8 * matrix + row] + 2 * column, 4);
            }
            d[lane] = pair[0] | (uint32_t)pair[1] << 16;
        }
    }
    emu_race_warp_sync(warp);
}

EMU_EXECUTE(store_matrix) {
    struct emu_access access;
    uint32_t count = instruction->form.count;
    (void)mask;
    if (!find_rows(warp, instruction, 0, EMU_ACCESS_WRITE, &access)) return;
    bool transposed = EMU_FLAG(TRANS);
    for (uint32_t matrix = 0; matrix < count; matrix++) {
        const uint32_t *s = emu_lanes(warp, instruction->operands[1 + matrix]);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            uint16_t pair[2] = {(uint16_t)s[lane], (uint16_t)(s[lane] >> 16)};
            uint32_t row = lane / 4, column = lane % 4 * 2;
            if (transposed) {
                memcpy(access.pointers[8 * matrix + column] + 2 * row, &pair[0], 2);
                memcpy(access.pointers[8 * matrix + column + 1] + 2 * row, &pair[1], 2);
            } else {
                memcpy(access.pointers[8 * matrix + row] + 2 * column, pair, 4);
            }
        }
    }
    warp->cta->run->progress++;
}

// movmatrix: an 8x8 matrix in registers, transposed.
EMU_EXECUTE(move_matrix) {
    uint16_t elements[8][8];
    uint32_t *d = EMU_32(0);
    const uint32_t *a = EMU_32(1);
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        elements[lane / 4][lane % 4 * 2] = (uint16_t)a[lane];
        elements[lane / 4][lane % 4 * 2 + 1] = (uint16_t)(a[lane] >> 16);
    }
    (void)mask;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        uint32_t row = lane / 4, column = lane % 4 * 2;
        d[lane] = elements[column][row] | (uint32_t)elements[column + 1][row] << 16;
    }
}

#define ROW .instruction_class = EMU_CLASS_MEMORY, .flow = EMU_FLOW_WARP, .space = EMU_SPACE_GENERIC
static const struct emu_row rows[] = {
    {"ldmatrix", "sync aligned m8n8 x1|x2|x4 ?trans ?shared|shared::cta b16", "d32*v a", load_matrix, ROW},
    {"stmatrix", "sync aligned m8n8 x1|x2|x4 ?trans ?shared|shared::cta b16", "a s32*v", store_matrix, ROW, .arch = 90},
    {"movmatrix", "sync aligned m8n8 trans b16", "d32 s32", move_matrix, ROW},
};
EMU_ROWS(emu_rows_matrix, rows);
