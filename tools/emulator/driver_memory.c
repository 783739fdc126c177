// The entry points that allocate and free memory and ask about it.
#include <cuda.h>

#include "driver_capture.h"
#include "driver_context.h"
#include "driver_entry.h"
#include "driver_queue.h"
#include "driver_stream.h"

static CUresult allocate(struct emu_context *context, enum emu_allocation_kind kind, size_t bytes, uintptr_t *address) {
    CUresult result = emu_capture_check_unsafe();
    return result != CUDA_SUCCESS ? result : emu_allocations_make(context, kind, bytes, address);
}

static CUresult allocate_device(struct emu_context *context, enum emu_allocation_kind kind, CUdeviceptr *pointer,
                                size_t bytes) {
    uintptr_t address = 0;
    if (pointer == NULL) return CUDA_ERROR_INVALID_VALUE;
    CUresult result = allocate(context, kind, bytes, &address);
    if (result == CUDA_SUCCESS) *pointer = address;
    return result;
}

static CUresult allocate_pinned(struct emu_context *context, void **pointer, size_t bytes) {
    uintptr_t address = 0;
    if (pointer == NULL) return CUDA_ERROR_INVALID_VALUE;
    CUresult result = allocate(context, EMU_ALLOCATION_PINNED, bytes, &address);
    if (result == CUDA_SUCCESS) *pointer = (void *)address;
    return result;
}

CUresult CUDAAPI cuMemAlloc_v2(CUdeviceptr *dptr, size_t bytesize) {
    EMU_BEGIN(cuMemAlloc_v2);
    EMU_END(allocate_device(context, EMU_ALLOCATION_DEVICE, dptr, bytesize));
}

CUresult CUDAAPI cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags) {
    EMU_BEGIN(cuMemAllocManaged);
    if (flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST) EMU_END(CUDA_ERROR_INVALID_VALUE);
    EMU_END(allocate_device(context, EMU_ALLOCATION_MANAGED, dptr, bytesize));
}

CUresult CUDAAPI cuMemAllocHost_v2(void **pp, size_t bytesize) {
    EMU_BEGIN(cuMemAllocHost_v2);
    EMU_END(allocate_pinned(context, pp, bytesize));
}

CUresult CUDAAPI cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags) {
    EMU_BEGIN(cuMemHostAlloc);
    const unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
    if ((Flags & ~known) != 0) EMU_END(CUDA_ERROR_INVALID_VALUE);
    EMU_END(allocate_pinned(context, pp, bytesize));
}

CUresult CUDAAPI cuMemHostGetDevicePointer_v2(CUdeviceptr *pdptr, void *p, unsigned int Flags) {
    EMU_BEGIN(cuMemHostGetDevicePointer_v2);
    if (pdptr == NULL || Flags != 0) EMU_END(CUDA_ERROR_INVALID_VALUE);
    const struct emu_allocated *found = emu_allocations_find(context, (uintptr_t)p);
    if (found == NULL || found->kind != EMU_ALLOCATION_PINNED) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *pdptr = (CUdeviceptr)(uintptr_t)p;
    EMU_END(CUDA_SUCCESS);
}

// Freeing waits for all that is queued in the context, as a driver does.
static CUresult release(struct emu_context *context, uintptr_t address, bool pinned) {
    if (address == 0) return CUDA_SUCCESS;
    CUresult result = emu_capture_check_unsafe();
    if (result != CUDA_SUCCESS) return result;
    const struct emu_allocated *found = emu_allocations_find(context, address);
    if (found == NULL || found->base != address || (found->kind == EMU_ALLOCATION_PINNED) != pinned) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    emu_queue_finish_all(context);
    if (context->sticky != CUDA_SUCCESS) return context->sticky;
    return emu_allocations_free(context, address, pinned) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult CUDAAPI cuMemFree_v2(CUdeviceptr dptr) {
    EMU_BEGIN(cuMemFree_v2);
    EMU_END(release(context, (uintptr_t)dptr, false));
}

CUresult CUDAAPI cuMemFreeHost(void *p) {
    EMU_BEGIN(cuMemFreeHost);
    EMU_END(release(context, (uintptr_t)p, true));
}

static CUresult check_stream_ordered(struct emu_context *context, CUstream handle) {
    const struct emu_stream *stream = emu_stream_find(context, handle);
    if (stream == NULL) return CUDA_ERROR_INVALID_HANDLE;
    return stream->capture == NULL ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED; // would be an allocation node
}

// The memory is there at once: that the stream's order allows its use later only is not checked.
CUresult CUDAAPI cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream) {
    EMU_BEGIN(cuMemAllocAsync);
    uintptr_t address = 0;
    if (dptr == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    CUresult result = check_stream_ordered(context, hStream);
    if (result == CUDA_SUCCESS) result = emu_allocations_make(context, EMU_ALLOCATION_DEVICE, bytesize, &address);
    if (result == CUDA_SUCCESS) *dptr = address;
    EMU_END(result);
}

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
    EMU_BEGIN(cuMemFreeAsync);
    CUresult result = check_stream_ordered(context, hStream);
    if (result != CUDA_SUCCESS || dptr == 0) EMU_END(result);
    const struct emu_allocated *found = emu_allocations_find(context, (uintptr_t)dptr);
    if (found == NULL || found->base != dptr || found->kind != EMU_ALLOCATION_DEVICE) EMU_END(CUDA_ERROR_INVALID_VALUE);
    struct emu_task task = {.kind = EMU_TASK_FREE, .free_address = (uintptr_t)dptr};
    EMU_END(emu_stream_issue(context, hStream, &task));
}

CUresult CUDAAPI cuMemGetInfo_v2(size_t *free, size_t *total) {
    EMU_BEGIN(cuMemGetInfo_v2);
    if (free == NULL || total == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *total = context->part.memory_bytes;
    *free = *total - emu_allocations_device_bytes();
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuMemGetAddressRange_v2(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr) {
    EMU_BEGIN(cuMemGetAddressRange_v2);
    const struct emu_allocation *found = emu_memory_find(context->memory, (uintptr_t)dptr);
    if (found == NULL || found->freed) EMU_END(CUDA_ERROR_NOT_FOUND);
    if (pbase != NULL) *pbase = found->base;
    if (psize != NULL) *psize = found->bytes;
    EMU_END(CUDA_SUCCESS);
}
