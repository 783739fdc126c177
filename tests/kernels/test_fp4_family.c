// The fp4 family beside the portable one, on sm_120a: which is chosen, what is refused, and equal bits. Numbers against
// the reference are test_kernels' business.
#include "../cmocka_all.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forward_rig.h"

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

#define TOKENS 21
#define HIDDEN 208 // 3 * 64 + 16: the last stage is half there, and its first word of scales a quarter
#define INTERMEDIATE 112

static moejit_layer make_layer(moejit_packed_layout layout) {
    moejit_layer layer = rig_layer();
    layer.hidden = HIDDEN;
    layer.intermediate = INTERMEDIATE;
    layer.top_k = 3;
    layer.activation_format = MOEJIT_FORMAT_NVFP4;
    layer.sum = MOEJIT_SUM_DETERMINISTIC;
    layer.packed_layout = layout;
    return layer;
}

static struct layer_data make_data(const moejit_layer *layer, bool exact) {
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    assert_int_equal(mj_problem_create(&problem, layer, &error), MOEJIT_STATUS_OK);
    assert_true(layer_data_create(&data, &problem, TOKENS, ROUTING_UNIFORM, exact, 11));
    return data;
}

static void make_rig(struct rig *rig, const moejit_layer *layer, bool exact) {
    struct layer_data data = make_data(layer, exact);
    assert_int_equal(rig_create(rig, &gpu, layer, &data), MOEJIT_STATUS_OK);
}

static bool plan_has(const moejit_plan *plan, const char *part) {
    for (int i = 0; i < moejit_plan_num_kernels(plan); i++) {
        moejit_kernel_info info = {.struct_size = sizeof(info)};
        assert_int_equal(moejit_plan_kernel(plan, i, &info), MOEJIT_STATUS_OK);
        if (strstr(info.symbol, part) != NULL) return true;
    }
    return false;
}

#define OUTPUTS (TOKENS * HIDDEN)

static void run(struct rig *rig, float *output) {
    assert_true(rig_fill_output(rig, NAN));
    if (rig_forward(rig) != MOEJIT_STATUS_OK) fail_msg("%s", moejit_executor_error(rig->executor));
    assert_true(rig_output(rig, output));
}

static void the_activations_choose_the_family(void **state) {
    (void)state;
    struct rig rig;
    moejit_layer layer = make_layer(MOEJIT_PACKED_LAYOUT_AUTO);
    make_rig(&rig, &layer, false);
    assert_true(plan_has(rig.plan, "gate_up_fp4_64x8") && plan_has(rig.plan, "pack_fp4"));
    assert_false(plan_has(rig.plan, "portable"));
    rig_destroy(&rig);
    layer.packed_layout = MOEJIT_PACKED_LAYOUT_FRAGMENTS;
    make_rig(&rig, &layer, false);
    assert_true(plan_has(rig.plan, "gate_up_portable_64x8"));
    assert_false(plan_has(rig.plan, "fp4"));
    rig_destroy(&rig);
    layer.packed_layout = MOEJIT_PACKED_LAYOUT_AUTO;
    layer.activation_format = MOEJIT_FORMAT_BF16;
    make_rig(&rig, &layer, false);
    assert_true(plan_has(rig.plan, "gate_up_portable_64x8"));
    assert_false(plan_has(rig.plan, "fp4"));
    rig_destroy(&rig);
}

// Output and h' of both families. On the exact class any order of sums gives these bits; on the other it is the
// emulator's reading of a k64 step as four k16 steps.
static void both_families_have_the_same_bits(void **state) {
    (void)state;
    static float output[2][OUTPUTS];
    static uint16_t h[2][TOKENS * 3 * INTERMEDIATE];
    for (int exact = 0; exact < 2; exact++) {
        memset(h, 0, sizeof(h));
        for (int family = 0; family < 2; family++) {
            struct rig rig;
            moejit_layer layer = make_layer(family == 0 ? MOEJIT_PACKED_LAYOUT_FRAGMENTS : MOEJIT_PACKED_LAYOUT_AUTO);
            layer.activation = exact ? MOEJIT_ACTIVATION_RELU2 : MOEJIT_ACTIVATION_SWIGLU;
            make_rig(&rig, &layer, exact);
            assert_int_equal(plan_has(rig.plan, "fp4"), family);
            run(&rig, output[family]);
            assert_int_equal(
                moejit_read_intermediate(rig.plan, &rig.args, rig.executor, rig.stream, h[family], sizeof(h[family])),
                MOEJIT_STATUS_OK);
            rig_destroy(&rig);
        }
        assert_memory_equal(output[0], output[1], sizeof(output[0]));
        for (int i = 0; i < TOKENS * 3 * INTERMEDIATE; i++) { // codes of -0 are as good as those of 0
            if (h[0][i] != h[1][i]) assert_true(((h[0][i] | h[1][i]) & 0x7fff) == 0);
        }
    }
}

