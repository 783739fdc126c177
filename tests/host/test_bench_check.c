// The check of bench --check finds what a check of a few rows would miss, and lets rounding pass.
#include "../cmocka_all.h"

#include <math.h>
#include <string.h>

#include "bench_check.h"
#include "moe/nvfp4.h"

#define ROWS 40
#define HIDDEN 64
#define ELEMENTS (ROWS * HIDDEN)

static float values[ELEMENTS];
static uint16_t ours[ELEMENTS], others[ELEMENTS];

static void round_all(const float *from, uint16_t *to) {
    for (int i = 0; i < ELEMENTS; i++) to[i] = mj_bf16_round((double)from[i]);
}

// Both outputs equal: rows of about the same norm.
static void start(void) {
    for (int i = 0; i < ELEMENTS; i++) values[i] = (float)sin(1.7 * i) + 0.1f * (float)(i % 7);
    round_all(values, ours);
    round_all(values, others);
}

static struct bench_check compare(moejit_sum sum, bool exact) {
    struct mj_error error;
    struct mj_problem problem;
    struct bench_check check = {.exact = exact};
    moejit_layer layer;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = layer.intermediate = HIDDEN;
    layer.num_experts = layer.num_local_experts = layer.top_k = 8;
    layer.sum = sum;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    bench_check_compare(&problem, ROWS, ours, others, &check);
    assert_true(check.done);
    return check;
}

static void equal_outputs_pass(void **state) {
    (void)state;
    start();
    struct bench_check check = compare(MOEJIT_SUM_DETERMINISTIC, true);
    assert_true(check.good && check.differing == 0 && check.total == 0 && check.worst_row == 0);
    assert_true(compare(MOEJIT_SUM_ATOMIC, false).good);
    memset(ours, 0, sizeof(ours)), memset(others, 0, sizeof(others)); // a rank that no token chose
    assert_true(compare(MOEJIT_SUM_DETERMINISTIC, true).good);
    assert_true(compare(MOEJIT_SUM_ATOMIC, false).good);
}

static void one_step_of_rounding_fails_only_where_bits_must_agree(void **state) {
    (void)state;
    start();
    ours[777]++;
    struct bench_check check = compare(MOEJIT_SUM_DETERMINISTIC, true);
    assert_true(!check.good && check.differing == 1);
    assert_true(compare(MOEJIT_SUM_ATOMIC, false).good);
}

static void one_bad_row_of_all_fails(void **state) {
    (void)state;
    start();
    for (int i = 23 * HIDDEN; i < 24 * HIDDEN; i++) values[i] *= 1.6f;
    round_all(values, ours);
    struct bench_check check = compare(MOEJIT_SUM_ATOMIC, false);
    assert_true(!check.good && check.worst_row > 0.5 && check.worst_row < 0.7);
}

static void a_few_percent_everywhere_fail(void **state) {
    (void)state;
    start();
    for (int i = 0; i < ELEMENTS; i++) values[i] *= 1.05f;
    round_all(values, ours);
    assert_false(compare(MOEJIT_SUM_ATOMIC, false).good);
    assert_false(compare(MOEJIT_SUM_DETERMINISTIC, false).good);
}

static void not_a_number_fails_on_either_side_and_on_both(void **state) {
    (void)state;
    for (int side = 1; side <= 3; side++) {
        start();
        if (side & 1) ours[5] = 0x7fff;
        if (side & 2) others[5] = 0x7fff;
        assert_false(compare(MOEJIT_SUM_ATOMIC, false).good);
        assert_false(compare(MOEJIT_SUM_DETERMINISTIC, true).good);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_outputs_pass),
        cmocka_unit_test(one_step_of_rounding_fails_only_where_bits_must_agree),
        cmocka_unit_test(one_bad_row_of_all_fails),
        cmocka_unit_test(a_few_percent_everywhere_fail),
        cmocka_unit_test(not_a_number_fails_on_either_side_and_on_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
