// The cost model: occupancy, blocks by hand-counted loops, and what a layer is predicted to take.
#include "../cmocka_all.h"

#include <math.h>
#include <string.h>

#include "moe/loop_cost.h"

static void near(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-9 * fabs(expected) + 1e-12)) fail_msg("%.12g is not %.12g", found, expected);
}

static const struct mj_copying_loops no_copying = {0};

static const struct mj_machine *h100(void) {
    return mj_machine_find("sm_90a");
}

// A tile of one's own: those of the table change.
static struct mj_tile hopper_tile(int rows, int tokens, int k, int stages, int copying_warps) {
    return (struct mj_tile){"test", MOEJIT_FAMILY_HOPPER, rows, tokens, k, stages, rows * 2 + copying_warps * 32, 1};
}

static void ctas_fit_as_the_occupancy_calculator_says(void **state) {
    (void)state;
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 32, 128, 0), 16);    // 64 warps
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 16, 32, 0), 32);     // 32 CTAs
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 64, 160, 39780), 5); // shared memory: 5 x 40.8 KB of 228
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 72, 160, 1000), 5);  // seven warps a quarter
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 73, 160, 1000), 4);  // 80 registers: six
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 96, 640, 212708), 1);
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 104, 640, 1000), 0); // 104 x 640 > 65536
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 104, 544, 1000), 0); // 17 warps: five in one quarter
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 96, 544, 1000), 1);
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 32, 128, 227 * 1024), 1);
    assert_int_equal(mj_loop_cost_ctas_per_sm(h100(), 32, 128, 228 * 1024), 0); // 1 KB of each CTA is the system's
}

static void bytes_in_flight_are_weights_of_all_stages_but_one(void **state) {
    (void)state;
    struct mj_tile tile = hopper_tile(128, 16, 128, 4, 1);
    assert_int_equal(mj_loop_cost_bytes_in_flight(&tile, 3), 3 * 3 * (2 * 2 * MJ_BLOCK_BYTES));
}

// 4 wgmma m64n64k16, so one block a warp's pass is a quarter of four blocks.
static struct mj_loop wgmma_loop(int width) {
    struct mj_loop loop = {.width = width, .products = 4LL * 64 * width * 16 / 4, .shared_wavefronts = 6};
    loop.instructions[MJ_PIPE_INTEGER] = 40;
    loop.instructions[MJ_PIPE_MULTIPLY] = 10;
    loop.instructions[MJ_PIPE_FMA] = 16;
    loop.instructions[MJ_PIPE_CONVERT] = 3;
    loop.instructions[MJ_PIPE_TENSOR] = 4;
    loop.instructions[MJ_PIPE_CONTROL] = 7;
    return loop;
}

static void a_block_of_wgmma(void **state) {
    (void)state;
    struct mj_tile tile = hopper_tile(256, 64, 64, 4, 4);
    struct mj_loop loop = wgmma_loop(64);
    struct mj_copying_loops copying = {.loops = {{.waits = 1}}, .count = 1};
    struct mj_block_cost cost;
    copying.loops[0].instructions[MJ_PIPE_GLOBAL] = 40;
    mj_loop_cost_block(h100(), &tile, &loop, &copying, 1, &cost);
    near(cost.multiplying[MJ_PIPE_INTEGER], 40); // 4 warps a pass, 4 blocks
    near(mj_loop_cost_instructions(cost.multiplying), 80);
    near(mj_loop_cost_instructions(cost.copying), 40.0 * 4 / 16); // 4 warps, 16 blocks a step
    near(cost.clocks[MJ_TERM_ISSUE], 90.0 / 4);
    near(cost.clocks[MJ_TERM_INTEGER], 40 * 32 / 64.0);
    near(cost.clocks[MJ_TERM_FMA], 26 * 32 / 122.0);
    near(cost.clocks[MJ_TERM_CONVERT], 3 * 32 / 60.0);
    near(cost.clocks[MJ_TERM_SHARED], 6 + (576 + 64 * 32 / 4.0 + 64 * 32) / 128);
    near(cost.clocks[MJ_TERM_TENSOR], 32);
    near(cost.clocks[MJ_TERM_MEMORY], 576 * 132 * 1.755e9 / 3.1e12);
    assert_int_equal(cost.busiest, MJ_TERM_SHARED);
    assert_true(mj_loop_cost_is_decode(&cost)); // 32 < 43
    assert_true(mj_loop_cost_meets_memory_budget(h100(), &cost));
    assert_true(mj_loop_cost_meets_tensor_budget(&tile, &cost)); // 64 tokens are prefill: 32 of 32 clocks
    cost.clocks[MJ_TERM_SHARED] = 36;                            // of 37 that memory allows, but 32 of tensor cores
    assert_true(mj_loop_cost_meets_memory_budget(h100(), &cost));
    assert_false(mj_loop_cost_meets_tensor_budget(&tile, &cost));
    tile.block_tokens = 56;
    assert_true(mj_loop_cost_meets_tensor_budget(&tile, &cost));
    cost.clocks[MJ_TERM_SHARED] = 38;
    assert_false(mj_loop_cost_meets_memory_budget(h100(), &cost));
}

