// Streaming a checkpoint's layer into packed weights: the same bytes whatever the staging, which bounds every copy;
// progress, cancelling, and failures at every copy.
#include "../cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu.h"
#include "moejit/checkpoint.h"

static const char *checkpoints; // the folder of tests/data

struct rig {
    struct gpu gpu;
    moejit_context *context;
    moejit_model *model;
    moejit_layer layer;
    moejit_weights *weights;
    void *packed;
    size_t packed_bytes;
    moejit_model_upload upload;
    int copies, failing_copy, progress_calls, cancel_at; // -1: never
    size_t largest_copy;
    int last_done;
};

static int copy(void *user, void *device, const void *host, size_t bytes, struct CUstream_st *stream) {
    struct rig *rig = user;
    if (rig->copies++ == rig->failing_copy) return 719;
    if (bytes > rig->largest_copy) rig->largest_copy = bytes;
    return (int)rig->gpu.cuMemcpyHtoDAsync((CUdeviceptr)device, host, bytes, stream);
}

static int progress(void *user, int32_t done, int32_t total, const char *current) {
    struct rig *rig = user;
    assert_int_equal(total, rig->layer.num_local_experts);
    assert_non_null(current);
    assert_true(done > rig->last_done);
    rig->last_done = done;
    rig->progress_calls++;
    return done == rig->cancel_at;
}

static void set_up(struct rig *rig, const char *name, int first, int count) {
    char folder[512], message[1024];
    memset(rig, 0, sizeof(*rig));
    rig->failing_copy = rig->cancel_at = -1;
    assert_true(gpu_open(&rig->gpu, NULL));
    moejit_context_options options;
    moejit_context_options_init(&options);
    options.cuda_library = rig->gpu.path;
    assert_int_equal(moejit_context_create(&options, &rig->context, NULL, 0), MOEJIT_STATUS_OK);
    snprintf(folder, sizeof(folder), "%s/%s", checkpoints, name);
    if (moejit_model_open(folder, &rig->model, message, sizeof(message)) != MOEJIT_STATUS_OK) fail_msg("%s", message);
    moejit_model_layer_options wanted;
    moejit_model_layer_options_init(&wanted);
    wanted.first_expert = first;
    wanted.num_experts = count;
    assert_int_equal(moejit_model_layer(rig->model, &wanted, &rig->layer), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_weights_bytes(rig->context, &rig->layer, &rig->packed_bytes), MOEJIT_STATUS_OK);
    rig->packed = gpu_upload(&rig->gpu, NULL, rig->packed_bytes);
    assert_non_null(rig->packed);
    assert_int_equal(moejit_weights_create(rig->context, &rig->layer, rig->packed, rig->packed_bytes, &rig->weights),
                     MOEJIT_STATUS_OK);
    moejit_model_upload_init(&rig->upload);
    rig->upload.copy = copy;
    rig->upload.progress = progress;
    rig->upload.copy_user = rig->upload.progress_user = rig;
}

static void tear_down(struct rig *rig) {
    moejit_weights_destroy(rig->weights);
    moejit_model_close(rig->model);
    moejit_context_destroy(rig->context);
    gpu_free(&rig->gpu, rig->packed);
    gpu_close(&rig->gpu);
}

// Staging of exactly `bytes`, poisoned, for one call.
static moejit_status pack(struct rig *rig, size_t bytes) {
    rig->copies = rig->progress_calls = 0;
    rig->largest_copy = 0;
    rig->last_done = -1;
    rig->upload.staging_bytes = bytes;
    rig->upload.host_staging = malloc(bytes);
    assert_non_null(rig->upload.host_staging);
    memset(rig->upload.host_staging, 0xff, bytes);
    rig->upload.device_staging = gpu_upload(&rig->gpu, NULL, bytes);
    assert_non_null(rig->upload.device_staging);
    moejit_status status = moejit_model_pack(rig->model, 0, &rig->layer, rig->weights, &rig->upload, NULL);
    gpu_free(&rig->gpu, rig->upload.device_staging);
    free(rig->upload.host_staging);
    return status;
}

// What moejit_weights_pack makes of the same experts, all at once.
static uint8_t *pack_at_once(struct rig *rig) {
    size_t experts = (size_t)rig->layer.num_local_experts, hidden = (size_t)rig->layer.hidden;
    size_t matrix = hidden * (size_t)rig->layer.intermediate;
    size_t sizes[4] = {experts * matrix, experts * matrix / 8, experts * matrix / 2, experts * matrix / 16};
    void *host[4], *device[4];
    for (int i = 0; i < 4; i++) host[i] = malloc(sizes[i]);
    moejit_host_experts to = {sizeof(to), host[0], host[1], host[2], host[3]};
    assert_int_equal(moejit_model_experts_read(rig->model, 0, &rig->layer, 0, (int)experts, &to), MOEJIT_STATUS_OK);
    for (int i = 0; i < 4; i++) device[i] = gpu_upload(&rig->gpu, host[i], sizes[i]);
    moejit_checkpoint from = {sizeof(from), device[0], device[1], device[2], device[3]};
    assert_int_equal(moejit_weights_pack(rig->weights, &from, 0, (int)experts, NULL), MOEJIT_STATUS_OK);
    uint8_t *bytes = malloc(rig->packed_bytes);
    assert_non_null(bytes);
    assert_true(gpu_download(&rig->gpu, bytes, rig->packed, rig->packed_bytes));
    for (int i = 0; i < 4; i++) {
        gpu_free(&rig->gpu, device[i]);
        free(host[i]);
    }
    return bytes;
}

