// Tensor maps of the forms that copy boxes.
#include <dlfcn.h>

#include "forms.h"

// Words, rows and planes; a row is no multiple of a box's, and the planes of block b are 2b and 2b + 1.
static const cuuint64_t dims[] = {35, 9, 32}, strides[] = {144, 2048};

// The box's rows are as long as the swizzle's span.
static CUresult make(__typeof__(&cuTensorMapEncodeTiled) encode, unsigned swizzle, void *memory, CUtensorMap *map) {
    const cuuint32_t box[] = {swizzle == 0 ? 32 : 4u << swizzle, 8, 2}, ones[] = {1, 1, 1};
    return encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT32, 3, memory, dims, strides, box, ones,
                  CU_TENSOR_MAP_INTERLEAVE_NONE, (CUtensorMapSwizzle)swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

CUresult forms_maps_create(void *library, void *in, void *out, struct form_maps *maps) {
    __typeof__(&cuTensorMapEncodeTiled) encode;
    *(void **)(void *)&encode = dlsym(library, "cuTensorMapEncodeTiled");
    if (encode == NULL) return CUDA_ERROR_NOT_FOUND;
    for (unsigned swizzle = 0; swizzle < 4; swizzle++) {
        CUresult result = make(encode, swizzle, in, &maps->in[swizzle]);
        if (result == CUDA_SUCCESS) result = make(encode, swizzle, out, &maps->out[swizzle]);
        if (result != CUDA_SUCCESS) return result;
    }
    return CUDA_SUCCESS;
}
