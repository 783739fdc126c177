// File -> host staging -> device staging -> packed weights, a batch of experts after the other.
#include <string.h>

#include "base/options.h"
#include "model.h"

#define PART_ALIGNMENT 256 // of each part within staging, on the device

static size_t align(size_t bytes) {
    return (bytes + PART_ALIGNMENT - 1) / PART_ALIGNMENT * PART_ALIGNMENT;
}

struct staging_layout { // offsets of the parts of a batch
    struct mj_expert_bytes expert;
    size_t gate_up, gate_up_scale, down, down_scale, total;
};

static struct staging_layout lay_out(const moejit_layer *layer, size_t count) {
    struct staging_layout layout = {.expert = mj_expert_bytes(layer)};
    layout.gate_up_scale = align(count * layout.expert.gate_up);
    layout.down = layout.gate_up_scale + align(count * layout.expert.gate_up_scale);
    layout.down_scale = layout.down + align(count * layout.expert.down);
    layout.total = layout.down_scale + align(count * layout.expert.down_scale);
    return layout;
}

size_t moejit_model_staging_bytes(const moejit_layer *layer) {
    return layer != NULL ? lay_out(layer, 1).total : 0;
}

void moejit_model_upload_init(moejit_model_upload *upload) {
    if (upload == NULL) return;
    memset(upload, 0, sizeof(*upload));
    upload->struct_size = sizeof(*upload);
}

struct pack { // of one layer
    struct moejit_model *model;
    int layer_number;
    moejit_layer layer;
    moejit_model_upload upload;
    moejit_weights *weights;
    struct CUstream_st *stream;
};

static moejit_status fill_staging(const struct pack *pack, const struct staging_layout *layout, int first, int count) {
    uint8_t *base = pack->upload.host_staging;
    moejit_status status = MOEJIT_STATUS_OK;
    for (size_t i = 0; status == MOEJIT_STATUS_OK && i < (size_t)count; i++) {
        status = mj_model_expert_read(
            pack->model, pack->layer_number, &pack->layer, pack->layer.local_expert_offset + first + (int)i,
            base + layout->gate_up + i * layout->expert.gate_up,
            base + layout->gate_up_scale + i * layout->expert.gate_up_scale,
            base + layout->down + i * layout->expert.down, base + layout->down_scale + i * layout->expert.down_scale);
    }
    return status;
}

static moejit_status pack_batch(const struct pack *pack, int first, int count) {
    struct staging_layout layout = lay_out(&pack->layer, (size_t)count);
    struct mj_error *error = &pack->model->error;
    const moejit_model_upload *upload = &pack->upload;
    uint8_t *device = upload->device_staging;
    moejit_status status = fill_staging(pack, &layout, first, count);
    if (status != MOEJIT_STATUS_OK) return status;
    int copied = upload->copy(upload->copy_user, device, upload->host_staging, layout.total, pack->stream);
    if (copied != 0) {
        return mj_error_set(error, MOEJIT_STATUS_CUDA_FAILED, "the copy function gave %d for %zu bytes of layer %d",
                            copied, layout.total, pack->layer_number);
    }
    moejit_checkpoint parts = {sizeof(parts), device + layout.gate_up, device + layout.gate_up_scale,
                               device + layout.down, device + layout.down_scale};
    status = moejit_weights_pack(pack->weights, &parts, first, count, pack->stream);
    if (status == MOEJIT_STATUS_OK) return status;
    return mj_error_set(error, status,
                        "packing experts %d to %d of layer %d: %s; the context's error record tells more",
                        pack->layer.local_expert_offset + first, pack->layer.local_expert_offset + first + count - 1,
                        pack->layer_number, moejit_status_meaning(status));
}

static moejit_status report(const struct pack *pack, int done) {
    if (pack->upload.progress == NULL) return MOEJIT_STATUS_OK;
    int total = pack->layer.num_local_experts;
    if (pack->upload.progress(pack->upload.progress_user, done, total, done < total ? "experts" : "") == 0)
        return MOEJIT_STATUS_OK;
    return mj_error_set(&pack->model->error, MOEJIT_STATUS_CANCELLED, "cancelled after %d of %d experts of layer %d",
                        done, total, pack->layer_number);
}

static moejit_status check_upload(struct pack *pack, size_t needed) {
    const moejit_model_upload *upload = &pack->upload;
    struct mj_error *error = &pack->model->error;
    const char *missing = pack->weights == NULL          ? "weights"
                          : upload->host_staging == NULL ? "upload.host_staging"
                          : upload->copy == NULL         ? "upload.copy"
                                                         : NULL;
    if (missing != NULL) return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is NULL", missing);
    if (upload->device_staging == NULL || (uintptr_t)upload->device_staging % PART_ALIGNMENT != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "upload has device_staging = %p, needs device memory aligned to %d bytes",
                            upload->device_staging, PART_ALIGNMENT);
    }
    if (upload->staging_bytes >= needed) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "upload has staging_bytes = %zu, one expert needs %zu",
                        upload->staging_bytes, needed);
}

static moejit_status pack_all(struct pack *pack) {
    size_t one = moejit_model_staging_bytes(&pack->layer), batch;
    int total = pack->layer.num_local_experts;
    moejit_status status = check_upload(pack, one);
    if (status != MOEJIT_STATUS_OK) return status;
    batch = pack->upload.staging_bytes / one;
    for (int first = 0; status == MOEJIT_STATUS_OK && first < total;) {
        int count = batch < (size_t)(total - first) ? (int)batch : total - first;
        status = report(pack, first);
        if (status == MOEJIT_STATUS_OK) status = pack_batch(pack, first, count);
        first += count;
    }
    return status == MOEJIT_STATUS_OK ? report(pack, total) : status;
}

moejit_status moejit_model_pack(moejit_model *model, int32_t layer_number, const moejit_layer *layer,
                                moejit_weights *weights, const moejit_model_upload *upload,
                                struct CUstream_st *stream) {
    if (model == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    struct pack pack = {.model = model, .layer_number = layer_number, .weights = weights, .stream = stream};
    moejit_model_upload_init(&pack.upload);
    moejit_status status = mj_options_read("upload", &pack.upload, sizeof(pack.upload), upload, &model->error);
    if (status == MOEJIT_STATUS_OK) status = mj_model_check(model, layer_number, layer, &pack.layer);
    return status == MOEJIT_STATUS_OK ? pack_all(&pack) : status;
}
