// Layers of few tiles, which CTAs of a cluster share: against the reference, to the bit where sums are exact, and by
// the launches that the driver sees. Runs on the emulator and on a Hopper GPU.
//
//     test_shared_tiles [orders]
//
// "orders": for a second run by another schedule of the emulator, which can only show what orders the CTAs of a
// cluster. That is the same code whatever the numbers are: so no sums that are exact, and of each layer and call either
// gate_up or down shares its tiles, in turn; every number of CTAs, with reductions of every length, stays.
#include "../cmocka_all.h"

#include <string.h>

#include "layer_changes.h"
#include "layer_run.h"
#include "moe/tile_split.h"
#include "run/context.h"

static struct gpu gpu;
static moejit_context *context;
static struct layer_packs packs;
static bool orders_alone;

// Of the launches of gate_up and down, which alone have dynamic shared memory.
static CUresult(CUDAAPI *launch_kernel)(const CUlaunchConfig *, CUfunction, void **, void **);
static struct {
    unsigned cluster, grid;
    bool overlaps;
} launches[64];
static size_t num_launches;

static CUresult CUDAAPI record_launch(const CUlaunchConfig *config, CUfunction function, void **parameters,
                                      void **extra) {
    size_t n = num_launches;
    if (config->sharedMemBytes > 0 && n < sizeof(launches) / sizeof(launches[0])) {
        num_launches++;
        launches[n].cluster = 1;
        launches[n].overlaps = false;
        launches[n].grid = config->gridDimX;
        for (unsigned i = 0; i < config->numAttrs; i++) {
            const CUlaunchAttribute *attribute = &config->attrs[i];
            if (attribute->id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) {
                launches[n].cluster = attribute->value.clusterDim.x;
                assert_true(attribute->value.clusterDim.y == 1 && attribute->value.clusterDim.z == 1);
            }
            if (attribute->id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION) launches[n].overlaps = true;
        }
    }
    return launch_kernel(config, function, parameters, extra);
}

static int open_all(void **state) {
    (void)state;
    moejit_context_options options;
    char message[1024] = "";
    moejit_context_options_init(&options);
    bool good =
        gpu_open(&gpu, NULL) && moejit_context_create(&options, &context, message, sizeof(message)) == MOEJIT_STATUS_OK;
    if (!good) {
        print_message("%s%s\n", gpu.error, message);
        return -1;
    }
    launch_kernel = context->driver.cuLaunchKernelEx;
    context->driver.cuLaunchKernelEx = record_launch;
    return 0;
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

static struct layer_case make_case(int hidden, int intermediate, int num_tokens, moejit_sum sum) {
    struct layer_case what;
    memset(&what, 0, sizeof(what));
    moejit_layer_init(&what.layer, MOEJIT_ACTIVATION_SWIGLU);
    what.layer.hidden = hidden;
    what.layer.intermediate = intermediate;
    what.layer.num_experts = what.layer.num_local_experts = 3;
    what.layer.top_k = 2;
    what.layer.output_dtype = MOEJIT_DTYPE_F32;
    what.layer.sum = sum;
    what.num_tokens = num_tokens;
    layer_case_init(&what);
    what.family = MOEJIT_FAMILY_HOPPER;
    what.tile = 0;
    what.max_tile_ctas = 4;
    what.seed = (uint64_t)(hidden + intermediate); // a size's weights are packed once
    what.packs = &packs;
    what.extra_rows = 3;
    what.extra_stride = 16;
    for (int tile = MJ_NUM_TILES; tile > 0; tile--) { // the narrow one, in place of the rule's
        if (mj_tile_uses_mma(&mj_tiles[tile - 1])) what.tile = tile;
    }
    return what;
}

static struct layer_result run(const struct layer_case *what) {
    struct layer_result result;
    num_launches = 0;
    layer_run(&gpu, context, what, &result);
    if (!result.good) {
        fail_msg("H %d, I %d, %d tokens, max_tile_ctas %d: %s", what->layer.hidden, what->layer.intermediate,
                 what->num_tokens, what->max_tile_ctas, result.message);
    }
    return result;
}

// And the launches: gate_up's and down's CTAs a tile.
static struct layer_result run_sharing(const struct layer_case *what, unsigned gate_up, unsigned down) {
    struct layer_result result = run(what);
    assert_true(num_launches >= 2);
    if (launches[0].cluster != gate_up || launches[1].cluster != down) {
        fail_msg("max_tile_ctas %d: clusters of %u and %u, not %u and %u", what->max_tile_ctas, launches[0].cluster,
                 launches[1].cluster, gate_up, down);
    }
    for (size_t i = 0; i < num_launches; i++) {
        assert_int_equal(launches[i].grid % launches[i].cluster, 0);
        assert_true(launches[i].overlaps == !what->serial_launches);
    }
    return result;
}

// Reductions whose last stage is part of one: seven stages (2, 2, 2, 1 of four CTAs), five, four.
static const struct {
    int hidden, intermediate, max_ctas;
    unsigned gate_up, down;
} sizes[] = {{1552, 80, 4, 4, 1},  {1552, 80, 3, 3, 1},  {1552, 80, 2, 2, 1},  {1552, 80, 1, 1, 1},
             {144, 1552, 4, 1, 4}, {144, 1552, 3, 1, 3}, {144, 1552, 8, 1, 4}, {1040, 784, 4, 3, 2},
             {784, 1040, 4, 2, 3}, {784, 1040, 2, 2, 2}, {784, 1040, 1, 1, 1}, {2048, 64, 4, 4, 1}};

static void any_size_and_number_of_ctas(void **state) {
    (void)state;
    needs_hopper();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct layer_case what = make_case(sizes[i].hidden, sizes[i].intermediate, i % 2 == 0 ? 1 : 3,
                                           i % 3 == 0 ? MOEJIT_SUM_DETERMINISTIC : MOEJIT_SUM_ATOMIC);
        what.max_tile_ctas = sizes[i].max_ctas;
        what.separate_route = i / 2 % 2 == 0;
        run_sharing(&what, sizes[i].gate_up, sizes[i].down);
    }
}

