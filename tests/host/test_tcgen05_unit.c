// The one unit for sm_100a's own tensor cores: it compiles for the archs that have them, against the same argument
// structs and layouts as every other. No family has it and nothing has run it.
#include "../cmocka_all.h"

#include <string.h>

#include "jit/compiler.h"
#include "jit/generator.h"

static struct mj_problem make_problem(moejit_activation activation, int hidden, int intermediate) {
    moejit_layer layer;
    struct mj_problem problem;
    struct mj_error error;
    moejit_layer_init(&layer, activation);
    layer.hidden = hidden;
    layer.intermediate = intermediate;
    layer.num_experts = layer.num_local_experts = 128;
    layer.top_k = 4;
    layer.activation_format = MOEJIT_FORMAT_NVFP4;
    layer.gate_up_bias_dtype = MOEJIT_DTYPE_BF16;
    assert_int_equal(mj_problem_create(&problem, &layer, &error), MOEJIT_STATUS_OK);
    return problem;
}

static void check_unit(const struct mj_nvrtc *nvrtc, const struct mj_source_set *sources,
                       const struct mj_problem *problem, const char *arch) {
    static const char *const uses[] = {"tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.scale_vec::4X",
                                       "tcgen05.cp.cta_group::1.32x128b.warpx4", "tcgen05.ld.sync.aligned.16x256b"};
    char symbol[MJ_SYMBOL_BYTES];
    struct mj_text unit = {0};
    struct mj_image image = {0};
    struct mj_error error = {0};
    mj_generator_symbol(MJ_KERNEL_GATE_UP_TCGEN05, NULL, symbol);
    mj_generator_write(MJ_KERNEL_GATE_UP_TCGEN05, problem, NULL, arch, &unit);
    struct mj_compile_request request;
    mj_compiler_request(sources, unit.data, symbol, mj_arch_find(arch), false, &request);
    moejit_status status = mj_compiler_compile(nvrtc, &request, &image, &error);
    if (status != MOEJIT_STATUS_OK) fail_msg("%s: %s", arch, error.message);
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++) assert_non_null(strstr(image.ptx, uses[i]));
    assert_true(mj_compiler_resources(image.log).registers > 0);
    assert_int_equal(mj_compiler_resources(image.log).spill_bytes, 0);
    mj_image_free(&image);
    mj_text_free(&unit);
}

static void it_compiles_where_tcgen05_is(void **state) {
    (void)state;
    struct mj_nvrtc nvrtc = {0};
    struct mj_source_set sources;
    struct mj_error error = {0};
    struct mj_problem gated = make_problem(MOEJIT_ACTIVATION_SWIGLU_OAI, 2880, 2880);
    struct mj_problem plain = make_problem(MOEJIT_ACTIVATION_RELU2, 2688, 1856);
    if (mj_nvrtc_open(&nvrtc, NULL, &error) != MOEJIT_STATUS_OK) fail_msg("%s", error.message);
    assert_int_equal(mj_source_set_create(&sources, NULL, &error), MOEJIT_STATUS_OK);
    check_unit(&nvrtc, &sources, &gated, "sm_100a");
    check_unit(&nvrtc, &sources, &plain, "sm_103a");
    mj_source_set_destroy(&sources);
    mj_nvrtc_close(&nvrtc);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_compiles_where_tcgen05_is)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
