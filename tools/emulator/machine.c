// Runs a grid: cluster by cluster (a cluster of one CTA where the launch names none), on one host thread or several.
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "warp.h"

#define MAX_HOST_THREADS 64
#define LONGEST_TURN 512        // instructions, in the seeded schedule
#define ADVERSARIAL_TURN 100000 // and in the other: a warp goes on until it must wait, in practice

// What the host threads of one launch share.
struct grid {
    const struct emu_launch *launch;
    struct emu_reporter *reporter;
    pthread_mutex_t lock;
    uint64_t next, num_clusters, first;
    enum emu_outcome outcome;
    struct emu_footprint *touched; // by CTAs that do not fence: those of two must not conflict
};

static uint64_t next_random(uint64_t *state) { // SplitMix64
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// ---- One cluster

static uint32_t total_warps(const struct emu_cluster *cluster) {
    return cluster->size * cluster->ctas[0].num_warps;
}

static bool any_alive(const struct emu_cluster *cluster) {
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (cluster->ctas[i].alive_threads > 0) return true;
    }
    return false;
}

// One turn of each warp, from a random one on. The adversarial schedule lets one warp starve while others can go on,
// which they do for long.
static void run_round(struct emu_cluster *cluster, uint64_t *random, bool adversarial, uint32_t victim) {
    struct emu_run *run = cluster->ctas[0].run;
    uint32_t num_warps = total_warps(cluster), per_cta = cluster->ctas[0].num_warps;
    uint32_t first = adversarial ? victim + 1 : (uint32_t)(next_random(random) % num_warps);
    bool moved = false;
    for (uint32_t i = 0; i < num_warps && run->outcome == EMU_OUTCOME_OK; i++) {
        uint32_t at = (first + i) % num_warps;
        struct emu_warp *warp = &cluster->ctas[at / per_cta].warps[at % per_cta];
        uint64_t before = run->counters.warp_instructions;
        uint32_t turn = adversarial ? ADVERSARIAL_TURN : 1 + (uint32_t)(next_random(random) % LONGEST_TURN);
        if (warp->alive == 0 || (adversarial && at == victim && moved)) continue;
        emu_warp_run(warp, turn);
        if (run->num_flights > 0 && !adversarial) emu_bulk_progress(cluster, next_random(random));
        moved = moved || (run->counters.warp_instructions != before && !warp->waits);
    }
    if (run->num_flights > 0 && adversarial) emu_bulk_late(cluster, moved);
}

static bool all_stuck(const struct emu_cluster *cluster) {
    uint32_t per_cta = cluster->ctas[0].num_warps;
    for (uint32_t i = 0; i < total_warps(cluster); i++) {
        const struct emu_warp *warp = &cluster->ctas[i / per_cta].warps[i % per_cta];
        if (warp->alive != 0 && !emu_warp_stuck(warp)) return false;
    }
    return true;
}

static void run_cluster(struct emu_cluster *cluster, uint64_t seed) {
    struct emu_run *run = cluster->ctas[0].run;
    bool adversarial = run->launch->settings->schedule == EMU_SCHEDULE_ADVERSARIAL;
    uint64_t random = seed;
    uint32_t victim = (uint32_t)(next_random(&random) % total_warps(cluster));
    run->random = seed;
    while (run->outcome == EMU_OUTCOME_OK && any_alive(cluster)) {
        run_round(cluster, &random, adversarial, victim);
        if (run->outcome == EMU_OUTCOME_OK && any_alive(cluster) && run->num_flights == 0 && all_stuck(cluster)) {
            emu_deadlock_report(cluster);
        }
    }
}

// ---- A host thread

static void place_ctas(struct emu_cluster *cluster, const struct emu_launch *launch, uint64_t number) {
    unsigned size[3], clusters[3];
    for (int i = 0; i < 3; i++) {
        size[i] = launch->cluster[0] != 0 ? launch->cluster[i] : 1;
        clusters[i] = launch->grid[i] / size[i];
    }
    unsigned corner[3] = {(unsigned)(number % clusters[0]) * size[0],
                          (unsigned)(number / clusters[0] % clusters[1]) * size[1],
                          (unsigned)(number / clusters[0] / clusters[1]) * size[2]};
    cluster->arrived_threads = cluster->generation = 0;
    for (unsigned rank = 0; rank < cluster->size; rank++) {
        struct emu_cta *cta = &cluster->ctas[rank];
        cta->rank = rank;
        cta->cluster = cluster;
        cta->index[0] = corner[0] + rank % size[0];
        cta->index[1] = corner[1] + rank / size[0] % size[1];
        cta->index[2] = corner[2] + rank / size[0] / size[1];
        emu_cta_start(cta, number * cluster->size + rank);
    }
}

static bool settle_footprint(const struct grid *grid, struct emu_footprint *touched, struct emu_footprint *sum,
                             bool checks, uintptr_t *address) {
    bool conflict = checks && emu_footprint_conflict(grid->touched, touched, address);
    if (sum != NULL) emu_footprint_merge(sum, touched);
    return conflict;
}