static void a_warpgroup_with_two_row_blocks_leaves_more_warps_to_copy(void **state) {
    (void)state;
    struct mj_tile tile = hopper_tile(256, 64, 64, 4, 0); // 16 warps
    struct mj_loop loop = wgmma_loop(64);
    struct mj_copying_loops copying = {.loops = {{.waits = 2}, {.waits = 1}}, .count = 1};
    struct mj_block_cost cost;
    copying.loops[0].instructions[MJ_PIPE_GLOBAL] = 32;
    mj_loop_cost_block(h100(), &tile, &loop, &copying, 1, &cost);
    near(mj_loop_cost_instructions(cost.copying), 0);
    loop.row_blocks = 2; // 8 warps multiply, 8 copy two steps of 16 blocks a pass
    mj_loop_cost_block(h100(), &tile, &loop, &copying, 1, &cost);
    near(mj_loop_cost_instructions(cost.copying), 32.0 * 8 / 32);
    copying.count = 2; // one warp of the eight, and seven with a loop of their own
    copying.loops[1].instructions[MJ_PIPE_GLOBAL] = 16;
    mj_loop_cost_block(h100(), &tile, &loop, &copying, 1, &cost);
    near(mj_loop_cost_instructions(cost.copying), 32.0 * 1 / 32 + 16.0 * 7 / 16);
}

static void rates_between_the_measured_ones(void **state) {
    (void)state;
    static const struct {
        int width, ctas;
        double clocks;
    } cases[] = {{8, 2, 13.2},  {16, 2, 13.2}, {24, 2, 14.7}, {32, 2, 16.2}, {96, 2, 48},  {192, 2, 96.5},
                 {256, 2, 129}, {8, 1, 26},    {32, 1, 32},   {96, 1, 64},   {256, 1, 143}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct mj_tile tile = hopper_tile(64, cases[i].width, 64, 4, 1);
        struct mj_loop loop = wgmma_loop(cases[i].width);
        struct mj_block_cost cost;
        mj_loop_cost_block(h100(), &tile, &loop, &no_copying, cases[i].ctas, &cost);
        near(cost.clocks[MJ_TERM_TENSOR], cases[i].clocks);
    }
}

static void a_narrow_last_tile_costs_as_many_instructions(void **state) {
    (void)state;
    struct mj_tile tile = hopper_tile(256, 128, 64, 4, 4);
    struct mj_loop loop = {.width = 128, .products = 4LL * 64 * 128 * 16 / 4};
    struct mj_block_cost cost;
    loop.instructions[MJ_PIPE_TENSOR] = 4;
    mj_loop_cost_block(h100(), &tile, &loop, &no_copying, 1, &cost);
    near(cost.multiplying[MJ_PIPE_TENSOR], 4);
    near(cost.clocks[MJ_TERM_TENSOR], 64);
    loop.width = 64;
    loop.products /= 2;
    mj_loop_cost_block(h100(), &tile, &loop, &no_copying, 1, &cost);
    near(cost.multiplying[MJ_PIPE_TENSOR], 4);
    near(cost.clocks[MJ_TERM_TENSOR], 32);
}

