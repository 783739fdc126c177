// Each refused layer, by its message; sizes that follow from a layer.
#include "../cmocka_all.h"

#include <string.h>

#include "moe/layout.h"
#include "moe/tile.h"

static moejit_layer good_layer(void) {
    moejit_layer layer;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 256;
    layer.intermediate = 192;
    layer.num_experts = layer.num_local_experts = 8;
    layer.top_k = 2;
    return layer;
}

static void refused(const moejit_layer *layer, moejit_status status, const char *message) {
    char reason[512];
    assert_int_equal(moejit_layer_supported(layer, NULL, reason, sizeof(reason)), status);
    assert_string_equal(reason, message);
}

#define REFUSED(field, value, message)                                                                                 \
    do {                                                                                                               \
        moejit_layer layer = good_layer();                                                                             \
        layer.field = value;                                                                                           \
        refused(&layer, MOEJIT_STATUS_INVALID_ARGUMENT, message);                                                      \
    } while (0)

static void a_good_layer_is_supported_everywhere(void **state) {
    static const char *const archs[] = {NULL,      "sm_80",   "sm_86",   "sm_89",  "sm_90a",
                                        "sm_100a", "sm_103a", "sm_120a", "sm_121a"};
    moejit_layer layer = good_layer();
    char reason[256];
    (void)state;
    for (size_t i = 0; i < sizeof(archs) / sizeof(archs[0]); i++) {
        assert_int_equal(moejit_layer_supported(&layer, archs[i], reason, sizeof(reason)), MOEJIT_STATUS_OK);
    }
    assert_int_equal(moejit_layer_supported(&layer, "sm_70", reason, sizeof(reason)), MOEJIT_STATUS_UNSUPPORTED);
    assert_non_null(strstr(reason, "arch \"sm_70\" is not one of sm_80, "));
    layer.activation_format = MOEJIT_FORMAT_NVFP4;
    layer.packed_layout = MOEJIT_PACKED_LAYOUT_BLOCK_SCALED;
    assert_int_equal(moejit_layer_supported(&layer, "sm_120a", reason, sizeof(reason)), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_layer_supported(&layer, "sm_90a", reason, sizeof(reason)), MOEJIT_STATUS_UNSUPPORTED);
    assert_string_equal(reason, "the hopper family reads the fragments layout, the layer's weights are packed as "
                                "block-scaled on sm_90a (packed_layout = 2)");
}

static void values_out_of_range_are_named(void **state) {
    (void)state;
    REFUSED(hidden, 250, "layer has hidden = 250, needs a multiple of 16 from 16 to 65536");
    REFUSED(hidden, 0, "layer has hidden = 0, needs a multiple of 16 from 16 to 65536");
    REFUSED(intermediate, -16, "layer has intermediate = -16, needs a multiple of 16 from 16 to 65536");
    REFUSED(num_experts, 1025, "layer has num_experts = 1025, needs 1 to 1024");
    REFUSED(num_local_experts, 9, "layer has num_local_experts = 9, needs 1 to 8");
    REFUSED(num_local_experts, 0, "layer has num_local_experts = 0, needs 1 to 8");
    REFUSED(local_expert_offset, 1, "layer has local_expert_offset = 1, needs 0 to 0");
    REFUSED(top_k, 33, "layer has top_k = 33, needs 1 to 32");
    REFUSED(activation, (moejit_activation)4, "layer has activation = 4, needs 0 to 3");
    REFUSED(output_dtype, MOEJIT_DTYPE_NONE, "layer has output_dtype = 0, needs 1 to 3");
    REFUSED(gate_up_bias_dtype, MOEJIT_DTYPE_F16,
            "layer has gate_up_bias_dtype = 2, needs NONE (0), BF16 (1) or F32 (3)");
    REFUSED(packed_layout, (moejit_packed_layout)3, "layer has packed_layout = 3, needs 0 to 2");
    REFUSED(router_weight_on_input, 2, "layer has router_weight_on_input = 2, needs 0 to 1");
}

static void combinations_that_mean_nothing_are_refused(void **state) {
    (void)state;
    REFUSED(activation_limit, 7.0f,
            "layer has activation_limit = 7, which only the SWIGLU_OAI activation takes; needs 0");
    REFUSED(input_format, MOEJIT_FORMAT_NVFP4,
            "layer has input_format NVFP4 with activation_format BF16; NVFP4 input needs NVFP4 activations");
    REFUSED(per_expert_intermediate_scale, 1,
            "layer has per_expert_intermediate_scale = 1, but bf16 activations take no intermediate_scale");
    moejit_layer layer = good_layer();
    layer.gate_up_row_order = MOEJIT_ROWS_INTERLEAVED_64;
    layer.intermediate = 80;
    refused(&layer, MOEJIT_STATUS_INVALID_ARGUMENT,
            "layer has intermediate = 80, row order INTERLEAVED_64 needs a multiple of 64");
}

