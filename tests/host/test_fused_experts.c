// All experts in one 3-D tensor, plain and transposed: the same bytes as an expert at a time.
#include "../cmocka_all.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint_writer.h"
#include "moejit/checkpoint.h"

struct experts { // both, as read
    uint8_t gate_up[1024], gate_up_scale[128], down[512], down_scale[64];
    float gate_up_alpha[2], down_alpha[2], input_scale, intermediate_scale;
};

static void read_all(const struct checkpoint_writer *writer, struct experts *read) {
    char message[1024];
    moejit_model *model;
    moejit_layer layer;
    moejit_model_layer_options options;
    writer_all(writer);
    if (moejit_model_open(writer->folder, &model, message, sizeof(message)) != MOEJIT_STATUS_OK)
        fail_msg("%s", message);
    moejit_model_layer_options_init(&options);
    options.activation_format = MOEJIT_FORMAT_NVFP4;
    if (moejit_model_layer(model, &options, &layer) != MOEJIT_STATUS_OK) fail_msg("%s", moejit_model_error(model));
    moejit_host_experts to = {sizeof(to), read->gate_up, read->gate_up_scale, read->down, read->down_scale};
    moejit_model_scales scales = {sizeof(scales), read->gate_up_alpha, read->down_alpha, &read->input_scale,
                                  &read->intermediate_scale};
    assert_int_equal(moejit_model_experts_read(model, 0, &layer, 0, 2, &to), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_model_scales_read(model, 0, &layer, &scales), MOEJIT_STATUS_OK);
    moejit_model_close(model);
}

// [2, rows, columns], or [2, columns, rows] where transposed, from [2, rows, columns].
static void add_3d(struct checkpoint_writer *writer, const char *name, const char *dtype, size_t rows, size_t columns,
                   bool transposed, const uint8_t *from) {
    struct written_tensor *tensor = writer_add(writer, name, dtype, 2 * rows, columns, 1);
    tensor->num_dimensions = 3;
    tensor->shape[0] = 2;
    tensor->shape[1] = transposed ? columns : rows;
    tensor->shape[2] = transposed ? rows : columns;
    for (size_t e = 0; e < 2; e++) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t c = 0; c < columns; c++)
                tensor->data[e * rows * columns + (transposed ? c * rows + r : r * columns + c)] =
                    from[(e * rows + r) * columns + c];
        }
    }
}

static void add_scalar(struct checkpoint_writer *writer, const char *name, float value) {
    writer_add(writer, name, "F32", 0, 0, 4);
    writer_set_float(writer, name, value);
}

#define PATH "model.layers.0.mlp.experts."

static void fuse(struct checkpoint_writer *writer, const struct experts *experts, bool transposed) {
    writer->num_tensors = 0;
    add_3d(writer, PATH "gate_up_proj", "U8", 32, 16, transposed, experts->gate_up);
    add_3d(writer, PATH "gate_up_proj_weight_scale", "F8_E4M3", 32, 2, transposed, experts->gate_up_scale);
    add_3d(writer, PATH "down_proj", "U8", 32, 8, transposed, experts->down);
    add_3d(writer, PATH "down_proj_weight_scale", "F8_E4M3", 32, 1, transposed, experts->down_scale);
    add_scalar(writer, PATH "gate_up_proj_weight_scale_2", 0.375f);
    add_scalar(writer, PATH "down_proj_weight_scale_2", 0.375f);
    add_scalar(writer, PATH "gate_up_proj_input_scale", 0.0625f);
    add_scalar(writer, PATH "down_proj_input_scale", 0.0625f);
}

static void fused_experts_are_the_same_bytes(void **state) {
    struct checkpoint_writer writer;
    static struct experts apart, fused; // zeroed, so that they compare as a whole
    (void)state;
    writer_start(&writer);
    read_all(&writer, &apart);
    for (int transposed = 0; transposed < 2; transposed++) {
        memset(&fused, 0, sizeof(fused));
        fuse(&writer, &apart, transposed);
        read_all(&writer, &fused);
        assert_memory_equal(&fused, &apart, sizeof(apart));
    }
    writer_end(&writer);
}

static void fused_tensors_that_do_not_fit_are_refused(void **state) {
    struct checkpoint_writer writer;
    static struct experts apart;
    moejit_model *model;
    moejit_layer layer;
    moejit_model_layer_options options;
    (void)state;
    writer_start(&writer);
    read_all(&writer, &apart);
    for (int which = 0; which < 2; which++) { // codes transposed and scales not, and the reverse
        fuse(&writer, &apart, which == 0);
        writer_tensor(&writer, PATH "gate_up_proj_weight_scale")->shape[1] = which == 0 ? 32 : 2;
        writer_tensor(&writer, PATH "gate_up_proj_weight_scale")->shape[2] = which == 0 ? 2 : 32;
        writer_all(&writer);
        assert_int_equal(moejit_model_open(writer.folder, &model, NULL, 0), MOEJIT_STATUS_OK);
        moejit_model_layer_options_init(&options);
        assert_int_equal(moejit_model_layer(model, &options, &layer), MOEJIT_STATUS_INVALID_ARGUMENT);
        assert_non_null(strstr(moejit_model_error(model), "gate_up_proj is U8 [2, "));
        moejit_model_close(model);
    }
    writer_end(&writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fused_experts_are_the_same_bytes),
        cmocka_unit_test(fused_tensors_that_do_not_fit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