// NVFP4 has no negative scales, and its tensor cores no sign for them: one that comes all the same turns its codes
// around.
static void a_scales_sign_moves_to_the_codes(void **state) {
    (void)state;
    static float output[2][OUTPUTS];
    moejit_layer layer = make_layer(MOEJIT_PACKED_LAYOUT_AUTO);
    layer.input_format = MOEJIT_FORMAT_NVFP4;
    for (int turned = 0; turned < 2; turned++) {
        struct layer_data data = make_data(&layer, false);
        struct rig rig;
        for (size_t i = 0; turned && i < data.x_scale_bytes; i += 3) {
            uint8_t *codes = (uint8_t *)data.x + i * 8;
            data.x_scale[i] ^= 0x80;
            for (int byte = 0; byte < 8; byte++) codes[byte] ^= 0x88;
        }
        assert_int_equal(rig_create(&rig, &gpu, &layer, &data), MOEJIT_STATUS_OK);
        run(&rig, output[turned]);
        rig_destroy(&rig);
    }
    assert_memory_equal(output[0], output[1], sizeof(output[0]));
}

static void a_nan_stays_in_its_row(void **state) {
    (void)state;
    static float clean[OUTPUTS], output[OUTPUTS];
    static const uint16_t bad[] = {0x7fc0, 0xff80}; // NaN, -infinity
    moejit_layer layer = make_layer(MOEJIT_PACKED_LAYOUT_AUTO);
    struct rig rig;
    make_rig(&rig, &layer, false);
    run(&rig, clean);
    rig_destroy(&rig);
    for (int i = 0; i < 2; i++) {
        struct layer_data data = make_data(&layer, false);
        ((uint16_t *)data.x)[5 * HIDDEN + 200] = bad[i];
        assert_int_equal(rig_create(&rig, &gpu, &layer, &data), MOEJIT_STATUS_OK);
        run(&rig, output);
        for (int at = 0; at < OUTPUTS; at++) {
            if (at / HIDDEN == 5) {
                assert_true(isnan(output[at]));
            } else {
                assert_memory_equal(&output[at], &clean[at], sizeof(float));
            }
        }
        rig_destroy(&rig);
    }
}

// Packs the rig's checkpoint into memory of its own; the packed bytes, to be freed.
static uint8_t *pack(struct rig *rig, const moejit_layer *layer) {
    moejit_weights *weights = NULL;
    size_t bytes = 0;
    assert_int_equal(moejit_weights_bytes(rig->context, layer, &bytes), MOEJIT_STATUS_OK);
    void *memory = gpu_upload(&gpu, NULL, bytes);
    uint8_t *packed = malloc(bytes);
    assert_non_null(packed);
    assert_int_equal(moejit_weights_create(rig->context, layer, memory, bytes, &weights), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_weights_pack(weights, &rig->checkpoint, 0, layer->num_local_experts, rig->stream),
                     MOEJIT_STATUS_OK);
    assert_true(gpu_download(&gpu, packed, memory, bytes));
    moejit_weights_destroy(weights);
    gpu_free(&gpu, memory);
    return packed;
}

// The checkpoint's row that a packed row of gate_up holds, or -1 beyond the matrix: gate channels in rows 0 to 7 of
// each 16, the same channels' up rows in 8 to 15, with all gate rows before all up rows in the checkpoint.
static int gate_up_row(int row) {
    int channel = row / 16 * 8 + row % 8;
    if (row >= 2 * INTERMEDIATE) return -1;
    return row % 16 < 8 ? channel : INTERMEDIATE + channel;
}

