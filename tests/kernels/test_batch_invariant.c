// The batch-invariant sum: a row has the same bits whatever other rows are in the call, and whatever tile serves them.
// In every family that the arch runs.
#include "../cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forward_rig.h"
#include "layer_options.h"
#include "moe/tile.h"

#define TOKENS 70
#define HIDDEN 192
#define TOP_K 3

static struct gpu gpu;

static int open_gpu(void **state) {
    (void)state;
    if (gpu_open(&gpu, NULL)) return 0;
    print_message("%s\n", gpu.error);
    return -1;
}

static int close_gpu(void **state) {
    (void)state;
    gpu_close(&gpu);
    return 0;
}

static moejit_layer make_layer(moejit_sum sum) {
    moejit_layer layer = rig_layer();
    layer.hidden = HIDDEN;
    layer.intermediate = 80;
    layer.num_experts = layer.num_local_experts = 4; // 53 tokens an expert in the whole batch: the widest tiles
    layer.top_k = TOP_K;
    layer.sum = sum;
    return layer;
}

static void make_rig(struct rig *rig, const moejit_layer *layer, moejit_family family) {
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    moejit_plan_options options;
    assert_int_equal(mj_problem_create(&problem, layer, &error), MOEJIT_STATUS_OK);
    assert_true(layer_data_create(&data, &problem, TOKENS, ROUTING_UNIFORM, false, 7));
    assert_int_equal(rig_create(rig, &gpu, layer, &data), MOEJIT_STATUS_OK);
    moejit_plan_destroy(rig->plan);
    moejit_plan_options_init(&options);
    options.max_num_tokens = TOKENS;
    options.family = family;
    assert_int_equal(moejit_plan_create(rig->context, layer, &options, &rig->plan), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_plan_sum(rig->plan), layer->sum);
}

// Tokens [first, first + count) alone, to the first rows of the output.
static void run_part(struct rig *rig, const moejit_forward_args *whole, int first, int count, float *output) {
    rig->args = *whole;
    rig->args.num_tokens = count;
    rig->args.x.data = (char *)whole->x.data + (size_t)first * HIDDEN * 2;
    rig->args.x.rows = count;
    rig->args.expert_ids = whole->expert_ids + first * TOP_K;
    rig->args.router_weights = whole->router_weights + first * TOP_K;
    assert_true(rig_fill_output(rig, NAN));
    if (rig_forward(rig) != MOEJIT_STATUS_OK) fail_msg("%s", moejit_executor_error(rig->executor));
    assert_true(rig_output(rig, output));
}

static void check_family(moejit_family family, moejit_format activations) {
    static const int parts[][2] = {{0, 1}, {69, 1}, {5, 8}, {30, 33}, {7, 63}};
    static float whole[TOKENS * HIDDEN], part[TOKENS * HIDDEN];
    moejit_layer layer = make_layer(MOEJIT_SUM_BATCH_INVARIANT);
    struct rig rig;
    layer.activation_format = activations;
    layer.packed_layout = layer_options_layout(family, 0);
    make_rig(&rig, &layer, family);
    moejit_forward_args args = rig.args;
    run_part(&rig, &args, 0, TOKENS, whole);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        int first = parts[i][0], count = parts[i][1];
        run_part(&rig, &args, first, count, part);
        if (memcmp(part, whole + (size_t)first * HIDDEN, (size_t)count * HIDDEN * sizeof(float)) != 0) {
            fail_msg("tokens %d to %d alone have other bits than among %d", first, first + count - 1, TOKENS);
        }
    }
    rig_destroy(&rig);
}

static void skip_unless_here(moejit_family family) {
    moejit_context_options options;
    moejit_context *context = NULL;
    moejit_context_options_init(&options);
    assert_int_equal(moejit_context_create(&options, &context, NULL, 0), MOEJIT_STATUS_OK);
    bool here = mj_family_runs_on(family, moejit_context_arch(context));
    moejit_context_destroy(context);
    if (!here) skip();
}

static void rows_of_the_portable_family_keep_their_bits(void **state) {
    (void)state;
    check_family(MOEJIT_FAMILY_PORTABLE, MOEJIT_FORMAT_BF16);
}

static void rows_of_the_hopper_family_keep_their_bits(void **state) {
    (void)state;
    skip_unless_here(MOEJIT_FAMILY_HOPPER);
    check_family(MOEJIT_FAMILY_HOPPER, MOEJIT_FORMAT_BF16);
}

static void rows_of_the_fp4_family_keep_their_bits(void **state) {
    (void)state;
    skip_unless_here(MOEJIT_FAMILY_FP4);
    check_family(MOEJIT_FAMILY_FP4, MOEJIT_FORMAT_NVFP4);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_the_portable_family_keep_their_bits),
        cmocka_unit_test(rows_of_the_hopper_family_keep_their_bits),
        cmocka_unit_test(rows_of_the_fp4_family_keep_their_bits),
    };
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