// Two warps on the tokens: each dequantises what the other does too.
static void a_block_of_mma_sync(void **state) {
    (void)state;
    struct mj_tile tile = {"test", MOEJIT_FAMILY_PORTABLE, 128, 64, 64, 4, 256, 1};
    struct mj_loop loop = {.width = 0, .products = 32 * 2048}; // 2 m16 x 4 n8 x 4 k16
    struct mj_block_cost cost;
    loop.instructions[MJ_PIPE_INTEGER] = 100;
    mj_loop_cost_block(h100(), &tile, &loop, &no_copying, 1, &cost);
    near(cost.multiplying[MJ_PIPE_INTEGER], 100); // 8 warps a pass, 8 blocks
    near(cost.clocks[MJ_TERM_TENSOR], 64 * 16 * 64 / 1350.0);
    assert_false(mj_loop_cost_is_decode(&cost)); // 48.5 > 43
    near(mj_loop_cost_tensor_share(&cost), 64 * 16 * 64 / 1350.0 / 50);
    assert_true(mj_loop_cost_meets_tensor_budget(&tile, &cost));
    loop.instructions[MJ_PIPE_INTEGER] = 120;
    mj_loop_cost_block(h100(), &tile, &loop, &no_copying, 1, &cost);
    assert_false(mj_loop_cost_meets_tensor_budget(&tile, &cost));
}

// Published figures that follow from each other: dense FP4 TFLOP/s, and CTAs as the occupancy calculator has them.
static void machines_are_as_published(void **state) {
    (void)state;
    const struct mj_machine *rtx = mj_machine_find("sm_120a"), *spark = mj_machine_find("sm_121a");
    assert_null(mj_machine_find("sm_120"));
    for (int i = 0; i < 2; i++) {
        const struct mj_machine *machine = i == 0 ? rtx : spark;
        double teraflops = machine->num_sms * machine->clock_hz * machine->scaled_mma_products * 2e-12;
        assert_true(fabs(teraflops - (i == 0 ? 1676 : 500)) < 1);
        assert_true(strstr(mj_machine_archs, machine->arch) != NULL);
        assert_int_equal(mj_loop_cost_ctas_per_sm(machine, 32, 128, 0), 12);     // 48 warps
        assert_int_equal(mj_loop_cost_ctas_per_sm(machine, 16, 32, 0), 24);      // 24 CTAs
        assert_int_equal(mj_loop_cost_ctas_per_sm(machine, 64, 128, 32000), 3);  // shared memory: 3 x 32.3 KB of 100
        assert_int_equal(mj_loop_cost_ctas_per_sm(machine, 32, 128, 101376), 1); // what a CTA may have
        assert_int_equal(mj_loop_cost_ctas_per_sm(machine, 32, 128, 101377), 0);
    }
    near(rtx->num_sms * rtx->clock_hz * rtx->fma_lanes * 2e-12, 104.75264); // TFLOP/s of f32: 104.8
}

