#include "moe/agreement.h"

#include <math.h>
#include <string.h>

static double read_f16(uint16_t bits) {
    int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    double value = exponent == 31 ? (mantissa != 0 ? NAN : INFINITY)
                                  : (exponent == 0 ? ldexp(mantissa, -24) : ldexp(mantissa + 1024, exponent - 25));
    return bits >> 15 ? -value : value;
}

static double read(const void *values, moejit_dtype dtype, size_t i) {
    uint32_t bits;
    float value;
    switch (dtype) {
    case MOEJIT_DTYPE_BF16: bits = (uint32_t)((const uint16_t *)values)[i] << 16; break;
    case MOEJIT_DTYPE_F16: return read_f16(((const uint16_t *)values)[i]);
    default: memcpy(&bits, (const char *)values + i * 4, 4); break;
    }
    memcpy(&value, &bits, 4);
    return (double)value;
}

void mj_agreement_row(struct mj_agreement *agreement, long long row, const void *got, const void *want,
                      moejit_dtype dtype, size_t columns, double rounding) {
    double error = 0, scale = 0, largest = 0;
    for (size_t c = 0; c < columns; c++) {
        double wanted = read(want, dtype, c), off = fabs(read(got, dtype, c) - wanted);
        error += off * off;
        scale += wanted * wanted;
        if (!(off <= largest)) largest = off; // NaN stays
    }
    double rms = sqrt(scale / (double)columns);
    double of_row = sqrt(error), of_element = largest;
    if (of_row > 0) of_row /= 4 * rounding * sqrt(scale);
    if (of_element > 0) of_element /= 64 * rounding * rms;
    double off = isnan(of_row) || isnan(of_element) ? NAN : fmax(of_row, of_element);
    bool good = off <= 1;
    if (agreement->good && (!good || !(off <= agreement->worst))) {
        agreement->worst = off;
        agreement->row = row;
    }
    agreement->good = agreement->good && good;
}