static void sums_are_resolved(void **state) {
    (void)state;
    static const enum mj_sum expected[] = {MJ_SUM_ATOMIC, MJ_SUM_ATOMIC, MJ_SUM_ORDERED, MJ_SUM_ORDERED};
    for (int sum = MOEJIT_SUM_DEFAULT; sum <= MOEJIT_SUM_BATCH_INVARIANT; sum++) {
        struct mj_problem problem;
        struct mj_error error;
        moejit_layer layer = good_layer();
        layer.sum = (moejit_sum)sum;
        assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
        assert_int_equal(problem.sum, expected[sum]);
    }
}

static void struct_sizes_of_other_versions_are_read(void **state) {
    (void)state;
    moejit_layer layer = good_layer();
    layer.struct_size = 3;
    refused(&layer, MOEJIT_STATUS_INVALID_ARGUMENT, "layer has struct_size 3; its initialiser sets it to at most 4096");
    struct {
        moejit_layer layer;
        int newer[2];
    } newer = {good_layer(), {0, 0}};
    newer.layer.struct_size = sizeof(newer);
    char reason[512];
    assert_int_equal(moejit_layer_supported(&newer.layer, NULL, reason, sizeof(reason)), MOEJIT_STATUS_OK);
    newer.newer[1] = 1;
    assert_int_equal(moejit_layer_supported(&newer.layer, NULL, reason, sizeof(reason)), MOEJIT_STATUS_UNSUPPORTED);
    moejit_layer older = good_layer(); // of a version that ended before the sum
    older.struct_size = offsetof(moejit_layer, sum);
    older.sum = (moejit_sum)77;
    assert_int_equal(moejit_layer_supported(&older, NULL, reason, sizeof(reason)), MOEJIT_STATUS_OK);
}

static void tiles_follow_the_tokens_of_an_expert(void **state) {
    (void)state;
    struct mj_problem problem;
    struct mj_error error;
    moejit_layer layer = good_layer(); // 8 experts, 2 chosen: T / 4 tokens an expert
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_PORTABLE, 1), 0);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_PORTABLE, 32), 0);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_PORTABLE, 33), 1);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_PORTABLE, 65), 2);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_PORTABLE, 256), 3);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_PORTABLE, 65536), 4);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_HOPPER, 20), 5); // one and a half times the average fits: 7
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_HOPPER, 24), 6); // 9 do not
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_HOPPER, 48), 7);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_HOPPER, 256), 8);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_HOPPER, 260), 9);
    assert_int_equal(mj_tile_choose(&problem, MOEJIT_FAMILY_HOPPER, 65536), 9);
    assert_string_equal(mj_tiles[5].name, "hopper_64x8x256");
}

static void a_family_runs_where_its_instructions_are(void **state) {
    (void)state;
    assert_int_equal(mj_family_best("sm_90a"), MOEJIT_FAMILY_HOPPER);
    assert_int_equal(mj_family_best("sm_80"), MOEJIT_FAMILY_PORTABLE);
    assert_int_equal(mj_family_best("sm_100a"), MOEJIT_FAMILY_PORTABLE);
    assert_int_equal(mj_family_best("sm_120a"), MOEJIT_FAMILY_PORTABLE);
    assert_true(mj_family_runs_on(MOEJIT_FAMILY_PORTABLE, "sm_90a"));
    assert_false(mj_family_runs_on(MOEJIT_FAMILY_HOPPER, "sm_120a"));
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) {
        assert_int_equal(moejit_tile_runs_on(tile, "sm_90a"), mj_tiles[tile].family != MOEJIT_FAMILY_FP4);
        assert_int_equal(moejit_tile_runs_on(tile, "sm_121a"), mj_tiles[tile].family != MOEJIT_FAMILY_HOPPER);
        assert_int_equal(moejit_tile_runs_on(tile, "sm_89"), mj_tiles[tile].family == MOEJIT_FAMILY_PORTABLE);
    }
    assert_int_equal(moejit_tile_runs_on(-1, "sm_90a"), 0);
    assert_int_equal(moejit_tile_runs_on(MJ_NUM_TILES, "sm_90a"), 0);
    assert_int_equal(moejit_tile_runs_on(0, NULL), 0);
}

