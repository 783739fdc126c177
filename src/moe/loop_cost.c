#include "moe/loop_cost.h"

#include <stddef.h>

// One H100 SXM multiprocessor; measured on one H100 80GB HBM3 by clock64 in one CTA, a lane-operation being one
// instruction of one thread. f32 fma and packed products 119 to 125, conversions 55 to 63.
#define ISSUE_SLOTS 4.0 // warp instructions a clock: one for each quarter
#define INTEGER_LANES 64.0
#define MULTIPLY_LANES 64.0
#define FMA_LANES 122.0
#define CONVERT_LANES 60.0
#define SPECIAL_LANES 16.0
#define SHARED_BYTES 128.0 // a clock

// CUDA C++ programming guide, compute capability 9.0: technical specifications.
#define MAX_REGISTERS 65536
#define MAX_WARPS 64
#define MAX_CTAS 32
#define MAX_SHARED_BYTES (228 * 1024)
#define RESERVED_SHARED_BYTES 1024 // of each CTA
#define SHARED_GRANULE 128
#define REGISTER_GRANULE 256 // of a warp
#define QUARTERS 4           // registers and warps are a quarter's

const char *mj_pipe_name(enum mj_pipe pipe) {
    static const char *const names[MJ_NUM_PIPES] = {"integer", "multiply", "fma",    "convert", "special",
                                                    "shared",  "global",   "tensor", "uniform", "control"};
    return names[pipe];
}

const char *mj_term_name(enum mj_term term) {
    static const char *const names[MJ_NUM_TERMS] = {"issue", "integer", "fma", "convert", "shared", "tensor", "memory"};
    return names[term];
}

static int round_up(int value, int granule) {
    return mj_ceil_div(value, granule) * granule;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

// As cuda_occupancy.h of the toolkit counts: registers are given out by quarters of the multiprocessor.
int mj_loop_cost_ctas_per_sm(int registers, int num_threads, int shared_bytes) {
    int warps = mj_ceil_div(num_threads, 32), warp_registers = round_up(registers * 32, REGISTER_GRANULE);
    int fitting_warps = warp_registers > 0 ? MAX_REGISTERS / QUARTERS / warp_registers * QUARTERS : MAX_WARPS;
    int shared = round_up(shared_bytes + RESERVED_SHARED_BYTES, SHARED_GRANULE);
    // A single CTA must fit even if its warps filled all quarters evenly.
    if (round_up(warps, QUARTERS) * warp_registers > MAX_REGISTERS) return 0;
    int ctas = least(fitting_warps, MAX_WARPS) / warps;
    return least(least(ctas, MAX_SHARED_BYTES / shared), MAX_CTAS);
}

static int row_blocks(const struct mj_tile *tile) {
    return tile->block_rows / MJ_BLOCK_ROWS;
}

int mj_loop_cost_bytes_in_flight(const struct mj_tile *tile, int ctas_per_sm) {
    int stage = row_blocks(tile) * (tile->block_k / MJ_BLOCK_COLUMNS) * MJ_BLOCK_BYTES;
    return ctas_per_sm * (tile->num_stages - 1) * stage;
}

// ---- Tensor cores

struct rate {
    int tokens;
    double clocks; // of one m64 nN k16, bf16
};
// A in registers, two or more warpgroups on the multiprocessor; one alone waits for itself.
static const struct rate shared_rates[] = {{8, 13.2}, {16, 13.2}, {32, 16.2}, {64, 32}, {128, 64}, {256, 129}};
static const struct rate alone_rates[] = {{8, 26}, {32, 32}, {64, 48}, {128, 80}, {256, 143}};
#define MMA_SYNC_PRODUCTS 1350.0 // a clock, at any N

// Between the measured points on a line.
static double interpolate(const struct rate *rates, size_t count, int tokens) {
    size_t i = 1;
    while (i + 1 < count && rates[i].tokens < tokens) i++;
    const struct rate *a = &rates[i - 1], *b = &rates[i];
    double clocks = a->clocks + (b->clocks - a->clocks) * (tokens - a->tokens) / (b->tokens - a->tokens);
    return tokens < rates[0].tokens ? rates[0].clocks : clocks;
}

static double tensor_clocks(int width, int tokens, int warpgroups) {
    if (width == 0) return MJ_BLOCK_ROWS * 16.0 * tokens / MMA_SYNC_PRODUCTS;
    double each = warpgroups > 1 ? interpolate(shared_rates, sizeof(shared_rates) / sizeof(shared_rates[0]), width)
                                 : interpolate(alone_rates, sizeof(alone_rates) / sizeof(alone_rates[0]), width);
    return each * tokens / width;
}

// ---- A block

// Warps that only copy: what is left of a CTA beside four for each 64 rows, or as many as a warpgroup has.
static int copying_warps(const struct mj_tile *tile, const struct mj_loop *multiplying) {
    int each = multiplying->row_blocks > 1 ? multiplying->row_blocks : 1;
    int warps = tile->num_threads / 32 - mj_ceil_div(row_blocks(tile), each) * 4;
    return warps > 0 ? warps : 0;
}

// Written by copies, and read as wgmma's B operand (mma.sync's is loaded by instructions).
static double shared_wavefronts(const struct mj_tile *tile, int width, int tokens) {
    double token_bytes = tokens * 16 * 2.0;
    double arriving = MJ_LOOP_COST_BLOCK_BYTES + token_bytes / row_blocks(tile);
    return (arriving + (width > 0 ? token_bytes : 0)) / SHARED_BYTES;
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

static void set_clocks(struct mj_block_cost *cost) {
    double *clocks = cost->clocks, n[MJ_NUM_PIPES];
    for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) n[pipe] = cost->multiplying[pipe] + cost->copying[pipe];
    double products = n[MJ_PIPE_MULTIPLY] + n[MJ_PIPE_FMA];
    clocks[MJ_TERM_ISSUE] = mj_loop_cost_instructions(n) / ISSUE_SLOTS;
    clocks[MJ_TERM_INTEGER] = n[MJ_PIPE_INTEGER] * 32 / INTEGER_LANES;
    clocks[MJ_TERM_FMA] = larger(n[MJ_PIPE_MULTIPLY] * 32 / MULTIPLY_LANES, products * 32 / FMA_LANES);
    clocks[MJ_TERM_CONVERT] = larger(n[MJ_PIPE_CONVERT] * 32 / CONVERT_LANES, n[MJ_PIPE_SPECIAL] * 32 / SPECIAL_LANES);
    for (enum mj_term term = MJ_TERM_ISSUE; term <= MJ_TERM_SHARED; term++) {
        if (clocks[term] > clocks[cost->busiest]) cost->busiest = term;
    }
}

static void add_copying(const struct mj_tile *tile, const struct mj_copying_loops *copying, int warps,
                        struct mj_block_cost *cost) {
    for (int i = 0; i < copying->count; i++) {
        const struct mj_loop *loop = &copying->loops[i];
        int steps = loop->waits > 0 ? loop->waits : 1, of_loop = copying->count == 1 ? warps : i == 0 ? 1 : warps - 1;
        double passes = (double)of_loop / (steps * row_blocks(tile) * (tile->block_k / 16));
        for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) cost->copying[pipe] += loop->instructions[pipe] * passes;
    }
}