static void poison_packed(struct rig *rig) {
    assert_int_equal(rig->gpu.cuMemsetD8((CUdeviceptr)rig->packed, 0xff, rig->packed_bytes), CUDA_SUCCESS);
    assert_int_equal(rig->gpu.cuCtxSynchronize(), CUDA_SUCCESS);
}

static void staging_bounds_each_copy_and_changes_nothing(void **state) {
    struct rig rig;
    (void)state;
    set_up(&rig, "mixtral_compressed_tensors", 0, 0);
    uint8_t *wanted = pack_at_once(&rig), *got = malloc(rig.packed_bytes);
    size_t one = moejit_model_staging_bytes(&rig.layer);
    const struct {
        size_t bytes;
        int copies;
    } cases[] = {{one, 8}, {3 * one, 3}, {3 * one + one / 2, 3}, {8 * one, 1}, {100 * one, 1}};
    assert_non_null(got);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        poison_packed(&rig);
        assert_int_equal(pack(&rig, cases[i].bytes), MOEJIT_STATUS_OK);
        assert_int_equal(rig.copies, cases[i].copies);
        assert_int_equal(rig.progress_calls, cases[i].copies + 1);
        assert_int_equal(rig.last_done, 8);
        assert_true(rig.largest_copy <= cases[i].bytes);
        assert_true(gpu_download(&rig.gpu, got, rig.packed, rig.packed_bytes));
        assert_memory_equal(got, wanted, rig.packed_bytes);
    }
    free(wanted);
    free(got);
    tear_down(&rig);
}

static void a_rank_packs_its_own_experts(void **state) {
    struct rig all, some;
    (void)state;
    set_up(&all, "qwen3_moe_modelopt", 0, 0);
    set_up(&some, "qwen3_moe_modelopt", 3, 2);
    uint8_t *whole = pack_at_once(&all), *part = malloc(some.packed_bytes);
    assert_non_null(part);
    assert_int_equal(pack(&some, moejit_model_staging_bytes(&some.layer)), MOEJIT_STATUS_OK);
    assert_true(gpu_download(&some.gpu, part, some.packed, some.packed_bytes));
    size_t gate_up =
        (size_t)some.layer.hidden * (size_t)some.layer.intermediate * 9 / 8; // packed: 9 bits for 2 weights
    assert_memory_equal(part, whole + 3 * gate_up, 2 * gate_up);
    free(whole);
    free(part);
    tear_down(&some);
    tear_down(&all);
}

static void cancelled_and_failed_uploads_say_where(void **state) {
    struct rig rig;
    char sentence[64];
    (void)state;
    set_up(&rig, "qwen3_moe_modelopt", 0, 3);
    size_t one = moejit_model_staging_bytes(&rig.layer);
    for (int at = 0; at <= 3; at++) {
        rig.cancel_at = at;
        assert_int_equal(pack(&rig, one), MOEJIT_STATUS_CANCELLED);
        assert_int_equal(rig.copies, at);
        snprintf(sentence, sizeof(sentence), "cancelled after %d of 3 experts of layer 0", at);
        assert_string_equal(moejit_model_error(rig.model), sentence);
    }
    rig.cancel_at = -1;
    for (int at = 0; at < 3; at++) {
        rig.failing_copy = at;
        assert_int_equal(pack(&rig, one), MOEJIT_STATUS_CUDA_FAILED);
        assert_non_null(strstr(moejit_model_error(rig.model), "the copy function gave 719"));
    }
    rig.failing_copy = -1;
    assert_int_equal(pack(&rig, one), MOEJIT_STATUS_OK);
    tear_down(&rig);
}

static void misuse(void **state) {
    struct rig rig;
    (void)state;
    set_up(&rig, "qwen3_moe_modelopt", 0, 0);
    assert_int_equal(pack(&rig, moejit_model_staging_bytes(&rig.layer) - 1), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(moejit_model_error(rig.model), "one expert needs"));
    assert_int_equal(rig.copies, 0);
    moejit_model_upload upload = rig.upload;
    upload.host_staging = NULL;
    assert_int_equal(moejit_model_pack(rig.model, 0, &rig.layer, rig.weights, &upload, NULL),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    upload.host_staging = &rig;
    upload.device_staging = (void *)8;
    assert_int_equal(moejit_model_pack(rig.model, 0, &rig.layer, rig.weights, &upload, NULL),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(moejit_model_error(rig.model), "aligned to 256"));
    assert_int_equal(moejit_model_pack(rig.model, 0, &rig.layer, NULL, &upload, NULL), MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_model_pack(rig.model, 0, &rig.layer, rig.weights, NULL, NULL),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(moejit_model_pack(NULL, 0, &rig.layer, rig.weights, &upload, NULL),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    tear_down(&rig);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(staging_bounds_each_copy_and_changes_nothing),
        cmocka_unit_test(a_rank_packs_its_own_experts),
        cmocka_unit_test(cancelled_and_failed_uploads_say_where),
        cmocka_unit_test(misuse),
    };
    if (argc != 2) return fprintf(stderr, "usage: test_model_pack CHECKPOINTS\n"), 2;
    checkpoints = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
