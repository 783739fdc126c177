// NVRTC asks a loaded driver for private tables and takes what it gets without a look at the result (seen with 13.0).
// It does check a table's size, its first word: one of that word alone offers nothing. Not counted as a call and never
// made to fail: no program asks for it by itself.
#include <cuda.h>
#include <stddef.h>

CUresult CUDAAPI cuGetExportTable(const void **table, const CUuuid *id);

CUresult CUDAAPI cuGetExportTable(const void **table, const CUuuid *id) {
    static const size_t nothing[1] = {sizeof(nothing)};
    if (table == NULL || id == NULL) return CUDA_ERROR_INVALID_VALUE;
    *table = nothing;
    return CUDA_SUCCESS;
}
