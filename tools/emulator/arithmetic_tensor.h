// Sums of a tensor core: one step of a tile of 16 rows and 8 columns.
#ifndef MOEJIT_EMULATOR_ARITHMETIC_TENSOR_H
#define MOEJIT_EMULATOR_ARITHMETIC_TENSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

#define EMU_TENSOR_ROWS 16
#define EMU_TENSOR_COLUMNS 8
#define EMU_TENSOR_MAX_K 32

enum emu_tensor_format { EMU_TENSOR_F16, EMU_TENSOR_BF16, EMU_TENSOR_E4M3, EMU_TENSOR_E5M2 };

struct emu_tensor_step { // factors as codes; one step multiplies num_k of them, a multiple of 8
    uint32_t num_k;
    enum emu_tensor_format a_format, b_format;
    bool half_sums; // the results will be rounded to f16: inexact ones have their last bit set (round to odd)
    uint16_t a[EMU_TENSOR_ROWS][EMU_TENSOR_MAX_K];
};

void emu_tensor_step(const struct emu_tensor_step *step, const uint16_t b[EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS],
                     float sums[EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS], enum emu_sums model);
// The same rows with one tile after the other.
void emu_tensor_tiles(const struct emu_tensor_step *step, uint32_t num_tiles,
                      const uint16_t b[][EMU_TENSOR_MAX_K][EMU_TENSOR_COLUMNS],
                      float sums[][EMU_TENSOR_ROWS][EMU_TENSOR_COLUMNS], enum emu_sums model);

#endif
