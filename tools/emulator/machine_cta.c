// A CTA: its warps with their registers, its shared memory, and how both begin.
#include <stdlib.h>

#include "warp.h"

#define REGISTER_ALIGNMENT 128
#define DYNAMIC_ALIGNMENT 128

static uint32_t shared_bytes(const struct emu_launch *launch) {
    const struct emu_kernel *kernel = launch->kernel;
    size_t fixed = kernel->facts.static_shared_bytes, dynamic = launch->dynamic_shared_bytes;
    return (uint32_t)(dynamic > 0 ? kernel->dynamic_shared_offset + dynamic : fixed);
}

// Those of warps, barriers, fences and the cluster's barrier.
static size_t clock_bytes(const struct emu_cta *cta) {
    return (size_t)(cta->num_warps + EMU_NUM_BARRIERS + 3) * emu_race_num_clocks(cta) * sizeof(*cta->clocks);
}

static bool create_warp(struct emu_cta *cta, struct emu_warp *warp, uint32_t index) {
    const struct emu_kernel *kernel = cta->kernel;
    size_t bytes = (kernel->register_bytes + REGISTER_ALIGNMENT - 1) / REGISTER_ALIGNMENT * REGISTER_ALIGNMENT;
    warp->cta = cta;
    warp->index = index;
    warp->banks[0] = aligned_alloc(REGISTER_ALIGNMENT, bytes);
    warp->banks[1] = kernel->constants;
    warp->local = malloc(kernel->facts.local_bytes * EMU_LANES + 1);
    warp->clocks = cta->clocks + (size_t)index * emu_race_num_clocks(cta);
    warp->set = malloc((kernel->num_doubts + 1) * sizeof(*warp->set));
    if (warp->banks[0] != NULL) memset(warp->banks[0], 0xff, bytes);
    return warp->banks[0] != NULL && warp->local != NULL && warp->set != NULL;
}

bool emu_cta_create(struct emu_cta *cta, struct emu_run *run) {
    const struct emu_launch *launch = run->launch;
    cta->run = run;
    cta->launch = launch;
    cta->kernel = launch->kernel;
    cta->checks = launch->settings->checks;
    cta->num_threads = launch->block[0] * launch->block[1] * launch->block[2];
    cta->num_warps = (cta->num_threads + EMU_LANES - 1) / EMU_LANES;
    cta->cluster_size = launch->cluster[0] != 0 ? launch->cluster[0] * launch->cluster[1] * launch->cluster[2] : 1;
    cta->num_agents = emu_race_num_agents(cta->cluster_size, cta->num_warps);
    cta->shared_bytes = shared_bytes(launch);
    cta->shared = malloc(cta->shared_bytes + 16);
    cta->shared_written = malloc(cta->shared_bytes + 16);
    cta->words = malloc((cta->shared_bytes / 4 + 4) * sizeof(*cta->words));
    cta->warps = calloc(cta->num_warps, sizeof(*cta->warps));
    cta->clocks = malloc(clock_bytes(cta));
    if (cta->shared == NULL || cta->shared_written == NULL || cta->words == NULL || cta->warps == NULL ||
        cta->clocks == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < EMU_NUM_BARRIERS; i++) {
        cta->barriers[i].clocks = cta->clocks + (size_t)(cta->num_warps + i) * emu_race_num_clocks(cta);
    }
    cta->fence_clocks = cta->clocks + (size_t)(cta->num_warps + EMU_NUM_BARRIERS) * emu_race_num_clocks(cta);
    cta->cluster_clocks = cta->fence_clocks + emu_race_num_clocks(cta);
    cta->cluster_seen = cta->cluster_clocks + emu_race_num_clocks(cta);
    for (uint32_t w = 0; w < cta->num_warps; w++) {
        if (!create_warp(cta, &cta->warps[w], w)) return false;
    }
    return true;
}

void emu_cta_destroy(struct emu_cta *cta) {
    for (uint32_t w = 0; cta->warps != NULL && w < cta->num_warps; w++) {
        free(cta->warps[w].banks[0]);
        free(cta->warps[w].local);
        free(cta->warps[w].set);
        free(cta->warps[w].copies);
        emu_wgmma_clear(&cta->warps[w]);
    }
    emu_mbarriers_clear(cta);
    emu_bulk_clear(cta);
    free(cta->matrix_reads);
    free(cta->warps);
    free(cta->shared);
    free(cta->shared_written);
    free(cta->words);
    free(cta->bytes);
    free(cta->clocks);
}

static void set_special(struct emu_warp *warp, enum emu_special special, uint32_t value) {
    uint32_t *lanes = emu_lanes(warp, warp->cta->kernel->specials[special]);
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) lanes[lane] = value;
}

