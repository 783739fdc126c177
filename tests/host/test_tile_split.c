// How many CTAs share a tile: at the borders, and for layers of models.
#include "../cmocka_all.h"

#include <string.h>

#include "moe/model_table.h"
#include "moe/tile_split.h"

static const struct mj_tile *find_tile(const char *name) {
    int tile = mj_tile_find(name);
    if (tile < 0) fail_msg("no tile %s", name);
    return &mj_tiles[tile];
}

static struct mj_problem make_problem(int hidden, int intermediate, int experts, moejit_sum sum) {
    moejit_layer layer;
    struct mj_problem problem;
    struct mj_error error;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = hidden;
    layer.intermediate = intermediate;
    layer.num_experts = layer.num_local_experts = experts;
    layer.top_k = 1;
    layer.sum = sum;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    return problem;
}

static struct mj_split_args split_of(const char *tile, long long num_tiles, int reduced, int max_ctas) {
    struct mj_problem problem = make_problem(2048, 2048, 64, MOEJIT_SUM_ATOMIC);
    return mj_tile_split(find_tile(tile), &problem, num_tiles, reduced, max_ctas);
}

static void assert_split(struct mj_split_args split, int num_ctas, int steps) {
    if (split.num_ctas != num_ctas || split.steps != steps) {
        fail_msg("%d CTAs of %d steps, not %d of %d", split.num_ctas, split.steps, num_ctas, steps);
    }
}

// Each has two stages at least, the last one what is left, and none has nothing.
static void every_cta_has_stages(void **state) {
    static const struct {
        int reduced, max_ctas, num_ctas, steps;
    } cases[] = {
        {16, 4, 1, 1},   {256, 4, 1, 1},  {512, 4, 1, 2},  {528, 4, 2, 2},  {784, 4, 2, 2},    {1024, 4, 2, 2},
        {1040, 4, 3, 2}, {1536, 4, 3, 2}, {1552, 4, 4, 2}, {2048, 4, 4, 2}, {2064, 4, 3, 3},   {8192, 4, 4, 8},
        {2048, 1, 1, 8}, {2048, 2, 2, 4}, {2048, 3, 3, 3}, {2048, 4, 4, 2}, {2048, 8, 4, 2},   {4096, 8, 8, 2},
        {4096, 7, 6, 3}, {4096, 5, 4, 4}, {8192, 7, 7, 5}, {8192, 8, 8, 4}, {14336, 4, 4, 14},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_split(split_of("hopper_64x8x256", 1, cases[i].reduced, cases[i].max_ctas), cases[i].num_ctas,
                     cases[i].steps);
    }
    for (int reduced = 16; reduced <= 16384; reduced += 16) {
        for (int max_ctas = 0; max_ctas <= MJ_SPLIT_LARGEST; max_ctas++) {
            struct mj_split_args split = split_of("hopper_64x8x256", 1, reduced, max_ctas);
            int num_steps = (reduced + 255) / 256;
            assert_in_range(split.num_ctas, 1, max_ctas > 0 ? max_ctas : MJ_SPLIT_DEFAULT);
            assert_true((split.num_ctas - 1) * split.steps < num_steps && split.num_ctas * split.steps >= num_steps);
            assert_true(split.num_ctas == 1 || split.steps >= 2);
        }
    }
}

