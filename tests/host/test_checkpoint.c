// Checkpoints from their folder: what is read and what is refused.
#include "../cmocka_all.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoint_writer.h"
#include "moejit/checkpoint.h"

#define EXPERT(e, rest) "model.layers.0.mlp.experts." #e "." rest

static void expect_sentence(const char *message, const char *sentence) {
    if (strstr(message, sentence) == NULL) fail_msg("\"%s\" has no \"%s\"", message, sentence);
}

static void open_refused(const struct checkpoint_writer *writer, moejit_status status, const char *sentence) {
    char message[2048] = "";
    moejit_model *model = (moejit_model *)&message;
    assert_int_equal(moejit_model_open(writer->folder, &model, message, sizeof(message)), status);
    assert_null(model);
    expect_sentence(message, sentence);
    char cut[8];
    moejit_model_open(writer->folder, &model, cut, sizeof(cut)); // cut to its buffer
    moejit_model_open(writer->folder, &model, NULL, 0);
}

static moejit_model *open_model(const struct checkpoint_writer *writer) {
    char message[2048];
    moejit_model *model;
    if (moejit_model_open(writer->folder, &model, message, sizeof(message)) != MOEJIT_STATUS_OK)
        fail_msg("%s", message);
    return model;
}

static moejit_status describe(moejit_model *model, moejit_format activations, moejit_layer *layer) {
    moejit_model_layer_options options;
    moejit_model_layer_options_init(&options);
    options.activation_format = activations;
    return moejit_model_layer(model, &options, layer);
}

// The layer is refused; the folder opens.
static void layer_refused(const struct checkpoint_writer *writer, moejit_status status, const char *sentence) {
    moejit_layer layer;
    writer_all(writer);
    moejit_model *model = open_model(writer);
    assert_int_equal(describe(model, MOEJIT_FORMAT_BF16, &layer), status);
    expect_sentence(moejit_model_error(model), sentence);
    moejit_model_close(model);
}

static void config_refused(const char *config, moejit_status status, const char *sentence) {
    struct checkpoint_writer writer;
    writer_start(&writer);
    writer_all(&writer);
    writer_text(&writer, "config.json", config);
    open_refused(&writer, status, sentence);
    writer_end(&writer);
}

static void a_good_one_is_read_byte_for_byte(void **state) {
    struct checkpoint_writer writer;
    moejit_layer layer;
    uint8_t gate_up[2][512], gate_up_scale[2][64], down[2][256], down_scale[2][32];
    float gate_up_alpha[2], down_alpha[2], input_scale, intermediate_scale;
    (void)state;
    writer_start(&writer);
    writer_all(&writer);
    moejit_model *model = open_model(&writer);
    moejit_model_info info = {.struct_size = sizeof(info)};
    moejit_model_info_read(model, &info);
    assert_string_equal(info.family, "Qwen3-MoE");
    assert_string_equal(info.format, "modelopt NVFP4");
    assert_int_equal(info.num_tensors, 24);
    assert_int_equal(moejit_model_moe_layer(model, 0), 0);
    assert_int_equal(moejit_model_moe_layer(model, 1), -1);
    assert_int_equal(describe(model, MOEJIT_FORMAT_NVFP4, &layer), MOEJIT_STATUS_OK);
    assert_int_equal(layer.hidden, 32);
    assert_int_equal(layer.intermediate, 16);
    assert_int_equal(layer.num_local_experts, 2);
    assert_int_equal(layer.split_gate_up_alpha, 0);
    assert_int_equal(layer.per_expert_intermediate_scale, 0);
    moejit_host_experts experts = {sizeof(experts), gate_up, gate_up_scale, down, down_scale};
    assert_int_equal(moejit_model_experts_read(model, 0, &layer, 0, 2, &experts), MOEJIT_STATUS_OK);
    assert_memory_equal(gate_up[1], writer_tensor(&writer, EXPERT(1, "gate_proj.weight"))->data, 256);
    assert_memory_equal(gate_up[1] + 256, writer_tensor(&writer, EXPERT(1, "up_proj.weight"))->data, 256);
    assert_memory_equal(gate_up_scale[1] + 32, writer_tensor(&writer, EXPERT(1, "up_proj.weight_scale"))->data, 32);
    assert_memory_equal(down[0], writer_tensor(&writer, EXPERT(0, "down_proj.weight"))->data, 256);
    assert_memory_equal(down_scale[1], writer_tensor(&writer, EXPERT(1, "down_proj.weight_scale"))->data, 32);
    moejit_model_scales scales = {sizeof(scales), gate_up_alpha, down_alpha, &input_scale, &intermediate_scale};
    assert_int_equal(moejit_model_scales_read(model, 0, &layer, &scales), MOEJIT_STATUS_OK);
    assert_true(gate_up_alpha[1] == 0.375f * 0.0625f && down_alpha[0] == 0.375f * 0.0625f);
    assert_true(input_scale == 16 && intermediate_scale == 16);
    moejit_model_close(model);
    writer_end(&writer);
}

