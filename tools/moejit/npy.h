// Reads NumPy's .npy files (format 1.0 to 3.0), in C order and little endian.
#ifndef MOEJIT_TOOL_NPY_H
#define MOEJIT_TOOL_NPY_H

#include <stdbool.h>
#include <stddef.h>

#define NPY_MAX_DIMENSIONS 4

struct npy {
    char type[8]; // "|u1", "<u2", "<i4", "<f4"
    int num_dimensions;
    size_t shape[NPY_MAX_DIMENSIONS];
    void *data; // of malloc
    size_t bytes;
};

// False, with a sentence that names the file, where it is not such a file or does not end where it should.
bool npy_read(struct npy *array, const char *path, char *why, size_t why_bytes);
void npy_free(struct npy *array);

#endif
