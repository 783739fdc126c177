// gate and up with global scales of their own: one alpha where that is exact, else two, never anything between.
#include "../cmocka_all.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "checkpoint_writer.h"
#include "moe/nvfp4.h"
#include "moejit/checkpoint.h"

#define EXPERT(e, rest) "model.layers.0.mlp.experts." #e "." rest

struct folded { // expert 1 as read
    moejit_layer layer;
    float alpha[4];
    uint8_t gate_up[512], scale[64], down[256], down_scale[32];
};

static void read_folded(struct checkpoint_writer *writer, struct folded *folded) {
    writer_all(writer);
    moejit_model *model;
    moejit_model_layer_options options;
    moejit_model_layer_options_init(&options);
    assert_int_equal(moejit_model_open(writer->folder, &model, NULL, 0), MOEJIT_STATUS_OK);
    float down_alpha[2];
    moejit_model_scales scales = {sizeof(scales), folded->alpha, down_alpha, NULL, NULL};
    moejit_host_experts experts = {sizeof(experts), folded->gate_up, folded->scale, folded->down, folded->down_scale};
    assert_int_equal(moejit_model_layer(model, &options, &folded->layer), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_model_scales_read(model, 0, &folded->layer, &scales), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_model_experts_read(model, 0, &folded->layer, 1, 1, &experts), MOEJIT_STATUS_OK);
    if (folded->layer.split_gate_up_alpha) { // asking for one alpha all the same is refused
        folded->layer.split_gate_up_alpha = 0;
        assert_int_equal(moejit_model_scales_read(model, 0, &folded->layer, &scales), MOEJIT_STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(moejit_model_error(model), "which one alpha cannot serve exactly"));
        assert_int_equal(moejit_model_experts_read(model, 0, &folded->layer, 1, 1, &experts),
                         MOEJIT_STATUS_INVALID_ARGUMENT);
        folded->layer.split_gate_up_alpha = 1;
    }
    moejit_model_close(model);
}

// sf * alpha of expert 1, row by row, is what the files say, to the bit.
static void check_products(struct checkpoint_writer *writer, const struct folded *folded, float gate, float up) {
    const uint8_t *gate_file = writer_tensor(writer, EXPERT(1, "gate_proj.weight_scale"))->data;
    const uint8_t *up_file = writer_tensor(writer, EXPERT(1, "up_proj.weight_scale"))->data;
    bool split = folded->layer.split_gate_up_alpha;
    for (int i = 0; i < 32; i++) {
        double gate_alpha = (double)folded->alpha[split ? 2 : 1], up_alpha = (double)folded->alpha[split ? 3 : 1];
        assert_true((double)mj_e4m3_value(folded->scale[i]) * gate_alpha ==
                    (double)mj_e4m3_value(gate_file[i]) * (double)gate);
        assert_true((double)mj_e4m3_value(folded->scale[32 + i]) * up_alpha ==
                    (double)mj_e4m3_value(up_file[i]) * (double)up);
    }
}

static void unequal(float gate, float up, uint8_t gate_byte, uint8_t up_byte, int split) {
    struct checkpoint_writer writer;
    struct folded folded;
    writer_start(&writer);
    writer_set_float(&writer, EXPERT(1, "gate_proj.weight_scale_2"), gate);
    writer_set_float(&writer, EXPERT(1, "up_proj.weight_scale_2"), up);
    writer_tensor(&writer, EXPERT(1, "gate_proj.weight_scale"))->data[5] = gate_byte;
    writer_tensor(&writer, EXPERT(1, "up_proj.weight_scale"))->data[7] = up_byte;
    read_folded(&writer, &folded);
    assert_int_equal(folded.layer.split_gate_up_alpha, split);
    check_products(&writer, &folded, gate, up);
    writer_end(&writer);
}

static void ratios_that_are_powers_of_two_are_folded_exactly(void **state) {
    (void)state;
    unequal(0.3f, 0.3f, 40, 40, 0);      // equal: nothing to do
    unequal(0.3f, 0.6f, 40, 40, 0);      // up's scales twice as large
    unequal(0.3f, 0.075f, 40, 40, 0);    // up's scales a quarter
    unequal(0.3f, 0.6f, 40, 0x7e, 0);    // up's 448 cannot double: gate's are halved
    unequal(0.3f, 0.6f, 40, 0x01, 0);    // the smallest subnormal doubles
    unequal(0.3f, 0.15f, 0x02, 0x01, 0); // up's smallest cannot be halved: gate's are doubled
}

static void other_ratios_get_an_alpha_each(void **state) {
    (void)state;
    unequal(0.3f, 0.7f, 40, 40, 1);
    unequal(0.3f, nextafterf(0.6f, 1), 40, 40, 1);
    unequal(0.3f, 0.6f, 0x01, 0x7e, 1); // neither side can be scaled exactly
    unequal(0.3f, 0.3f * 1024 * 1024, 40, 40, 1);
    unequal(0, 0.3f, 40, 40, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ratios_that_are_powers_of_two_are_folded_exactly),
        cmocka_unit_test(other_ratios_get_an_alpha_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
