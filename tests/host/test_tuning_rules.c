// What tuning decides with: buckets, decisions as text, routings, the cost model, halving, agreement.
#include "../cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "layer_data.h"
#include "moe/agreement.h"
#include "moe/bucket.h"
#include "moe/cost.h"
#include "moe/decision.h"
#include "moe/halving.h"
#include "moe/machine_table.h"
#include "moe/model_table.h"
#include "moe/nvfp4.h"
#include "moe/routing.h"

static struct mj_problem problem_of(const char *model, int num_local) {
    moejit_layer layer;
    struct mj_problem problem;
    struct mj_error error;
    mj_model_layer(mj_model_find(model), &layer);
    layer.num_local_experts = num_local;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    return problem;
}

static void buckets_cover_every_count_once(void **state) {
    static const int to_8[] = {1, 2, 3, 4, 6, 8}, to_100[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 100};
    int tokens[MJ_MAX_BUCKETS];
    (void)state;
    assert_int_equal(mj_bucket_list(1, tokens), 1);
    assert_int_equal(tokens[0], 1);
    assert_int_equal(mj_bucket_list(8, tokens), 6);
    assert_memory_equal(tokens, to_8, sizeof(to_8));
    assert_int_equal(mj_bucket_list(100, tokens), 14);
    assert_memory_equal(tokens, to_100, sizeof(to_100));
    for (int most = 1; most <= MJ_MAX_TOKENS; most += most < 300 ? 1 : 997) {
        int num = mj_bucket_list(most, tokens);
        assert_true(num <= MJ_MAX_BUCKETS);
        for (int i = 1; i < num; i++) assert_true(tokens[i - 1] < tokens[i]);
        assert_int_equal(tokens[num - 1], most);
    }
    assert_int_equal(mj_bucket_list(MJ_MAX_TOKENS, tokens), MJ_MAX_BUCKETS);
}

static void decisions_are_text_and_back(void **state) {
    struct mj_problem problem = problem_of("deepseek-r1", 32);
    struct mj_decision untuned = mj_decision_untuned(&problem, MOEJIT_FAMILY_HOPPER, -1, 256), read = untuned;
    char text[MJ_DECISION_BYTES];
    (void)state;
    mj_decision_write(&untuned, text);
    assert_string_equal(text, "gate_up=hopper_64x16x256 down=hopper_64x16x256 zeroing=auxiliary");
    assert_true(mj_decision_read("zeroing=in-stream down=64x8x64 gate_up=hopper_64x8x256", &read));
    mj_decision_write(&read, text);
    assert_string_equal(text, "gate_up=hopper_64x8x256 down=64x8x64 zeroing=in-stream");
    // An older row, from before zeroing was a choice, keeps what is done without it.
    read = untuned;
    assert_true(mj_decision_read("gate_up=64x8x64 down=64x8x64", &read));
    assert_int_equal(read.value[MJ_CHOICE_ZEROING], MJ_ZEROING_AUXILIARY);
    static const char *const bad[] = {"",
                                      "gate_up=64x8x64",
                                      "gate_up=64x8x64 down=64x8x6",
                                      "gate_up=64x8x64 down=64x8x64x",
                                      "gate_up=64x8x64 down=64x8x64 down=64x8x64",
                                      "gate_up=64x8x64 down=64x8x64 overlap=maybe",
                                      "gate_up=64x8x64  down=64x8x64",
                                      "gate_up= down=64x8x64",
                                      "GATE_UP=64x8x64 down=64x8x64"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mj_decision kept = untuned;
        if (mj_decision_read(bad[i], &kept)) fail_msg("\"%s\" was read", bad[i]);
        assert_true(mj_decision_equal(&kept, &untuned));
    }
}

static void legal_values_are_the_familys(void **state) {
    struct mj_problem problem = problem_of("qwen3-30b-a3b", 128);
    int values[MJ_MAX_VALUES];
    (void)state;
    int num = mj_decision_values(&problem, MOEJIT_FAMILY_HOPPER, -1, MJ_CHOICE_DOWN_TILE, values);
    assert_true(num > 1);
    for (int i = 0; i < num; i++) assert_int_equal(mj_tiles[values[i]].family, MOEJIT_FAMILY_HOPPER);
    assert_int_equal(mj_decision_values(&problem, MOEJIT_FAMILY_HOPPER, 6, MJ_CHOICE_GATE_UP_TILE, values), 1);
    assert_int_equal(values[0], 6);
    assert_int_equal(mj_decision_values(&problem, MOEJIT_FAMILY_HOPPER, -1, MJ_CHOICE_ZEROING, values), 2);
    problem.sum = MJ_SUM_ORDERED;
    assert_int_equal(mj_decision_values(&problem, MOEJIT_FAMILY_HOPPER, -1, MJ_CHOICE_ZEROING, values), 1);
}

