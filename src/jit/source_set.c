#include "jit/source_set.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SOURCE_BYTES (1 << 20)

static moejit_status read_file(const char *directory, const char *name, struct mj_source *source, char **owned,
                               struct mj_error *error) {
    char path[1024];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "kernel_sources_dir: cannot open %s: %s", path,
                            strerror(errno));
    }
    char *text = malloc(MAX_SOURCE_BYTES + 1);
    size_t bytes = text != NULL ? fread(text, 1, MAX_SOURCE_BYTES, file) : 0;
    bool failed = ferror(file) != 0;
    fclose(file);
    if (text == NULL || failed) {
        free(text);
        return mj_error_set(error, failed ? MOEJIT_STATUS_INVALID_ARGUMENT : MOEJIT_STATUS_OUT_OF_MEMORY,
                            "kernel_sources_dir: cannot read %s", path);
    }
    text[bytes] = '\0';
    *owned = text;
    *source = (struct mj_source){name, text, bytes};
    return MOEJIT_STATUS_OK;
}

moejit_status mj_source_set_create(struct mj_source_set *set, const char *directory, struct mj_error *error) {
    memset(set, 0, sizeof(*set));
    if (mj_num_embedded_sources > MJ_MAX_SOURCES) {
        return mj_error_set(error, MOEJIT_STATUS_INTERNAL, "%d kernel sources, room for %d", mj_num_embedded_sources,
                            MJ_MAX_SOURCES);
    }
    for (int i = 0; i < mj_num_embedded_sources; i++) {
        set->sources[i] = mj_embedded_sources[i];
        if (directory != NULL) {
            moejit_status status =
                read_file(directory, mj_embedded_sources[i].name, &set->sources[i], &set->owned[i], error);
            if (status != MOEJIT_STATUS_OK) {
                mj_source_set_destroy(set);
                return status;
            }
        }
        set->num_sources = i + 1;
    }
    return MOEJIT_STATUS_OK;
}

void mj_source_set_destroy(struct mj_source_set *set) {
    for (int i = 0; i < MJ_MAX_SOURCES; i++) free(set->owned[i]);
    memset(set, 0, sizeof(*set));
}

static int find(const struct mj_source_set *set, const char *name, size_t bytes) {
    for (int i = 0; i < set->num_sources; i++) {
        if (strlen(set->sources[i].name) == bytes && memcmp(set->sources[i].name, name, bytes) == 0) return i;
    }
    return -1;
}

void mj_source_set_closure(const struct mj_source_set *set, const char *unit, bool *used) {
    static const char directive[] = "#include \"";
    for (const char *at = strstr(unit, directive); at != NULL; at = strstr(at, directive)) {
        at += sizeof(directive) - 1;
        const char *end = strchr(at, '"');
        if (end == NULL) return;
        int idx = find(set, at, (size_t)(end - at));
        if (idx < 0 || used[idx]) continue;
        used[idx] = true;
        mj_source_set_closure(set, set->sources[idx].text, used);
    }
}
