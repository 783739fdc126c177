// The n-th allocation, mapping or look at a file fails, for every n, of opening a model and reading a layer: each time
// a status and a sentence, nothing leaked (under ASan), and what was refused once works the next time.
#include "../cmocka_all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "checkpoint_writer.h"
#include "moejit/checkpoint.h"

static long calls, failing; // the call that fails; -1: none

static int fails(void) {
    if (calls++ != failing) return 0;
    errno = ENOMEM;
    return 1;
}

// The linker sends calls of ours and of jansson's archive here (tests/CMakeLists.txt).
void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes) {
    return fails() ? NULL : __real_malloc(bytes);
}
void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes) {
    return fails() ? NULL : __real_calloc(count, bytes);
}
void *__real_realloc(void *memory, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes) {
    return fails() ? NULL : __real_realloc(memory, bytes);
}
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text) {
    return fails() ? NULL : __real_strdup(text);
}
void *__real_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, off_t offset) {
    return fails() ? MAP_FAILED : __real_mmap(address, bytes, protection, flags, descriptor, offset);
}
int __real_fstat(int descriptor, struct stat *status);
int __wrap_fstat(int descriptor, struct stat *status);
int __wrap_fstat(int descriptor, struct stat *status) {
    return fails() ? -1 : __real_fstat(descriptor, status);
}

// Opens, describes, reads all; the first status that is not OK, with its sentence.
static moejit_status read_all(const char *folder, char message[2048]) {
    moejit_model *model;
    moejit_layer layer;
    moejit_model_layer_options options;
    uint8_t gate_up[1024], gate_up_scale[128], down[512], down_scale[64];
    float gate_up_alpha[4], down_alpha[2], input_scale, intermediate_scale[2];
    message[0] = '\0';
    moejit_status status = moejit_model_open(folder, &model, message, 2048);
    if (status != MOEJIT_STATUS_OK) return status;
    moejit_model_layer_options_init(&options);
    options.activation_format = MOEJIT_FORMAT_NVFP4;
    moejit_model_scales scales = {sizeof(scales), gate_up_alpha, down_alpha, &input_scale, intermediate_scale};
    moejit_host_experts experts = {sizeof(experts), gate_up, gate_up_scale, down, down_scale};
    status = moejit_model_layer(model, &options, &layer);
    if (status == MOEJIT_STATUS_OK) status = moejit_model_scales_read(model, 0, &layer, &scales);
    if (status == MOEJIT_STATUS_OK) status = moejit_model_experts_read(model, 0, &layer, 0, 2, &experts);
    strncpy(message, moejit_model_error(model), 2047);
    moejit_model_close(model);
    return status;
}

static void every_call_may_fail(void **state) {
    struct checkpoint_writer writer;
    char message[2048];
    (void)state;
    writer_start(&writer);
    writer_set_float(&writer, "model.layers.0.mlp.experts.1.up_proj.weight_scale_2", 0.75f); // folds
    writer_text(&writer, "config.json", writer_config);
    writer_safetensors(&writer, "a.safetensors", 0, 12);
    writer_safetensors(&writer, "b.safetensors", 12, 12);
    writer_text(&writer, "model.safetensors.index.json",
                "{\"weight_map\": {\"model.layers.0.mlp.experts.0.gate_proj.weight\": \"a.safetensors\", "
                "\"model.layers.0.mlp.experts.1.gate_proj.weight\": \"b.safetensors\"}}");
    writer_text(&writer, "hf_quant_config.json", "{\"quantization\": {\"quant_algo\": \"NVFP4\"}}");
    long num_failed = 0;
    for (long n = 0;; n++) {
        calls = 0;
        failing = n;
        moejit_status status = read_all(writer.folder, message);
        long made = calls;
        failing = -1;
        if (made <= n) { // none was left to fail
            assert_int_equal(status, MOEJIT_STATUS_OK);
            break;
        }
        if (status == MOEJIT_STATUS_OK) continue; // it had a second way: two alphas where a fold's buffer was missing
        num_failed++;
        assert_true(message[0] != '\0');
        assert_true(status == MOEJIT_STATUS_OUT_OF_MEMORY || status == MOEJIT_STATUS_INVALID_ARGUMENT);
        assert_int_equal(read_all(writer.folder, message), MOEJIT_STATUS_OK);
    }
    assert_true(num_failed > 200);
    writer_end(&writer);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_call_may_fail)};
    failing = -1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