static void missing_and_broken_files(void **state) {
    struct checkpoint_writer writer;
    (void)state;
    writer_start(&writer);
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "config.json: No such file");
    writer_text(&writer, "config.json", writer_config);
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "and 0 files *.safetensors");
    writer_text(&writer, "model.safetensors", "");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "has 0 bytes, a safetensors file at least 8");
    writer_safetensors(&writer, "model.safetensors", 0, 0);
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "has no experts");
    writer_all(&writer);
    writer_text(&writer, "hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"FP8\"}}");
    open_refused(&writer, MOEJIT_STATUS_UNSUPPORTED, "quant_algo = \"FP8\", needs NVFP4");
    writer_text(&writer, "hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"NVFP4\", \"group_size\": 32}}");
    open_refused(&writer, MOEJIT_STATUS_UNSUPPORTED, "group_size = 32, NVFP4 needs 16");
    writer_text(&writer, "hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"NVFP4\", \"group_size\": 16}}");
    moejit_model_close(open_model(&writer));
    writer_end(&writer);
    char message[256];
    moejit_model *model;
    assert_int_equal(moejit_model_open("/nonexistent", &model, message, sizeof(message)),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_model_open(NULL, &model, message, sizeof(message)), MOEJIT_STATUS_INVALID_ARGUMENT);
    expect_sentence(message, "folder = NULL");
    moejit_model_close(NULL);
}

static void configs(void **state) {
    (void)state;
    const moejit_status invalid = MOEJIT_STATUS_INVALID_ARGUMENT, unsupported = MOEJIT_STATUS_UNSUPPORTED;
#define CONFIG(type, rest) "{\"model_type\": \"" type "\", " rest "}"
#define SIZES "\"hidden_size\": 32, \"moe_intermediate_size\": 16, \"num_experts\": 2, \"num_experts_per_tok\": 1"
    config_refused("{", invalid, "is no JSON");
    config_refused("{}", unsupported, "model_type = \"\", needs one of deepseek_v3");
    config_refused(CONFIG("bert", SIZES), unsupported, "model_type = \"bert\"");
    config_refused(CONFIG("qwen3_moe", SIZES), unsupported, "hidden_act = \"\", needs silu");
    config_refused(CONFIG("qwen3_moe", SIZES ", \"hidden_act\": \"tanh\""), unsupported, "hidden_act = \"tanh\"");
    config_refused(CONFIG("qwen3_moe", "\"hidden_size\": 1e3"), invalid, "hidden_size that is no whole number");
    config_refused(CONFIG("qwen3_moe", "\"hidden_size\": 0"), invalid, "hidden_size that is no whole number");
    config_refused(CONFIG("qwen3_moe", "\"hidden_size\": 99999999"), invalid, "from 1 to 65536");
    config_refused(CONFIG("qwen3_moe", "\"hidden_size\": 32"), invalid, "has no moe_intermediate_size");
    config_refused(CONFIG("nemotron_h", SIZES ", \"mlp_hidden_act\": \"relu2\", \"moe_latent_size\": 16"), unsupported,
                   "moe_latent_size");
    config_refused(CONFIG("qwen3_moe", SIZES ", \"hidden_act\": \"silu\", \"quantization_config\": {\"quant_method\": "
                                             "\"fp8\"}"),
                   unsupported, "quant_method = \"fp8\"");
    config_refused(CONFIG("qwen3_moe", SIZES ", \"hidden_act\": \"silu\", \"quantization_config\": {\"quant_method\": "
                                             "\"compressed-tensors\", \"format\": \"int-quantized\"}"),
                   unsupported, "format = \"int-quantized\", needs nvfp4-pack-quantized");
}

