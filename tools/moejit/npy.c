#include "npy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_HEADER 4096

static bool refuse(char *why, size_t why_bytes, const char *path, const char *reason) {
    snprintf(why, why_bytes, "%s %s", path, reason);
    return false;
}

// The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
static bool parse_header(struct npy *array, const char *header) {
    const char *type = strstr(header, "'descr':"), *shape = strstr(header, "'shape':");
    if (type == NULL || shape == NULL || strstr(header, "'fortran_order': False") == NULL) return false;
    if (sscanf(type + 8, " '%7[^']'", array->type) != 1) return false;
    shape = strchr(shape, '(');
    if (shape == NULL) return false;
    array->num_dimensions = 0;
    for (const char *at = shape + 1; *at != ')' && *at != '\0';) {
        char *end;
        unsigned long long size = strtoull(at, &end, 10);
        if (end == at || array->num_dimensions == NPY_MAX_DIMENSIONS || size > (1ULL << 40)) return false;
        array->shape[array->num_dimensions++] = (size_t)size;
        at = end + strspn(end, ", ");
    }
    return true;
}

static size_t element_bytes(const char *type) {
    static const struct {
        const char *name;
        size_t bytes;
    } types[] = {{"|u1", 1}, {"|i1", 1}, {"<u2", 2}, {"<i4", 4}, {"<f4", 4}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, type) == 0) return types[i].bytes;
    }
    return 0;
}

static bool read_file(struct npy *array, FILE *file, const char *path, char *why, size_t why_bytes) {
    unsigned char start[12];
    char header[MAX_HEADER + 1];
    if (fread(start, 1, 10, file) != 10 || memcmp(start, "\x93NUMPY", 6) != 0)
        return refuse(why, why_bytes, path, "is no .npy file");
    size_t length = (size_t)start[8] | (size_t)start[9] << 8;
    if (start[6] > 1) { // four bytes of length from format 2.0 on
        if (fread(start + 10, 1, 2, file) != 2) return refuse(why, why_bytes, path, "ends in its header");
        length |= (size_t)start[10] << 16 | (size_t)start[11] << 24;
    }
    if (length > MAX_HEADER || fread(header, 1, length, file) != length)
        return refuse(why, why_bytes, path, "ends in its header");
    header[length] = '\0';
    size_t element = parse_header(array, header) ? element_bytes(array->type) : 0;
    if (element == 0) return refuse(why, why_bytes, path, "is not of type u1, u2, i4 or f4 in C order, little endian");
    array->bytes = element;
    for (int i = 0; i < array->num_dimensions; i++) {
        if (array->shape[i] > 0 && array->bytes > (1ULL << 40) / array->shape[i])
            return refuse(why, why_bytes, path, "is too large");
        array->bytes *= array->shape[i];
    }
    array->data = malloc(array->bytes + 1);
    if (array->data == NULL) return refuse(why, why_bytes, path, "is too large");
    if (fread(array->data, 1, array->bytes + 1, file) != array->bytes)
        return refuse(why, why_bytes, path, "has not as many bytes as its shape says");
    return true;
}

bool npy_read(struct npy *array, const char *path, char *why, size_t why_bytes) {
    memset(array, 0, sizeof(*array));
    FILE *file = fopen(path, "rb");
    if (file == NULL) return refuse(why, why_bytes, path, strerror(errno));
    bool good = read_file(array, file, path, why, why_bytes);
    fclose(file);
    if (!good) npy_free(array);
    return good;
}

void npy_free(struct npy *array) {
    free(array->data);
    array->data = NULL;
}
