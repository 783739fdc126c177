// The table of kernels.
#ifndef MOEJIT_JIT_KERNELS_H
#define MOEJIT_JIT_KERNELS_H

#include "moe/tile.h"

// The members a Config may have, beside num_threads; a kernel's row says which change its code.
enum mj_field {
    MJ_FIELD_HIDDEN = 1 << 0,
    MJ_FIELD_INTERMEDIATE = 1 << 1,
    MJ_FIELD_TOP_K = 1 << 2,
    MJ_FIELD_ACTIVATION = 1 << 3,
    MJ_FIELD_GATED = 1 << 4,
    MJ_FIELD_ROUTER_WEIGHT_ON_INPUT = 1 << 5,
    MJ_FIELD_ACTIVATION_FORMAT = 1 << 6,
    MJ_FIELD_INPUT_FORMAT = 1 << 7,
    MJ_FIELD_OUTPUT_DTYPE = 1 << 8,
    MJ_FIELD_GATE_UP_BIAS_DTYPE = 1 << 9,
    MJ_FIELD_DOWN_BIAS_DTYPE = 1 << 10,
    MJ_FIELD_ROW_ORDER = 1 << 11,
    MJ_FIELD_SUM = 1 << 12,
};

enum mj_kernel_id {
#define KERNEL(id, stem, header, entry, args, threads, fields) MJ_KERNEL_##id,
#include "jit/kernels.def"
#undef KERNEL
    MJ_NUM_KERNELS
};

struct mj_kernel {
    const char *stem, *header, *entry, *args;
    int num_threads; // 0: the tile's
    unsigned fields;
};

// The kernel of a step for a tile's family.
enum mj_kernel_id mj_kernel_gate_up(const struct mj_tile *tile);
enum mj_kernel_id mj_kernel_down(const struct mj_tile *tile);
// Those that write what a family reads.
enum mj_kernel_id mj_kernel_pack(enum mj_packed_layout layout);
enum mj_kernel_id mj_kernel_quantize(moejit_family family);

extern const struct mj_kernel mj_kernels[MJ_NUM_KERNELS];

#endif
