// Number formats on the host: NVFP4's e2m1 and e4m3, bf16, fp16. Rounding is to nearest, ties to even, by looking among
// the format's own values: slow, plain, and sharing nothing with the kernels.
#ifndef MOEJIT_MOE_NVFP4_H
#define MOEJIT_MOE_NVFP4_H

#include <stddef.h>
#include <stdint.h>

unsigned mj_e2m1_code(const uint8_t *codes, int idx); // of element idx, two to a byte, low nibble first
float mj_e2m1_value(unsigned code);                   // code 0..15
float mj_e4m3_value(unsigned byte);                   // NaN for 0x7f and 0xff
unsigned mj_e2m1_round(float value);                  // saturates at 6; value must not be NaN
unsigned mj_e4m3_round(float value);                  // value >= 0; saturates at 448; 0x7f for NaN and infinity

float mj_bf16_value(uint16_t bits);
uint16_t mj_bf16_round(double value);
float mj_f16_value(uint16_t bits);
uint16_t mj_f16_round(double value);

// One block of 16 values with quantisation scale g (docs/numerics.md): codes two to a byte, low nibble first. Returns
// sf.
uint8_t mj_nvfp4_quantise(const float *y, float g, uint8_t codes[8]);

// Byte offset of the scale of a row and 16-column block in one expert's scales, and their number of bytes; rows and
// blocks are the matrix's. layout_128x4: see docs/numerics.md.
size_t mj_nvfp4_scale_offset(int layout_128x4, int row, int block, int blocks);
size_t mj_nvfp4_scale_bytes(int layout_128x4, int rows, int blocks);

#endif
