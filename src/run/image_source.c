#include "run/image_source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "key.h"

static const char format_cubin[] = "cubin", format_ptx[] = "ptx", format_log[] = "log";

// What the unit includes, by name: the order in which sources are kept is not in the key. Their number.
static int list_used(const struct mj_source_set *sources, const char *unit, const struct mj_source **list) {
    bool used[MJ_MAX_SOURCES] = {false};
    int num = 0;
    mj_source_set_closure(sources, unit, used);
    for (int i = 0; i < sources->num_sources; i++) {
        if (!used[i]) continue;
        int at = num++;
        for (; at > 0 && strcmp(list[at - 1]->name, sources->sources[i].name) > 0; at--) list[at] = list[at - 1];
        list[at] = &sources->sources[i];
    }
    return num;
}

void mj_image_source_key(const char *arch_name, const char *options, const struct mj_source_set *sources,
                         const char *unit, struct mj_text *key) {
    const struct mj_source *used[MJ_MAX_SOURCES];
    mj_text_append(key, "moejit key 1\n");
    mj_key_append(key, "arch", arch_name, strlen(arch_name));
    mj_key_append(key, "options", options, strlen(options));
    mj_key_append(key, "unit", unit, strlen(unit));
    int num = list_used(sources, unit, used);
    for (int i = 0; i < num; i++) mj_key_append_hash(key, used[i]->name, used[i]->text, used[i]->bytes);
}

static void name_toolchain(const struct mj_compiler_identity *compiler, char toolchain[MJ_TOOLCHAIN_BYTES]) {
    snprintf(toolchain, MJ_TOOLCHAIN_BYTES, "nvrtc %d.%d", compiler->major, compiler->minor);
}

static int rank_of(const struct mj_compiler_identity *compiler) {
    return compiler->major * 1000 + compiler->minor;
}

// A hit needs the cubin (unless PTX is all that is wanted) and the PTX, which a driver gets that refuses the cubin; the
// log is only for people.
bool mj_image_source_lookup(struct moejit_context *context, const struct mj_text *key,
                            const struct mj_compiler_identity *compiler, int num_refused, struct mj_image *image) {
    static const char *const formats[] = {format_cubin, format_ptx, format_log, NULL};
    const int first = context->ptx_only ? 1 : 0;
    struct mj_lookup lookup = {formats + first, 2 - first, NULL, num_refused};
    struct mj_blob blobs[1 + MJ_MAX_FORMATS] = {{0}};
    char toolchain[MJ_TOOLCHAIN_BYTES], only[MJ_TOOLCHAIN_BYTES];
    *image = (struct mj_image){0};
    if (compiler != NULL) {
        name_toolchain(compiler, only);
        lookup.toolchain = only;
    }
    if (!mj_store_lookup(context->store, key, &lookup, blobs + first, toolchain)) return false;
    *image = (struct mj_image){blobs[0].data, blobs[0].bytes, blobs[1].data, blobs[1].bytes, blobs[2].data};
    return true;
}

void mj_image_source_insert(struct moejit_context *context, const struct mj_text *key,
                            const struct mj_compiler_identity *compiler, const struct mj_image *image) {
    char toolchain[MJ_TOOLCHAIN_BYTES];
    const struct mj_image_form formats[] = {{format_cubin, image->cubin, image->cubin_bytes},
                                            {format_ptx, image->ptx, image->ptx_bytes},
                                            {format_log, image->log, image->log != NULL ? strlen(image->log) + 1 : 0}};
    const int first = image->cubin != NULL ? 0 : 1, end = image->log != NULL ? 3 : 2;
    name_toolchain(compiler, toolchain);
    mj_store_insert(context->store, key, toolchain, rank_of(compiler), formats + first, end - first);
}

// Of failures. Without the assembler another one is no reason not to try.
static void name_build(const struct moejit_context *context, const struct mj_compiler_identity *compiler,
                       char toolchain[MJ_TOOLCHAIN_BYTES]) {
    snprintf(toolchain, MJ_TOOLCHAIN_BYTES, "%s%s", compiler->build, context->ptx_only ? " ptx" : "");
}

void mj_image_source_insert_failure(struct moejit_context *context, const struct mj_text *key,
                                    const struct mj_compiler_identity *compiler, const char *message) {
    struct mj_text text = {0};
    char build[MJ_TOOLCHAIN_BYTES];
    if (context->failures_s < 0) return;
    name_build(context, compiler, build);
    mj_text_append(&text, "until %" PRId64 "\n%s", (int64_t)time(NULL) + context->failures_s, message);
    const struct mj_image_form format = {MJ_FORMAT_FAILURE, text.data, text.bytes + 1};
    if (!text.failed) mj_store_insert(context->store, key, build, rank_of(compiler), &format, 1);
    mj_text_free(&text);
}

bool mj_image_source_lookup_failure(struct moejit_context *context, const struct mj_text *key,
                                    const struct mj_compiler_identity *compiler, struct mj_error *error) {
    static const char *const formats[] = {MJ_FORMAT_FAILURE, NULL};
    struct mj_blob blobs[MJ_MAX_FORMATS];
    char toolchain[MJ_TOOLCHAIN_BYTES], build[MJ_TOOLCHAIN_BYTES];
    const struct mj_lookup lookup = {formats, 1, build, 0};
    int64_t until = 0;
    name_build(context, compiler, build);
    if (context->failures_s < 0 || !mj_store_lookup(context->store, key, &lookup, blobs, toolchain)) return false;
    const char *text = blobs[0].bytes > 0 ? blobs[0].data : "", *line = memchr(text, '\n', blobs[0].bytes);
    bool known = line != NULL && text[blobs[0].bytes - 1] == '\0' && sscanf(text, "until %" SCNd64, &until) == 1 &&
                 (int64_t)time(NULL) < until;
    if (known) {
        mj_error_set(error, MOEJIT_STATUS_COMPILE_FAILED,
                     "%.*s\n(remembered by the cache, until %" PRId64 " s from now)",
                     (int)(blobs[0].bytes - (size_t)(line + 1 - text)), line + 1, until - (int64_t)time(NULL));
    }
    free(blobs[0].data);
    return known;
}