// The CTAs of a grid run in any order or at once: what two of them touch must not conflict, unless they order it
// themselves.
static void compare_footprints(struct grid *grid, struct emu_cluster *cluster) {
    struct emu_run *run = cluster->ctas[0].run;
    uintptr_t address = 0;
    if (run->footprint == NULL) return;
    pthread_mutex_lock(&grid->lock);
    bool checks = grid->launch->settings->checks && !run->fenced && run->outcome == EMU_OUTCOME_OK;
    bool conflict = settle_footprint(grid, run->footprint, grid->launch->footprint, checks, &address);
    if (run->early != NULL && settle_footprint(grid, run->early, grid->launch->early, checks, &address)) {
        conflict = true;
    }
    if (checks) emu_footprint_merge(grid->touched, run->footprint);
    if (checks && run->early != NULL) emu_footprint_merge(grid->touched, run->early);
    pthread_mutex_unlock(&grid->lock);
    emu_footprint_clear(run->footprint);
    if (run->early != NULL) emu_footprint_clear(run->early);
    struct emu_warp *warp = &cluster->ctas[0].warps[0];
    warp->current = NULL;
    if (!conflict) return;
    emu_warp_finding(
        warp, 0, EMU_OUTCOME_LAUNCH_FAILED,
        "race: this block and another one both touch address 0x%llx, at least one of them writes, and nothing "
        "orders them",
        (unsigned long long)address);
}

static bool take_cluster(struct grid *grid, uint64_t *number) {
    pthread_mutex_lock(&grid->lock);
    bool more = grid->next < grid->num_clusters && grid->outcome == EMU_OUTCOME_OK;
    if (more) *number = (grid->first + grid->next++) % grid->num_clusters;
    pthread_mutex_unlock(&grid->lock);
    return more;
}

static void add_counters(struct emu_counters *sum, const struct emu_counters *more) {
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++) to[i] += from[i];
}

static void finish(struct grid *grid, const struct emu_run *run) {
    pthread_mutex_lock(&grid->lock);
    if (grid->outcome == EMU_OUTCOME_OK) grid->outcome = run->outcome;
    if (grid->launch->counters != NULL) add_counters(grid->launch->counters, &run->counters);
    pthread_mutex_unlock(&grid->lock);
}

static bool create_cluster(struct emu_cluster *cluster, struct emu_run *run) {
    const unsigned *size = run->launch->cluster;
    cluster->size = size[0] != 0 ? size[0] * size[1] * size[2] : 1;
    cluster->ctas = calloc(cluster->size, sizeof(*cluster->ctas));
    if (cluster->ctas == NULL) return false;
    for (uint32_t i = 0; i < cluster->size; i++) {
        if (!emu_cta_create(&cluster->ctas[i], run)) return false;
    }
    return true;
}

static void destroy_cluster(struct emu_cluster *cluster) {
    for (uint32_t i = 0; cluster->ctas != NULL && i < cluster->size; i++) emu_cta_destroy(&cluster->ctas[i]);
    free(cluster->ctas);
}

static void *work(void *argument) {
    struct grid *grid = argument;
    struct emu_run run = {.launch = grid->launch, .reporter = grid->reporter};
    struct emu_cluster cluster = {.size = 0};
    uint64_t number;
    bool wants_footprint = grid->launch->footprint != NULL || grid->launch->settings->checks;
    bool wants_early = wants_footprint && grid->launch->early != NULL;
    if (wants_footprint) run.footprint = emu_footprint_create();
    if (wants_early) run.early = emu_footprint_create();
    if (!create_cluster(&cluster, &run) || (wants_footprint && run.footprint == NULL) ||
        (wants_early && run.early == NULL)) {
        run.outcome = EMU_OUTCOME_OUT_OF_RESOURCES;
    }
    while (run.outcome == EMU_OUTCOME_OK && take_cluster(grid, &number)) {
        uint64_t seed = grid->launch->schedule_seed ^ (number + 1) * 0x9e3779b97f4a7c15u;
        run.fenced = false;
        place_ctas(&cluster, grid->launch, number);
        run_cluster(&cluster, seed);
        compare_footprints(grid, &cluster);
    }
    finish(grid, &run);
    destroy_cluster(&cluster);
    emu_footprint_destroy(run.footprint);
    emu_footprint_destroy(run.early);
    return NULL;
}

static void run_grid(struct grid *grid) {
    pthread_t threads[MAX_HOST_THREADS];
    int wanted = grid->launch->settings->threads, started = 0;
    if (wanted > MAX_HOST_THREADS) wanted = MAX_HOST_THREADS;
    if ((uint64_t)wanted > grid->num_clusters) wanted = (int)grid->num_clusters;
    while (started < wanted - 1 && pthread_create(&threads[started], NULL, work, grid) == 0) started++;
    work(grid); // this thread is the last
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
}

enum emu_outcome emu_machine_run(const struct emu_launch *launch, emu_report_fn report, void *user) {
    struct grid grid = {.launch = launch, .reporter = emu_reporter_create(report, user)};
    uint64_t random = launch->schedule_seed;
    uint64_t size =
        launch->cluster[0] != 0 ? (uint64_t)launch->cluster[0] * launch->cluster[1] * launch->cluster[2] : 1;
    if (grid.reporter == NULL) return EMU_OUTCOME_OUT_OF_RESOURCES;
    grid.num_clusters = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2] / size;
    // A rotation of the grid: any cluster may be the first.
    if (grid.num_clusters > 0) grid.first = next_random(&random) % grid.num_clusters;
    if (launch->settings->checks) grid.touched = emu_footprint_create();
    if (launch->settings->checks && grid.touched == NULL) {
        emu_reporter_destroy(grid.reporter);
        return EMU_OUTCOME_OUT_OF_RESOURCES;
    }
    pthread_mutex_init(&grid.lock, NULL);
    run_grid(&grid);
    pthread_mutex_destroy(&grid.lock);
    emu_footprint_destroy(grid.touched);
    emu_reporter_destroy(grid.reporter);
    return grid.outcome;
}