static void activations_and_packed_layout_choose_the_family(void **state) {
    (void)state;
    struct mj_problem problem;
    struct mj_error error;
    moejit_layer layer = good_layer();
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    assert_int_equal(mj_family_choose(&problem, "sm_120a"), MOEJIT_FAMILY_PORTABLE);
    assert_int_equal(mj_packed_layout_choose(&problem, "sm_120a"), MJ_LAYOUT_FRAGMENTS);
    problem.layer.activation_format = MOEJIT_FORMAT_NVFP4;
    assert_int_equal(mj_family_choose(&problem, "sm_120a"), MOEJIT_FAMILY_FP4);
    assert_int_equal(mj_family_choose(&problem, "sm_121a"), MOEJIT_FAMILY_FP4);
    assert_int_equal(mj_family_choose(&problem, "sm_100a"), MOEJIT_FAMILY_PORTABLE);
    assert_int_equal(mj_family_choose(&problem, "sm_90a"), MOEJIT_FAMILY_HOPPER);
    assert_int_equal(mj_packed_layout_choose(&problem, "sm_121a"), MJ_LAYOUT_BLOCK_SCALED);
    assert_int_equal(mj_packed_layout_choose(&problem, "sm_90a"), MJ_LAYOUT_FRAGMENTS);
    problem.layer.packed_layout = MOEJIT_PACKED_LAYOUT_FRAGMENTS;
    assert_int_equal(mj_family_choose(&problem, "sm_120a"), MOEJIT_FAMILY_PORTABLE);
    assert_int_equal(mj_packed_layout_choose(&problem, "sm_120a"), MJ_LAYOUT_FRAGMENTS);
}

// The bytes of odd sizes: blocks of 128 rows by 64 columns with their scales; rows of codes to 32 columns, of scales to
// 256.
static void the_block_scaled_layout_has_its_sizes(void **state) {
    (void)state;
    struct mj_problem problem;
    struct mj_error error;
    struct mj_weights_layout weights;
    struct mj_workspace_layout workspace;
    moejit_layer layer = good_layer();
    layer.hidden = 208, layer.intermediate = 80;
    layer.activation_format = MOEJIT_FORMAT_NVFP4;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    problem.packed_layout = MJ_LAYOUT_BLOCK_SCALED;
    mj_layout_weights(&problem, &weights);
    assert_int_equal(weights.gate_up_expert, 2 * 4 * 4608);
    assert_int_equal(weights.down_expert, 2 * 2 * 4608);
    mj_layout_workspace(&problem, 256, 1, &workspace);
    assert_int_equal(workspace.x_value_scales - workspace.x_values, 256 * 112);
    assert_int_equal(workspace.intermediate - workspace.x_value_scales, 256 * 16);
    assert_int_equal(workspace.intermediate_scales - workspace.intermediate, 256 * layer.top_k * 48);
    assert_int_equal(workspace.partials - workspace.intermediate_scales, 256 * layer.top_k * 16);
}

static void the_ordered_workspace_keeps_its_cap(void **state) {
    (void)state;
    struct mj_problem problem;
    struct mj_error error;
    struct mj_workspace_layout layout;
    moejit_layer layer = good_layer();
    layer.sum = MOEJIT_SUM_DETERMINISTIC;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    mj_layout_workspace(&problem, 64, (size_t)1 << 30, &layout);
    assert_int_equal(layout.partial_row_blocks, 4);
    assert_int_equal(layout.total - layout.partials, 64 * 2 * 256 * 4);
    mj_layout_workspace(&problem, 64, 64 * 2 * 64 * 4 * 3, &layout); // three blocks: two, to end with a 128-row tile
    assert_int_equal(layout.partial_row_blocks, 2);
    mj_layout_workspace(&problem, 64, 1, &layout);
    assert_int_equal(layout.partial_row_blocks, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_layer_is_supported_everywhere),
        cmocka_unit_test(values_out_of_range_are_named),
        cmocka_unit_test(combinations_that_mean_nothing_are_refused),
        cmocka_unit_test(struct_sizes_of_other_versions_are_read),
        cmocka_unit_test(sums_are_resolved),
        cmocka_unit_test(tiles_follow_the_tokens_of_an_expert),
        cmocka_unit_test(a_family_runs_where_its_instructions_are),
        cmocka_unit_test(activations_and_packed_layout_choose_the_family),
        cmocka_unit_test(the_block_scaled_layout_has_its_sizes),
        cmocka_unit_test(the_ordered_workspace_keeps_its_cap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