static struct mj_routing routing;
static int32_t ids[65536 * 8];

static void routings_have_their_shares(void **state) {
    struct mj_problem problem = problem_of("deepseek-r1", 32);
    int counts[256] = {0}, most = 0;
    (void)state;
    mj_routing_zipf(&routing, &problem.layer, 1);
    mj_routing_draw(&routing, 20000, 3, ids);
    for (int i = 0; i < 20000 * 8; i++) counts[ids[i]]++;
    for (int e = 0; e < 256; e++) most = counts[e] > most ? counts[e] : most;
    // The busiest has a share of 1 / H(256) = 0.163 of each draw; a token has it at most once.
    assert_true(most > 20000 * 0.6 && most < 20000 * 0.9);
    float histogram[256] = {0};
    assert_false(mj_routing_histogram(&routing, &problem.layer, histogram));
    for (int e = 0; e < 10; e++) histogram[e * 25] = 1;
    histogram[7] = -1;
    assert_false(mj_routing_histogram(&routing, &problem.layer, histogram));
    histogram[7] = INFINITY;
    assert_false(mj_routing_histogram(&routing, &problem.layer, histogram));
    histogram[7] = 0;
    assert_true(mj_routing_histogram(&routing, &problem.layer, histogram));
    mj_routing_draw(&routing, 1000, 1, ids);
    for (int i = 0; i < 8000; i++) assert_true(ids[i] % 25 == 0 && ids[i] < 250);
}

static void a_tokens_experts_differ(void **state) {
    struct mj_problem problem = problem_of("mixtral-8x7b", 8);
    static int32_t again[3000];
    (void)state;
    problem.layer.top_k = 3;
    mj_routing_zipf(&routing, &problem.layer, 4); // nearly all draws are one expert
    mj_routing_draw(&routing, 1000, 5, ids);
    for (int t = 0; t < 1000; t++) {
        assert_true(ids[3 * t] != ids[3 * t + 1] && ids[3 * t] != ids[3 * t + 2] && ids[3 * t + 1] != ids[3 * t + 2]);
    }
    mj_routing_draw(&routing, 1000, 5, again);
    assert_memory_equal(ids, again, sizeof(again));
    problem.layer.num_experts = problem.layer.num_local_experts = 2; // fewer than top_k
    mj_routing_uniform(&routing, &problem.layer);
    mj_routing_draw(&routing, 10, 5, ids);
    for (int i = 0; i < 30; i++) assert_true(ids[i] == 0 || ids[i] == 1);
}

static const struct mj_device_figures h100 = {132, 1.98, 3352, 4096, 233472, 0};

// One H100 (1.98 GHz, 3352 GB/s): microseconds of the steps with one tile forced, as `moejit bench` times them. On a
// DeepSeek-R1 rank, and on a layer of 4 experts, hidden 4096, intermediate 7168, top 2. hopper_256x128x64 and
// hopper_192x192x64 are of the table no more; those which replaced them have not been timed so.
static const struct measured {
    const char *tile;
    int num_experts, num_tokens;
    double gate_up_us, down_us;
} measured[] = {
    {"hopper_64x8x256", 256, 1, 11.07, 7.44},         {"hopper_64x8x256", 256, 4, 32.69, 18.44},
    {"hopper_64x8x256", 256, 16, 79.57, 42.56},       {"hopper_64x8x256", 256, 64, 166.04, 86.10},
    {"hopper_64x8x256", 256, 128, 188.74, 98.82},     {"hopper_64x16x256", 256, 16, 78.54, 43.14},
    {"hopper_64x16x256", 256, 64, 163.16, 86.92},     {"hopper_64x16x256", 256, 256, 196.56, 106.81},
    {"hopper_256x64x128", 256, 512, 195.98, 117.31},  {"hopper_256x64x128", 256, 1024, 208.15, 133.96},
    {"hopper_256x64x128", 256, 2048, 348.46, 201.84}, {"hopper_192x192x64", 256, 2048, 368.07, 208.40},
    {"hopper_192x192x64", 256, 4096, 497.59, 296.61}, {"hopper_256x128x64", 256, 2048, 323.06, 192.70},
    {"hopper_256x128x64", 256, 4096, 585.23, 330.19}, {"hopper_192x192x64", 4, 4096, 1520.62, 919.34},
};
#define NUM_MEASURED (sizeof(measured) / sizeof(measured[0]))