// Sums that f32 holds exactly: the reference's bits, however many CTAs have added them up.
static void exact_sums_have_the_reference_s_bits(void **state) {
    (void)state;
    needs_hopper();
    if (orders_alone) skip();
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct layer_case what = make_case(sizes[i].hidden, sizes[i].intermediate, 2, MOEJIT_SUM_DETERMINISTIC);
        what.max_tile_ctas = sizes[i].max_ctas;
        what.exact = true;
        what.layer.activation = MOEJIT_ACTIVATION_RELU2; // whose values are as exact
        run_sharing(&what, sizes[i].gate_up, sizes[i].down);
    }
}

static void as_it_is(struct layer_case *what) {
    (void)what;
}

static void wider_tile(struct layer_case *what) {
    what->tile++;
    what->num_tokens = 13; // more than eight of an expert
    what->routing = ROUTING_SKEWED;
}

static void several_tiles_of_an_expert(struct layer_case *what) {
    what->num_tokens = 19;
    what->routing = ROUTING_SKEWED;
}

static void fewer_live(struct layer_case *what) {
    what->num_tokens = 5;
    what->live_tokens = 2;
}

static void none_live(struct layer_case *what) {
    what->live_tokens = 0;
}

static void nvfp4_activations(struct layer_case *what) {
    what->layer.activation_format = MOEJIT_FORMAT_NVFP4;
    what->num_tokens = 3;
}

static void in_one_stream(struct layer_case *what) {
    what->single_stream = true;
}

static void in_chunks(struct layer_case *what) {
    what->partials_cap_bytes = 1;
}

static void a_slice_of_experts(struct layer_case *what) {
    what->layer.num_experts = 7;
    what->layer.local_expert_offset = 2;
    what->num_tokens = 4;
}

static void plain_activation(struct layer_case *what) {
    what->layer.activation = MOEJIT_ACTIVATION_RELU2;
    what->layer.gate_up_bias_dtype = what->layer.down_bias_dtype = MOEJIT_DTYPE_BF16;
    what->layer.output_dtype = MOEJIT_DTYPE_BF16;
}

static void any_layer_and_call(void **state) {
    static void (*const changes[])(struct layer_case *) = {as_it_is,
                                                           wider_tile,
                                                           several_tiles_of_an_expert,
                                                           no_expert_here,
                                                           fewer_live,
                                                           none_live,
                                                           nvfp4_activations,
                                                           adding,
                                                           weights_on_the_input,
                                                           by_graph,
                                                           serially,
                                                           in_one_stream,
                                                           in_chunks,
                                                           a_slice_of_experts,
                                                           plain_activation};
    (void)state;
    needs_hopper();
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        for (int variant = 0; variant < 2; variant++) {
            bool up = variant == 0;
            if (orders_alone && up != (i / 3 % 2 == 0)) continue; // with both sums, routed apart and not
            moejit_sum sum = (i + (size_t)variant) % 2 == 0 ? MOEJIT_SUM_ATOMIC : MOEJIT_SUM_DETERMINISTIC;
            struct layer_case what = make_case(up ? 1552 : 144, up ? 80 : 1552, 1, sum);
            changes[i](&what);
            what.separate_route = (i / 2 + (size_t)variant) % 2 == 0;
            run_sharing(&what, up ? 4 : 1, up ? 1 : 4);
        }
    }
}

