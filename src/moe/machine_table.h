// One GPU of each arch whose tiles `moejit inspect cost` predicts: how many multiprocessors it has, what one of them
// does in a clock, and what it holds.
#ifndef MOEJIT_MOE_MACHINE_TABLE_H
#define MOEJIT_MOE_MACHINE_TABLE_H

// Shared memory that each CTA takes more than it asks for (compute capability 9.0 and 12.x: CUDA C++ programming guide,
// technical specifications).
#define MJ_RESERVED_SHARED_BYTES 1024

struct mj_machine {
    const char *arch, *gpu; // "sm_90a", "H100 80GB HBM3"
    int num_sms;
    double clock_hz, memory_bytes_per_s;

    // Of one multiprocessor and clock; a lane is one instruction of one thread.
    double issue_slots; // warp instructions
    double integer_lanes, multiply_lanes, fma_lanes, convert_lanes, special_lanes;
    double shared_bytes_a_clock;
    double mma_products, scaled_mma_products; // multiply-adds of mma.sync: bf16; block-scaled NVFP4 (0: has none)

    // Held at once.
    int max_warps, max_ctas, shared_bytes;

    double budget_bytes_per_s; // weights that a decode tile's instructions must keep up with
};

// By name; NULL where no rates are known. The list, for messages: "sm_90a, sm_120a or sm_121a".
const struct mj_machine *mj_machine_find(const char *arch);
extern const char mj_machine_archs[];

#endif
