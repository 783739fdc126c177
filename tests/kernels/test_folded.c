// Layers of few pairs, whose gate_up and down route by themselves and whose gate_up zeroes: against the reference, and
// to the bit against the same layer with a launch for each. Runs on the emulator and on a Hopper GPU.
#include "../cmocka_all.h"

#include <stdlib.h>
#include <string.h>

#include "layer_changes.h"
#include "layer_run.h"
#include "moe/tile.h"

static struct gpu gpu;
static moejit_context *context;
static struct layer_packs packs;

static int open_all(void **state) {
    (void)state;
    moejit_context_options options;
    char message[1024] = "";
    moejit_context_options_init(&options);
    bool good =
        gpu_open(&gpu, NULL) && moejit_context_create(&options, &context, message, sizeof(message)) == MOEJIT_STATUS_OK;
    if (!good) print_message("%s%s\n", gpu.error, message);
    return good ? 0 : -1;
}

static int close_all(void **state) {
    (void)state;
    layer_packs_clear(&packs);
    moejit_context_destroy(context);
    gpu_close(&gpu);
    return 0;
}

static void needs_hopper(void) {
    if (!mj_family_runs_on(MOEJIT_FAMILY_HOPPER, moejit_context_arch(context))) skip();
}

static struct layer_case make_case(int num_tokens, int top_k, moejit_sum sum) {
    struct layer_case what;
    memset(&what, 0, sizeof(what));
    moejit_layer_init(&what.layer, MOEJIT_ACTIVATION_SWIGLU);
    what.layer.hidden = 144; // two row blocks and a quarter
    what.layer.intermediate = 80;
    what.layer.num_experts = what.layer.num_local_experts = 20;
    what.layer.top_k = top_k;
    what.layer.output_dtype = MOEJIT_DTYPE_F32;
    what.layer.sum = sum;
    what.num_tokens = num_tokens;
    layer_case_init(&what);
    what.family = MOEJIT_FAMILY_HOPPER;
    what.seed = 20; // one for all: the same weights, so that few are packed
    what.packs = &packs;
    what.extra_rows = 3;
    what.extra_stride = 16;
    return what;
}

static struct layer_data make_data(const struct layer_case *what) {
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    assert_int_equal(mj_problem_create(&problem, &what->layer, &error), MOEJIT_STATUS_OK);
    assert_true(layer_data_create(&data, &problem, what->num_tokens, what->routing, what->exact, what->seed));
    return data;
}

static struct layer_result run(const struct layer_case *what, const struct layer_data *data) {
    struct layer_result result;
    layer_run_data(&gpu, context, what, data, &result);
    if (!result.good) fail_msg("%d tokens, top_k %d: %s", what->num_tokens, what->layer.top_k, result.message);
    return result;
}

static bool is_atomic(const struct layer_case *what) {
    return what->layer.sum == MOEJIT_SUM_ATOMIC;
}

// Rows are few: a launch zeroes them only where each step has one of its own.
static int launches_of(const struct layer_case *what, bool folded) {
    if (what->num_tokens == 0) return 0;
    bool zeroes = is_atomic(what) && what->output_mode == MOEJIT_OUTPUT_OVERWRITE;
    int common = 2 + (what->layer.activation_format == MOEJIT_FORMAT_NVFP4) + !is_atomic(what);
    return folded ? common : common + 1 + (zeroes && what->separate_route);
}

// Folded, which it must be, against a launch for each; data as given.
static void compare_data(const struct layer_case *what, const struct layer_data *data) {
    struct layer_case apart = *what;
    apart.separate_route = true;
    struct layer_result folded = run(what, data), launched = run(&apart, data);
    assert_int_equal(folded.launches, launches_of(what, true));
    assert_int_equal(launched.launches, launches_of(&apart, false));
    assert_int_equal(folded.bytes_zeroed, launched.bytes_zeroed);
    if (!is_atomic(what)) assert_int_equal(folded.output_digest, launched.output_digest);
}

static void compare(const struct layer_case *what) {
    struct layer_data data = make_data(what);
    compare_data(what, &data);
    layer_data_destroy(&data);
}

static void both_sums(void (*change)(struct layer_case *what), int num_tokens, int top_k) {
    for (int sum = 0; sum < 2; sum++) {
        struct layer_case what = make_case(num_tokens, top_k, sum ? MOEJIT_SUM_DETERMINISTIC : MOEJIT_SUM_ATOMIC);
        change(&what);
        compare(&what);
    }
}

static void as_it_is(struct layer_case *what) {
    (void)what;
}

