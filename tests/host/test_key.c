// What is in a key and what is not: each input perturbed by itself gives another key for exactly the kernels that it
// changes, and what must not matter does not.
#include "../cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jit/generator.h"
#include "key.h"
#include "run/image_source.h"

static void make_layer(moejit_layer *layer) {
    moejit_layer_init(layer, MOEJIT_ACTIVATION_SWIGLU);
    layer->hidden = 1024;
    layer->intermediate = 512;
    layer->num_experts = layer->num_local_experts = 8;
    layer->top_k = 2;
    layer->activation_format = MOEJIT_FORMAT_NVFP4;
}

static struct mj_problem make_problem(const moejit_layer *layer) {
    struct mj_problem problem;
    struct mj_error error;
    if (mj_problem_create(&problem, layer, &error) != MOEJIT_STATUS_OK) fail_msg("%s", error.message);
    return problem;
}

// A tile of the kernel's family, NULL for kernels without one.
static const struct mj_tile *tile_of(enum mj_kernel_id id) {
    if (mj_kernels[id].num_threads > 0) return NULL;
    for (int i = 0; i < MJ_NUM_TILES; i++) {
        if (mj_kernel_gate_up(&mj_tiles[i]) == id || mj_kernel_down(&mj_tiles[i]) == id) return &mj_tiles[i];
    }
    fail_msg("no tile for %s", mj_kernels[id].stem);
    return NULL;
}

struct input { // all that a key is made of
    enum mj_kernel_id id;
    struct mj_problem problem;
    struct mj_tile tile;
    bool has_tile;
    const char *arch, *options;
    struct mj_source_set sources;
};

static struct input make_input(enum mj_kernel_id id) {
    struct input input = {.id = id, .arch = "sm_90a", .options = mj_compiler_options()};
    struct mj_error error;
    moejit_layer layer;
    make_layer(&layer);
    input.problem = make_problem(&layer);
    const struct mj_tile *tile = tile_of(id);
    input.has_tile = tile != NULL;
    if (tile != NULL) input.tile = *tile;
    assert_int_equal(mj_source_set_create(&input.sources, NULL, &error), MOEJIT_STATUS_OK);
    return input;
}

// The caller frees it.
static char *key_of(const struct input *input) {
    struct mj_text unit = {0}, key = {0};
    mj_generator_write(input->id, &input->problem, input->has_tile ? &input->tile : NULL, input->arch, &unit);
    mj_image_source_key(input->arch, input->options, &input->sources, unit.data, &key);
    assert_false(unit.failed || key.failed);
    mj_text_free(&unit);
    return key.data;
}

static void expect_same(const struct input *input, const char *base, bool same, const char *what) {
    char *key = key_of(input);
    if ((strcmp(base, key) == 0) != same) {
        fail_msg("%s: another %s gives %s key", mj_kernels[input->id].stem, what, same ? "another" : "the same");
    }
    free(key);
}

struct perturbation {
    const char *name;
    unsigned fields; // of the Config that change with it
    void (*apply)(moejit_layer *layer);
};

#define PERTURB(name, change)                                                                                          \
    static void perturb_##name(moejit_layer *layer) {                                                                  \
        change;                                                                                                        \
    }
PERTURB(hidden, layer->hidden = 2048)
PERTURB(intermediate, layer->intermediate = 256)
PERTURB(top_k, layer->top_k = 3)
PERTURB(geglu, layer->activation = MOEJIT_ACTIVATION_GEGLU)
PERTURB(relu2, layer->activation = MOEJIT_ACTIVATION_RELU2)
PERTURB(router_weight, layer->router_weight_on_input = 1)
PERTURB(activation_format, layer->activation_format = MOEJIT_FORMAT_BF16)
PERTURB(input_format, layer->input_format = MOEJIT_FORMAT_NVFP4)
PERTURB(output_dtype, layer->output_dtype = MOEJIT_DTYPE_F32)
PERTURB(gate_up_bias, layer->gate_up_bias_dtype = MOEJIT_DTYPE_F32)
PERTURB(down_bias, layer->down_bias_dtype = MOEJIT_DTYPE_BF16)
PERTURB(row_order, layer->gate_up_row_order = MOEJIT_ROWS_UP_GATE)
PERTURB(sum, layer->sum = MOEJIT_SUM_DETERMINISTIC)
// Launch arguments: one pack serves every degree of expert parallelism, every routing and every scale layout.
PERTURB(num_experts, layer->num_experts = layer->num_local_experts = 64)
PERTURB(local_experts, layer->num_local_experts = 2)
PERTURB(offset, (layer->num_local_experts = 2, layer->local_expert_offset = 4))
PERTURB(scale_layout, layer->scale_layout = MOEJIT_SCALES_128X4)
PERTURB(split_alpha, layer->split_gate_up_alpha = 1)
PERTURB(per_expert_scale, layer->per_expert_intermediate_scale = 1)

