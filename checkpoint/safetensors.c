#include "safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define LENGTH_BYTES 8

static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {
#define ENTRY(name, bits) {#name, bits},
    MJ_TENSOR_DTYPES(ENTRY)
#undef ENTRY
};
#define NUM_DTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

const char *mj_tensor_dtype_name(enum mj_tensor_dtype dtype) {
    return dtypes[dtype].name;
}

void mj_tensor_describe(const struct mj_tensor *tensor, char *text, size_t bytes) {
    size_t length = (size_t)snprintf(text, bytes, "%s [", dtypes[tensor->dtype].name);
    for (int i = 0; i < tensor->num_dimensions && length < bytes; i++) {
        length += (size_t)snprintf(text + length, bytes - length, "%s%zu", i > 0 ? ", " : "", tensor->shape[i]);
    }
    if (length < bytes) snprintf(text + length, bytes - length, "]");
}

struct parser { // of one file
    const char *path;
    const uint8_t *data; // what follows the header
    size_t bytes;
    struct mj_error *error;
};

__attribute__((format(printf, 3, 4))) static moejit_status refuse(const struct parser *parser, const char *name,
                                                                  const char *format, ...) {
    char reason[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    return mj_error_set(parser->error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s: tensor %.300s %s", parser->path, name,
                        reason);
}

// A JSON integer that fits a size; false for reals, negatives and all else.
static bool read_size(const json_t *value, size_t *size) {
    if (!json_is_integer(value) || json_integer_value(value) < 0) return false;
    *size = (size_t)json_integer_value(value);
    return true;
}

static moejit_status parse_dtype(const struct parser *parser, const json_t *entry, struct mj_tensor *tensor) {
    const char *name = mj_json_string(entry, "dtype");
    for (size_t i = 0; name != NULL && i < NUM_DTYPES; i++) {
        if (strcmp(dtypes[i].name, name) != 0) continue;
        tensor->dtype = (enum mj_tensor_dtype)i;
        return MOEJIT_STATUS_OK;
    }
    return refuse(parser, tensor->name, "has dtype \"%.40s\", which is none of the format's",
                  name != NULL && mj_json_printable(name) ? name : "");
}

// Shape, and the bytes that it asks for.
static moejit_status parse_shape(const struct parser *parser, const json_t *entry, struct mj_tensor *tensor,
                                 size_t *bytes) {
    const json_t *shape = json_object_get(entry, "shape");
    size_t num = json_array_size(shape), bits = dtypes[tensor->dtype].bits;
    if (!json_is_array(shape)) return refuse(parser, tensor->name, "has no array \"shape\"");
    if (num > MJ_TENSOR_MAX_DIMENSIONS) {
        return refuse(parser, tensor->name, "has %zu dimensions, at most %d are taken", num, MJ_TENSOR_MAX_DIMENSIONS);
    }
    tensor->num_dimensions = (int)num;
    for (size_t i = 0; i < num; i++) {
        if (!read_size(json_array_get(shape, i), &tensor->shape[i])) {
            return refuse(parser, tensor->name, "has a size in its shape that is no whole number from 0 to 2^63 - 1");
        }
        if (__builtin_mul_overflow(bits, tensor->shape[i], &bits)) {
            return refuse(parser, tensor->name, "has a shape of more than 2^64 bits");
        }
    }
    if (bits % 8 != 0) return refuse(parser, tensor->name, "has %zu bits, which are no whole bytes", bits);
    *bytes = bits / 8;
    return MOEJIT_STATUS_OK;
}

static moejit_status parse_range(const struct parser *parser, const json_t *entry, struct mj_tensor *tensor) {
    const json_t *range = json_object_get(entry, "data_offsets");
    size_t wanted = 0, begin, end;
    moejit_status status = parse_shape(parser, entry, tensor, &wanted);
    if (status != MOEJIT_STATUS_OK) return status;
    if (json_array_size(range) != 2 || !read_size(json_array_get(range, 0), &begin) ||
        !read_size(json_array_get(range, 1), &end)) {
        return refuse(parser, tensor->name, "has no \"data_offsets\" of two whole numbers");
    }
    if (begin > end || end > parser->bytes) {
        return refuse(parser, tensor->name, "has bytes %zu to %zu, but the file holds %zu", begin, end, parser->bytes);
    }
    if (end - begin != wanted) {
        char shape[160];
        mj_tensor_describe(tensor, shape, sizeof(shape));
        return refuse(parser, tensor->name, "has %zu bytes, but is %s, which needs %zu", end - begin, shape, wanted);
    }
    tensor->data = parser->data + begin;
    tensor->bytes = wanted;
    return MOEJIT_STATUS_OK;
}

static moejit_status parse_tensor(const struct parser *parser, const char *name, const json_t *entry,
                                  struct mj_tensor *tensor) {
    if (!mj_json_printable(name)) return refuse(parser, "with an unprintable name", "is not taken");
    tensor->name = strdup(name);
    if (tensor->name == NULL) return mj_error_set(parser->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for a name");
    if (!json_is_object(entry)) return refuse(parser, name, "is described by no JSON object");
    moejit_status status = parse_dtype(parser, entry, tensor);
    return status == MOEJIT_STATUS_OK ? parse_range(parser, entry, tensor) : status;
}

static int compare_places(const void *a, const void *b) {
    const struct mj_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

// The tensors' bytes follow one another from the first to the last of the file.
static moejit_status check_tiling(const struct parser *parser, const struct mj_safetensors *file) {
    const uint8_t *at = parser->data;
    for (size_t i = 0; i < file->num_tensors; i++) {
        const struct mj_tensor *tensor = &file->tensors[i];
        if (tensor->data != at) {
            return refuse(parser, tensor->name, "begins at byte %zu, but the tensor before it ends at byte %zu: %s",
                          (size_t)(tensor->data - parser->data), (size_t)(at - parser->data),
                          tensor->data < at ? "they overlap" : "there is a hole");
        }
        at += tensor->bytes;
    }
    size_t used = (size_t)(at - parser->data);
    if (used == parser->bytes) return MOEJIT_STATUS_OK;
    return mj_error_set(parser->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                        "%s holds %zu bytes after its header, but its tensors end at %zu", parser->path, parser->bytes,
                        used);
}

static moejit_status parse_header(const struct parser *parser, json_t *header, struct mj_safetensors *file) {
    const char *name;
    json_t *entry;
    file->tensors = calloc(json_object_size(header) + 1, sizeof(*file->tensors));
    if (file->tensors == NULL) {
        return mj_error_set(parser->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for %zu tensors",
                            json_object_size(header));
    }
    json_object_foreach(header, name, entry) {
        if (strcmp(name, "__metadata__") == 0) continue;
        moejit_status status = parse_tensor(parser, name, entry, &file->tensors[file->num_tensors++]);
        if (status != MOEJIT_STATUS_OK) return status;
    }
    qsort(file->tensors, file->num_tensors, sizeof(*file->tensors), compare_places);
    return check_tiling(parser, file);
}

moejit_status mj_safetensors_parse(const uint8_t *data, size_t bytes, const char *path, struct mj_safetensors *file,
                                   struct mj_error *error) {
    uint64_t length = 0;
    json_t *header = NULL;
    *file = (struct mj_safetensors){0};
    if (bytes < LENGTH_BYTES) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has %zu bytes, a safetensors file at least %d",
                            path, bytes, LENGTH_BYTES);
    }
    for (int i = LENGTH_BYTES - 1; i >= 0; i--) length = length << 8 | data[i];
    if (length > bytes - LENGTH_BYTES) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "%s has a header of %ju bytes, but only %zu bytes follow its length", path,
                            (uintmax_t)length, bytes - LENGTH_BYTES);
    }
    moejit_status status = mj_json_parse(data + LENGTH_BYTES, (size_t)length, path, &header, error);
    if (status != MOEJIT_STATUS_OK) return status;
    struct parser parser = {path, data + LENGTH_BYTES + length, bytes - LENGTH_BYTES - (size_t)length, error};
    status = parse_header(&parser, header, file);
    json_decref(header);
    if (status != MOEJIT_STATUS_OK) mj_safetensors_free(file);
    return status;
}

void mj_safetensors_free(struct mj_safetensors *file) {
    for (size_t i = 0; i < file->num_tensors; i++) free(file->tensors[i].name);
    free(file->tensors);
    *file = (struct mj_safetensors){0};
}
