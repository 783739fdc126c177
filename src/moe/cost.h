// How long a step takes with a tile, by arithmetic alone: bytes, operations, waves, occupancy. Within 15 % where
// it was calibrated (docs/tuning.md): it only says which tiles are not worth timing.
#ifndef MOEJIT_MOE_COST_H
#define MOEJIT_MOE_COST_H

#include "moe/tile.h"

struct mj_device_figures {
    int num_sms;
    double sm_ghz;       // the highest clock
    double memory_gb_s;  // of device memory, as its clock and width promise
    double tensor_flops; // dense bf16 with f32 sums, a clock and multiprocessor
    int shared_bytes;    // of a multiprocessor
    double scaled_flops; // block-scaled NVFP4 of mma.sync; 0: has none
};

// The figures of an arch that no attribute tells (NVIDIA's architecture whitepapers): tensor_flops, shared_bytes and
// scaled_flops.
void mj_device_figures_arch(const char *arch, struct mj_device_figures *figures);

struct mj_step_size {  // the GEMM of a step
    int rows, columns; // of an expert's matrix; columns are reduced
    const int *tokens; // [num_experts] of each local expert
    int num_experts;
};

// Microseconds.
double mj_cost_step(const struct mj_device_figures *device, const struct mj_tile *tile,
                    const struct mj_step_size *step);

#endif
