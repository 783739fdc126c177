#include "moe/tile_spread.h"

#include <math.h>

#define FEWEST_IN_WAVES 4 // CTAs of a multiprocessor, whose warps hide each other's waiting

static int bytes_with(const struct mj_tile_demand *demand, int stages) {
    int bytes = mj_tile_shared_bytes(demand->tile, demand->num_local_experts);
    if (!mj_tile_uses_mma(demand->tile)) return bytes;
    return bytes + (stages - demand->tile->num_stages) * mj_tile_stage_bytes(demand->tile);
}

// With the shallowest ring.
static int most_ctas(const struct mj_tile_demand *demand, const struct mj_tile_room *room) {
    int by_memory = room->shared_bytes / (bytes_with(demand, demand->least_stages) + room->reserved_bytes);
    if (by_memory < 1) return 1; // where there is no room for one, the launch says so
    return by_memory < room->most_ctas ? by_memory : room->most_ctas;
}

bool mj_tile_comes_in_waves(const struct mj_tile_demand *demand, const struct mj_tile_room *room) {
    return demand->num_ctas + demand->lost > (long long)room->num_sms * most_ctas(demand, room);
}

int mj_tile_ctas_in_waves(const struct mj_tile_demand *demands, int num_demands, const struct mj_tile_room *room) {
    int most = room->most_ctas, best;
    double least = HUGE_VAL;
    for (int i = 0; i < num_demands; i++) {
        if (most_ctas(&demands[i], room) < most) most = most_ctas(&demands[i], room);
    }
    best = most;
    for (int ctas = most; ctas >= FEWEST_IN_WAVES; ctas--) {
        double cost = 0.0, places = (double)ctas * room->num_sms;
        for (int i = 0; i < num_demands; i++) cost += ceil(demands[i].tiles / places) * ctas * demands[i].steps;
        if (cost < least) best = ctas, least = cost;
    }
    return best;
}

static int ring_stages(const struct mj_tile_demand *demand, const struct mj_tile_room *room, int ctas) {
    int stages = demand->least_stages, most = demand->most_stages, share = room->shared_bytes / ctas;
    if (demand->steps < most) most = demand->steps;
    while (stages < most && bytes_with(demand, stages + 1) + room->reserved_bytes <= share) stages++;
    return stages;
}

struct mj_tile_spread mj_tile_spread(const struct mj_tile_demand *demand, const struct mj_tile_room *room,
                                     int ctas_in_waves) {
    long long per_sm = (demand->num_ctas + demand->lost + room->num_sms - 1) / room->num_sms;
    int ctas = mj_tile_comes_in_waves(demand, room) ? ctas_in_waves : (int)per_sm;
    int stages = ring_stages(demand, room, ctas);
    struct mj_tile_spread spread = {ctas, stages, bytes_with(demand, stages)};
    int one_more_fits = room->shared_bytes / (ctas + 1) - room->reserved_bytes;
    if (spread.shared_bytes > 0 && ctas < most_ctas(demand, room) && spread.shared_bytes <= one_more_fits) {
        spread.shared_bytes = one_more_fits + 1;
    }
    return spread;
}