static const struct mj_tile *measured_tile(const char *name) {
    static const struct mj_tile retired[] = {{"hopper_256x128x64", MOEJIT_FAMILY_HOPPER, 256, 128, 64, 7, 640, 1},
                                             {"hopper_192x192x64", MOEJIT_FAMILY_HOPPER, 192, 192, 64, 6, 512, 1}};
    if (mj_tile_find(name) >= 0) return &mj_tiles[mj_tile_find(name)];
    for (size_t t = 0; t < sizeof(retired) / sizeof(retired[0]); t++) {
        if (strcmp(retired[t].name, name) == 0) return &retired[t];
    }
    fail_msg("there is no tile %s", name);
    return NULL;
}

struct modelled {
    double gate_up_us, down_us;
};

// The mean over bench's routings.
static struct modelled model(const struct mj_tile *tile, int num_experts, int num_tokens) {
    bool rank = num_experts == 256;
    int hidden = rank ? 7168 : 4096, intermediate = rank ? 2048 : 7168, num_local = rank ? 32 : 4;
    int num_routings = num_tokens <= 16 ? 16 : (num_tokens <= 512 ? 8 : 4);
    moejit_layer layer = problem_of("deepseek-r1", 32).layer;
    struct modelled mean = {0, 0};
    layer.num_experts = num_experts;
    layer.top_k = rank ? 8 : 2;
    for (int r = 0; r < num_routings; r++) {
        int tokens[32] = {0};
        layer_data_route(&layer, num_tokens, ROUTING_UNIFORM, (uint64_t)r, ids);
        for (int i = 0; i < num_tokens * layer.top_k; i++) {
            if (ids[i] < num_local) tokens[ids[i]]++;
        }
        const struct mj_step_size gate_up = {2 * intermediate, hidden, tokens, num_local};
        const struct mj_step_size down = {hidden, intermediate, tokens, num_local};
        mean.gate_up_us += mj_cost_step(&h100, tile, &gate_up) / num_routings;
        mean.down_us += mj_cost_step(&h100, tile, &down) / num_routings;
    }
    return mean;
}

// Why 15 % are enough to prune at a factor of two: where both times are that near, what is modelled at twice the least
// takes at least 2 * 0.85 / 1.15 = 1.48 times the best. So nothing within a quarter of the best is left untimed.
#define MODEL_TOLERANCE 0.15

static void the_cost_model_is_near_what_was_measured(void **state) {
    (void)state;
    for (size_t m = 0; m < NUM_MEASURED; m++) {
        const struct measured *row = &measured[m];
        struct modelled us = model(measured_tile(row->tile), row->num_experts, row->num_tokens);
        double gate_up = us.gate_up_us / row->gate_up_us - 1, down = us.down_us / row->down_us - 1;
        if (getenv("PRINT_COST") != NULL)
            print_message(
                "%5d tokens %-18s gate_up %7.1f measured %7.1f (%+3.0f %%)  down %6.1f measured %6.1f (%+3.0f %%)\n",
                row->num_tokens, row->tile, us.gate_up_us, row->gate_up_us, 100 * gate_up, us.down_us, row->down_us,
                100 * down);
        if (fabs(gate_up) > MODEL_TOLERANCE || fabs(down) > MODEL_TOLERANCE)
            fail_msg("%s at %d tokens: off by %.0f %% and %.0f %%", row->tile, row->num_tokens, 100 * gate_up,
                     100 * down);
    }
}

// Beside every tile of the family, also those that have not been timed.
static void the_cost_model_keeps_what_is_near_the_best(void **state) {
    (void)state;
    for (size_t m = 0; m < NUM_MEASURED; m++) {
        const struct measured *row = &measured[m];
        struct modelled us = model(measured_tile(row->tile), row->num_experts, row->num_tokens);
        for (int t = 0; t < MJ_NUM_TILES; t++) {
            if (mj_tiles[t].family != MOEJIT_FAMILY_HOPPER) continue;
            struct modelled other = model(&mj_tiles[t], row->num_experts, row->num_tokens);
            assert_true(us.gate_up_us <= 2 * other.gate_up_us && us.down_us <= 2 * other.down_us);
        }
    }
    // What reads and multiplies each weight nine times over is left out.
    struct modelled narrow = model(&mj_tiles[5], 256, 2048), wide = model(&mj_tiles[8], 256, 2048);
    assert_true(narrow.gate_up_us > 2 * wide.gate_up_us && narrow.down_us > 2 * wide.down_us);
}

