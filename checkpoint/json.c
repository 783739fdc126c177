#include "json.h"

#include "mapped_file.h"

bool mj_json_printable(const char *text) {
    if (text[0] == '\0') return false;
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (*c < ' ' || *c == 0x7f) return false;
    }
    return true;
}

static moejit_status refuse_text(json_error_t *why, const char *where, struct mj_error *error) {
    if (why->text[0] == '\0') { // jansson 2.14 has no words for it
        return mj_error_set(error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the JSON of %s", where);
    }
    for (char *c = why->text; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    }
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is no JSON: line %d column %d: %s", where, why->line,
                        why->column, why->text);
}

moejit_status mj_json_parse(const void *text, size_t bytes, const char *where, json_t **object,
                            struct mj_error *error) {
    json_error_t why;
    *object = NULL;
    if (bytes > MJ_JSON_MAX_BYTES) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has %zu bytes of JSON, at most %zu are taken",
                            where, bytes, MJ_JSON_MAX_BYTES);
    }
    // modelopt 0.47 writes \u0000 into the names of modules that it left alone. A string ends for us where it has one.
    json_t *root = json_loadb(bytes > 0 ? text : "", bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (root == NULL) return refuse_text(&why, where, error);
    if (!json_is_object(root)) {
        json_decref(root);
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is JSON, but no object", where);
    }
    *object = root;
    return MOEJIT_STATUS_OK;
}

moejit_status mj_json_read(const char *folder, const char *name, json_t **object, struct mj_error *error) {
    struct mj_mapped_file file;
    *object = NULL;
    moejit_status status = mj_mapped_file_open(folder, name, MJ_JSON_MAX_BYTES, &file, error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = mj_json_parse(file.data, file.bytes, file.path, object, error);
    mj_mapped_file_close(&file);
    return status;
}

const char *mj_json_string(const json_t *object, const char *name) {
    return json_string_value(json_object_get(object, name));
}
