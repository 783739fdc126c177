#include "fold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moe/nvfp4.h"

// Fills the table for a multiplication by 2^exponent; representable[byte] tells whether the product is an e4m3 number.
static void make_table(int exponent, uint8_t table[256], bool representable[256]) {
    for (unsigned byte = 0; byte < 256; byte++) {
        double product = ldexp((double)mj_e4m3_value(byte & 0x7f), exponent);
        unsigned rounded = isnan(product) || product > 448 ? 0x7f : mj_e4m3_round((float)product);
        // A scale that is none (NaN or negative) stays: pack tells of it.
        bool scale = byte < 0x7f;
        table[byte] = (uint8_t)(scale ? rounded : byte);
        representable[byte] = !scale || (rounded < 0x7f && (double)mj_e4m3_value(rounded) == product);
    }
}

static bool all_representable(const struct mj_expert_matrix *matrix, const bool representable[256]) {
    size_t count = matrix->rows * matrix->columns / 16, codes = matrix->rows * matrix->columns / 2;
    uint8_t *buffer = malloc(codes + count);
    struct mj_error ignored;
    bool good = buffer != NULL && mj_expert_matrix_read(matrix, buffer, buffer + codes, &ignored) == MOEJIT_STATUS_OK;
    for (size_t i = 0; good && i < count; i++) good = representable[buffer[codes + i]];
    free(buffer);
    return good;
}

static bool try_fold(const struct mj_expert_matrix *folded, int exponent, struct mj_fold *fold) {
    bool representable[256];
    make_table(exponent, fold->scale, representable);
    return all_representable(folded, representable);
}

bool mj_fold_find(const struct mj_expert_matrix *gate, const struct mj_expert_matrix *up, struct mj_fold *fold) {
    int exponent;
    memset(fold, 0, sizeof(*fold));
    fold->alpha = gate->global_scale;
    if (gate->global_scale == up->global_scale) return true;
    if (gate->global_scale == 0 || up->global_scale == 0) return false;
    if (frexp(up->global_scale / gate->global_scale, &exponent) != 0.5) return false;
    exponent--; // up = gate * 2^exponent
    if (ldexp(gate->global_scale, exponent) != up->global_scale) return false;
    if (try_fold(up, exponent, fold)) return fold->up = true;
    fold->alpha = up->global_scale;
    return try_fold(gate, -exponent, fold) ? (fold->gate = true) : false;
}

void mj_fold_apply(const struct mj_fold *fold, uint8_t *scales, size_t count) {
    for (size_t i = 0; i < count; i++) scales[i] = fold->scale[scales[i]];
}
