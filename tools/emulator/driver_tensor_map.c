// Tensor maps (cuda.h, "Tensor Map Object Management"): tiled, not interleaved, every element of the box taken. Others
// are refused with a sentence.
#include <cuda.h>
#include <string.h>

#include "driver_entry.h"
#include "driver_findings.h"
#include "ptx.h"
#include "tensor_map.h"

#define MAX_DIM ((uint64_t)1 << 32)
#define MAX_STRIDE ((uint64_t)1 << 40)
#define MAX_BOX 256
#define MAX_ELEMENT_STRIDE 8

static const struct {
    uint8_t type, bytes;
} types[] = {
    [CU_TENSOR_MAP_DATA_TYPE_UINT8] = {EMU_U8, 1},    [CU_TENSOR_MAP_DATA_TYPE_UINT16] = {EMU_U16, 2},
    [CU_TENSOR_MAP_DATA_TYPE_UINT32] = {EMU_U32, 4},  [CU_TENSOR_MAP_DATA_TYPE_INT32] = {EMU_S32, 4},
    [CU_TENSOR_MAP_DATA_TYPE_UINT64] = {EMU_U64, 8},  [CU_TENSOR_MAP_DATA_TYPE_INT64] = {EMU_S64, 8},
    [CU_TENSOR_MAP_DATA_TYPE_FLOAT16] = {EMU_F16, 2}, [CU_TENSOR_MAP_DATA_TYPE_FLOAT32] = {EMU_F32, 4},
    [CU_TENSOR_MAP_DATA_TYPE_FLOAT64] = {EMU_F64, 8}, [CU_TENSOR_MAP_DATA_TYPE_BFLOAT16] = {EMU_BF16, 2},
};
#define NUM_TYPES (sizeof(types) / sizeof(types[0]))

struct tensor {
    CUtensorMapDataType type;
    unsigned rank;
    void *address;
    const cuuint64_t *dims, *strides;
    const cuuint32_t *box, *element_strides;
    CUtensorMapInterleave interleave;
    CUtensorMapSwizzle swizzle;
    CUtensorMapFloatOOBfill fill;
};

static CUresult refuse(const char *what) {
    emu_findings_reportf("cuTensorMapEncodeTiled: %s is not played.", what);
    return CUDA_ERROR_NOT_SUPPORTED;
}

static CUresult check_known(const struct tensor *tensor) {
    if ((size_t)tensor->type >= NUM_TYPES) return refuse("a packed, flushing or tf32 data type");
    if (tensor->interleave != CU_TENSOR_MAP_INTERLEAVE_NONE) return refuse("an interleaved layout");
    if (tensor->swizzle > CU_TENSOR_MAP_SWIZZLE_128B) return refuse("a swizzle of 32- or 64-byte chunks");
    if (tensor->fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) return refuse("filling with NaN");
    for (unsigned i = 1; i < tensor->rank; i++) {
        if (tensor->element_strides[i] > 1) return refuse("an element stride other than 1");
    }
    return CUDA_SUCCESS;
}

static bool valid_sizes(const struct tensor *tensor) {
    for (unsigned i = 0; i < tensor->rank; i++) {
        if (tensor->dims[i] == 0 || tensor->dims[i] > MAX_DIM) return false;
        if (tensor->box[i] == 0 || tensor->box[i] > MAX_BOX) return false;
        if (tensor->element_strides[i] == 0 || tensor->element_strides[i] > MAX_ELEMENT_STRIDE) return false;
        if (i > 0 && (tensor->strides[i - 1] % 16 != 0 || tensor->strides[i - 1] >= MAX_STRIDE)) return false;
    }
    return true;
}

static unsigned swizzle_bytes(CUtensorMapSwizzle swizzle) {
    return swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : 16u << (unsigned)swizzle;
}

static CUresult encode(CUtensorMap *map, const struct tensor *tensor) {
    if (map == NULL || (uintptr_t)map % 64 != 0 || tensor->address == NULL || (uintptr_t)tensor->address % 16 != 0) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    if (tensor->rank == 0 || tensor->rank > EMU_TENSOR_MAX_RANK) return CUDA_ERROR_INVALID_VALUE;
    if (tensor->dims == NULL || tensor->box == NULL || tensor->element_strides == NULL ||
        (tensor->rank > 1 && tensor->strides == NULL) || !valid_sizes(tensor)) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    CUresult result = check_known(tensor);
    if (result != CUDA_SUCCESS) return result;
    unsigned inner = tensor->box[0] * types[tensor->type].bytes, span = swizzle_bytes(tensor->swizzle);
    if (inner % 16 != 0 || (span != 0 && inner > span)) return CUDA_ERROR_INVALID_VALUE;
    if (span != 0 && inner != span) return refuse("a box row shorter than the span of its swizzle");
    struct emu_tensor_map made = {.magic = EMU_TENSOR_MAP_MAGIC,
                                  .type = types[tensor->type].type,
                                  .element_bytes = types[tensor->type].bytes,
                                  .rank = (uint8_t)tensor->rank,
                                  .swizzle_bytes = (uint8_t)span,
                                  .address = (uint64_t)(uintptr_t)tensor->address};
    for (unsigned i = 0; i < EMU_TENSOR_MAX_RANK; i++) {
        made.dims[i] = i < tensor->rank ? tensor->dims[i] : 1;
        made.box[i] = (uint16_t)(i < tensor->rank ? tensor->box[i] : 1);
        if (i > 0 && i < tensor->rank) made.strides[i - 1] = tensor->strides[i - 1];
    }
    memset(map, 0, sizeof(*map));
    memcpy(map, &made, sizeof(made));
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuTensorMapEncodeTiled(CUtensorMap *tensorMap, CUtensorMapDataType tensorDataType,
                                        cuuint32_t tensorRank, void *globalAddress, const cuuint64_t *globalDim,
                                        const cuuint64_t *globalStrides, const cuuint32_t *boxDim,
                                        const cuuint32_t *elementStrides, CUtensorMapInterleave interleave,
                                        CUtensorMapSwizzle swizzle, CUtensorMapL2promotion l2Promotion,
                                        CUtensorMapFloatOOBfill oobFill) {
    EMU_BEGIN(cuTensorMapEncodeTiled);
    const struct tensor tensor = {tensorDataType, tensorRank,     globalAddress, globalDim, globalStrides,
                                  boxDim,         elementStrides, interleave,    swizzle,   oobFill};
    (void)l2Promotion; // a hint
    EMU_END(encode(tensorMap, &tensor));
}

CUresult CUDAAPI cuTensorMapReplaceAddress(CUtensorMap *tensorMap, void *globalAddress) {
    EMU_BEGIN(cuTensorMapReplaceAddress);
    struct emu_tensor_map map;
    if (tensorMap == NULL || globalAddress == NULL || (uintptr_t)globalAddress % 16 != 0) {
        EMU_END(CUDA_ERROR_INVALID_VALUE);
    }
    memcpy(&map, tensorMap, sizeof(map));
    if (map.magic != EMU_TENSOR_MAP_MAGIC) EMU_END(CUDA_ERROR_INVALID_VALUE);
    map.address = (uint64_t)(uintptr_t)globalAddress;
    memcpy(tensorMap, &map, sizeof(map));
    EMU_END(CUDA_SUCCESS);
}
