#include "run/image_source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "key.h"

static const char format_cubin[] = "cubin", format_ptx[] = "ptx", format_log[] = "log";

void mj_image_source_key(const struct moejit_context *context, const char *unit, struct mj_text *key) {
    bool used[MJ_MAX_SOURCES] = {false};
    const char *options = mj_compiler_options();
    mj_text_append(key, "moejit key 1\n");
    mj_key_append(key, "arch", context->arch->name, strlen(context->arch->name));
    mj_key_append(key, "options", options, strlen(options));
    mj_key_append(key, "unit", unit, strlen(unit));
    mj_source_set_closure(&context->sources, unit, used);
    for (int i = 0; i < context->sources.num_sources; i++) {
        const struct mj_source *source = &context->sources.sources[i];
        if (used[i]) mj_key_append_hash(key, source->name, source->text, source->bytes);
    }
}

// A hit needs the cubin or the PTX; the log is only for people.
static bool lookup(struct moejit_context *context, const struct mj_text *key, struct mj_image *image) {
    struct mj_blob cubin, ptx, log;
    *image = (struct mj_image){0};
    mj_store_lookup(context->store, key, format_cubin, &cubin);
    mj_store_lookup(context->store, key, format_ptx, &ptx);
    mj_store_lookup(context->store, key, format_log, &log);
    *image = (struct mj_image){cubin.data, cubin.bytes, ptx.data, ptx.bytes, log.data};
    bool hit = cubin.data != NULL && ptx.data != NULL;
    mj_store_count(context->store, hit);
    if (!hit) mj_image_free(image);
    return hit;
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
    snprintf(toolchain, sizeof(toolchain), "nvrtc %d.%d", context->nvrtc.major, context->nvrtc.minor);
    mj_store_insert(context->store, key, format_cubin, toolchain, rank, image->cubin, image->cubin_bytes);
    mj_store_insert(context->store, key, format_ptx, toolchain, rank, image->ptx, image->ptx_bytes);
    if (image->log != NULL) {
        mj_store_insert(context->store, key, format_log, toolchain, rank, image->log, strlen(image->log) + 1);
    }
}

moejit_status mj_image_source_get(struct moejit_context *context, const char *unit, const char *symbol,
                                  const struct mj_text *key, struct mj_image *image) {
    if (lookup(context, key, image)) return MOEJIT_STATUS_OK;
    moejit_status status = open_compiler(context);
    if (status != MOEJIT_STATUS_OK) return status;
    context->compiles++;
    status =
        mj_compiler_compile(&context->nvrtc, &context->sources, unit, symbol, context->arch, image, &context->error);
    if (status == MOEJIT_STATUS_OK) insert(context, key, image);
    return status;
}