// Four m16n8k64 of e2m1 for two m16 tiles by two n8 tiles, on a machine that does 2048 of its products a clock.
static void a_block_of_scaled_mma_sync(void **state) {
    (void)state;
    const struct mj_machine *machine = mj_machine_find("sm_120a");
    struct mj_tile tile = {"test", MOEJIT_FAMILY_FP4, 128, 16, 64, 4, 256, 1};
    struct mj_loop loop = {.products = 2 * 2 * 8192, .shared_wavefronts = 18}; // two blocks of one warp
    struct mj_block_cost cost;
    loop.instructions[MJ_PIPE_INTEGER] = 20;
    loop.instructions[MJ_PIPE_TENSOR] = 4;
    mj_loop_cost_block(machine, &tile, &loop, &no_copying, 1, &cost);
    near(cost.clocks[MJ_TERM_ISSUE], 12 / 4.0);
    near(cost.clocks[MJ_TERM_INTEGER], 10 * 32 / 128.0);
    near(cost.clocks[MJ_TERM_SHARED], 9 + (576 + 16 * 9 / 2.0) / 128); // 9 bytes of a token's codes and scales
    near(cost.clocks[MJ_TERM_TENSOR], 64 * 16 * 16 / 2048.0);
    near(cost.clocks[MJ_TERM_MEMORY], 576 * 170 * 2.407e9 / 1.792e12);
    assert_true(mj_loop_cost_is_decode(&cost) && mj_loop_cost_meets_memory_budget(machine, &cost));
    near(mj_loop_cost_terabytes_per_s(machine, cost.clocks[MJ_TERM_MEMORY]), 1.792);
    loop.instructions[MJ_PIPE_INTEGER] = 2 * 4 * 132; // of one block 132 clocks, where its bytes take 131.7
    mj_loop_cost_block(machine, &tile, &loop, &no_copying, 1, &cost);
    assert_false(mj_loop_cost_meets_memory_budget(machine, &cost));
}

static struct mj_problem make_problem(int experts, int top_k) {
    struct mj_problem problem;
    struct mj_error error;
    moejit_layer layer;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 2048;
    layer.intermediate = 1024;
    layer.num_experts = layer.num_local_experts = experts;
    layer.top_k = top_k;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    return problem;
}

static void every_expert_of_all_takes_each_token(void **state) {
    (void)state;
    struct mj_problem problem = make_problem(4, 4);
    struct mj_tile tile = hopper_tile(64, 64, 64, 4, 1);
    const struct mj_width_cost widths[] = {{16, 10, 13}, {64, 30, 32}};
    struct mj_step_time time;
    // 64 + 16 tokens: a full tile and a narrow one for each of 32 row tiles of 4 experts: 256 over 132, so two
    // where 1.94 are fair.
    mj_loop_cost_step(h100(), &problem, &tile, MJ_STEP_GATE_UP, widths, 2, 80, &time);
    double blocks = 4.0 * 32 * 128, unbalanced = 2 / (256 / 132.0);
    near(time.instructions, blocks * (30 + 10) * unbalanced / 132 / 1755);
    near(time.tensor, blocks * (32 + 13) * unbalanced / 132 / 1755);
    near(time.memory, (blocks * 576 + 80 * 2048 * 2 + 80 * 4 * 1024 * 2) / 3.1e6);
    near(mj_loop_cost_step_us(&time), time.memory > time.tensor ? time.memory : time.tensor);
    // down: 32 row tiles of 2048 / 64 rows, 1024 / 16 steps.
    mj_loop_cost_step(h100(), &problem, &tile, MJ_STEP_DOWN, widths, 2, 64, &time);
    near(time.instructions, 4.0 * 32 * 64 * 30 / 132 / 1755 / (128 / 132.0));
    near(time.memory, (4.0 * 32 * 64 * 576 + 64 * 4 * 1024 * 2 + 64 * 4 * 2048 * 2) / 3.1e6);
}

// Codes and scales in place of bf16: 4.5 bits a value, in and out.
static void rows_of_fp4_have_fewer_bytes(void **state) {
    (void)state;
    const struct mj_machine *machine = mj_machine_find("sm_121a");
    struct mj_problem problem = make_problem(4, 4);
    struct mj_tile tile = {"test", MOEJIT_FAMILY_FP4, 64, 64, 128, 4, 128, 1};
    const struct mj_width_cost widths[] = {{64, 10, 32}};
    struct mj_step_time time;
    mj_loop_cost_step(machine, &problem, &tile, MJ_STEP_GATE_UP, widths, 1, 64, &time);
    double blocks = 4.0 * 32 * 128;
    near(time.memory, (blocks * 576 + 64 * 2048 * 4.5 / 8 + 64 * 4 * 1024 * 4.5 / 8) / 0.273e6);
    near(time.tensor, blocks * 32 / 48 / 2543 * (3 / (128 / 48.0))); // 128 tiles over 48: three where 2.67 are fair
}

