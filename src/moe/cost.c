#include "moe/cost.h"

#include <math.h>
#include <string.h>

// Fitted to the times of all Hopper tiles and of the portable ladder in docs/benchmarks.md (H100, 4096 tensor FLOP a
// clock): the clocks of one multiprocessor for 64 rows, 16 of the reduction and N tokens are 52 + 0.37 N, portable
// 52 + 1.8 N. The 52 are dequantising and what else does not depend on the tokens.
#define BLOCK_CLOCKS 52.0
#define HOPPER_TOKEN_CLOCKS 0.37
#define PORTABLE_TOKEN_CLOCKS 1.8
#define CALIBRATED_TENSOR_FLOPS 4096.0
#define LAUNCH_US 2.0         // from kernel to kernel of a graph
#define MEMORY_EFFICIENCY 0.8 // 2.7 of 3.35 TB/s were the most seen
#define BITS_A_WEIGHT 4.5
#define WIDTH_STEP 32 // tokens, docs/kernels.md

void mj_device_figures_arch(const char *arch, struct mj_device_figures *figures) {
    static const struct {
        const char *arch;
        double tensor_flops;
        int shared_bytes;
    } known[] = {{"sm_80", 2048, 167936},  {"sm_86", 512, 102400},    {"sm_89", 512, 102400},
                 {"sm_90a", 4096, 233472}, {"sm_100a", 8192, 233472}, {"sm_103a", 8192, 233472},
                 {"sm_120a", 512, 102400}, {"sm_121a", 512, 102400}};
    figures->tensor_flops = 2048;
    figures->shared_bytes = 102400;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].arch, arch) != 0) continue;
        figures->tensor_flops = known[i].tensor_flops;
        figures->shared_bytes = known[i].shared_bytes;
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

// Tokens that are multiplied in an expert's tiles: the Hopper family cuts the last of its wide ones to a multiple
// of 32.
static double padded_tokens(const struct mj_tile *tile, int tokens) {
    int last = tokens % tile->block_tokens, full = tokens - last, width = tile->block_tokens;
    if (last == 0) return full;
    if (tile->family == MOEJIT_FAMILY_HOPPER && width > WIDTH_STEP) width = mj_ceil_div(last, WIDTH_STEP) * WIDTH_STEP;
    return full + width;
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

static double memory_us(const struct mj_device_figures *device, const struct mj_step_size *step,
                        const struct step_work *work) {
    double weights = work->busy_experts * step->rows * (double)step->columns * BITS_A_WEIGHT / 8;
    double tokens = work->tokens * (step->rows + step->columns) * 2.0;
    return (weights + tokens) / (device->memory_gb_s * MEMORY_EFFICIENCY * 1e3);
}

static double compute_us(const struct mj_device_figures *device, const struct mj_tile *tile,
                         const struct mj_step_size *step, const struct step_work *work) {
    double token = tile->family == MOEJIT_FAMILY_HOPPER ? HOPPER_TOKEN_CLOCKS : PORTABLE_TOKEN_CLOCKS;
    double tensor = CALIBRATED_TENSOR_FLOPS / device->tensor_flops;
    double block_clocks = BLOCK_CLOCKS + token * tensor * work->padded / work->token_tiles;
    double tile_clocks = block_clocks * (tile->block_rows / 64.0) * (step->columns / 16.0);
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
    if (work.token_tiles == 0) return LAUNCH_US;
    double memory = memory_us(device, step, &work), compute = compute_us(device, tile, step, &work);
    return LAUNCH_US + (memory > compute ? memory : compute);
}