// Routed apart or not, again, by a graph or not: the same CTAs, so the same bits.
static void a_deterministic_sum_repeats_its_bits(void **state) {
    (void)state;
    needs_hopper();
    struct layer_case what = make_case(1040, 784, 3, MOEJIT_SUM_DETERMINISTIC);
    what.repeats = 2;
    uint64_t digest = run_sharing(&what, 3, 2).output_digest;
    what.repeats = 0;
    what.separate_route = true;
    assert_int_equal(run_sharing(&what, 3, 2).output_digest, digest);
    what.separate_route = false;
    what.graph = true;
    assert_int_equal(run_sharing(&what, 3, 2).output_digest, digest);
    what.max_tile_ctas = 1; // and another order of adding has others
    assert_int_not_equal(run_sharing(&what, 1, 1).output_digest, digest);
}

static void a_batch_invariant_sum_shares_no_tile(void **state) {
    (void)state;
    needs_hopper();
    struct layer_case what = make_case(1040, 784, 1, MOEJIT_SUM_BATCH_INVARIANT);
    uint64_t digest = run_sharing(&what, 1, 1).output_digest;
    what.layer.sum = MOEJIT_SUM_DETERMINISTIC;
    what.max_tile_ctas = 1;
    assert_int_equal(run_sharing(&what, 1, 1).output_digest, digest);
}

static void other_tiles_are_not_shared(void **state) {
    (void)state;
    needs_hopper();
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) {
        if (!mj_family_runs_on(mj_tiles[tile].family, moejit_context_arch(context))) continue;
        struct layer_case what = make_case(1040, 80, 2, MOEJIT_SUM_ATOMIC);
        what.family = mj_tiles[tile].family;
        what.tile = tile + 1;
        run_sharing(&what, mj_tile_uses_mma(&mj_tiles[tile]) ? 3 : 1, 1);
    }
}

// A grid for as many tiles as there may be, each with its cluster.
static void the_grid_has_a_cluster_for_each_tile(void **state) {
    (void)state;
    needs_hopper();
    struct layer_case what = make_case(1552, 80, 1, MOEJIT_SUM_ATOMIC);
    run_sharing(&what, 4, 1);
    assert_int_equal(launches[0].grid, 2 * 3 * 4); // experts, row tiles of 64 rows, CTAs
    assert_int_equal(launches[1].grid, 2 * 25);
}

// Where nobody says how many: two, if tiles are no more than the 132 multiprocessors of an H100.
static void two_share_where_multiprocessors_would_have_none(void **state) {
    (void)state;
    needs_hopper();
    struct layer_case what = make_case(1552, 1040, 1, MOEJIT_SUM_ATOMIC);
    what.max_tile_ctas = 0;
    run_sharing(&what, 2, 2);       // 2 * 33 and 2 * 25 tiles
    what.layer.intermediate = 2112; // 2 * 66
    run_sharing(&what, 2, 2);
    what.layer.intermediate = 2128; // 2 * 67
    run_sharing(&what, 1, 2);
}

static void numbers_of_ctas_beyond_a_cluster_are_refused(void **state) {
    (void)state;
    moejit_executor_options options;
    moejit_executor *executor = NULL;
    moejit_executor_options_init(&options);
    options.max_tile_ctas = 9;
    assert_int_equal(moejit_executor_create(context, &options, &executor), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_string_equal(moejit_context_error(context), "executor has max_tile_ctas = 9, needs 0 to 8");
    options.max_tile_ctas = -1;
    assert_int_equal(moejit_executor_create(context, &options, &executor), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_null(executor);
}

int main(int argc, char **argv) {
    orders_alone = argc > 1 && strcmp(argv[1], "orders") == 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_size_and_number_of_ctas),
        cmocka_unit_test(exact_sums_have_the_reference_s_bits),
        cmocka_unit_test(any_layer_and_call),
        cmocka_unit_test(a_deterministic_sum_repeats_its_bits),
        cmocka_unit_test(a_batch_invariant_sum_shares_no_tile),
        cmocka_unit_test(other_tiles_are_not_shared),
        cmocka_unit_test(the_grid_has_a_cluster_for_each_tile),
        cmocka_unit_test(two_share_where_multiprocessors_would_have_none),
        cmocka_unit_test(numbers_of_ctas_beyond_a_cluster_are_refused),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