static void the_cost_model_knows_bytes_and_waves(void **state) {
    static const struct mj_device_figures slow_memory = {132, 1.98, 1000, 4096, 233472, 0};
    static const struct mj_device_figures fast_memory = {132, 1.98, 1e6, 4096, 233472, 0};
    static const struct mj_device_figures half_fast = {132, 1.98, 1e6, 2048, 233472, 0};
    int one[8] = {1, 1, 1, 1, 1, 1, 1, 1}, none[8] = {0}, half[8] = {1, 0, 1, 0, 1, 0, 1, 0}, many[8] = {0, 96};
    int less[8] = {0, 64}, spread[8] = {0, 200};
    const struct mj_step_size all = {28672, 4096, one, 8}, nothing = {28672, 4096, none, 8};
    const struct mj_step_size four = {28672, 4096, half, 8}, single = {28672, 4096, many, 8};
    const struct mj_step_size shorter = {28672, 4096, less, 8}, two = {28672, 4096, spread, 8};
    const struct mj_tile *narrow = &mj_tiles[5], *wide = &mj_tiles[8], *widest = &mj_tiles[9];
    (void)state;
    // 528.5 MB of weights at 0.83 TB/s are 637 us, and 4 us of the step; half of the experts, half of it.
    assert_true(fabs(mj_cost_step(&slow_memory, narrow, &all) - 641) < 2);
    assert_true(fabs(mj_cost_step(&slow_memory, narrow, &four) - 322) < 2);
    assert_true(fabs(mj_cost_step(&slow_memory, narrow, &nothing) - 4) < 0.1);
    // 448 row tiles of 64 for 12 token tiles of 8: 5376 tiles in waves of 660 are 8 full ones of 5 CTAs and 1 more CTA
    // a multiprocessor, each 256 + 37 times 17 + 8 * 0.9 = 24.2 clocks.
    assert_true(fabs(mj_cost_step(&fast_memory, narrow, &single) - (4 + 41 * 293 * 24.2 / 1980)) < 0.1);
    // 112 tiles of 256 rows by 96 tokens: one wave of one CTA, 32 + 96 * 0.61 clocks. Half the tensor rate doubles what
    // the tokens take; 64 tokens take less.
    assert_true(fabs(mj_cost_step(&fast_memory, wide, &single) - (4 + 4 * 293 * 90.56 / 1980)) < 0.1);
    assert_true(fabs(mj_cost_step(&half_fast, wide, &single) - (4 + 4 * 293 * 149.12 / 1980)) < 0.1);
    assert_true(fabs(mj_cost_step(&fast_memory, wide, &shorter) - (4 + 4 * 293 * 71.04 / 1980)) < 0.1);
    // 200 tokens are 104 and 96: widths of 112 and 96, so 104 on average. 112 row tiles of 256, twice: two waves.
    assert_true(fabs(mj_cost_step(&fast_memory, widest, &two) - (4 + 2 * 4 * 293 * 95.44 / 1980)) < 0.1);
}

// fp4's tiles are of no other arch than those with its instruction: 4096 FLOP a clock, as the machine table has them.
static void the_cost_model_knows_fp4(void **state) {
    (void)state;
    int many[1] = {256};
    const struct mj_step_size step = {28672, 4096, many, 1};
    for (int t = 0; t < MJ_NUM_TILES; t++) {
        struct mj_device_figures device = {170, 2.407, 1e6, 0, 0, 0};
        double widest = 11 + 0.42 * mj_tiles[t].block_tokens;
        if (mj_tiles[t].family != MOEJIT_FAMILY_FP4) continue;
        mj_device_figures_arch("sm_120a", &device);
        int tiles = 256 / mj_tiles[t].block_tokens * (28672 / mj_tiles[t].block_rows); // of many waves
        double us = tiles * (mj_tiles[t].block_rows / 64) * 256 * widest / 170 / 2407;
        assert_true(fabs(mj_cost_step(&device, &mj_tiles[t], &step) / (4 + us) - 1) < 0.2);
    }
    static const char *const archs[] = {"sm_120a", "sm_121a"};
    for (int i = 0; i < 2; i++) {
        const struct mj_machine *machine = mj_machine_find(archs[i]);
        struct mj_device_figures device = {0};
        mj_device_figures_arch(archs[i], &device);
        assert_true(fabs(device.tensor_flops - 2 * machine->mma_products) < 1e-9);
        assert_true(fabs(device.scaled_flops - 2 * machine->scaled_mma_products) < 1e-9);
        assert_int_equal(device.shared_bytes, machine->shared_bytes);
    }
}