static void sizes_of_a_config_alone(void **state) {
    struct checkpoint_writer writer;
    moejit_layer layer;
    char path[128], message[512];
    (void)state;
    writer_start(&writer);
    // A model with eyes, of a size that no test would run.
    writer_text(
        &writer, "config.json",
        "{\"model_type\": \"llama4\", \"text_config\": {\"model_type\": \"llama4_text\", \"hidden_size\": 5120, "
        "\"intermediate_size\": 8192, \"num_local_experts\": 16, \"num_experts_per_tok\": 1, \"hidden_act\": "
        "\"silu\"}}");
    snprintf(path, sizeof(path), "%s/config.json", writer.folder);
    assert_int_equal(moejit_config_layer(path, &layer, message, sizeof(message)), MOEJIT_STATUS_OK);
    assert_int_equal(layer.intermediate, 8192);
    assert_int_equal(layer.num_local_experts, 16);
    assert_int_equal(layer.router_weight_on_input, 1);
    strcat(path, "x");
    assert_int_equal(moejit_config_layer(path, &layer, message, sizeof(message)), MOEJIT_STATUS_INVALID_ARGUMENT);
    expect_sentence(message, "config.jsonx: No such file");
    writer_end(&writer);
}

static void indices(void **state) {
    struct checkpoint_writer writer;
    const char *index = "model.safetensors.index.json";
    (void)state;
    writer_start(&writer);
    writer_text(&writer, "config.json", writer_config);
    writer_safetensors(&writer, "a.safetensors", 0, 12);
    writer_safetensors(&writer, "b.safetensors", 12, 12);
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "and 2 files *.safetensors, needs the index or exactly one");
    writer_text(&writer, index,
                "{\"weight_map\": {\"" EXPERT(0, "gate_proj.weight") "\": \"a.safetensors\", \"" EXPERT(
                    1, "gate_proj.weight") "\": \"b.safetensors\"}}");
    moejit_layer layer;
    moejit_model *model = open_model(&writer);
    assert_int_equal(describe(model, MOEJIT_FORMAT_BF16, &layer), MOEJIT_STATUS_OK);
    moejit_model_close(model);
    writer_text(&writer, index,
                "{\"weight_map\": {\"" EXPERT(0, "gate_proj.weight") "\": \"b.safetensors\", \"" EXPERT(
                    1, "gate_proj.weight") "\": \"a.safetensors\"}}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "which has no such tensor");
    writer_text(&writer, index, "{\"weight_map\": {\"x\": \"a.safetensors\"}}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "says that x is in a.safetensors, which has no such tensor");
    writer_text(&writer, index, "{\"weight_map\": {\"x\": \"../a.safetensors\"}}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT,
                 "names the file \"../a.safetensors\", needs a plain file name");
    writer_text(&writer, index, "{\"weight_map\": {\"x\": \"..\"}}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "needs a plain file name");
    writer_text(&writer, index, "{\"weight_map\": {\"x\": 7}}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "a file that is no name");
    writer_text(&writer, index, "{\"weight_map\": {\"x\": \"a\\u001b\"}}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "not printable");
    writer_text(&writer, index, "{}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "has no object \"weight_map\"");
    writer_safetensors(&writer, "b.safetensors", 11, 13);
    writer_text(&writer, index, "{\"weight_map\": {\"x\": \"a.safetensors\", \"y\": \"b.safetensors\"}}");
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "is in two files: ");
    writer_end(&writer);
}

static void make_path(const struct checkpoint_writer *writer, const char *name, char path[256]) {
    snprintf(path, 256, "%s/%s", writer->folder, name);
}

static void links_and_other_things_that_are_no_file(void **state) {
    struct checkpoint_writer writer, other;
    char path[256], target[256];
    (void)state;
    writer_start(&writer);
    writer_start(&other);
    writer_all(&writer);
    writer_all(&other);
    make_path(&writer, "model.safetensors", path);
    make_path(&other, "model.safetensors", target);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(target, path), 0);
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "out of its folder");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("weights.bin", path), 0); // within the folder
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "No such file");
    writer_safetensors(&writer, "weights.bin", 0, 24);
    moejit_model_close(open_model(&writer));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0); // opening it must not wait for a writer
    open_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "is no regular file");
    writer_end(&writer);
    writer_end(&other);
}

// REPOSITORY/snapshots/REVISION/model.safetensors -> ../../blobs/HASH
static void snapshots_of_a_hugging_face_cache(void **state) {
    struct checkpoint_writer writer;
    char root[64], path[256], message[1024];
    static const char *const folders[] = {"blobs", "snapshots", "snapshots/1"};
    static const char *const links[] = {"config.json", "model.safetensors"};
    moejit_model *model;
    (void)state;
    writer_start(&writer);
    memcpy(root, writer.folder, sizeof(root));
    for (int i = 0; i < 3; i++) {
        make_path(&writer, folders[i], path);
        assert_int_equal(mkdir(path, 0700), 0);
    }
    snprintf(writer.folder, sizeof(writer.folder), "%.50s/blobs", root);
    writer_all(&writer);
    snprintf(writer.folder, sizeof(writer.folder), "%.40s/snapshots/1", root);
    for (int i = 0; i < 2; i++) {
        char target[64];
        snprintf(target, sizeof(target), "../../blobs/%s", links[i]);
        make_path(&writer, links[i], path);
        assert_int_equal(symlink(target, path), 0);
    }
    if (moejit_model_open(writer.folder, &model, message, sizeof(message)) != MOEJIT_STATUS_OK) fail_msg("%s", message);
    moejit_model_close(model);
    for (int i = 2; i >= 0; i--) {
        snprintf(writer.folder, sizeof(writer.folder), "%.40s/%s", root, folders[i]);
        writer_end(&writer);
    }
    memcpy(writer.folder, root, sizeof(root));
    writer_end(&writer);
}

