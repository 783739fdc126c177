#include "moe/nvfp4.h"

#include <float.h>
#include <math.h>
#include <string.h>

static const float e2m1_magnitudes[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};

unsigned mj_e2m1_code(const uint8_t *codes, int idx) {
    unsigned pair = codes[idx / 2];
    return idx % 2 == 0 ? pair & 15 : pair >> 4;
}

float mj_e2m1_value(unsigned code) {
    float magnitude = e2m1_magnitudes[code & 7];
    return code & 8 ? -magnitude : magnitude;
}

float mj_e4m3_value(unsigned byte) {
    unsigned exponent = byte >> 3 & 15, mantissa = byte & 7;
    if ((byte & 0x7f) == 0x7f) return NAN;
    float magnitude = exponent == 0 ? ldexpf((float)mantissa, -9) : ldexpf((float)(8 + mantissa), (int)exponent - 10);
    return byte & 0x80 ? -magnitude : magnitude;
}

// The index among ascending values that is nearest; of two as near the even index, whose last mantissa bit is 0.
static unsigned nearest(double magnitude, unsigned count, float (*value)(unsigned)) {
    unsigned below = 0;
    while (below + 1 < count && (double)value(below + 1) <= magnitude) below++;
    if (below + 1 == count) return below;
    double down = magnitude - (double)value(below), up = (double)value(below + 1) - magnitude;
    if (down == up) return below % 2 == 0 ? below : below + 1;
    return down < up ? below : below + 1;
}

unsigned mj_e2m1_round(float value) {
    unsigned code = nearest(fabs((double)value), 8, mj_e2m1_value);
    return signbit(value) ? code | 8 : code;
}

unsigned mj_e4m3_round(float value) {
    if (isnan(value) || isinf(value)) return 0x7f;
    return nearest((double)value, 0x7f, mj_e4m3_value);
}

float mj_bf16_value(uint16_t bits) {
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof(value));
    return value;
}

// Rounds to `precision` bits, exponents from least (of the leading bit) on; beyond `greatest` to infinity.
static double round_double(double value, int precision, int least, double greatest) {
    if (value == 0 || isnan(value) || isinf(value)) return value;
    int exponent = ilogb(value) < least ? least : ilogb(value);
    double step = ldexp(1.0, exponent - precision + 1), rounded = nearbyint(value / step) * step;
    return fabs(rounded) > greatest ? copysign(INFINITY, value) : copysign(rounded, value);
}

uint16_t mj_bf16_round(double value) {
    if (isnan(value)) return 0x7fff;
    float rounded = (float)round_double(value, 8, -126, 3.3895313892515355e38); // 0x7f7f
    uint32_t word;
    memcpy(&word, &rounded, sizeof(word));
    return (uint16_t)(word >> 16);
}

float mj_f16_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float magnitude = exponent == 0 ? ldexpf((float)mantissa, -24) : ldexpf((float)(1024 + mantissa), exponent - 25);
    if (exponent == 31) magnitude = mantissa == 0 ? INFINITY : NAN;
    return bits & 0x8000 ? -magnitude : magnitude;
}

uint16_t mj_f16_round(double value) {
    unsigned sign = signbit(value) ? 0x8000u : 0u;
    if (isnan(value)) return 0x7fff;
    double magnitude = fabs(round_double(value, 11, -14, 65504.0));
    if (isinf(magnitude)) return (uint16_t)(sign | 0x7c00);
    if (magnitude < ldexp(1, -14)) return (uint16_t)(sign | (unsigned)ldexp(magnitude, 24));
    int exponent = ilogb(magnitude);
    return (uint16_t)(sign | (unsigned)(exponent + 15) << 10 | ((unsigned)ldexp(magnitude, 10 - exponent) & 1023u));
}

uint8_t mj_nvfp4_quantise(const float *y, float g, uint8_t codes[8]) {
    float largest = 0;
    memset(codes, 0, 8);
    for (int i = 0; i < 16; i++) {
        if (!isfinite(y[i])) return 0x7f;
        if (fabsf(y[i]) > largest) largest = fabsf(y[i]);
    }
    float wanted = largest / 6.0f;
    wanted *= g;
    uint8_t byte = (uint8_t)mj_e4m3_round(wanted);
    float sf = mj_e4m3_value(byte);
    if (sf == 0 || byte == 0x7f) return byte;
    float factor = g / sf;
    if (factor > FLT_MAX) factor = FLT_MAX;
    for (int i = 0; i < 16; i++) {
        float scaled = y[i] * factor;
        codes[i / 2] = (uint8_t)(codes[i / 2] | mj_e2m1_round(scaled) << (i % 2 * 4));
    }
    return byte;
}

size_t mj_nvfp4_scale_offset(int layout_128x4, int row, int block, int blocks) {
    if (!layout_128x4) return (size_t)row * (size_t)blocks + (size_t)block;
    size_t tile_columns = ((size_t)blocks + 3) / 4;
    size_t tile = (size_t)(row / 128) * tile_columns + (size_t)(block / 4);
    return tile * 512 + (size_t)(row % 32 * 16 + row % 128 / 32 * 4 + block % 4);
}

size_t mj_nvfp4_scale_bytes(int layout_128x4, int rows, int blocks) {
    if (!layout_128x4) return (size_t)rows * (size_t)blocks;
    return ((size_t)rows + 127) / 128 * (((size_t)blocks + 3) / 4) * 512;
}
