// Generated units: the same bytes every time, and a golden one to read.
#include "../cmocka_all.h"

#include <string.h>

#include "jit/generator.h"
#include "jit/source_set.h"

static struct mj_problem make_problem(void) {
    moejit_layer layer;
    struct mj_problem problem;
    struct mj_error error;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 7168;
    layer.intermediate = 2048;
    layer.num_experts = 256;
    layer.num_local_experts = 32;
    layer.top_k = 8;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    return problem;
}

static const char golden[] = "// moejit down_portable for sm_90a, ABI 4 (generated)\n"
                             "#include \"down_portable.cuh\"\n\n"
                             "struct Config {\n"
                             "    static constexpr int hidden = 7168;\n"
                             "    static constexpr int intermediate = 2048;\n"
                             "    static constexpr int top_k = 8;\n"
                             "    static constexpr int output_dtype = MJ_DTYPE_BF16;\n"
                             "    static constexpr int down_bias_dtype = MJ_DTYPE_NONE;\n"
                             "    static constexpr int sum = MJ_SUM_ATOMIC;\n"
                             "    static constexpr int packed_layout = MJ_LAYOUT_FRAGMENTS;\n"
                             "    static constexpr int block_rows = 64;\n"
                             "    static constexpr int block_tokens = 16;\n"
                             "    static constexpr int block_k = 64;\n"
                             "    static constexpr int num_stages = 6;\n"
                             "    static constexpr int blocks_per_sm = 1;\n"
                             "    static constexpr int num_threads = 128;\n"
                             "};\n\n"
                             "extern \"C\" __global__ void __launch_bounds__(Config::num_threads, 1)\n"
                             "moejit_down_portable_64x16x64(const __grid_constant__ mj_down_args args)\n"
                             "{\n    moejit::down_portable<Config>(args);\n}\n";

static void a_unit_is_what_it_was(void **state) {
    (void)state;
    struct mj_problem problem = make_problem();
    struct mj_text unit = {0};
    mj_generator_write(MJ_KERNEL_DOWN_PORTABLE, &problem, &mj_tiles[1], "sm_90a", &unit);
    assert_string_equal(unit.data, golden);
    mj_text_free(&unit);
}

// Expert counts are launch arguments: one pack serves every degree of expert parallelism.
static void the_number_of_experts_changes_no_unit(void **state) {
    (void)state;
    struct mj_problem all = make_problem(), few = make_problem();
    few.layer.num_local_experts = 2;
    few.layer.num_experts = 2;
    for (int id = 0; id < MJ_NUM_KERNELS; id++) {
        const struct mj_tile *tile = mj_kernels[id].num_threads == 0 ? &mj_tiles[0] : NULL;
        struct mj_text a = {0}, b = {0};
        mj_generator_write((enum mj_kernel_id)id, &all, tile, "sm_80", &a);
        mj_generator_write((enum mj_kernel_id)id, &few, tile, "sm_80", &b);
        assert_string_equal(a.data, b.data);
        mj_text_free(&a);
        mj_text_free(&b);
    }
}

static void the_closure_of_a_unit_is_what_it_includes(void **state) {
    (void)state;
    struct mj_source_set set;
    struct mj_error error;
    bool used[MJ_MAX_SOURCES] = {false};
    assert_int_equal(mj_source_set_create(&set, NULL, &error), MOEJIT_STATUS_OK);
    mj_source_set_closure(&set, "#include \"route.cuh\"\n", used);
    for (int i = 0; i < set.num_sources; i++) {
        const char *name = set.sources[i].name;
        bool wanted = strcmp(name, "route.cuh") == 0 || strcmp(name, "live_tokens.cuh") == 0 ||
                      strcmp(name, "ptx_dependency.cuh") == 0 || strcmp(name, "abi.h") == 0;
        assert_int_equal(used[i], wanted);
    }
    mj_source_set_destroy(&set);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_is_what_it_was),
        cmocka_unit_test(the_number_of_experts_changes_no_unit),
        cmocka_unit_test(the_closure_of_a_unit_is_what_it_includes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