static void tensors_that_do_not_fit(void **state) {
    static const struct {
        const char *name, *dtype;
        size_t rows, columns, element;
        const char *sentence;
    } cases[] = {
        {"gate_proj.weight", "BF16", 16, 16, 2, "is BF16 [16, 16], needs U8: NVFP4"},
        {"gate_proj.weight", "U8", 16, 32, 1, "is U8 [16, 32], needs U8 [16, 16]"},
        {"down_proj.weight", "U8", 8, 32, 1, "is U8 [8, 32], needs U8 [32, 8]"},
        {"up_proj.weight_scale", "U8", 16, 2, 1, "is U8 [16, 2], needs F8_E4M3 [16, 2]"},
        {"up_proj.weight_scale", "F8_E4M3", 16, 1, 1, "needs F8_E4M3 [16, 2]: one scale for 16 elements"},
        {"up_proj.weight_scale_2", "BF16", 0, 0, 2, "is BF16 [], needs one F32"},
        {"up_proj.weight_scale_2", "F32", 2, 1, 4, "is F32 [2, 1], needs one F32"},
        {"up_proj.input_scale", "F32", 2, 1, 4, "is F32 [2, 1], needs one F32"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct checkpoint_writer writer;
        char name[128];
        writer_start(&writer);
        snprintf(name, sizeof(name), "model.layers.0.mlp.experts.1.%s", cases[i].name);
        writer_remove(&writer, name);
        writer_add(&writer, name, cases[i].dtype, cases[i].rows, cases[i].columns, cases[i].element);
        layer_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, cases[i].sentence);
        writer_end(&writer);
    }
}

static void tensors_that_are_missing_or_too_many(void **state) {
    static const char *const needed[] = {EXPERT(1, "gate_proj.weight"), EXPERT(0, "down_proj.weight"),
                                         EXPERT(1, "up_proj.weight_scale"), EXPERT(1, "up_proj.weight_scale_2")};
    static const char *const foreign[] = {EXPERT(1, "up_proj.bias"), EXPERT(0, "down_proj.pre_quant_scale"),
                                          EXPERT(1, "gate_proj.weight_zero_point")};
    struct checkpoint_writer writer;
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        writer_start(&writer);
        writer_remove(&writer, needed[i]);
        layer_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "there is no tensor model.layers.0.mlp.experts.");
        writer_end(&writer);
    }
    for (size_t i = 0; i < 3; i++) {
        writer_start(&writer);
        writer_add(&writer, foreign[i], "BF16", 0, 0, 2);
        layer_refused(&writer, MOEJIT_STATUS_UNSUPPORTED, foreign[i]);
        writer_end(&writer);
    }
}

static void scales_that_are_no_scale(void **state) {
    static const float bad[] = {NAN, INFINITY, -1};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct checkpoint_writer writer;
        writer_start(&writer);
        writer_set_float(&writer, EXPERT(1, "down_proj.weight_scale_2"), bad[i]);
        layer_refused(&writer, MOEJIT_STATUS_INVALID_ARGUMENT, "needs a finite number >= 0");
        writer_end(&writer);
    }
}

static void weights_alone_have_no_nvfp4_activations(void **state) {
    struct checkpoint_writer writer;
    moejit_layer layer;
    float numbers[8];
    (void)state;
    writer_start(&writer);
    writer_remove(&writer, EXPERT(1, "up_proj.input_scale"));
    writer_all(&writer);
    moejit_model *model = open_model(&writer);
    moejit_model_scales scales = {sizeof(scales), numbers, numbers + 2, numbers + 4, numbers + 5};
    assert_int_equal(describe(model, MOEJIT_FORMAT_NVFP4, &layer), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_model_scales_read(model, 0, &layer, &scales), MOEJIT_STATUS_UNSUPPORTED);
    expect_sentence(moejit_model_error(model), "layer 0 expert 1 has no input scale");
    assert_int_equal(describe(model, MOEJIT_FORMAT_BF16, &layer), MOEJIT_STATUS_OK);
    scales.input_scale = scales.intermediate_scale = NULL;
    assert_int_equal(moejit_model_scales_read(model, 0, &layer, &scales), MOEJIT_STATUS_OK);
    moejit_model_close(model);
    writer_end(&writer);
}

