// The sum of a block-scaled tensor-core step: e2m1 factors, a ue4m3 scale for each 16 of K.
#ifndef MOEJIT_EMULATOR_ARITHMETIC_SCALED_H
#define MOEJIT_EMULATOR_ARITHMETIC_SCALED_H

#include <stdint.h>

#include "machine.h"

#define EMU_SCALED_ROWS 16
#define EMU_SCALED_COLUMNS 8
#define EMU_SCALED_K 64
#define EMU_SCALED_BLOCKS 4

struct emu_scaled_step { // codes, one a byte; b by column
    uint8_t a[EMU_SCALED_ROWS][EMU_SCALED_K], a_scales[EMU_SCALED_ROWS][EMU_SCALED_BLOCKS];
    uint8_t b[EMU_SCALED_COLUMNS][EMU_SCALED_K], b_scales[EMU_SCALED_COLUMNS][EMU_SCALED_BLOCKS];
};

void emu_scaled_multiply(const struct emu_scaled_step *step, float sums[EMU_SCALED_ROWS][EMU_SCALED_COLUMNS],
                         enum emu_sums model);

#endif
