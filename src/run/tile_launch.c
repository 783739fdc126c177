#include "run/tile_launch.h"

// Between layers that fold, no kernel but gate_up and down takes much room, and rings may have other depths than the
// tile's. Where route comes between, its small CTAs need the gaps that the tile's own depth leaves: elsewhere they take
// the place of a CTA of the next kernel (docs/decisions/0015-shared-memory-of-ctas.md).
#define LEAST_STAGES_FOLDED 2

static struct mj_tile_demand demand_of(const struct mj_layer_tiles *layer, int tile_idx, int rows,
                                       const struct mj_split_args *split) {
    const struct mj_problem *problem = &layer->plan->problem;
    const struct mj_tile *tile = &mj_tiles[tile_idx];
    bool chooses = layer->folded && mj_tile_uses_mma(tile);
    return (struct mj_tile_demand){
        .tile = tile,
        .num_local_experts = problem->layer.num_local_experts,
        .least_stages = chooses ? LEAST_STAGES_FOLDED : tile->num_stages,
        .most_stages = chooses ? MJ_MAX_RING_STAGES : tile->num_stages,
        .num_ctas = mj_tile_max_count(tile, problem, layer->num_tokens, rows) * split->num_ctas,
        .lost = MJ_SPLIT_LOST_PLACES(split->num_ctas),
        .tiles = mj_tile_expected_count(tile, problem, layer->num_tokens, rows),
        .steps = split->steps,
    };
}

static struct mj_tile_room room_for(const struct mj_layer_tiles *layer, const struct mj_loaded_kernel *kernel) {
    const struct moejit_context *context = layer->plan->context;
    const struct mj_tile *tile = &mj_tiles[kernel->tile_idx];
    return (struct mj_tile_room){
        .num_sms = context->num_sms,
        .shared_bytes = context->sm_shared_bytes,
        .reserved_bytes = context->reserved_shared_bytes,
        .most_ctas = mj_tile_uses_mma(tile) ? tile->blocks_per_sm : kernel->module.blocks_per_sm,
    };
}

// Of gate_up and down together, those that come in waves.
static int ctas_in_waves(const struct mj_layer_tiles *layer, const struct mj_tile_room *room) {
    const struct mj_problem *problem = &layer->plan->problem;
    const int tiles[2] = {layer->decision->value[MJ_CHOICE_GATE_UP_TILE], layer->decision->value[MJ_CHOICE_DOWN_TILE]};
    const int rows[2] = {problem->gate_up_rows, problem->layer.hidden};
    const int reduced[2] = {problem->layer.hidden, problem->layer.intermediate};
    struct mj_tile_demand demands[2];
    int count = 0;
    for (int i = 0; i < 2; i++) {
        struct mj_split_args whole = {1, mj_ceil_div(reduced[i], mj_tiles[tiles[i]].block_k)};
        demands[count] = demand_of(layer, tiles[i], rows[i], &whole);
        count += mj_tile_uses_mma(&mj_tiles[tiles[i]]) && mj_tile_comes_in_waves(&demands[count], room);
    }
    return mj_tile_ctas_in_waves(demands, count, room);
}

struct mj_tile_launch mj_tile_launch_plan(const struct mj_layer_tiles *layer, const struct mj_loaded_kernel *kernel,
                                          int rows, int reduced) {
    const struct mj_problem *problem = &layer->plan->problem;
    const struct mj_tile *tile = &mj_tiles[kernel->tile_idx];
    long long num_tiles = mj_tile_max_count(tile, problem, layer->num_tokens, rows);
    struct mj_split_args split = mj_tile_split(tile, problem, num_tiles, reduced, layer->max_tile_ctas);
    struct mj_tile_demand demand = demand_of(layer, kernel->tile_idx, rows, &split);
    struct mj_tile_room room = room_for(layer, kernel);
    bool choose = mj_tile_uses_mma(tile) && mj_tile_comes_in_waves(&demand, &room);
    int in_waves = choose ? ctas_in_waves(layer, &room) : room.most_ctas;
    struct mj_tile_spread spread = mj_tile_spread(&demand, &room, in_waves);
    long long resident = (long long)room.num_sms * spread.ctas_per_sm;
    return (struct mj_tile_launch){
        .split = split,
        .ring_stages = spread.ring_stages,
        .shared_bytes = spread.shared_bytes,
        .num_ctas = split.num_ctas > 1 || demand.num_ctas < resident ? demand.num_ctas : resident,
    };
}