static void experts_are_hit_by_chance(void **state) {
    (void)state;
    struct mj_problem problem = make_problem(128, 8);
    struct mj_tile tile = hopper_tile(64, 8, 64, 4, 1);
    const struct mj_width_cost widths[] = {{8, 30, 13}};
    struct mj_step_time one, many, previous = {0};
    mj_loop_cost_step(h100(), &problem, &tile, MJ_STEP_GATE_UP, widths, 1, 1, &one);
    near(one.memory, (8.0 * 32 * 128 * 576 + 2048 * 2 + 8 * 1024 * 2) / 3.1e6); // eight of 128
    mj_loop_cost_step(h100(), &problem, &tile, MJ_STEP_GATE_UP, widths, 1, 65536,
                      &many); // all: no loss in the far tail of the sum
    near(many.memory, (128.0 * 32 * 128 * 576 + 65536.0 * (2048 * 2 + 8 * 1024 * 2)) / 3.1e6);
    for (int tokens = 1; tokens <= 4096; tokens *= 2) {
        struct mj_step_time time;
        mj_loop_cost_step(h100(), &problem, &tile, MJ_STEP_GATE_UP, widths, 1, tokens, &time);
        assert_true(time.memory > previous.memory && time.instructions > previous.instructions);
        previous = time;
    }
}

static void a_tile_that_was_not_counted_has_no_cost(void **state) {
    (void)state;
    struct mj_problem problem = make_problem(128, 8);
    struct mj_tile tile = hopper_tile(64, 8, 64, 4, 1);
    struct mj_width_cost widths[MJ_LOOP_COST_MAX_WIDTHS];
    assert_int_equal(mj_loop_cost_widths("no tile", MJ_STEP_DOWN, widths), 0);
    near(mj_loop_cost_tile_us(&problem, &tile, 16), 0);
}

// Every tile that runs on sm_90a is in the table, with both steps, widths that ascend to its own tokens, and a time
// that grows.
static void counted_tiles_are_whole(void **state) {
    (void)state;
    struct mj_problem problem = make_problem(128, 8);
    for (int i = 0; i < MJ_NUM_TILES; i++) {
        if (!mj_family_runs_on(mj_tiles[i].family, "sm_90a")) continue; // no rates are known
        struct mj_width_cost widths[MJ_LOOP_COST_MAX_WIDTHS];
        for (enum mj_step step = MJ_STEP_GATE_UP; step <= MJ_STEP_DOWN; step++) {
            int num = mj_loop_cost_widths(mj_tiles[i].name, step, widths);
            if (num == 0) fail_msg("%s is not in tile_costs.def: run tools/update_cost.sh", mj_tiles[i].name);
            for (int w = 1; w < num; w++) assert_true(widths[w].tokens > widths[w - 1].tokens);
            assert_int_equal(widths[num - 1].tokens, mj_tiles[i].block_tokens);
        }
        double few = mj_loop_cost_tile_us(&problem, &mj_tiles[i], 16);
        assert_true(few > 0 && mj_loop_cost_tile_us(&problem, &mj_tiles[i], 4096) > few);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ctas_fit_as_the_occupancy_calculator_says),
        cmocka_unit_test(bytes_in_flight_are_weights_of_all_stages_but_one),
        cmocka_unit_test(a_block_of_wgmma),
        cmocka_unit_test(a_warpgroup_with_two_row_blocks_leaves_more_warps_to_copy),
        cmocka_unit_test(rates_between_the_measured_ones),
        cmocka_unit_test(a_narrow_last_tile_costs_as_many_instructions),
        cmocka_unit_test(a_block_of_mma_sync),
        cmocka_unit_test(machines_are_as_published),
        cmocka_unit_test(a_block_of_scaled_mma_sync),
        cmocka_unit_test(every_expert_of_all_takes_each_token),
        cmocka_unit_test(rows_of_fp4_have_fewer_bytes),
        cmocka_unit_test(experts_are_hit_by_chance),
        cmocka_unit_test(a_tile_that_was_not_counted_has_no_cost),
        cmocka_unit_test(counted_tiles_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