static const struct perturbation perturbations[] = {
    {"hidden", MJ_FIELD_HIDDEN, perturb_hidden},
    {"intermediate", MJ_FIELD_INTERMEDIATE, perturb_intermediate},
    {"top_k", MJ_FIELD_TOP_K, perturb_top_k},
    {"activation", MJ_FIELD_ACTIVATION, perturb_geglu},
    {"activation that is not gated", MJ_FIELD_ACTIVATION | MJ_FIELD_GATED, perturb_relu2},
    {"router_weight_on_input", MJ_FIELD_ROUTER_WEIGHT_ON_INPUT, perturb_router_weight},
    {"activation_format", MJ_FIELD_ACTIVATION_FORMAT, perturb_activation_format},
    {"input_format", MJ_FIELD_INPUT_FORMAT, perturb_input_format},
    {"output_dtype", MJ_FIELD_OUTPUT_DTYPE, perturb_output_dtype},
    {"gate_up_bias_dtype", MJ_FIELD_GATE_UP_BIAS_DTYPE, perturb_gate_up_bias},
    {"down_bias_dtype", MJ_FIELD_DOWN_BIAS_DTYPE, perturb_down_bias},
    {"row order", MJ_FIELD_ROW_ORDER, perturb_row_order},
    {"sum", MJ_FIELD_SUM, perturb_sum},
    {"num_experts", 0, perturb_num_experts},
    {"num_local_experts", 0, perturb_local_experts},
    {"local_expert_offset", 0, perturb_offset},
    {"scale_layout", 0, perturb_scale_layout},
    {"split_gate_up_alpha", 0, perturb_split_alpha},
    {"per_expert_intermediate_scale", 0, perturb_per_expert_scale},
};
#define NUM_PERTURBATIONS (sizeof(perturbations) / sizeof(perturbations[0]))

static void each_field_changes_the_keys_of_the_kernels_that_have_it(void **state) {
    unsigned covered = 0, used = 0;
    (void)state;
    for (size_t i = 0; i < NUM_PERTURBATIONS; i++) covered |= perturbations[i].fields;
    for (int id = 0; id < MJ_NUM_KERNELS; id++) {
        struct input input = make_input((enum mj_kernel_id)id);
        char *base = key_of(&input);
        used |= mj_kernels[id].fields;
        for (size_t i = 0; i < NUM_PERTURBATIONS; i++) {
            moejit_layer layer;
            make_layer(&layer);
            perturbations[i].apply(&layer);
            input.problem = make_problem(&layer);
            expect_same(&input, base, (mj_kernels[id].fields & perturbations[i].fields) == 0, perturbations[i].name);
        }
        mj_source_set_destroy(&input.sources);
        free(base);
    }
    assert_int_equal(used & ~covered, 0); // a new field needs a perturbation here
}

static void each_number_of_a_tile_changes_the_key(void **state) {
    (void)state;
    for (int id = 0; id < MJ_NUM_KERNELS; id++) {
        struct input input = make_input((enum mj_kernel_id)id);
        int *numbers[] = {&input.tile.block_rows, &input.tile.block_tokens, &input.tile.block_k,
                          &input.tile.num_stages, &input.tile.num_threads,  &input.tile.blocks_per_sm};
        char *base = key_of(&input);
        for (size_t i = 0; input.has_tile && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
            ++*numbers[i];
            expect_same(&input, base, false, "number of the tile");
            --*numbers[i];
        }
        mj_source_set_destroy(&input.sources);
        free(base);
    }
}

static void arch_and_options_change_the_key(void **state) {
    (void)state;
    for (int id = 0; id < MJ_NUM_KERNELS; id++) {
        struct input input = make_input((enum mj_kernel_id)id);
        char *base = key_of(&input);
        for (int i = 0; i < mj_num_archs; i++) {
            input.arch = mj_archs[i].name;
            expect_same(&input, base, strcmp(input.arch, "sm_90a") == 0, "arch");
        }
        input.arch = "sm_90a";
        input.options = "--std=c++17\n--fmad=true";
        expect_same(&input, base, false, "option");
        input.options = "--std=c++17";
        expect_same(&input, base, false, "number of options");
        mj_source_set_destroy(&input.sources);
        free(base);
    }
}

