#include "moe/cost.h"

#include <math.h>
#include <string.h>

#include "moe/loop_cost.h"

// Clocks of one multiprocessor for 64 rows, 16 of the reduction and N tokens; fixed ones are dequantising and what else
// does not depend on the tokens. All figures are fitted to times of one H100 (1.98 GHz, 4096 tensor FLOP a clock):
// Hopper's to those in tests/host/test_tuning_rules.c, the portable ones to the ladder in docs/benchmarks.md. mma.sync
// tiles were bound by memory wherever they were timed, which says only that they take no more than this.
struct block_clocks {
    double fixed, token;
};
static const struct block_clocks PORTABLE = {59, 2.0}, HOPPER_MMA = {17, 0.9}, HOPPER_WGMMA = {32, 0.61};
// Timed nowhere: within 20 % of the larger of instructions and tensor cores that `inspect cost` counts for sm_120a.
static const struct block_clocks FP4 = {11, 0.42};

#define HOPPER_TILE_STEPS 37 // that a tile takes, in steps of 16, besides its reduction: filling the ring, the epilogue
#define CALIBRATED_TENSOR_FLOPS 4096.0
#define STEP_US 4.0            // from kernel to kernel of a graph, first loads, last stores
#define MEMORY_EFFICIENCY 0.83 // of 3.35 TB/s, in steps that memory bounds
#define BITS_A_WEIGHT 4.5

void mj_device_figures_arch(const char *arch, struct mj_device_figures *figures) {
    static const struct {
        const char *arch;
        double tensor_flops;
        int shared_bytes;
        double scaled_flops;
    } known[] = {{"sm_80", 2048, 167936, 0},     {"sm_86", 512, 102400, 0},     {"sm_89", 512, 102400, 0},
                 {"sm_90a", 4096, 233472, 0},    {"sm_100a", 8192, 233472, 0},  {"sm_103a", 8192, 233472, 0},
                 {"sm_120a", 512, 102400, 4096}, {"sm_121a", 512, 102400, 4096}};
    figures->tensor_flops = 2048;
    figures->shared_bytes = 102400;
    figures->scaled_flops = 0;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].arch, arch) != 0) continue;
        figures->tensor_flops = known[i].tensor_flops;
        figures->shared_bytes = known[i].shared_bytes;
        figures->scaled_flops = known[i].scaled_flops;
    }
}

// CTAs that share a multiprocessor: the compiler leaves registers for blocks_per_sm of them, threads and memory bound.
static int occupancy(const struct mj_device_figures *device, const struct mj_tile *tile, int num_experts) {
    int by_memory = device->shared_bytes / mj_tile_shared_bytes(tile, num_experts),
        by_threads = 1024 / tile->num_threads;
    int most = by_memory < by_threads ? by_memory : by_threads;
    if (tile->family == MOEJIT_FAMILY_HOPPER && tile->blocks_per_sm < most) most = tile->blocks_per_sm;
    return most > 1 ? most : 1;
}

// The width at which a Hopper tile of some tokens is multiplied: gemm_hopper_mma.cuh, gemm_hopper_wgmma.cuh.
static int hopper_width(const struct mj_tile *tile, int tokens) {
    if (mj_tile_uses_mma(tile)) return mj_ceil_div(tokens, 8) * 8;
    int block = tile->block_tokens, width = block <= 64 ? 16 : 32;
    while (width < tokens) {
        int step = block <= 64 ? 8 : (width < 96 ? 32 : 16);
        if (width < 32 || (width < 96 && block == 96)) step = 16;
        width = width + step < block ? width + step : block;
    }
    return width;
}

// Tokens that are multiplied in an expert's tiles: spread evenly, in eights, as in scheduler.cuh.
static double padded_tokens(const struct mj_tile *tile, int tokens) {
    int tiles = mj_ceil_div(tokens, tile->block_tokens);
    if (tiles == 0 || tile->family != MOEJIT_FAMILY_HOPPER) return (double)tiles * tile->block_tokens;
    int each = mj_ceil_div(mj_ceil_div(tokens, tiles), 8) * 8, last = tokens - (tiles - 1) * each;
    return (double)(tiles - 1) * hopper_width(tile, each) + hopper_width(tile, last);
}

struct step_work {
    double busy_experts, tokens, token_tiles, padded;
};

static struct step_work count_work(const struct mj_tile *tile, const struct mj_step_size *step) {
    struct step_work work = {0};
    for (int e = 0; e < step->num_experts; e++) {
        work.busy_experts += step->tokens[e] > 0;
        work.tokens += step->tokens[e];
        work.token_tiles += mj_ceil_div(step->tokens[e], tile->block_tokens);
        work.padded += padded_tokens(tile, step->tokens[e]);
    }
    return work;
}

static double memory_us(const struct mj_device_figures *device, const struct mj_tile *tile,
                        const struct mj_step_size *step, const struct step_work *work) {
    double weights = work->busy_experts * step->rows * (double)step->columns * BITS_A_WEIGHT / 8;
    double tokens = work->tokens * (step->rows + step->columns) * mj_loop_cost_value_bits(tile) / 8;
    return (weights + tokens) / (device->memory_gb_s * MEMORY_EFFICIENCY * 1e3);
}

static struct block_clocks clocks_of(const struct mj_tile *tile) {
    if (tile->family == MOEJIT_FAMILY_HOPPER) return mj_tile_uses_mma(tile) ? HOPPER_MMA : HOPPER_WGMMA;
    return tile->family == MOEJIT_FAMILY_FP4 ? FP4 : PORTABLE;
}

static double compute_us(const struct mj_device_figures *device, const struct mj_tile *tile,
                         const struct mj_step_size *step, const struct step_work *work) {
    bool hopper = tile->family == MOEJIT_FAMILY_HOPPER, fp4 = tile->family == MOEJIT_FAMILY_FP4;
    struct block_clocks clocks = clocks_of(tile);
    double tensor = CALIBRATED_TENSOR_FLOPS / (fp4 ? device->scaled_flops : device->tensor_flops);
    double block_clocks = clocks.fixed + clocks.token * tensor * work->padded / work->token_tiles;
    double steps = step->columns / 16.0 + (hopper ? HOPPER_TILE_STEPS : 0);
    double tile_clocks = block_clocks * (tile->block_rows / 64.0) * steps;
    double tiles = work->token_tiles * mj_ceil_div(step->rows, tile->block_rows);
    double resident = occupancy(device, tile, step->num_experts), slots = device->num_sms * resident;
    double waves = ceil(tiles / slots);
    // A last wave that is not full leaves the CTAs of a multiprocessor more of it.
    double last = ceil((tiles - (waves - 1) * slots) / device->num_sms);
    return ((waves - 1) * resident + last) * tile_clocks / (device->sm_ghz * 1e3);
}

double mj_cost_step(const struct mj_device_figures *device, const struct mj_tile *tile,
                    const struct mj_step_size *step) {
    struct step_work work = count_work(tile, step);
    if (work.token_tiles == 0) return STEP_US;
    double memory = memory_us(device, tile, step, &work), compute = compute_us(device, tile, step, &work);
    return STEP_US + (memory > compute ? memory : compute);
}
