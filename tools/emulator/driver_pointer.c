// What a program may ask of a pointer.
#include <cuda.h>
#include <stdint.h>
#include <string.h>

#include "driver_context.h"
#include "driver_entry.h"

// Module variables are in the context's memory without being allocations of the program's: plain device memory.
static bool look_up(struct emu_context *context, uintptr_t address, struct emu_allocated *found) {
    const struct emu_allocated *own = emu_allocations_find(context, address);
    const struct emu_allocation *any = emu_memory_find(context->memory, address);
    if (own != NULL) return *found = *own, true;
    if (any == NULL || any->freed) return false;
    *found = (struct emu_allocated){.base = any->base, .bytes = any->bytes, .kind = EMU_ALLOCATION_DEVICE};
    return true;
}

static CUresult get_attribute(void *data, CUpointer_attribute attribute, uintptr_t address,
                              struct emu_context *context) {
    struct emu_allocated found;
    if (!look_up(context, address, &found)) return CUDA_ERROR_INVALID_VALUE;
    bool host = found.kind == EMU_ALLOCATION_PINNED;
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT: *(CUcontext *)data = context->object.handle; break;
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE: *(unsigned *)data = host ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER: *(CUdeviceptr *)data = address; break;
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
        if (found.kind == EMU_ALLOCATION_DEVICE) return CUDA_ERROR_INVALID_VALUE;
        *(void **)data = (void *)address;
        break;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID: *(unsigned long long *)data = found.id; break;
    case CU_POINTER_ATTRIBUTE_IS_MANAGED: *(unsigned *)data = found.kind == EMU_ALLOCATION_MANAGED; break;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = 0; break;
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: *(CUdeviceptr *)data = found.base; break;
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: *(size_t *)data = found.bytes; break;
    case CU_POINTER_ATTRIBUTE_MAPPED: *(unsigned *)data = 1; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
    EMU_BEGIN(cuPointerGetAttribute);
    EMU_END(data == NULL ? CUDA_ERROR_INVALID_VALUE : get_attribute(data, attribute, (uintptr_t)ptr, context));
}

// How an attribute reads for a pointer that the driver knows nothing of: zeros, where one query alone is refused.
static bool clear(void *data, CUpointer_attribute attribute) {
    switch (attribute) {
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
    case CU_POINTER_ATTRIBUTE_MAPPED: memset(data, 0, sizeof(unsigned)); return true;
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *(int *)data = -2; return true; // CU_DEVICE_INVALID
    case CU_POINTER_ATTRIBUTE_CONTEXT:
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR: memset(data, 0, sizeof(void *)); return true;
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE: memset(data, 0, sizeof(size_t)); return true;
    default: return false;
    }
}

CUresult CUDAAPI cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes, void **data,
                                        CUdeviceptr ptr) {
    EMU_BEGIN(cuPointerGetAttributes);
    if (attributes == NULL || data == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    for (unsigned i = 0; i < numAttributes; i++) {
        if (data[i] == NULL || !clear(data[i], attributes[i])) EMU_END(CUDA_ERROR_INVALID_VALUE);
        get_attribute(data[i], attributes[i], (uintptr_t)ptr, context);
    }
    EMU_END(CUDA_SUCCESS);
}
