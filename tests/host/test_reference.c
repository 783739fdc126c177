// The reference against a layer small enough to work out by hand, and the accuracy judge against outputs that are
// wrong.
#include "../cmocka_all.h"

#include <math.h>
#include <string.h>

#include "layer_data.h"
#include "moe/accuracy.h"
#include "moe/nvfp4.h"

// H = I = 16, two experts. Gate and up rows are 1 in column 0 and nothing else; down rows are 1 in column 0.
struct by_hand {
    moejit_layer layer;
    struct mj_problem problem;
    uint8_t gate_up[2][32][8], gate_up_scale[2][32], down[2][16][8], down_scale[2][16];
    float gate_up_alpha[2], down_alpha[2], router_weights[2];
    uint16_t x[16];
    int32_t expert_ids[2];
    struct mj_reference reference;
};

static void make_by_hand(struct by_hand *hand) {
    struct mj_error error;
    memset(hand, 0, sizeof(*hand));
    moejit_layer_init(&hand->layer, MOEJIT_ACTIVATION_SWIGLU);
    hand->layer.hidden = hand->layer.intermediate = 16;
    hand->layer.num_experts = hand->layer.num_local_experts = 2;
    hand->layer.top_k = 2;
    assert_int_equal(mj_problem_create(&hand->problem, &hand->layer, &error), MOEJIT_STATUS_OK);
    for (int e = 0; e < 2; e++) {
        for (int r = 0; r < 32; r++) {
            hand->gate_up[e][r][0] = 2;       // 1 in the low nibble: column 0
            hand->gate_up_scale[e][r] = 0x38; // 1
        }
        for (int r = 0; r < 16; r++) {
            hand->down[e][r][0] = 2;
            hand->down_scale[e][r] = 0x40; // 2
        }
        hand->gate_up_alpha[e] = 1;
        hand->down_alpha[e] = 1;
    }
    hand->x[0] = mj_bf16_round(1);
    hand->expert_ids[0] = 0;
    hand->expert_ids[1] = 1;
    hand->router_weights[0] = 0.5f;
    hand->router_weights[1] = -0.25f;
    hand->reference = (struct mj_reference){
        .problem = &hand->problem,
        .gate_up = hand->gate_up[0][0],
        .gate_up_scale = hand->gate_up_scale[0],
        .down = hand->down[0][0],
        .down_scale = hand->down_scale[0],
        .gate_up_alpha = hand->gate_up_alpha,
        .down_alpha = hand->down_alpha,
        .x = hand->x,
        .expert_ids = hand->expert_ids,
        .router_weights = hand->router_weights,
    };
}

static void swiglu_of_one_is_known(void **state) {
    (void)state;
    struct by_hand hand;
    int token = 0;
    float h[2 * 16];
    double y[16], magnitude[16];
    make_by_hand(&hand);
    assert_true(mj_reference_intermediate(&hand.reference, &token, 1, h));
    double want = (double)mj_bf16_value(mj_bf16_round(1 / (1 + exp(-1.0)))); // silu(1) * 1
    for (int i = 0; i < 32; i++) assert_true((double)h[i] == want);
    assert_true(mj_reference_output(&hand.reference, &token, 1, h, y, magnitude));
    for (int i = 0; i < 16; i++) {
        assert_true(y[i] == 2 * want * 0.5 - 2 * want * 0.25);
        assert_true(magnitude[i] == 2 * want * 0.75);
    }
}

static void experts_of_other_ranks_and_minus_one_give_nothing(void **state) {
    (void)state;
    struct by_hand hand;
    int token = 0;
    float h[2 * 16];
    double y[16], magnitude[16];
    make_by_hand(&hand);
    hand.expert_ids[0] = -1;
    hand.expert_ids[1] = 2;
    assert_true(mj_reference_intermediate(&hand.reference, &token, 1, h));
    assert_true(mj_reference_output(&hand.reference, &token, 1, h, y, magnitude));
    for (int i = 0; i < 16; i++) assert_true(y[i] == 0 && magnitude[i] == 0);
}

static void the_router_weight_may_be_on_the_input(void **state) {
    (void)state;
    struct by_hand hand;
    int token = 0;
    float h[2 * 16];
    make_by_hand(&hand);
    hand.problem.layer.router_weight_on_input = 1;
    assert_true(mj_reference_intermediate(&hand.reference, &token, 1, h));
    double want = 0.5 / (1 + exp(-0.5)) * 0.5; // gate and up are 0.5
    assert_true((double)h[0] == (double)mj_bf16_value(mj_bf16_round(want)));
}

