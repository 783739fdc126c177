// The safetensors format (github.com/huggingface/safetensors, "Format"): eight bytes N, little endian; N bytes of JSON
// that give each tensor's dtype, shape and byte range; the bytes. Ranges neither overlap nor leave a hole, and end
// where the file ends.
#ifndef MOEJIT_CHECKPOINT_SAFETENSORS_H
#define MOEJIT_CHECKPOINT_SAFETENSORS_H

#include <stdint.h>

#include "base/error.h"

#define MJ_TENSOR_MAX_DIMENSIONS 8

// X(name in files, bits of an element)
#define MJ_TENSOR_DTYPES(X)                                                                                            \
    X(BOOL, 8)                                                                                                         \
    X(U8, 8)                                                                                                           \
    X(I8, 8)                                                                                                           \
    X(F8_E4M3, 8)                                                                                                      \
    X(F8_E5M2, 8)                                                                                                      \
    X(F8_E8M0, 8)                                                                                                      \
    X(F4, 4)                                                                                                           \
    X(F6_E2M3, 6)                                                                                                      \
    X(F6_E3M2, 6)                                                                                                      \
    X(I16, 16)                                                                                                         \
    X(U16, 16)                                                                                                         \
    X(F16, 16)                                                                                                         \
    X(BF16, 16)                                                                                                        \
    X(I32, 32)                                                                                                         \
    X(U32, 32)                                                                                                         \
    X(F32, 32)                                                                                                         \
    X(C64, 64)                                                                                                         \
    X(F64, 64)                                                                                                         \
    X(I64, 64)                                                                                                         \
    X(U64, 64)

enum mj_tensor_dtype {
#define MJ_TENSOR_DTYPE_ENTRY(name, bits) MJ_TENSOR_##name,
    MJ_TENSOR_DTYPES(MJ_TENSOR_DTYPE_ENTRY)
#undef MJ_TENSOR_DTYPE_ENTRY
};

struct mj_mapped_file;

struct mj_tensor {
    char *name; // printable, owned
    enum mj_tensor_dtype dtype;
    int num_dimensions;
    size_t shape[MJ_TENSOR_MAX_DIMENSIONS];
    const uint8_t *data; // within the parsed bytes, of any alignment
    size_t bytes;
    const struct mj_mapped_file *file; // set by whoever mapped it
};

struct mj_safetensors {
    struct mj_tensor *tensors; // in the order of their bytes
    size_t num_tensors;
};

// `path` begins the sentences. Tensors point into `data`.
moejit_status mj_safetensors_parse(const uint8_t *data, size_t bytes, const char *path, struct mj_safetensors *file,
                                   struct mj_error *error);
void mj_safetensors_free(struct mj_safetensors *file);

const char *mj_tensor_dtype_name(enum mj_tensor_dtype dtype);
// "U8 [8, 96, 64]", cut to bytes.
void mj_tensor_describe(const struct mj_tensor *tensor, char *text, size_t bytes);

#endif
