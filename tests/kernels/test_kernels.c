// The kernels' numerics: a pairwise covering table over everything that a layer and a call can be, each case checked
// against the double-precision reference (layer_run.h: numbers, untouched bytes, the zeroing counter, repeated runs).
//
//     test_kernels [FIRST STEP [digests] [random] [hopper|fp4]]   cases FIRST, FIRST + STEP, ...; all if none is given
//
// With "digests" each case of a deterministic sum prints a line with its output's digest: equal bits, equal lines, on
// an H100 and on its emulator (digests_sm_90a.txt holds those of an H100; fidelity.sh compares). With "hopper" the
// tiles are those of the Hopper family, which sums in the same order: the same digests. With "fp4" those of the fp4
// family, which takes the cases with NVFP4 activations alone: on the emulator, the same digests.
//
// Runs on what MOEJIT_CUDA_LIBRARY names. Exit status 1 where a case fails.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layer_options.h"
#include "layer_run.h"
#include "moe/tile.h"
#include "pairwise.h"

// Sizes of an emulator with the remainders of real ones by 64 and 128: 2880 = 64, 1856 = 64, 2688 = 0 (by 128), and
// worse.
static const int sizes[][2] = {{128, 64}, {192, 320}, {320, 192}, {16, 16}, {80, 48}, {208, 176}, {272, 112}};
static const int experts[][4] = {{1, 1, 0, 1}, {4, 4, 0, 2},   {8, 3, 2, 3},
                                 {5, 5, 0, 5}, {40, 40, 0, 8}, {33, 2, 31, 1}};
static const int tokens[] = {0, 1, 2, 7, 8, 9, 17, 33, 64, 65, 70};

enum factor {
    SIZE,
    EXPERTS,
    TOKENS,
    TILE,
    ACTIVATION,
    FORMAT,
    DTYPE,
    GATE_UP_BIAS,
    DOWN_BIAS,
    ROW_ORDER,
    SCALES,
    SUM,
    SPLIT,
    PER_EXPERT,
    ON_INPUT,
    MODE,
    LIVE,
    ROUTING,
    STREAMS,
    STRIDE,
    CHUNKS,
    EXACT,
    NUM_FACTORS
};

static const int num_levels[NUM_FACTORS] = {
    [SIZE] = 7,    [EXPERTS] = 6,      [TOKENS] = 11,   [TILE] = 6,      [ACTIVATION] = 4, [FORMAT] = 3,
    [DTYPE] = 3,   [GATE_UP_BIAS] = 3, [DOWN_BIAS] = 3, [ROW_ORDER] = 4, [SCALES] = 2,     [SUM] = 2,
    [SPLIT] = 2,   [PER_EXPERT] = 2,   [ON_INPUT] = 2,  [MODE] = 3,      [LIVE] = 3,       [ROUTING] = 3,
    [STREAMS] = 3, [STRIDE] = 2,       [CHUNKS] = 2,    [EXACT] = 2};

static const moejit_dtype bias_dtypes[] = {MOEJIT_DTYPE_NONE, MOEJIT_DTYPE_BF16, MOEJIT_DTYPE_F32};

// Levels that exclude each other give way: an option that the layer does not take falls back to its default.
static void fill_layer(const int *row, moejit_layer *layer) {
    const int *size = sizes[row[SIZE]], *expert = experts[row[EXPERTS]];
    bool gated = row[ACTIVATION] != MOEJIT_ACTIVATION_RELU2;
    moejit_layer_init(layer, (moejit_activation)row[ACTIVATION]);
    layer->hidden = size[0];
    layer->intermediate = size[1];
    layer->num_experts = expert[0];
    layer->num_local_experts = expert[1];
    layer->local_expert_offset = expert[2];
    layer->top_k = expert[3];
    layer->activation_format = row[FORMAT] > 0 ? MOEJIT_FORMAT_NVFP4 : MOEJIT_FORMAT_BF16;
    layer->input_format = row[FORMAT] == 2 ? MOEJIT_FORMAT_NVFP4 : MOEJIT_FORMAT_BF16;
    layer->output_dtype = (moejit_dtype)(MOEJIT_DTYPE_BF16 + row[DTYPE]);
    layer->gate_up_bias_dtype = bias_dtypes[row[GATE_UP_BIAS]];
    layer->down_bias_dtype = bias_dtypes[row[DOWN_BIAS]];
    layer->gate_up_row_order = (moejit_row_order)row[ROW_ORDER];
    if (row[ROW_ORDER] == MOEJIT_ROWS_INTERLEAVED_64 && gated && size[1] % 64 != 0) layer->intermediate = 64;
    layer->scale_layout = (moejit_scale_layout)row[SCALES];
    layer->sum = row[SUM] ? MOEJIT_SUM_DETERMINISTIC : MOEJIT_SUM_ATOMIC;
    layer->split_gate_up_alpha = gated && row[SPLIT];
    layer->per_expert_intermediate_scale = row[FORMAT] > 0 && row[PER_EXPERT];
    layer->router_weight_on_input = row[ON_INPUT];
}

// The tile that a plan takes for the case's tokens, or 0.
static int planned_tile(const struct layer_case *what) {
    struct mj_problem problem;
    struct mj_error error;
    if (what->num_tokens == 0 || mj_problem_create(&problem, &what->layer, &error) != MOEJIT_STATUS_OK) return 0;
    return 1 + mj_tile_choose(&problem, what->family, what->num_tokens);
}