#define ROWS 32
#define COLUMNS 256

// Outputs that a judge must not let pass; the bound itself must.
static void the_judge_finds_what_is_wrong(void **state) {
    static double want[ROWS * COLUMNS], magnitude[ROWS * COLUMNS], got[ROWS * COLUMNS];
    struct mj_problem problem = {
        .layer = {.hidden = COLUMNS, .intermediate = 512, .top_k = 2, .output_dtype = MOEJIT_DTYPE_BF16}};
    struct mj_accuracy_case what = {&problem, false, true};
    struct mj_accuracy accuracy;
    (void)state;
    for (int i = 0; i < ROWS * COLUMNS; i++) {
        want[i] = sin(i * 0.37) * 3;
        magnitude[i] = fabs(want[i]) + 0.5;
        got[i] = (double)mj_bf16_value(mj_bf16_round(want[i]));
    }
    mj_accuracy_check(&what, ROWS, got, want, magnitude, &accuracy);
    assert_true(accuracy.good);
    double kept = got[5 * COLUMNS + 7];
    got[5 * COLUMNS + 7] += 1; // one element
    mj_accuracy_check(&what, ROWS, got, want, magnitude, &accuracy);
    assert_false(accuracy.good);
    assert_int_equal(accuracy.bad_row, 5);
    assert_int_equal(accuracy.bad_column, 7);
    got[5 * COLUMNS + 7] = NAN;
    mj_accuracy_check(&what, ROWS, got, want, magnitude, &accuracy);
    assert_false(accuracy.good);
    got[5 * COLUMNS + 7] = kept;
    for (int c = 0; c < COLUMNS; c++) got[9 * COLUMNS + c] *= 1.02; // one row, each element a little
    mj_accuracy_check(&what, ROWS, got, want, magnitude, &accuracy);
    assert_false(accuracy.good);
    memset(got, 0, sizeof(got)); // all zeros
    mj_accuracy_check(&what, ROWS, got, want, magnitude, &accuracy);
    assert_false(accuracy.good);
}

static void bounds_are_those_of_the_table(void **state) {
    (void)state;
    struct mj_problem problem = {.layer = {.intermediate = 2048, .top_k = 8, .output_dtype = MOEJIT_DTYPE_BF16}};
    struct mj_accuracy_case what = {&problem, false, false};
    assert_true(fabs(mj_accuracy_bound(&what) - 5.1e-3) < 1e-4);
    problem.sum = MJ_SUM_ORDERED;
    assert_true(mj_accuracy_bound(&what) == 2.0e-3);
    problem.layer.output_dtype = MOEJIT_DTYPE_F32;
    assert_true(mj_accuracy_bound(&what) == 4e-4);
    what.own_intermediate = true;
    assert_true(fabs(mj_accuracy_bound(&what) - (2e-5 + 2e-9 * 2048)) < 1e-12);
}

static void random_layers_are_the_same_everywhere(void **state) {
    (void)state;
    struct mj_problem problem = {.layer = {.hidden = 64,
                                           .intermediate = 32,
                                           .num_experts = 4,
                                           .num_local_experts = 4,
                                           .top_k = 2,
                                           .output_dtype = MOEJIT_DTYPE_BF16},
                                 .gated = true,
                                 .gate_up_rows = 64};
    struct layer_data a, b;
    assert_true(layer_data_create(&a, &problem, 5, ROUTING_UNIFORM, false, 3));
    assert_true(layer_data_create(&b, &problem, 5, ROUTING_UNIFORM, false, 3));
    assert_memory_equal(a.gate_up, b.gate_up, a.gate_up_bytes);
    for (int t = 0; t < 5; t++) assert_int_not_equal(a.expert_ids[2 * t], a.expert_ids[2 * t + 1]);
    layer_data_destroy(&a);
    layer_data_destroy(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(swiglu_of_one_is_known),
        cmocka_unit_test(experts_of_other_ranks_and_minus_one_give_nothing),
        cmocka_unit_test(the_router_weight_may_be_on_the_input),
        cmocka_unit_test(the_judge_finds_what_is_wrong),
        cmocka_unit_test(bounds_are_those_of_the_table),
        cmocka_unit_test(random_layers_are_the_same_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
