#include "moe/loop_cost.h"

#include <stddef.h>

// Alike in compute capability 9.0 and 12.x: CUDA C++ programming guide, technical specifications, and cuda_occupancy.h.
#define MAX_REGISTERS 65536
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

#define WAVEFRONT_BYTES 128 // of shared memory

static int round_up(int value, int granule) {
    return mj_ceil_div(value, granule) * granule;
}

static int least(int a, int b) {
    return a < b ? a : b;
}

// As cuda_occupancy.h of the toolkit counts: registers are given out by quarters of the multiprocessor.
int mj_loop_cost_ctas_per_sm(const struct mj_machine *machine, int registers, int num_threads, int shared_bytes) {
    int warps = mj_ceil_div(num_threads, 32), warp_registers = round_up(registers * 32, REGISTER_GRANULE);
    int fitting_warps = warp_registers > 0 ? MAX_REGISTERS / QUARTERS / warp_registers * QUARTERS : machine->max_warps;
    int shared = round_up(shared_bytes + MJ_RESERVED_SHARED_BYTES, SHARED_GRANULE);
    // A single CTA must fit even if its warps filled all quarters evenly.
    if (round_up(warps, QUARTERS) * warp_registers > MAX_REGISTERS) return 0;
    int ctas = least(fitting_warps, machine->max_warps) / warps;
    return least(least(ctas, machine->shared_bytes / shared), machine->max_ctas);
}

static int row_blocks(const struct mj_tile *tile) {
    return tile->block_rows / MJ_BLOCK_ROWS;
}