static void any_number_of_pairs(void **state) {
    (void)state;
    static const int cases[][2] = {{0, 8}, {1, 1},  {1, 8},  {1, 10}, {2, 4},   {4, 8},
                                   {5, 2}, {5, 10}, {16, 1}, {16, 8}, {16, 10}, {20, 8}};
    needs_hopper();
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) both_sums(as_it_is, cases[i][0], cases[i][1]);
}

// A pair more than a CTA routes.
static void more_pairs_are_routed_apart(void **state) {
    (void)state;
    needs_hopper();
    struct layer_case what = make_case(161, 1, MOEJIT_SUM_ATOMIC);
    struct layer_data data = make_data(&what);
    assert_int_equal(run(&what, &data).launches, launches_of(&what, false));
    layer_data_destroy(&data);
}

static void wide_tiles_are_routed_apart(void **state) {
    (void)state;
    needs_hopper();
    struct layer_case what = make_case(5, 2, MOEJIT_SUM_ATOMIC);
    struct layer_data data = make_data(&what);
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) {
        if (mj_tiles[tile].family != MOEJIT_FAMILY_HOPPER) continue;
        what.tile = tile + 1;
        assert_int_equal(run(&what, &data).launches, launches_of(&what, mj_tile_uses_mma(&mj_tiles[tile])));
    }
    layer_data_destroy(&data);
}

static void skewed(struct layer_case *what) {
    what->routing = ROUTING_SKEWED;
}

static void a_slice_of_experts(struct layer_case *what) {
    what->layer.num_local_experts = 7;
    what->layer.local_expert_offset = 9;
}

static void one_expert(struct layer_case *what) {
    what->layer.num_experts = what->layer.num_local_experts = 1;
    what->layer.top_k = 1;
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) { // the rule's tile is a wide one
        if (mj_tile_uses_mma(&mj_tiles[tile])) what->tile = tile + 1;
    }
}

static void into_zeros(struct layer_case *what) {
    what->output_mode = MOEJIT_OUTPUT_ASSUME_ZERO;
}

static void nvfp4_activations(struct layer_case *what) {
    what->layer.activation_format = MOEJIT_FORMAT_NVFP4;
}

static void again(struct layer_case *what) {
    what->repeats = 2;
    what->routing = ROUTING_SKEWED;
}

static void bf16_output(struct layer_case *what) {
    what->layer.output_dtype = MOEJIT_DTYPE_BF16;
}

static void a_thousand_experts(struct layer_case *what) {
    what->layer.num_experts = 1000; // more than threads: several a thread
    what->layer.num_local_experts = 700;
    what->layer.local_expert_offset = 150;
    what->layer.hidden = what->layer.intermediate = 16;
}

static void any_layer_and_call(void **state) {
    (void)state;
    static void (*const changes[])(struct layer_case *) = {
        skewed,     no_expert_here,       a_slice_of_experts, one_expert, adding,
        into_zeros, weights_on_the_input, nvfp4_activations,  by_graph,   serially,
        again,      bf16_output};
    needs_hopper();
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        both_sums(changes[i], 1, 4);
        both_sums(changes[i], 13, 4);
    }
    both_sums(a_thousand_experts, 16, 10);
}

static void any_number_of_live_tokens(void **state) {
    (void)state;
    static const int lives[] = {0, -7, 1, 4, 13, 14, 1 << 30};
    needs_hopper();
    for (size_t i = 0; i < sizeof(lives) / sizeof(lives[0]); i++) {
        for (int sum = 0; sum < 2; sum++) {
            struct layer_case what = make_case(13, 4, sum ? MOEJIT_SUM_DETERMINISTIC : MOEJIT_SUM_ATOMIC);
            what.live_tokens = lives[i];
            what.graph = i % 2 == 0;
            compare(&what);
        }
    }
}

static void ids_of_every_kind(void **state) {
    (void)state;
    needs_hopper();
    for (int sum = 0; sum < 2; sum++) {
        struct layer_case what = make_case(16, 10, sum ? MOEJIT_SUM_DETERMINISTIC : MOEJIT_SUM_ATOMIC);
        a_slice_of_experts(&what);
        struct layer_data data = make_data(&what);
        static const int32_t ids[] = {-1, 9, 15, 16, 8, 20, INT32_MAX, INT32_MIN, 9, 14, 9};
        for (int i = 0; i < 160; i++) data.expert_ids[i] = ids[i % 11];
        compare_data(&what, &data);
        for (int i = 0; i < 160; i++) data.expert_ids[i] = 11; // all to one, which 20 tiles share
        compare_data(&what, &data);
        layer_data_destroy(&data);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_pairs),         cmocka_unit_test(more_pairs_are_routed_apart),
        cmocka_unit_test(wide_tiles_are_routed_apart), cmocka_unit_test(any_layer_and_call),
        cmocka_unit_test(any_number_of_live_tokens),   cmocka_unit_test(ids_of_every_kind),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
