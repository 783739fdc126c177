// Contexts as programs see them: created, made current on a thread, the device's primary one.
#include <cuda.h>

#include "driver_aliases.h"
#include "driver_capture.h"
#include "driver_context.h"
#include "driver_entry.h"
#include "driver_queue.h"

#define MAX_DEPTH 64 // of a thread's stack; nobody nests so deep but by a forgotten pop

static _Thread_local struct {
    CUcontext contexts[MAX_DEPTH];
    int depth;
} stack;

static struct {
    struct emu_context *context;
    unsigned retained, flags;
} primary;

CUcontext emu_context_current(void) {
    return stack.depth == 0 ? NULL : stack.contexts[stack.depth - 1];
}

static CUresult push(CUcontext handle) {
    if (stack.depth == MAX_DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
    stack.contexts[stack.depth++] = handle;
    return CUDA_SUCCESS;
}

static CUresult create(CUcontext *handle, unsigned flags, CUdevice device) {
    if (handle == NULL || (flags & ~(unsigned)CU_CTX_FLAGS_MASK) != 0) return CUDA_ERROR_INVALID_VALUE;
    if (device != 0) return CUDA_ERROR_INVALID_DEVICE;
    if (stack.depth == MAX_DEPTH) return CUDA_ERROR_OUT_OF_MEMORY;
    struct emu_context *context = NULL;
    CUresult result = emu_context_create(flags, false, &context);
    if (result != CUDA_SUCCESS) return result;
    *handle = context->object.handle;
    return push(*handle);
}

CUresult CUDAAPI cuCtxCreate_v2(CUcontext *pctx, unsigned int flags, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuCtxCreate_v2);
    return emu_leave(create(pctx, flags, dev));
}

CUresult CUDAAPI cuCtxCreate_v4(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuCtxCreate_v4);
    bool plain =
        ctxCreateParams == NULL || (ctxCreateParams->numExecAffinityParams == 0 && ctxCreateParams->cigParams == NULL);
    return emu_leave(plain ? create(pctx, flags, dev) : CUDA_ERROR_NOT_SUPPORTED);
}

CUresult CUDAAPI cuCtxDestroy_v2(CUcontext ctx) {
    EMU_BEGIN_DRIVER(cuCtxDestroy_v2);
    struct emu_context *context = emu_context_find(ctx);
    if (context == NULL) return emu_leave(CUDA_ERROR_INVALID_CONTEXT);
    if (context->primary) return emu_leave(CUDA_ERROR_INVALID_VALUE); // is released, not destroyed
    if (emu_context_current() == ctx) stack.depth--;
    emu_context_destroy(context);
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext ctx) {
    EMU_BEGIN_DRIVER(cuCtxSetCurrent);
    if (ctx != NULL && emu_context_find(ctx) == NULL) return emu_leave(CUDA_ERROR_INVALID_CONTEXT);
    if (stack.depth > 0) stack.depth--;
    return emu_leave(ctx == NULL ? CUDA_SUCCESS : push(ctx));
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext *pctx) {
    EMU_BEGIN_DRIVER(cuCtxGetCurrent);
    if (pctx == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *pctx = emu_context_current();
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxPushCurrent_v2(CUcontext ctx) {
    EMU_BEGIN_DRIVER(cuCtxPushCurrent_v2);
    return emu_leave(emu_context_find(ctx) == NULL ? CUDA_ERROR_INVALID_CONTEXT : push(ctx));
}

CUresult CUDAAPI cuCtxPopCurrent_v2(CUcontext *pctx) {
    EMU_BEGIN_DRIVER(cuCtxPopCurrent_v2);
    if (stack.depth == 0) return emu_leave(CUDA_ERROR_INVALID_CONTEXT);
    CUcontext top = stack.contexts[--stack.depth];
    if (pctx != NULL) *pctx = top;
    return emu_leave(CUDA_SUCCESS);
}

// What a broken context can still tell.
static struct emu_context *current(void) {
    return emu_context_find(emu_context_current());
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice *device) {
    EMU_BEGIN_DRIVER(cuCtxGetDevice);
    if (current() == NULL) return emu_leave(CUDA_ERROR_INVALID_CONTEXT);
    if (device == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *device = 0;
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxGetId(CUcontext ctx, unsigned long long *ctxId) {
    EMU_BEGIN_DRIVER(cuCtxGetId);
    const struct emu_context *context = ctx == NULL ? current() : emu_context_find(ctx);
    if (context == NULL) return emu_leave(ctx == NULL ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_CONTEXT_IS_DESTROYED);
    if (ctxId == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *ctxId = context->id;
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxGetApiVersion(CUcontext ctx, unsigned int *version) {
    EMU_BEGIN_DRIVER(cuCtxGetApiVersion);
    if ((ctx == NULL ? current() : emu_context_find(ctx)) == NULL) return emu_leave(CUDA_ERROR_INVALID_CONTEXT);
    if (version == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *version = 3020; // what drivers answer for every context since
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxSynchronize(void) {
    EMU_BEGIN(cuCtxSynchronize);
    CUresult result = emu_capture_check_context(context);
    if (result != CUDA_SUCCESS) EMU_END(result);
    emu_queue_finish_all(context);
    EMU_END(context->sticky);
}

CUresult CUDAAPI cuCtxGetLimit(size_t *pvalue, CUlimit limit) {
    EMU_BEGIN(cuCtxGetLimit);
    if (pvalue == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    if ((unsigned)limit > CU_LIMIT_MALLOC_HEAP_SIZE) EMU_END(CUDA_ERROR_UNSUPPORTED_LIMIT);
    *pvalue = context->limits[limit];
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuCtxSetLimit(CUlimit limit, size_t value) {
    EMU_BEGIN(cuCtxSetLimit);
    if ((unsigned)limit > CU_LIMIT_MALLOC_HEAP_SIZE) EMU_END(CUDA_ERROR_UNSUPPORTED_LIMIT);
    context->limits[limit] = value;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuDevicePrimaryCtxRetain);
    if (pctx == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    if (dev != 0) return emu_leave(CUDA_ERROR_INVALID_DEVICE);
    CUresult result = CUDA_SUCCESS;
    if (primary.retained == 0) result = emu_context_create(primary.flags, true, &primary.context);
    if (result != CUDA_SUCCESS) return emu_leave(result);
    primary.retained++;
    *pctx = primary.context->object.handle;
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease_v2(CUdevice dev) {
    EMU_BEGIN_DRIVER(cuDevicePrimaryCtxRelease_v2);
    if (dev != 0) return emu_leave(CUDA_ERROR_INVALID_DEVICE);
    if (primary.retained == 0) return emu_leave(CUDA_ERROR_INVALID_CONTEXT);
    if (--primary.retained == 0) {
        struct emu_context *context = primary.context;
        primary.context = NULL;
        emu_context_destroy(context);
    }
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active) {
    EMU_BEGIN_DRIVER(cuDevicePrimaryCtxGetState);
    if (dev != 0) return emu_leave(CUDA_ERROR_INVALID_DEVICE);
    if (flags == NULL || active == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *flags = primary.flags;
    *active = primary.retained > 0;
    return emu_leave(CUDA_SUCCESS);
}