// Level 0 is the plan's choice; the family's tiles take turns. A plan prepares all tiles up to its choice, but a case
// runs one: those of the others were a quarter of the table's compiles. So in all but two cases (0 and 12) the same
// tile is forced; layer_digests, checkpoints_agree and test_forward leave it to the plan too.
static void choose_tile(int level, int number, moejit_family family, struct layer_case *what) {
    int first = 0, count = 0;
    while (mj_tiles[first].family != family) first++;
    while (first + count < MJ_NUM_TILES && mj_tiles[first + count].family == family) count++;
    what->family = family;
    what->tile = level == 0 ? 0 : first + 1 + (level - 1) % count;
    what->layer.packed_layout = layer_options_layout(family, 0);
    if (level == 0 && number % 12 != 0) what->tile = planned_tile(what);
}

static void fill_case(const int *row, int number, moejit_family family, struct layer_case *what) {
    memset(what, 0, sizeof(*what));
    layer_case_init(what);
    fill_layer(row, &what->layer);
    what->num_tokens = tokens[row[TOKENS]];
    choose_tile(row[TILE], number, family, what);
    what->output_mode = (moejit_output_mode)row[MODE];
    what->live_tokens = row[LIVE] == 0 ? -1 : (row[LIVE] == 1 ? what->num_tokens / 2 : what->num_tokens + 3);
    what->routing = (enum layer_routing)row[ROUTING];
    what->single_stream = row[STREAMS] == 1;
    what->graph = row[STREAMS] == 2 && what->num_tokens > 0;
    what->extra_stride = row[STRIDE] ? 16 : 0;
    what->extra_rows = row[STRIDE] ? 3 : 1;
    what->max_num_tokens = row[STRIDE] ? 80 : 0;
    what->partials_cap_bytes = row[CHUNKS] ? 1 : 0;
    what->exact = row[EXACT];
    what->repeats = number % 4 == 0; // a second run costs as much as the first
    what->seed = (uint64_t)number;
}

static void print_case(const int *row, int number, const struct layer_result *result) {
    printf("case %d:", number);
    for (int f = 0; f < NUM_FACTORS; f++) printf(" %d", row[f]);
    printf("\n    %s\n", result->message);
}

#define NUM_RANDOM 1000 // cases of a nightly run, in place of the table

static bool next_row(struct pairwise *table, int number, bool random, int *row) {
    if (!random) return pairwise_next(table, row) != 0;
    pairwise_random(table, row);
    return number < NUM_RANDOM;
}

struct mode {
    bool digests, random;
    moejit_family family;
};

static int run_cases(struct gpu *gpu, moejit_context *context, int first, int step, struct mode mode) {
    static struct pairwise table;
    int row[PAIRWISE_MAX_FACTORS], num = 0, bad = 0, number = 0;
    double worst = 0;
    pairwise_start(&table, num_levels, NUM_FACTORS);
    for (; next_row(&table, number, mode.random, row); number++) {
        struct layer_case what;
        struct layer_result result;
        if (number % step != first) continue;
        fill_case(row, number, mode.family, &what);
        if (mode.family == MOEJIT_FAMILY_FP4 && what.layer.activation_format == MOEJIT_FORMAT_BF16) continue;
        layer_run(gpu, context, &what, &result);
        if (mode.digests && what.layer.sum == MOEJIT_SUM_DETERMINISTIC) {
            printf("case %d digest %016llx\n", number, (unsigned long long)result.output_digest);
        }
        num++;
        if (result.own.bound > 0 && result.own.total / result.own.bound > worst)
            worst = result.own.total / result.own.bound;
        if (result.good) continue;
        bad++;
        print_case(row, number, &result);
    }
    printf("%d cases of %d on %s (%s): worst error %.2f of its bound; %d passed, %d failed\n", num, number,
           moejit_context_arch(context), gpu->emulated ? "emulator" : "GPU", worst, num - bad, bad);
    return bad;
}

int main(int argc, char **argv) {
    int first = argc >= 3 ? atoi(argv[1]) : 0, step = argc >= 3 ? atoi(argv[2]) : 1;
    struct mode mode = {.family = MOEJIT_FAMILY_PORTABLE};
    for (int i = 3; i < argc; i++) {
        mode.digests |= strcmp(argv[i], "digests") == 0;
        mode.random |= strcmp(argv[i], "random") == 0;
        if (strcmp(argv[i], "hopper") == 0) mode.family = MOEJIT_FAMILY_HOPPER;
        if (strcmp(argv[i], "fp4") == 0) mode.family = MOEJIT_FAMILY_FP4;
    }
    char message[1024];
    struct gpu gpu;
    moejit_context *context = NULL;
    moejit_context_options options;
    moejit_context_options_init(&options);
    if (step < 1 || !gpu_open(&gpu, NULL)) {
        fprintf(stderr, "test_kernels: %s\n", step < 1 ? "STEP must be 1 or more" : gpu.error);
        return 2;
    }
    if (moejit_context_create(&options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK) {
        fprintf(stderr, "test_kernels: %s\n", message);
        gpu_close(&gpu);
        return 2;
    }
    int bad = run_cases(&gpu, context, first, step, mode);
    moejit_context_destroy(context);
    gpu_close(&gpu);
    return bad > 0;
}
