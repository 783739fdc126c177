// What tuning decides with: buckets, decisions as text, routings, the cost model, halving, agreement.
#include "../cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moe/agreement.h"
#include "moe/bucket.h"
#include "moe/cost.h"
#include "moe/decision.h"
#include "moe/halving.h"
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
    assert_string_equal(text, "gate_up=hopper_128x16x128 down=hopper_128x16x128 zeroing=auxiliary");
    assert_true(mj_decision_read("zeroing=in-stream down=64x8x64 gate_up=hopper_64x8x128", &read));
    mj_decision_write(&read, text);
    assert_string_equal(text, "gate_up=hopper_64x8x128 down=64x8x64 zeroing=in-stream");
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

// docs/benchmarks.md, one H100: microseconds of a DeepSeek-R1 rank's layer with one Hopper tile forced.
static const struct {
    int num_tokens;
    double us[4];
} measured[] = {{16, {156, 157, 191, 213}},    {64, {306, 310, 366, 410}},  {128, {342, 361, 388, 431}},
                {256, {478, 379, 386, 432}},   {512, {826, 522, 409, 442}}, {1024, {1505, 881, 463, 503}},
                {2048, {2737, 1566, 782, 614}}};

static void the_cost_model_keeps_what_is_near_the_best(void **state) {
    static const struct mj_device_figures h100 = {132, 1.755, 3352, 4096, 233472};
    struct mj_problem problem = problem_of("deepseek-r1", 32);
    (void)state;
    for (size_t m = 0; m < sizeof(measured) / sizeof(measured[0]); m++) {
        int tokens[32] = {0};
        double modelled[4], best = INFINITY, least = INFINITY;
        mj_routing_uniform(&routing, &problem.layer);
        mj_routing_draw(&routing, measured[m].num_tokens, 0, ids);
        for (int i = 0; i < measured[m].num_tokens * 8; i++) {
            if (ids[i] < 32) tokens[ids[i]]++;
        }
        for (int t = 0; t < 4; t++) {
            const struct mj_step_size gate_up = {4096, 7168, tokens, 32}, down = {7168, 2048, tokens, 32};
            modelled[t] =
                mj_cost_step(&h100, &mj_tiles[5 + t], &gate_up) + mj_cost_step(&h100, &mj_tiles[5 + t], &down);
            best = fmin(best, measured[m].us[t]);
            least = fmin(least, modelled[t]);
        }
        for (int t = 0; t < 4; t++) {
            if (getenv("PRINT_COST") != NULL)
                print_message("%5d tokens %-18s modelled %6.0f measured %6.0f\n", measured[m].num_tokens,
                              mj_tiles[5 + t].name, modelled[t], measured[m].us[t]);
            // What is within a quarter of the best must be timed; what takes four times as long must not.
            if (measured[m].us[t] < 1.25 * best) assert_true(modelled[t] <= 2 * least);
            if (measured[m].us[t] > 4 * best) assert_true(modelled[t] > 2 * least);
        }
    }
}

static void the_cost_model_knows_bytes_and_waves(void **state) {
    static const struct mj_device_figures slow_memory = {132, 1.755, 1000, 4096, 233472};
    static const struct mj_device_figures fast_memory = {132, 1.755, 1e6, 4096, 233472};
    static const struct mj_device_figures half_fast = {132, 1.755, 1e6, 2048, 233472};
    int one[8] = {1, 1, 1, 1, 1, 1, 1, 1}, none[8] = {0}, half[8] = {1, 0, 1, 0, 1, 0, 1, 0}, many[8] = {0, 96},
        more[8] = {0, 128};
    const struct mj_step_size all = {28672, 4096, one, 8}, nothing = {28672, 4096, none, 8};
    const struct mj_step_size four = {28672, 4096, half, 8}, single = {28672, 4096, many, 8};
    const struct mj_step_size wider = {28672, 4096, more, 8};
    const struct mj_tile *narrow = &mj_tiles[5], *wide = &mj_tiles[8];
    (void)state;
    // 528.5 MB of weights at 0.8 TB/s are 661 us, and 2 us of launch; half of the experts, half of it.
    assert_true(fabs(mj_cost_step(&slow_memory, narrow, &all) - 663) < 2);
    assert_true(fabs(mj_cost_step(&slow_memory, narrow, &four) - 332) < 2);
    assert_true(mj_cost_step(&slow_memory, narrow, &nothing) < 3);
    // 448 row tiles of 64 for 12 token tiles of 8: 5376 tiles in waves of 660 are 8 full ones of 5 CTAs and 1 more CTA
    // a multiprocessor, each 256 times 55 clocks.
    assert_true(fabs(mj_cost_step(&fast_memory, narrow, &single) - (2 + 41 * 256 * 54.96 / 1755)) < 2);
    // 112 tiles of 256 rows by 128 tokens: one wave of one CTA. Half the tensor rate doubles what the tokens take; 96
    // tokens take less than 128.
    assert_true(fabs(mj_cost_step(&fast_memory, wide, &wider) - (2 + 4 * 256 * 99.36 / 1755)) < 2);
    assert_true(fabs(mj_cost_step(&half_fast, wide, &wider) - (2 + 4 * 256 * 146.7 / 1755)) < 2);
    assert_true(fabs(mj_cost_step(&fast_memory, wide, &single) - (2 + 4 * 256 * 87.52 / 1755)) < 2);
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
        cmocka_unit_test(the_cost_model_keeps_what_is_near_the_best),
        cmocka_unit_test(the_cost_model_knows_bytes_and_waves),
        cmocka_unit_test(halving_spends_its_samples_on_the_near_ones),
        cmocka_unit_test(rows_agree_up_to_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