// One byte more in a header: another key for exactly the units that pull it in.
static void each_header_changes_the_keys_of_the_units_that_include_it(void **state) {
    int changed = 0;
    (void)state;
    for (int id = 0; id < MJ_NUM_KERNELS; id++) {
        struct input input = make_input((enum mj_kernel_id)id);
        struct mj_text unit = {0};
        bool used[MJ_MAX_SOURCES] = {false};
        char *base = key_of(&input);
        mj_generator_write(input.id, &input.problem, input.has_tile ? &input.tile : NULL, input.arch, &unit);
        mj_source_set_closure(&input.sources, unit.data, used);
        for (int i = 0; i < input.sources.num_sources; i++) {
            struct mj_source *source = &input.sources.sources[i], kept = *source;
            char *edited = malloc(kept.bytes + 2);
            snprintf(edited, kept.bytes + 2, "%s\n", kept.text);
            *source = (struct mj_source){kept.name, edited, kept.bytes + 1};
            expect_same(&input, base, !used[i], kept.name);
            changed += used[i];
            *source = kept;
            free(edited);
        }
        mj_text_free(&unit);
        mj_source_set_destroy(&input.sources);
        free(base);
    }
    assert_true(changed > MJ_NUM_KERNELS * 2);
}

static void write_sources(const char *folder, const struct mj_source_set *sources) {
    for (int i = 0; i < sources->num_sources; i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/%s", folder, sources->sources[i].name);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        assert_int_equal(fwrite(sources->sources[i].text, 1, sources->sources[i].bytes, file),
                         sources->sources[i].bytes);
        fclose(file);
    }
}

// Another folder, user, home, time zone and working directory; the sources in another order; made twice.
static void where_and_who_and_when_are_in_no_key(void **state) {
    char folder[] = "/tmp/moejit_test_XXXXXX", here[1024], command[64];
    struct mj_error error;
    (void)state;
    assert_non_null(mkdtemp(folder));
    assert_non_null(getcwd(here, sizeof(here)));
    for (int id = 0; id < MJ_NUM_KERNELS; id++) {
        struct input input = make_input((enum mj_kernel_id)id);
        char *base = key_of(&input);
        expect_same(&input, base, true, "time");
        write_sources(folder, &input.sources);
        mj_source_set_destroy(&input.sources);
        assert_int_equal(mj_source_set_create(&input.sources, folder, &error), MOEJIT_STATUS_OK);
        assert_int_equal(chdir(folder), 0);
        setenv("USER", "somebody", 1);
        setenv("TZ", "Asia/Tokyo", 1);
        expect_same(&input, base, true, "folder");
        for (int i = 0, j = input.sources.num_sources - 1; i < j; i++, j--) {
            struct mj_source kept = input.sources.sources[i];
            input.sources.sources[i] = input.sources.sources[j];
            input.sources.sources[j] = kept;
        }
        expect_same(&input, base, true, "order of sources");
        assert_int_equal(chdir(here), 0);
        mj_source_set_destroy(&input.sources);
        free(base);
    }
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

// No two lists of values make the same text.
static void values_cannot_be_shifted_between_fields(void **state) {
    struct mj_text a = {0}, b = {0};
    (void)state;
    mj_key_append(&a, "arch", "sm_80\noptions 1:x", 17);
    mj_key_append(&a, "unit", "", 0);
    mj_key_append(&b, "arch", "sm_80", 5);
    mj_key_append(&b, "options", "x", 1);
    mj_key_append(&b, "unit", "", 0);
    assert_string_not_equal(a.data, b.data);
    mj_text_free(&a);
    mj_text_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_changes_the_keys_of_the_kernels_that_have_it),
        cmocka_unit_test(each_number_of_a_tile_changes_the_key),
        cmocka_unit_test(arch_and_options_change_the_key),
        cmocka_unit_test(each_header_changes_the_keys_of_the_units_that_include_it),
        cmocka_unit_test(where_and_who_and_when_are_in_no_key),
        cmocka_unit_test(values_cannot_be_shifted_between_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