// Every byte of the packed gate_up matrices, by what tcgen05 is told of them: core matrices of 8 rows by 16 bytes, 128
// bytes on for the next 32 columns and 256 for the next 8 rows; then the 128x4 tile of docs/numerics.md.
static void the_packed_bytes_are_core_matrices_and_128x4_tiles(void **state) {
    (void)state;
    enum { ROW_BLOCKS = (2 * INTERMEDIATE + 127) / 128, COLUMN_BLOCKS = (HIDDEN + 63) / 64 };
    moejit_layer layer = make_layer(MOEJIT_PACKED_LAYOUT_AUTO);
    struct rig rig;
    make_rig(&rig, &layer, false);
    uint8_t *packed = pack(&rig, &layer);
    for (int expert = 0; expert < layer.num_local_experts; expert++) {
        const uint8_t *codes = rig.data.gate_up + (size_t)expert * 2 * INTERMEDIATE * HIDDEN / 2;
        const uint8_t *scales = rig.data.gate_up_scale + (size_t)expert * 2 * INTERMEDIATE * HIDDEN / 16;
        for (int row = 0; row < ROW_BLOCKS * 128; row++) {
            int source = gate_up_row(row), m = row % 128;
            for (int column = 0; column < COLUMN_BLOCKS * 64; column += 2) {
                int block = (expert * ROW_BLOCKS + row / 128) * COLUMN_BLOCKS + column / 64, k = column % 64;
                const uint8_t *at = packed + (size_t)block * 4608;
                bool inside = source >= 0 && column < HIDDEN;
                assert_int_equal(at[m / 8 * 256 + k / 32 * 128 + m % 8 * 16 + k % 32 / 2],
                                 inside ? codes[(source * HIDDEN + column) / 2] : 0);
                if (k % 16 != 0) continue;
                assert_int_equal(at[4096 + m % 32 * 16 + m / 32 * 4 + k / 16],
                                 inside ? scales[(source * HIDDEN + column) / 16] : 0);
            }
        }
    }
    free(packed);
    rig_destroy(&rig);
}

static void assert_no_plan(moejit_context *context, const moejit_layer *layer, moejit_family family,
                           const char *message) {
    moejit_plan_options options;
    moejit_plan *plan = NULL;
    moejit_plan_options_init(&options);
    options.max_num_tokens = 8;
    options.family = family;
    assert_int_equal(moejit_plan_create(context, layer, &options, &plan), MOEJIT_STATUS_UNSUPPORTED);
    assert_null(plan);
    if (strstr(moejit_context_error(context), message) == NULL) {
        fail_msg("\"%s\" does not hold \"%s\"", moejit_context_error(context), message);
    }
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    struct rig rig, other;
    moejit_layer layer = make_layer(MOEJIT_PACKED_LAYOUT_AUTO), fragments = make_layer(MOEJIT_PACKED_LAYOUT_FRAGMENTS);
    make_rig(&rig, &layer, false);
    make_rig(&other, &fragments, false);
    assert_no_plan(rig.context, &layer, MOEJIT_FAMILY_PORTABLE,
                   "the portable family reads the fragments layout, the layer's weights are packed as block-scaled on "
                   "sm_120a (packed_layout = 0)");
    assert_no_plan(rig.context, &fragments, MOEJIT_FAMILY_FP4,
                   "the fp4 family reads the block-scaled layout, the layer's weights are packed as fragments on "
                   "sm_120a (packed_layout = 1)");
    assert_no_plan(rig.context, &layer, MOEJIT_FAMILY_HOPPER,
                   "the hopper family does not run on sm_120a, needs sm_90a");
    layer.activation_format = MOEJIT_FORMAT_BF16;
    assert_no_plan(rig.context, &layer, MOEJIT_FAMILY_FP4,
                   "the fp4 family multiplies NVFP4 activations, the layer has bf16 ones");
    layer.packed_layout = MOEJIT_PACKED_LAYOUT_BLOCK_SCALED;
    assert_no_plan(rig.context, &layer, MOEJIT_FAMILY_AUTO,
                   "the portable family reads the fragments layout, the layer's weights are packed as block-scaled on "
                   "sm_120a (packed_layout = 2)");
    moejit_weights *weights = NULL; // of the other layout, in the same context
    size_t bytes = 0;
    assert_int_equal(moejit_weights_bytes(rig.context, &fragments, &bytes), MOEJIT_STATUS_OK);
    void *memory = gpu_upload(&gpu, NULL, bytes);
    assert_int_equal(moejit_weights_create(rig.context, &fragments, memory, bytes, &weights), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_forward(rig.plan, weights, &rig.args, rig.executor, rig.stream),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(moejit_executor_error(rig.executor),
                           "weights are packed as fragments, the plan's kernels read block-scaled"));
    moejit_weights_destroy(weights);
    gpu_free(&gpu, memory);
    rig_destroy(&other);
    rig_destroy(&rig);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_activations_choose_the_family),
        cmocka_unit_test(both_families_have_the_same_bits),
        cmocka_unit_test(a_scales_sign_moves_to_the_codes),
        cmocka_unit_test(a_nan_stays_in_its_row),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(the_packed_bytes_are_core_matrices_and_128x4_tiles),
    };
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