void mj_loop_cost_block(const struct mj_tile *tile, const struct mj_loop *multiplying,
                        const struct mj_copying_loops *copying, int ctas_per_sm, struct mj_block_cost *cost) {
    *cost = (struct mj_block_cost){.busiest = MJ_TERM_ISSUE};
    int width = multiplying->width, tokens = width > 0 && width < tile->block_tokens ? width : tile->block_tokens;
    // Blocks for one pass of one warp: its share of them, where warps share a block.
    double blocks = (double)multiplying->products / (MJ_BLOCK_ROWS * 16.0 * tokens);
    for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) cost->multiplying[pipe] = multiplying->instructions[pipe] / blocks;
    add_copying(tile, copying, copying_warps(tile, multiplying), cost);
    double loaded = multiplying->shared_wavefronts / blocks;
    cost->clocks[MJ_TERM_SHARED] = loaded + shared_wavefronts(tile, width, tokens);
    cost->clocks[MJ_TERM_TENSOR] = tensor_clocks(width, tokens, row_blocks(tile) * ctas_per_sm);
    cost->clocks[MJ_TERM_MEMORY] =
        MJ_LOOP_COST_BLOCK_BYTES * MJ_LOOP_COST_NUM_SMS * MJ_LOOP_COST_CLOCK_HZ / MJ_LOOP_COST_MEMORY_BYTES_PER_S;
    set_clocks(cost);
}

double mj_loop_cost_instructions(const double pipes[MJ_NUM_PIPES]) {
    double sum = 0;
    for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) sum += pipes[pipe];
    return sum;
}

double mj_loop_cost_terabytes_per_s(double clocks) {
    return MJ_LOOP_COST_BLOCK_BYTES * MJ_LOOP_COST_NUM_SMS * MJ_LOOP_COST_CLOCK_HZ / clocks * 1e-12;
}

bool mj_loop_cost_is_decode(const struct mj_block_cost *cost) {
    return cost->clocks[MJ_TERM_MEMORY] >= cost->clocks[MJ_TERM_TENSOR];
}

double mj_loop_cost_tensor_share(const struct mj_block_cost *cost) {
    double tensor = cost->clocks[MJ_TERM_TENSOR], other = cost->clocks[cost->busiest];
    return tensor / larger(tensor, other);
}

bool mj_loop_cost_meets_budget(const struct mj_block_cost *cost) {
    if (mj_loop_cost_is_decode(cost))
        return mj_loop_cost_terabytes_per_s(cost->clocks[cost->busiest]) >= MJ_LOOP_COST_MIN_TERABYTES;
    return mj_loop_cost_tensor_share(cost) >= MJ_LOOP_COST_MIN_TENSOR_SHARE;
}
