#include "moe/machine_table.h"

#include <stddef.h>
#include <string.h>

// sm_90a: measured on one H100 80GB HBM3 by clock64 in one CTA (f32 fma and packed products 119 to 125, conversions 55
// to 63), the memory by a streaming read, at the clock that it holds under load; the budget is above what its bus
// promises (3.35 TB/s).
//
// sm_120a and sm_121a: published, measured nowhere. NVIDIA, "RTX Blackwell GPU Architecture" (white paper), GeForce RTX
// 5090: 170 multiprocessors, boost clock 2.407 GHz, 1792 GB/s; 128 f32 lanes of each serve as int32 lanes too; dense
// tensor TFLOP/s with f32 sums 209.5 of bf16 and 1676 of FP4, which by multiprocessors and clock are 256 and 2048
// multiply-adds. NVIDIA, DGX Spark data sheet: 6144 CUDA cores, 273 GB/s, 1 PFLOP/s of FP4 with sparsity. Derived: 48
// multiprocessors of 128 cores; half of the PFLOP/s dense; and the clock, which NVIDIA does not print, that makes
// 0.5 PFLOP/s of 48 x 2048 multiply-adds. Taken over from compute capability 8.9, not looked up for 12.x (CUDA C++
// programming guide, "Arithmetic Instructions" and "Shared Memory"): integer products and conversions 64 lanes, special
// functions 16, shared memory 128 bytes a clock. No fp4 tile is bound by any of these but the last.
//
// Warps, CTAs and shared memory of all three: the same guide's technical specifications, and cuda_occupancy.h.

// A multiprocessor of compute capability 12.x, the same on both.
#define MULTIPROCESSOR_12X                                                                                             \
    .issue_slots = 4, .integer_lanes = 128, .multiply_lanes = 64, .fma_lanes = 128, .convert_lanes = 64,               \
    .special_lanes = 16, .shared_bytes_a_clock = 128, .mma_products = 256, .scaled_mma_products = 2048,                \
    .max_warps = 48, .max_ctas = 24, .shared_bytes = 100 * 1024

static const struct mj_machine machines[] = {
    {.arch = "sm_90a",
     .gpu = "H100 80GB HBM3",
     .num_sms = 132,
     .clock_hz = 1.755e9,
     .memory_bytes_per_s = 3.1e12,
     .issue_slots = 4,
     .integer_lanes = 64,
     .multiply_lanes = 64,
     .fma_lanes = 122,
     .convert_lanes = 60,
     .special_lanes = 16,
     .shared_bytes_a_clock = 128,
     .mma_products = 1350, // at any N
     .max_warps = 64,
     .max_ctas = 32,
     .shared_bytes = 228 * 1024,
     .budget_bytes_per_s = 3.6e12},
    {.arch = "sm_120a",
     .gpu = "GeForce RTX 5090",
     .num_sms = 170,
     .clock_hz = 2.407e9,
     .memory_bytes_per_s = 1.792e12,
     MULTIPROCESSOR_12X,
     .budget_bytes_per_s = 1.792e12},
    {.arch = "sm_121a",
     .gpu = "DGX Spark (GB10)",
     .num_sms = 48,
     .clock_hz = 2.543e9,
     .memory_bytes_per_s = 0.273e12,
     MULTIPROCESSOR_12X,
     .budget_bytes_per_s = 0.273e12},
};
const char mj_machine_archs[] = "sm_90a, sm_120a or sm_121a";

const struct mj_machine *mj_machine_find(const char *arch) {
    for (size_t i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        if (strcmp(machines[i].arch, arch) == 0) return &machines[i];
    }
    return NULL;
}
