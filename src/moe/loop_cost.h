// What the main loop of a tile costs a multiprocessor, and what that makes of a layer: the model that `moejit inspect
// cost` prints. (Tuning prunes with the step's cost of moe/cost.h.) Arithmetic alone: loops are counted by whoever
// reads the machine code.
//
// The unit is a block: 64 rows by 16 columns of weights, one wgmma's A operand on sm_90a, times the tokens of the tile.
// Each of its terms is a time in clocks of one multiprocessor with all others ideal; the largest is the prediction.
// Latencies, barriers and the epilogue are not in it.
#ifndef MOEJIT_MOE_LOOP_COST_H
#define MOEJIT_MOE_LOOP_COST_H

#include "moe/machine_table.h"
#include "moe/tile.h"

#define MJ_LOOP_COST_BLOCK_BYTES (MJ_BLOCK_BYTES / 4) // codes and scales of 64 x 16 weights
#define MJ_LOOP_COST_MAX_WIDTHS 16

enum mj_pipe {
    MJ_PIPE_INTEGER,  // logic, shifts, adds, compares, selects
    MJ_PIPE_MULTIPLY, // integer products: one half of the fma pipe
    MJ_PIPE_FMA,      // f32 and packed 16-bit adds and products
    MJ_PIPE_CONVERT,
    MJ_PIPE_SPECIAL, // reciprocals, exponentials, bit counts
    MJ_PIPE_SHARED,  // loads and stores of shared memory, shuffles
    MJ_PIPE_GLOBAL,  // loads, stores, copies, reductions of global memory
    MJ_PIPE_TENSOR,
    MJ_PIPE_UNIFORM, // one lane for the warp
    MJ_PIPE_CONTROL, // branches, barriers, constants
    MJ_NUM_PIPES
};
const char *mj_pipe_name(enum mj_pipe pipe);

// One pass of one warp through a loop.
struct mj_loop {
    int instructions[MJ_NUM_PIPES];
    int shared_wavefronts; // 128 bytes each, with no bank conflict
    int narrow_loads;      // of global memory, less than 16 bytes a lane and no bulk copy
    int waits;             // for a stage of the ring
    int width;             // tokens that an A operand of wgmma is multiplied with; 0: mma.sync, or no products
    int row_blocks;        // of 64 rows, that a warpgroup of wgmma has
    long long products;    // multiply-adds that are this warp's; 0 in a loop that copies
};

enum mj_term {     // of a block's time
    MJ_TERM_ISSUE, // warp instructions of all pipes
    MJ_TERM_INTEGER,
    MJ_TERM_FMA, // integer products included
    MJ_TERM_CONVERT,
    MJ_TERM_SHARED, // loads, stores, B operands, arriving copies
    MJ_TERM_TENSOR,
    MJ_TERM_MEMORY, // the block's bytes at the bandwidth of the whole GPU
    MJ_NUM_TERMS
};
const char *mj_term_name(enum mj_term term);

struct mj_block_cost {
    double multiplying[MJ_NUM_PIPES]; // warp instructions of all warps that multiply
    double copying[MJ_NUM_PIPES];     // and of those that only copy
    double clocks[MJ_NUM_TERMS];
    enum mj_term busiest; // the largest term of instructions: not tensor, not memory
};

// CTAs that a multiprocessor holds at once.
int mj_loop_cost_ctas_per_sm(const struct mj_machine *machine, int registers, int num_threads, int shared_bytes);
// Bits of a value in a row of tokens as the tile's kernel reads it: bf16, or e2m1 and its part of a scale.
double mj_loop_cost_value_bits(const struct mj_tile *tile);
// Bytes of weights on their way to one multiprocessor: all stages of the rings but one a CTA.
int mj_loop_cost_bytes_in_flight(const struct mj_tile *tile, int ctas_per_sm);

// The loops of warps that only copy: of all of them, or the first of one warp (it copies weights) and the second of the
// others (token rows).
#define MJ_LOOP_COST_MAX_COPYING 2
struct mj_copying_loops {
    struct mj_loop loops[MJ_LOOP_COST_MAX_COPYING];
    int count;
};

// A block by a loop that multiplies `width` tokens (the loop's own, else the tile's).
void mj_loop_cost_block(const struct mj_machine *machine, const struct mj_tile *tile, const struct mj_loop *multiplying,
                        const struct mj_copying_loops *copying, int ctas_per_sm, struct mj_block_cost *cost);

double mj_loop_cost_instructions(const double pipes[MJ_NUM_PIPES]); // their sum

// A block's bytes over the whole GPU in that time, TB/s.
double mj_loop_cost_terabytes_per_s(const struct mj_machine *machine, double clocks);

// Budgets (docs/kernels.md). Where memory binds more than the tensor cores: instructions keep up with the machine's
// budget. Else, and in tiles so wide that several take their weights from a cache: the tensor cores work 90 % of the
// time.
#define MJ_LOOP_COST_MIN_TENSOR_SHARE 0.9
#define MJ_LOOP_COST_PREFILL_TOKENS 64
bool mj_loop_cost_is_decode(const struct mj_block_cost *cost);
double mj_loop_cost_tensor_share(const struct mj_block_cost *cost);
bool mj_loop_cost_meets_memory_budget(const struct mj_machine *machine, const struct mj_block_cost *cost);
bool mj_loop_cost_meets_tensor_budget(const struct mj_tile *tile, const struct mj_block_cost *cost);

// ---- A layer

enum mj_step { MJ_STEP_GATE_UP, MJ_STEP_DOWN };

struct mj_width_cost { // of a block that is multiplied with so many tokens; ascending
    int tokens;
    double instruction_clocks, tensor_clocks;
};

struct mj_step_time { // us; the largest is the prediction. Launches, route and zeroing are apart
    double memory, instructions, tensor;
};

// One launch of gate_up or down under uniform routing: each expert's tokens are binomial, its last tile takes the
// narrowest width that holds what is left. Weights are read from memory once, and whole tiles go round the
// multiprocessors.
void mj_loop_cost_step(const struct mj_machine *machine, const struct mj_problem *problem, const struct mj_tile *tile,
                       enum mj_step step, const struct mj_width_cost *widths, int num_widths, int num_tokens,
                       struct mj_step_time *time);
double mj_loop_cost_step_us(const struct mj_step_time *time);

// The widths of a tile as counted when tile_costs.def was written (tools/update_cost.sh), at most
// MJ_LOOP_COST_MAX_WIDTHS; returns how many, 0 where that tile was not there. They hardly depend on the layer's sizes.
int mj_loop_cost_widths(const char *tile_name, enum mj_step step, struct mj_width_cost *widths);
// gate_up and down together, with these, on sm_90a: 0 where the tile was not counted.
double mj_loop_cost_tile_us(const struct mj_problem *problem, const struct mj_tile *tile, int num_tokens);

#endif