// 132 multiprocessors hold five CTAs each of the narrow tile, three of the other; a cluster of n loses n - 1 places in
// each of eight groups of them.
static void all_clusters_fit_at_once(void **state) {
    static const struct {
        long long num_tiles;
        int narrow, wide;
    } cases[] = {{1, 4, 4},   {93, 4, 4},  {94, 4, 3},  {126, 4, 3}, {127, 4, 2}, {159, 4, 2}, {160, 3, 2},
                 {194, 3, 2}, {195, 3, 1}, {214, 3, 1}, {215, 2, 1}, {326, 2, 1}, {327, 1, 1}, {1 << 30, 1, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(split_of("hopper_64x8x256", cases[i].num_tiles, 3072, 4).num_ctas, cases[i].narrow);
        assert_int_equal(split_of("hopper_64x16x256", cases[i].num_tiles, 3072, 4).num_ctas, cases[i].wide);
    }
}

static void two_where_multiprocessors_would_have_none(void **state) {
    (void)state;
    assert_split(split_of("hopper_64x8x256", 132, 2048, 0), 2, 4);
    assert_split(split_of("hopper_64x8x256", 133, 2048, 0), 1, 8);
    assert_split(split_of("hopper_64x8x256", 133, 2048, 2), 2, 4);
}

static void other_tiles_and_sums_keep_a_cta(void **state) {
    (void)state;
    for (int i = 0; i < MJ_NUM_TILES; i++) {
        struct mj_split_args split = split_of(mj_tiles[i].name, 1, 8192, 0);
        assert_int_equal(split.num_ctas, mj_tile_uses_mma(&mj_tiles[i]) ? MJ_SPLIT_DEFAULT : 1);
        assert_true(split.num_ctas > 1 || split.steps * mj_tiles[i].block_k >= 8192);
    }
    static const moejit_sum sums[] = {MOEJIT_SUM_DEFAULT, MOEJIT_SUM_ATOMIC, MOEJIT_SUM_DETERMINISTIC,
                                      MOEJIT_SUM_BATCH_INVARIANT};
    for (int i = 0; i < 4; i++) {
        struct mj_problem problem = make_problem(2048, 2048, 64, sums[i]);
        struct mj_split_args split = mj_tile_split(find_tile("hopper_64x8x256"), &problem, 8, 2048, 0);
        assert_int_equal(split.num_ctas, sums[i] == MOEJIT_SUM_BATCH_INVARIANT ? 1 : MJ_SPLIT_DEFAULT);
    }
}

// gate_up's and down's CTAs a tile for T tokens.
static void assert_model(const char *model, int num_tokens, int gate_up, int down) {
    moejit_layer layer;
    struct mj_problem problem;
    struct mj_error error;
    mj_model_layer(mj_model_find(model), &layer);
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    const struct mj_tile *tile = find_tile("hopper_64x8x256");
    long long up = mj_tile_max_count(tile, &problem, num_tokens, problem.gate_up_rows);
    long long below = mj_tile_max_count(tile, &problem, num_tokens, layer.hidden);
    assert_int_equal(mj_tile_split(tile, &problem, up, layer.hidden, 0).num_ctas, gate_up);
    assert_int_equal(mj_tile_split(tile, &problem, below, layer.intermediate, 0).num_ctas, down);
}

static void layers_of_models(void **state) {
    (void)state;
    assert_model("qwen3-30b-a3b", 1, 1, 1);
    assert_model("gpt-oss-120b", 1, 1, 1);
    assert_model("llama4-scout", 1, 1, 2); // 80 tiles
    assert_model("llama4-scout", 2, 1, 1);
    assert_model("mixtral-8x7b", 1, 1, 2); // 128
    assert_model("deepseek-r1", 1, 1, 1);
}

// Each expert with a pair has a tile; pairs beyond the first fill others.
static void tiles_are_counted_at_most(void **state) {
    (void)state;
    const struct mj_tile *tile = find_tile("hopper_64x8x256");
    struct mj_problem problem = make_problem(128, 64, 4, MOEJIT_SUM_ATOMIC);
    static const int counts[][2] = {{1, 1}, {4, 4}, {5, 4}, {11, 4}, {12, 5}, {20, 6}};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        assert_int_equal(mj_tile_max_count(tile, &problem, counts[i][0], 64), counts[i][1]);
        assert_int_equal(mj_tile_max_count(tile, &problem, counts[i][0], 130), 3 * counts[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cta_has_stages),
        cmocka_unit_test(all_clusters_fit_at_once),
        cmocka_unit_test(two_where_multiprocessors_would_have_none),
        cmocka_unit_test(other_tiles_and_sums_keep_a_cta),
        cmocka_unit_test(layers_of_models),
        cmocka_unit_test(tiles_are_counted_at_most),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