double mj_loop_cost_value_bits(const struct mj_tile *tile) {
    return tile->family == MOEJIT_FAMILY_FP4 ? 4.5 : 16;
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
// wgmma is sm_90a's alone; measured like the rest of its machine. A in registers, two or more warpgroups on the
// multiprocessor; one alone waits for itself.
static const struct rate shared_rates[] = {{8, 13.2}, {16, 13.2}, {32, 16.2}, {64, 32}, {128, 64}, {256, 129}};
static const struct rate alone_rates[] = {{8, 26}, {32, 32}, {64, 48}, {128, 80}, {256, 143}};

// Between the measured points on a line.
static double interpolate(const struct rate *rates, size_t count, int tokens) {
    size_t i = 1;
    while (i + 1 < count && rates[i].tokens < tokens) i++;
    const struct rate *a = &rates[i - 1], *b = &rates[i];
    double clocks = a->clocks + (b->clocks - a->clocks) * (tokens - a->tokens) / (b->tokens - a->tokens);
    return tokens < rates[0].tokens ? rates[0].clocks : clocks;
}

static double mma_products(const struct mj_machine *machine, const struct mj_tile *tile) {
    return tile->family == MOEJIT_FAMILY_FP4 ? machine->scaled_mma_products : machine->mma_products;
}

static double wgmma_clocks(int width, int tokens, int warpgroups) {
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

// Clocks of shared memory for what is written by copies, and read as wgmma's B operand (mma.sync's is loaded by
// instructions).
static double operand_clocks(const struct mj_machine *machine, const struct mj_tile *tile, int width, int tokens) {
    double token_bytes = tokens * 16 * mj_loop_cost_value_bits(tile) / 8.0;
    double arriving = MJ_LOOP_COST_BLOCK_BYTES + token_bytes / row_blocks(tile);
    return (arriving + (width > 0 ? token_bytes : 0)) / machine->shared_bytes_a_clock;
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

static void set_clocks(const struct mj_machine *machine, struct mj_block_cost *cost) {
    double *clocks = cost->clocks, n[MJ_NUM_PIPES];
    for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) n[pipe] = cost->multiplying[pipe] + cost->copying[pipe];
    double products = n[MJ_PIPE_MULTIPLY] + n[MJ_PIPE_FMA];
    clocks[MJ_TERM_ISSUE] = mj_loop_cost_instructions(n) / machine->issue_slots;
    clocks[MJ_TERM_INTEGER] = n[MJ_PIPE_INTEGER] * 32 / machine->integer_lanes;
    clocks[MJ_TERM_FMA] =
        larger(n[MJ_PIPE_MULTIPLY] * 32 / machine->multiply_lanes, products * 32 / machine->fma_lanes);
    clocks[MJ_TERM_CONVERT] =
        larger(n[MJ_PIPE_CONVERT] * 32 / machine->convert_lanes, n[MJ_PIPE_SPECIAL] * 32 / machine->special_lanes);
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

static double bytes_per_clock(const struct mj_machine *machine) { // of one multiprocessor, at the memory's bandwidth
    return machine->memory_bytes_per_s / machine->num_sms / machine->clock_hz;
}

void mj_loop_cost_block(const struct mj_machine *machine, const struct mj_tile *tile, const struct mj_loop *multiplying,
                        const struct mj_copying_loops *copying, int ctas_per_sm, struct mj_block_cost *cost) {
    *cost = (struct mj_block_cost){.busiest = MJ_TERM_ISSUE};
    int width = multiplying->width, tokens = width > 0 && width < tile->block_tokens ? width : tile->block_tokens;
    // Blocks for one pass of one warp: its share of them, where warps share a block.
    double blocks = (double)multiplying->products / (MJ_BLOCK_ROWS * 16.0 * tokens);
    for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) cost->multiplying[pipe] = multiplying->instructions[pipe] / blocks;
    add_copying(tile, copying, copying_warps(tile, multiplying), cost);
    double loaded = multiplying->shared_wavefronts * WAVEFRONT_BYTES / machine->shared_bytes_a_clock / blocks;
    cost->clocks[MJ_TERM_SHARED] = loaded + operand_clocks(machine, tile, width, tokens);
    cost->clocks[MJ_TERM_TENSOR] = width > 0 ? wgmma_clocks(width, tokens, row_blocks(tile) * ctas_per_sm)
                                             : MJ_BLOCK_ROWS * 16.0 * tokens / mma_products(machine, tile);
    cost->clocks[MJ_TERM_MEMORY] = MJ_LOOP_COST_BLOCK_BYTES / bytes_per_clock(machine);
    set_clocks(machine, cost);
}

double mj_loop_cost_instructions(const double pipes[MJ_NUM_PIPES]) {
    double sum = 0;
    for (int pipe = 0; pipe < MJ_NUM_PIPES; pipe++) sum += pipes[pipe];
    return sum;
}

double mj_loop_cost_terabytes_per_s(const struct mj_machine *machine, double clocks) {
    return MJ_LOOP_COST_BLOCK_BYTES * machine->num_sms * machine->clock_hz / clocks * 1e-12;
}

bool mj_loop_cost_is_decode(const struct mj_block_cost *cost) {
    return cost->clocks[MJ_TERM_MEMORY] >= cost->clocks[MJ_TERM_TENSOR];
}

double mj_loop_cost_tensor_share(const struct mj_block_cost *cost) {
    double tensor = cost->clocks[MJ_TERM_TENSOR], other = cost->clocks[cost->busiest];
    return tensor / larger(tensor, other);
}

bool mj_loop_cost_meets_memory_budget(const struct mj_machine *machine, const struct mj_block_cost *cost) {
    double terabytes = mj_loop_cost_terabytes_per_s(machine, cost->clocks[cost->busiest]);
    return !mj_loop_cost_is_decode(cost) || terabytes >= machine->budget_bytes_per_s * 1e-12;
}

bool mj_loop_cost_meets_tensor_budget(const struct mj_tile *tile, const struct mj_block_cost *cost) {
    bool prefill = !mj_loop_cost_is_decode(cost) || tile->block_tokens >= MJ_LOOP_COST_PREFILL_TOKENS;
    return !prefill || mj_loop_cost_tensor_share(cost) >= MJ_LOOP_COST_MIN_TENSOR_SHARE;
}