static void a_file_cut_short_while_it_is_open(void **state) {
    struct checkpoint_writer writer;
    moejit_layer layer;
    uint8_t gate_up[512], gate_up_scale[64], down[256], down_scale[32];
    char path[256];
    (void)state;
    writer_start(&writer);
    writer_all(&writer);
    moejit_model *model = open_model(&writer);
    assert_int_equal(describe(model, MOEJIT_FORMAT_BF16, &layer), MOEJIT_STATUS_OK);
    make_path(&writer, "model.safetensors", path);
    assert_int_equal(truncate(path, 100), 0);
    moejit_host_experts experts = {sizeof(experts), gate_up, gate_up_scale, down, down_scale};
    assert_int_equal(moejit_model_experts_read(model, 0, &layer, 0, 1, &experts), MOEJIT_STATUS_INVALID_ARGUMENT);
    expect_sentence(moejit_model_error(model), "to 100 bytes while it was in use");
    assert_int_equal(describe(model, MOEJIT_FORMAT_BF16, &layer), MOEJIT_STATUS_INVALID_ARGUMENT);
    moejit_model_close(model);
    writer_end(&writer);
}

static void misuse(void **state) {
    struct checkpoint_writer writer;
    moejit_layer layer;
    float numbers[8];
    (void)state;
    writer_start(&writer);
    writer_all(&writer);
    moejit_model *model = open_model(&writer);
    moejit_model_layer_options options;
    moejit_model_layer_options_init(&options);
    options.layer_number = 5;
    assert_int_equal(moejit_model_layer(model, &options, &layer), MOEJIT_STATUS_INVALID_ARGUMENT);
    expect_sentence(moejit_model_error(model), "layer 5 has no experts; 1 layers from 0 to 0 have");
    options.layer_number = 0, options.first_expert = 1, options.num_experts = 2;
    assert_int_equal(moejit_model_layer(model, &options, &layer), MOEJIT_STATUS_INVALID_ARGUMENT);
    expect_sentence(moejit_model_error(model), "local experts are 1 to 2, but there are 0 to 1");
    options.first_expert = -1, options.num_experts = 0;
    assert_int_equal(moejit_model_layer(model, &options, &layer), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_model_layer(model, NULL, &layer), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_model_layer(model, &options, NULL), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_model_layer(NULL, &options, &layer), MOEJIT_STATUS_INVALID_ARGUMENT);
    options.first_expert = 1;
    assert_int_equal(moejit_model_layer(model, &options, &layer), MOEJIT_STATUS_OK);
    assert_int_equal(layer.local_expert_offset, 1);
    assert_int_equal(layer.num_local_experts, 1);
    moejit_model_scales scales = {sizeof(scales), numbers, NULL, NULL, NULL};
    assert_int_equal(moejit_model_scales_read(model, 0, &layer, &scales), MOEJIT_STATUS_INVALID_ARGUMENT);
    expect_sentence(moejit_model_error(model), "scales has a NULL as its pointer 2");
    moejit_host_experts experts = {sizeof(experts), numbers, numbers, numbers, numbers};
    assert_int_equal(moejit_model_experts_read(model, 0, &layer, 0, 2, &experts), MOEJIT_STATUS_INVALID_ARGUMENT);
    layer.hidden = 64;
    assert_int_equal(moejit_model_experts_read(model, 0, &layer, 0, 1, &experts), MOEJIT_STATUS_INVALID_ARGUMENT);
    expect_sentence(moejit_model_error(model), "layer has hidden = 64, the model's needs 32");
    moejit_model_close(model);
    writer_end(&writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_one_is_read_byte_for_byte),
        cmocka_unit_test(missing_and_broken_files),
        cmocka_unit_test(configs),
        cmocka_unit_test(sizes_of_a_config_alone),
        cmocka_unit_test(indices),
        cmocka_unit_test(links_and_other_things_that_are_no_file),
        cmocka_unit_test(snapshots_of_a_hugging_face_cache),
        cmocka_unit_test(tensors_that_do_not_fit),
        cmocka_unit_test(tensors_that_are_missing_or_too_many),
        cmocka_unit_test(scales_that_are_no_scale),
        cmocka_unit_test(weights_alone_have_no_nvfp4_activations),
        cmocka_unit_test(a_file_cut_short_while_it_is_open),
        cmocka_unit_test(misuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