static void set_three(struct emu_warp *warp, enum emu_special first, const unsigned value[3]) {
    for (unsigned i = 0; i < 3; i++) set_special(warp, (enum emu_special)((unsigned)first + i), value[i]);
}

static void set_thread_specials(struct emu_warp *warp) {
    const uint32_t *specials = warp->cta->kernel->specials;
    const unsigned *block = warp->cta->launch->block;
    uint32_t *x = emu_lanes(warp, specials[EMU_SPECIAL_TID_X]), *y = emu_lanes(warp, specials[EMU_SPECIAL_TID_Y]);
    uint32_t *z = emu_lanes(warp, specials[EMU_SPECIAL_TID_Z]), *id = emu_lanes(warp, specials[EMU_SPECIAL_LANEID]);
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        uint32_t thread = warp->index * EMU_LANES + lane;
        x[lane] = thread % block[0];
        y[lane] = thread / block[0] % block[1];
        z[lane] = thread / block[0] / block[1];
        id[lane] = lane;
    }
}

static void set_cluster_specials(struct emu_warp *warp) {
    const struct emu_cta *cta = warp->cta;
    const unsigned *grid = cta->launch->grid;
    unsigned cluster[3], in_cluster[3], ids[3], counts[3];
    for (int i = 0; i < 3; i++) {
        cluster[i] = cta->launch->cluster[0] != 0 ? cta->launch->cluster[i] : 1;
        in_cluster[i] = cta->index[i] % cluster[i];
        ids[i] = cta->index[i] / cluster[i];
        counts[i] = grid[i] / cluster[i];
    }
    set_three(warp, EMU_SPECIAL_CLUSTERID_X, ids);
    set_three(warp, EMU_SPECIAL_NCLUSTERID_X, counts);
    set_three(warp, EMU_SPECIAL_CLUSTER_CTAID_X, in_cluster);
    set_three(warp, EMU_SPECIAL_CLUSTER_NCTAID_X, cluster);
    set_special(warp, EMU_SPECIAL_CLUSTER_CTARANK, cta->rank);
    set_special(warp, EMU_SPECIAL_CLUSTER_NCTARANK, cta->cluster->size);
}

// Registers that may be read before they are set begin as what looks like no number.
static void start_warp(struct emu_warp *warp, uint64_t number) {
    struct emu_cta *cta = warp->cta;
    if (cta->kernel->num_doubts > 0) memset(warp->banks[0], 0xff, cta->kernel->register_bytes);
    memset(warp->set, 0, (cta->kernel->num_doubts + 1) * sizeof(*warp->set));
    memset(warp->local, 0xff, cta->kernel->facts.local_bytes * EMU_LANES);
    set_thread_specials(warp);
    set_three(warp, EMU_SPECIAL_NTID_X, cta->launch->block);
    set_three(warp, EMU_SPECIAL_CTAID_X, cta->index);
    set_three(warp, EMU_SPECIAL_NCTAID_X, cta->launch->grid);
    set_cluster_specials(warp);
    set_special(warp, EMU_SPECIAL_WARPID, warp->index);
    set_special(warp, EMU_SPECIAL_NWARPID, cta->num_warps);
    set_special(warp, EMU_SPECIAL_SMID, (uint32_t)(number % 132)); // as many as an H100 has
    set_special(warp, EMU_SPECIAL_DYNAMIC_SMEM_SIZE, cta->launch->dynamic_shared_bytes);
    uint32_t left = cta->num_threads - warp->index * EMU_LANES;
    warp->alive = left >= EMU_LANES ? EMU_FULL_MASK : (1u << left) - 1;
    emu_warp_start(warp);
    warp->agent = cta->rank * cta->num_warps + warp->index;
    warp->clocks[warp->agent] = 1;
    warp->max_registers = (uint32_t)cta->kernel->facts.launch_registers;
}

void emu_cta_start(struct emu_cta *cta, uint64_t number) {
    cta->alive_threads = cta->num_threads;
    emu_bulk_clear(cta);
    free(cta->matrix_reads);
    cta->matrix_reads = NULL;
    cta->num_readings = cta->async_clock = cta->free_registers = 0;
    memset(cta->shared, 0xff, cta->shared_bytes);
    memset(cta->shared_written, 0, cta->shared_bytes);
    for (uint32_t i = 0; i < cta->shared_bytes / 4 + 4; i++) {
        cta->words[i] = (struct emu_shared_word){.writer = 0xffffffffu};
    }
    free(cta->bytes);
    cta->bytes = NULL;
    memset(cta->clocks, 0, clock_bytes(cta));
    emu_mbarriers_clear(cta);
    for (uint32_t i = 0; i < EMU_NUM_BARRIERS; i++) {
        cta->barriers[i].arrived = cta->barriers[i].expected = cta->barriers[i].predicates = 0;
    }
    for (uint32_t w = 0; w < cta->num_warps; w++) start_warp(&cta->warps[w], number);
}
