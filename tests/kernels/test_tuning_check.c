// The check of candidates finds no fault with right ones: every tile of both families on layers that have what models
// have. (That it finds wrong ones is test_autotune's business.) Runs on the emulator.
#include "../cmocka_all.h"

#include <stdio.h>
#include <string.h>

#include "gpu.h"
#include "layer_options.h"
#include "moe/model_table.h"
#include "run/tuning_bench.h"

static struct gpu gpu;

static int open_gpu(void **state) {
    (void)state;
    return gpu_open(&gpu, NULL) ? 0 : -1;
}

static int close_gpu(void **state) {
    (void)state;
    gpu_close(&gpu);
    return 0;
}

static void check_all(struct mj_tuning_bench *bench, const char *name, int num_tokens) {
    static struct mj_routing routing;
    const struct moejit_plan *plan = bench->plan;
    int values[MJ_MAX_VALUES], expert_tokens[MJ_MAX_EXPERTS];
    mj_routing_zipf(&routing, &plan->problem.layer, 1);
    assert_int_equal(mj_tuning_bench_begin(bench, &routing, num_tokens, expert_tokens), MOEJIT_STATUS_OK);
    for (int choice = 0; choice < MJ_NUM_CHOICES; choice++) {
        int num = mj_decision_values(&plan->problem, plan->family, -1, (enum mj_choice)choice, values);
        for (int i = 0; i < num; i++) {
            struct mj_decision decision = mj_plan_untuned(plan, num_tokens);
            char reason[MJ_REASON_BYTES] = "";
            bool good = false;
            decision.value[choice] = values[i];
            assert_int_equal(mj_tuning_bench_check(bench, (enum mj_choice)choice, &decision, &good, reason),
                             MOEJIT_STATUS_OK);
            if (!good)
                fail_msg("%s, %d tokens, %s: %s", name, num_tokens,
                         mj_choice_value_name((enum mj_choice)choice, values[i]), reason);
        }
    }
}

static void check_layer(const moejit_layer *layer, const char *name, moejit_family family) {
    static struct mj_tuning_bench bench;
    moejit_context_options options;
    moejit_context *context = NULL;
    moejit_plan_options plan_options;
    moejit_plan *plan = NULL;
    moejit_context_options_init(&options);
    options.cuda_library = gpu.path;
    assert_int_equal(moejit_context_create(&options, &context, NULL, 0), MOEJIT_STATUS_OK);
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = 5;
    plan_options.family = family;
    if (moejit_plan_create(context, layer, &plan_options, &plan) != MOEJIT_STATUS_OK)
        fail_msg("%s: %s", name, moejit_context_error(context));
    assert_int_equal(mj_tuning_bench_open(&bench, plan, NULL, 0), MOEJIT_STATUS_OK);
    check_all(&bench, name, 5);
    mj_tuning_bench_close(&bench);
    moejit_plan_destroy(plan);
    moejit_context_destroy(context);
}

static void right_candidates_are_good(void **state) {
    static const struct {
        const char *model;
        moejit_format activations, input;
        moejit_dtype output;
        moejit_sum sum;
        moejit_scale_layout scales;
        bool portable, hopper; // families
    } cases[] = {
        {"gpt-oss-120b", MOEJIT_FORMAT_BF16, MOEJIT_FORMAT_BF16, MOEJIT_DTYPE_BF16, MOEJIT_SUM_DEFAULT,
         MOEJIT_SCALES_LINEAR, true, true},
        {"nemotron3-nano", MOEJIT_FORMAT_BF16, MOEJIT_FORMAT_BF16, MOEJIT_DTYPE_F16, MOEJIT_SUM_DEFAULT,
         MOEJIT_SCALES_128X4, true, true},
        {"llama4-scout", MOEJIT_FORMAT_BF16, MOEJIT_FORMAT_BF16, MOEJIT_DTYPE_F32, MOEJIT_SUM_BATCH_INVARIANT,
         MOEJIT_SCALES_LINEAR, true, false},
        {"deepseek-r1", MOEJIT_FORMAT_NVFP4, MOEJIT_FORMAT_BF16, MOEJIT_DTYPE_BF16, MOEJIT_SUM_DETERMINISTIC,
         MOEJIT_SCALES_128X4, false, true},
        {"qwen3-30b-a3b", MOEJIT_FORMAT_NVFP4, MOEJIT_FORMAT_NVFP4, MOEJIT_DTYPE_BF16, MOEJIT_SUM_DEFAULT,
         MOEJIT_SCALES_LINEAR, false, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        moejit_layer layer;
        mj_model_layer(mj_model_find(cases[i].model), &layer);
        layer_options_shrink(NULL, &layer);
        layer.num_local_experts = layer.num_experts / 2; // a rank's, not the first
        layer.local_expert_offset = layer.num_experts / 2;
        layer.activation_format = cases[i].activations;
        layer.input_format = cases[i].input;
        layer.output_dtype = cases[i].output;
        layer.sum = cases[i].sum;
        layer.scale_layout = cases[i].scales;
        if (cases[i].portable) check_layer(&layer, cases[i].model, MOEJIT_FAMILY_PORTABLE);
        if (cases[i].hopper) check_layer(&layer, cases[i].model, MOEJIT_FAMILY_HOPPER);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(right_candidates_are_good)};
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
