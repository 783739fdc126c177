// What the blocks of a cluster do together (PTX ISA, "barrier.cluster", "mapa", "getctarank").
#include "warp.h"

static uint32_t alive_threads(const struct emu_cluster *cluster) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < cluster->size; i++) sum += cluster->ctas[i].alive_threads;
    return sum;
}

static uint32_t population(uint32_t mask) {
    return (uint32_t)__builtin_popcount(mask);
}

// Threads that exited count as arrived; those that arrived before they exited were counted.
void emu_cluster_recount(struct emu_cluster *cluster) {
    if (cluster->arrived_threads == 0 || cluster->arrived_threads < alive_threads(cluster)) return;
    cluster->arrived_threads = 0;
    cluster->generation++;
    struct emu_cta *first = &cluster->ctas[0];
    memcpy(first->cluster_seen, first->cluster_clocks, emu_race_num_clocks(first) * sizeof(*first->cluster_seen));
    cluster->ctas[0].run->progress++;
}

void emu_cluster_leave(struct emu_warp *warp, uint32_t mask) {
    struct emu_cluster *cluster = warp->cta->cluster;
    for (uint32_t lanes = mask & warp->cluster_arrived; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        if (warp->cluster_generations[lane] == cluster->generation) cluster->arrived_threads--;
    }
    emu_cluster_recount(cluster);
}

EMU_EXECUTE(arrive) {
    struct emu_cluster *cluster = warp->cta->cluster;
    if ((warp->cluster_arrived & mask) != 0) {
        emu_warp_finding(warp, (uint32_t)__builtin_ctz(warp->cluster_arrived & mask), EMU_OUTCOME_LAUNCH_FAILED,
                         "a second barrier.cluster.arrive with no barrier.cluster.wait between");
        return;
    }
    warp->cluster_arrived |= mask;
    EMU_EACH_LANE({ warp->cluster_generations[lane] = cluster->generation; });
    if (EMU_FLAG(RELAXED)) {
        emu_race_release_relaxed(warp, cluster->ctas[0].cluster_clocks);
        emu_race_warp_sync(warp);
    } else {
        emu_race_release(warp, cluster->ctas[0].cluster_clocks);
    }
    cluster->arrived_threads += population(mask);
    emu_cluster_recount(cluster);
}

EMU_EXECUTE(wait) {
    const struct emu_cluster *cluster = warp->cta->cluster;
    (void)instruction;
    if ((mask & ~warp->cluster_arrived) != 0) {
        emu_warp_finding(warp, (uint32_t)__builtin_ctz(mask & ~warp->cluster_arrived), EMU_OUTCOME_LAUNCH_FAILED,
                         "barrier.cluster.wait with no barrier.cluster.arrive before it");
        return;
    }
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        if (warp->cluster_generations[__builtin_ctz(lanes)] != cluster->generation) continue;
        warp->retry = true;
        return;
    }
    warp->cluster_arrived &= ~mask;
    emu_race_acquire(warp, cluster->ctas[0].cluster_seen);
    emu_race_warp_sync(warp);
    warp->cta->run->counters.barrier_waits++;
}

static bool check_rank(struct emu_warp *warp, uint32_t lane, uint32_t rank) {
    if (rank < warp->cta->cluster->size) return true;
    emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "mapa to block %u of a cluster of %u", rank,
                     warp->cta->cluster->size);
    return false;
}

EMU_EXECUTE(map_shared) { // d, a, rank
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes), rank = EMU_32(2)[lane];
        if (!check_rank(warp, lane, rank)) return;
        EMU_32(0)[lane] = (EMU_32(1)[lane] & ((1u << EMU_CLUSTER_SHIFT) - 1)) | (rank + 1) << EMU_CLUSTER_SHIFT;
    }
}

EMU_EXECUTE(map_generic) {
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes), rank = EMU_32(2)[lane];
        uint64_t address = EMU_64(1)[lane];
        if (!check_rank(warp, lane, rank)) return;
        if (address >> EMU_WINDOW_SHIFT != EMU_WINDOW_SHARED) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "mapa of 0x%llx, which is no shared address",
                             (unsigned long long)address);
            return;
        }
        EMU_64(0)
        [lane] = (uint64_t)EMU_WINDOW_SHARED << EMU_WINDOW_SHIFT | (address & ((1u << EMU_CLUSTER_SHIFT) - 1)) |
                 (uint64_t)(rank + 1) << EMU_CLUSTER_SHIFT;
    }
}

static uint32_t rank_of(const struct emu_warp *warp, uint32_t address) {
    uint32_t rank = address >> EMU_CLUSTER_SHIFT;
    return rank == 0 ? warp->cta->rank : rank - 1;
}

EMU_EXECUTE(rank_of_shared) { // d, a
    EMU_EACH_LANE({ EMU_32(0)[lane] = rank_of(warp, EMU_32(1)[lane]); });
}

EMU_EXECUTE(rank_of_generic) {
    EMU_EACH_LANE({ EMU_32(0)[lane] = rank_of(warp, (uint32_t)EMU_64(1)[lane]); });
}

#define ROW .instruction_class = EMU_CLASS_CONTROL, .arch = 90
static const struct emu_row rows[] = {
    {"barrier", "cluster arrive ?release|relaxed aligned", "", arrive, .flow = EMU_FLOW_WARP, ROW},
    {"barrier", "cluster arrive ?release|relaxed", "", arrive, ROW},
    {"barrier", "cluster wait ?acquire ?aligned", "", wait, .flow = EMU_FLOW_CLUSTER, ROW},
    {"mapa", "shared::cluster u32", "d32 s32 s32", map_shared, ROW},
    {"mapa", "u64", "d64 s64 s32", map_generic, ROW},
    {"getctarank", "shared::cluster u32", "d32 s32", rank_of_shared, ROW},
    {"getctarank", "u64", "d32 s64", rank_of_generic, ROW},
};
EMU_ROWS(emu_rows_cluster, rows);
