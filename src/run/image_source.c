#include "run/image_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flight.h"
#include "key.h"

static const char format_cubin[] = "cubin", format_ptx[] = "ptx", format_log[] = "log";

void mj_image_source_key(const char *arch_name, const char *options, const struct mj_source_set *sources,
                         const char *unit, struct mj_text *key) {
    bool used[MJ_MAX_SOURCES] = {false};
    mj_text_append(key, "moejit key 1\n");
    mj_key_append(key, "arch", arch_name, strlen(arch_name));
    mj_key_append(key, "options", options, strlen(options));
    mj_key_append(key, "unit", unit, strlen(unit));
    mj_source_set_closure(sources, unit, used);
    for (int i = 0; i < sources->num_sources; i++) {
        const struct mj_source *source = &sources->sources[i];
        if (used[i]) mj_key_append_hash(key, source->name, source->text, source->bytes);
    }
}

// A hit needs the cubin and the PTX, which a driver gets that refuses the cubin; the log is only for people.
static bool lookup(struct moejit_context *context, const struct mj_image_request *request, struct mj_image *image) {
    static const char *const formats[] = {format_cubin, format_ptx, format_log, NULL};
    struct mj_lookup lookup = {formats, 2, NULL, request->num_refused};
    struct mj_blob blobs[MJ_MAX_FORMATS];
    char toolchain[64];
    if (!mj_store_lookup(context->store, request->key, &lookup, blobs, toolchain)) return false;
    *image = (struct mj_image){blobs[0].data, blobs[0].bytes, blobs[1].data, blobs[1].bytes, blobs[2].data};
    return true;
}

static moejit_status open_compiler(struct moejit_context *context) {
    if (context->nvrtc_open) return MOEJIT_STATUS_OK;
    moejit_status status = mj_nvrtc_open(&context->nvrtc, context->nvrtc_option, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    context->nvrtc_open = true;
    snprintf(context->compiler, sizeof(context->compiler), "%s (NVRTC %d.%d)", context->nvrtc.path,
             context->nvrtc.major, context->nvrtc.minor);
    return MOEJIT_STATUS_OK;
}

static void insert(struct moejit_context *context, const struct mj_text *key, const struct mj_image *image) {
    char toolchain[64];
    int rank = context->nvrtc.major * 1000 + context->nvrtc.minor;
    const struct mj_image_form formats[] = {{format_cubin, image->cubin, image->cubin_bytes},
                                            {format_ptx, image->ptx, image->ptx_bytes},
                                            {format_log, image->log, image->log != NULL ? strlen(image->log) + 1 : 0}};
    snprintf(toolchain, sizeof(toolchain), "nvrtc %d.%d", context->nvrtc.major, context->nvrtc.minor);
    mj_store_insert(context->store, key, toolchain, rank, formats, image->log != NULL ? 3 : 2);
}

static moejit_status compile(struct moejit_context *context, const struct mj_image_request *request,
                             struct mj_image *image) {
    moejit_status status = open_compiler(context);
    if (status != MOEJIT_STATUS_OK) return status;
    context->compiles++;
    status = mj_compiler_compile(&context->nvrtc, &context->sources, request->unit, request->symbol, context->arch,
                                 image, &context->error);
    if (status == MOEJIT_STATUS_OK) insert(context, request->key, image);
    return status;
}

moejit_status mj_image_source_get(struct moejit_context *context, const struct mj_image_request *request,
                                  struct mj_image *image, bool *cached) {
    struct mj_flight_wait wait = {0};
    *image = (struct mj_image){0};
    *cached = lookup(context, request, image);
    // Somebody else may be at it: who has waited finds what the other compiled.
    for (bool ours = false; !*cached && !ours;) {
        ours = mj_store_claim(context->store, request->key, &wait);
        *cached = lookup(context, request, image);
    }
    mj_store_count(context->store, *cached);
    moejit_status status = *cached ? MOEJIT_STATUS_OK : compile(context, request, image);
    mj_store_leave(context->store);
    return status;
}
