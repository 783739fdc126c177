// The entry points that copy.
#include <cuda.h>

#include "driver_copy.h"
#include "driver_entry.h"

static struct emu_copy line(uintptr_t destination, uintptr_t source, size_t bytes) {
    return (struct emu_copy){.destination = destination,
                             .source = source,
                             .destination_pitch = bytes,
                             .source_pitch = bytes,
                             .width = bytes,
                             .height = 1};
}

static struct emu_copy sided(struct emu_copy copy, enum emu_side destination, enum emu_side source) {
    copy.destination_side = destination;
    copy.source_side = source;
    return copy;
}

static CUresult run_now(struct emu_context *context, struct emu_copy copy) {
    copy.synchronous = true;
    return emu_copy_issue(context, &copy);
}

static CUresult run_in(struct emu_context *context, struct emu_copy copy, CUstream stream) {
    copy.stream = stream;
    return emu_copy_issue(context, &copy);
}

CUresult CUDAAPI cuMemcpyHtoD_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount) {
    EMU_BEGIN(cuMemcpyHtoD_v2);
    struct emu_copy copy = line((uintptr_t)dstDevice, (uintptr_t)srcHost, ByteCount);
    EMU_END(run_now(context, sided(copy, EMU_SIDE_DEVICE, EMU_SIDE_HOST)));
}

CUresult CUDAAPI cuMemcpyHtoDAsync_v2(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream) {
    EMU_BEGIN(cuMemcpyHtoDAsync_v2);
    struct emu_copy copy = line((uintptr_t)dstDevice, (uintptr_t)srcHost, ByteCount);
    EMU_END(run_in(context, sided(copy, EMU_SIDE_DEVICE, EMU_SIDE_HOST), hStream));
}

CUresult CUDAAPI cuMemcpyDtoH_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount) {
    EMU_BEGIN(cuMemcpyDtoH_v2);
    struct emu_copy copy = line((uintptr_t)dstHost, (uintptr_t)srcDevice, ByteCount);
    EMU_END(run_now(context, sided(copy, EMU_SIDE_HOST, EMU_SIDE_DEVICE)));
}

CUresult CUDAAPI cuMemcpyDtoHAsync_v2(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
    EMU_BEGIN(cuMemcpyDtoHAsync_v2);
    struct emu_copy copy = line((uintptr_t)dstHost, (uintptr_t)srcDevice, ByteCount);
    EMU_END(run_in(context, sided(copy, EMU_SIDE_HOST, EMU_SIDE_DEVICE), hStream));
}

CUresult CUDAAPI cuMemcpyDtoD_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount) {
    EMU_BEGIN(cuMemcpyDtoD_v2);
    struct emu_copy copy = line((uintptr_t)dstDevice, (uintptr_t)srcDevice, ByteCount);
    EMU_END(run_now(context, sided(copy, EMU_SIDE_DEVICE, EMU_SIDE_DEVICE)));
}

CUresult CUDAAPI cuMemcpyDtoDAsync_v2(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount,
                                      CUstream hStream) {
    EMU_BEGIN(cuMemcpyDtoDAsync_v2);
    struct emu_copy copy = line((uintptr_t)dstDevice, (uintptr_t)srcDevice, ByteCount);
    EMU_END(run_in(context, sided(copy, EMU_SIDE_DEVICE, EMU_SIDE_DEVICE), hStream));
}

CUresult CUDAAPI cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount) {
    EMU_BEGIN(cuMemcpy);
    struct emu_copy copy = line((uintptr_t)dst, (uintptr_t)src, ByteCount);
    EMU_END(run_now(context, sided(copy, EMU_SIDE_UNIFIED, EMU_SIDE_UNIFIED)));
}

CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
    EMU_BEGIN(cuMemcpyAsync);
    struct emu_copy copy = line((uintptr_t)dst, (uintptr_t)src, ByteCount);
    EMU_END(run_in(context, sided(copy, EMU_SIDE_UNIFIED, EMU_SIDE_UNIFIED), hStream));
}

static bool side_of(CUmemorytype type, const void *host, CUdeviceptr device, enum emu_side *side, uintptr_t *address) {
    *address = type == CU_MEMORYTYPE_HOST ? (uintptr_t)host : (uintptr_t)device;
    *side = type == CU_MEMORYTYPE_HOST     ? EMU_SIDE_HOST
            : type == CU_MEMORYTYPE_DEVICE ? EMU_SIDE_DEVICE
                                           : EMU_SIDE_UNIFIED;
    return type == CU_MEMORYTYPE_HOST || type == CU_MEMORYTYPE_DEVICE || type == CU_MEMORYTYPE_UNIFIED;
}

static bool rectangle(const CUDA_MEMCPY2D *asked, struct emu_copy *copy) // arrays are not played
{
    if (asked == NULL) return false;
    *copy = (struct emu_copy){.width = asked->WidthInBytes, .height = asked->Height};
    if (!side_of(asked->srcMemoryType, asked->srcHost, asked->srcDevice, &copy->source_side, &copy->source))
        return false;
    if (!side_of(asked->dstMemoryType, asked->dstHost, asked->dstDevice, &copy->destination_side, &copy->destination)) {
        return false;
    }
    copy->source_pitch = asked->srcPitch == 0 ? asked->WidthInBytes + asked->srcXInBytes : asked->srcPitch;
    copy->destination_pitch = asked->dstPitch == 0 ? asked->WidthInBytes + asked->dstXInBytes : asked->dstPitch;
    copy->source += asked->srcY * copy->source_pitch + asked->srcXInBytes;
    copy->destination += asked->dstY * copy->destination_pitch + asked->dstXInBytes;
    return true;
}

CUresult CUDAAPI cuMemcpy2D_v2(const CUDA_MEMCPY2D *pCopy) {
    EMU_BEGIN(cuMemcpy2D_v2);
    struct emu_copy copy;
    EMU_END(rectangle(pCopy, &copy) ? run_now(context, copy) : CUDA_ERROR_INVALID_VALUE);
}

CUresult CUDAAPI cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *pCopy, CUstream hStream) {
    EMU_BEGIN(cuMemcpy2DAsync_v2);
    struct emu_copy copy;
    EMU_END(rectangle(pCopy, &copy) ? run_in(context, copy, hStream) : CUDA_ERROR_INVALID_VALUE);
}