static const double *sample_times;
static int samples_left;

static bool take_sample(void *user, int candidate, double *us) {
    int *taken = user;
    taken[candidate]++;
    *us = sample_times[candidate];
    return samples_left-- > 0;
}

static void halving_spends_its_samples_on_the_near_ones(void **state) {
    static const double times[] = {100, 150, 101.5, 180, 99, 400};
    struct mj_timing timings[6];
    int taken[6] = {0};
    (void)state;
    sample_times = times;
    samples_left = 1000;
    // 100 is slower than 99 by 1.01 %, which is told apart where there is no noise.
    assert_int_equal(mj_halving_run(6, take_sample, taken, timings), 4);
    assert_int_equal(taken[5], 3);
    assert_int_equal(taken[3], 3);
    assert_int_equal(taken[4], 15);
    assert_true(fabs(timings[4].us - 99) < 1e-9 && timings[4].num_samples == 15 && timings[4].noise_us == 0);
    samples_left = 7;
    assert_int_equal(mj_halving_run(6, take_sample, taken, timings), -1);
    samples_left = 1000;
    assert_int_equal(mj_halving_run(1, take_sample, taken, timings), 0);
}

static void rows_agree_up_to_rounding(void **state) {
    uint16_t want[256], got[256];
    (void)state;
    for (int i = 0; i < 256; i++) want[i] = got[i] = mj_bf16_round(sin(i) * 3);
    struct mj_agreement agreement = {.good = true};
    for (int i = 0; i < 256; i += 3) got[i] = (uint16_t)(want[i] + 1); // the next bf16
    mj_agreement_row(&agreement, 0, got, want, MOEJIT_DTYPE_BF16, 256, 2e-3);
    assert_true(agreement.good);
    got[17] = mj_bf16_round(1.2); // one element of many
    mj_agreement_row(&agreement, 1, got, want, MOEJIT_DTYPE_BF16, 256, 2e-3);
    assert_false(agreement.good);
    assert_int_equal(agreement.row, 1);
    agreement = (struct mj_agreement){.good = true};
    memcpy(got, want, sizeof(got));
    got[255] = 0xffff; // poison
    mj_agreement_row(&agreement, 9, got, want, MOEJIT_DTYPE_BF16, 256, 2e-3);
    assert_false(agreement.good);
    static const float zeros[4], small[4] = {0, 0, 1e-30f, 0};
    agreement = (struct mj_agreement){.good = true};
    mj_agreement_row(&agreement, 0, zeros, zeros, MOEJIT_DTYPE_F32, 4, 2e-3);
    assert_true(agreement.good);
    mj_agreement_row(&agreement, 0, small, zeros, MOEJIT_DTYPE_F32, 4, 2e-3);
    assert_false(agreement.good);
    static const uint16_t f16[2] = {0x3c00, 0xc000}, f16_off[2] = {0x3c00, 0x4000};
    agreement = (struct mj_agreement){.good = true};
    mj_agreement_row(&agreement, 0, f16, f16, MOEJIT_DTYPE_F16, 2, 2e-3);
    assert_true(agreement.good);
    mj_agreement_row(&agreement, 0, f16_off, f16, MOEJIT_DTYPE_F16, 2, 2e-3);
    assert_false(agreement.good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_every_count_once),
        cmocka_unit_test(decisions_are_text_and_back),
        cmocka_unit_test(legal_values_are_the_familys),
        cmocka_unit_test(routings_have_their_shares),
        cmocka_unit_test(a_tokens_experts_differ),
        cmocka_unit_test(the_cost_model_is_near_what_was_measured),
        cmocka_unit_test(the_cost_model_keeps_what_is_near_the_best),
        cmocka_unit_test(the_cost_model_knows_bytes_and_waves),
        cmocka_unit_test(the_cost_model_knows_fp4),
        cmocka_unit_test(halving_spends_its_samples_on_the_near_ones),
        cmocka_unit_test(rows_agree_up_to_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
