// How CTAs share an H100's multiprocessors and their memory: every number of CTAs, and the sizes of models.
#include "../cmocka_all.h"

#include <string.h>

#include "moe/model_table.h"
#include "moe/tile_spread.h"

static const struct mj_tile_room h100 = {132, 228 * 1024, 1024, 7};

static const struct mj_tile *find_tile(const char *name) {
    int tile = mj_tile_find(name);
    if (tile < 0) fail_msg("no tile %s", name);
    return &mj_tiles[tile];
}

static struct mj_tile_demand demand_of(const char *tile, long long num_ctas, int steps) {
    return (struct mj_tile_demand){.tile = find_tile(tile),
                                   .num_local_experts = 256,
                                   .least_stages = 2,
                                   .most_stages = MJ_MAX_RING_STAGES,
                                   .num_ctas = num_ctas,
                                   .tiles = (double)num_ctas,
                                   .steps = steps};
}

static int bytes_of(const struct mj_tile_demand *demand, int stages) {
    return mj_tile_shared_bytes(demand->tile, demand->num_local_experts) +
           (stages - demand->tile->num_stages) * mj_tile_stage_bytes(demand->tile);
}

// As many fit one multiprocessor as an even spread puts there, and no more, whatever their number.
static void few_ctas_are_spread_evenly(void **state) {
    (void)state;
    static const char *const tiles[] = {"hopper_64x8x256", "hopper_64x16x256"};
    for (int t = 0; t < 2; t++) {
        for (int num_ctas = 1; num_ctas <= 1000; num_ctas++) {
            struct mj_tile_demand demand = demand_of(tiles[t], num_ctas, 8);
            if (mj_tile_comes_in_waves(&demand, &h100)) continue;
            struct mj_tile_spread spread = mj_tile_spread(&demand, &h100, 0);
            assert_int_equal(spread.ctas_per_sm, (num_ctas + 131) / 132);
            assert_int_equal(h100.shared_bytes / (spread.shared_bytes + h100.reserved_bytes), spread.ctas_per_sm);
            assert_in_range(spread.ring_stages, 2, MJ_MAX_RING_STAGES);
            assert_true(spread.shared_bytes >= bytes_of(&demand, spread.ring_stages));
        }
    }
}

static void rings_are_as_deep_as_memory_and_tiles_allow(void **state) {
    (void)state;
    static const struct {
        int num_ctas, steps, stages;
    } cases[] = {{132, 8, 4}, {264, 8, 4}, {396, 8, 4}, {528, 8, 3}, {660, 8, 3},
                 {661, 8, 2}, {924, 8, 2}, {132, 3, 3}, {132, 2, 2}, {132, 1, 2}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mj_tile_demand demand = demand_of("hopper_64x8x256", cases[i].num_ctas, cases[i].steps);
        assert_int_equal(mj_tile_spread(&demand, &h100, 0).ring_stages, cases[i].stages);
    }
    struct mj_tile_demand demand = demand_of("hopper_64x8x256", 10000, 8);
    assert_int_equal(mj_tile_spread(&demand, &h100, 7).ring_stages, 2);
    assert_int_equal(mj_tile_spread(&demand, &h100, 5).ring_stages, 3);
}

static void places_that_clusters_lose_count(void **state) {
    (void)state;
    struct mj_tile_demand demand = demand_of("hopper_64x8x256", 132, 8);
    demand.lost = 8;
    assert_int_equal(mj_tile_spread(&demand, &h100, 0).ctas_per_sm, 2);
}

// With rings of three stages five CTAs fit, or three of the wider tile; in waves no more are asked for.
static void a_deeper_least_ring_lets_fewer_in(void **state) {
    (void)state;
    struct mj_tile_demand narrow = demand_of("hopper_64x8x256", 100000, 8),
                          wide = demand_of("hopper_64x16x256", 100000, 8);
    narrow.least_stages = wide.least_stages = narrow.most_stages = wide.most_stages = 3;
    assert_int_equal(mj_tile_spread(&narrow, &h100, 5).ring_stages, 3);
    assert_int_equal(mj_tile_spread(&wide, &h100, 3).ring_stages, 3);
    for (int tiles = 1; tiles < 20000; tiles += 7) {
        narrow.tiles = wide.tiles = tiles;
        assert_in_range(mj_tile_ctas_in_waves(&narrow, 1, &h100), 4, 5);
        assert_int_equal(mj_tile_ctas_in_waves(&wide, 1, &h100), 3);
    }
}

// gate_up and down of T tokens get one number: that of the fewest bytes' time, counting unfilled waves.
static void assert_waves(const char *model, int num_tokens, int ctas) {
    moejit_layer layer;
    struct mj_problem problem;
    struct mj_error error;
    mj_model_layer(mj_model_find(model), &layer);
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    struct mj_tile_demand demands[2] = {demand_of("hopper_64x8x256", 100000, mj_ceil_div(layer.hidden, 256)),
                                        demand_of("hopper_64x8x256", 100000, mj_ceil_div(layer.intermediate, 256))};
    demands[0].tiles = mj_tile_expected_count(demands[0].tile, &problem, num_tokens, problem.gate_up_rows);
    demands[1].tiles = mj_tile_expected_count(demands[1].tile, &problem, num_tokens, layer.hidden);
    assert_int_equal(mj_tile_ctas_in_waves(demands, 2, &h100), ctas);
}

static void waves_are_filled(void **state) {
    (void)state;
    assert_waves("deepseek-r1", 2, 4);
    assert_waves("deepseek-r1", 16, 5);
}

// The expected number of tiles: all pairs of one token hit different experts; of many tokens all experts are hit.
static void tiles_are_expected(void **state) {
    (void)state;
    moejit_layer layer;
    struct mj_problem problem;
    struct mj_error error;
    mj_model_layer(mj_model_find("deepseek-r1"), &layer);
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    const struct mj_tile *tile = find_tile("hopper_64x8x256");
    assert_true(mj_tile_expected_count(tile, &problem, 1, 64) > 7.99 &&
                mj_tile_expected_count(tile, &problem, 1, 64) < 8.01);
    for (int tokens = 1; tokens < 300; tokens++) {
        double expected = mj_tile_expected_count(tile, &problem, tokens, 130);
        assert_true(expected > 0.0 && expected <= (double)mj_tile_max_count(tile, &problem, tokens, 130) + 1e-6);
    }
}

// Other families, and wgmma: as they were compiled.
static void other_tiles_have_their_own_rings(void **state) {
    (void)state;
    for (int i = 0; i < MJ_NUM_TILES; i++) {
        if (mj_tile_uses_mma(&mj_tiles[i])) continue;
        struct mj_tile_demand demand = demand_of(mj_tiles[i].name, 1 << 20, 8);
        demand.least_stages = demand.most_stages = mj_tiles[i].num_stages;
        struct mj_tile_spread spread = mj_tile_spread(&demand, &h100, 2);
        assert_int_equal(spread.ring_stages, mj_tiles[i].num_stages);
        assert_true(spread.shared_bytes >= mj_tile_shared_bytes(&mj_tiles[i], 256));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_ctas_are_spread_evenly),
        cmocka_unit_test(rings_are_as_deep_as_memory_and_tiles_allow),
        cmocka_unit_test(places_that_clusters_lose_count),
        cmocka_unit_test(a_deeper_least_ring_lets_fewer_in),
        cmocka_unit_test(waves_are_filled),
        cmocka_unit_test(tiles_are_expected),
        cmocka_unit_test(other_tiles_have_their_own_rings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
