// The entry points of modules.
#include <string.h>

#include "driver_capture.h"
#include "driver_entry.h"
#include "driver_function.h"
#include "driver_queue.h"

static CUresult load(struct emu_context *context, CUmodule *handle, const void *text, unsigned num_options,
                     CUjit_option *options, void **values) {
    struct emu_image *image = NULL;
    if (handle == NULL) return CUDA_ERROR_INVALID_VALUE;
    CUresult result = emu_capture_check_unsafe();
    if (result == CUDA_SUCCESS) result = emu_image_load(context, text, num_options, options, values, &image);
    if (result == CUDA_SUCCESS) *handle = image->object.handle;
    return result;
}

CUresult CUDAAPI cuModuleLoadData(CUmodule *module, const void *image) {
    EMU_BEGIN(cuModuleLoadData);
    EMU_END(load(context, module, image, 0, NULL, NULL));
}

CUresult CUDAAPI cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int numOptions, CUjit_option *options,
                                    void **optionValues) {
    EMU_BEGIN(cuModuleLoadDataEx);
    EMU_END(load(context, module, image, numOptions, options, optionValues));
}

// What is queued may run the module's kernels, so it runs first.
CUresult CUDAAPI cuModuleUnload(CUmodule hmod) {
    EMU_BEGIN(cuModuleUnload);
    struct emu_image *image = emu_handles_find(hmod, EMU_KIND_MODULE);
    if (image == NULL || image->object.context != context) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    CUresult result = emu_capture_check_unsafe();
    if (result != CUDA_SUCCESS) EMU_END(result);
    emu_queue_finish_all(context);
    image = emu_handles_find(hmod, EMU_KIND_MODULE); // another thread may have been quicker
    if (image != NULL) emu_image_unload(image);
    EMU_END(context->sticky);
}

CUresult CUDAAPI cuModuleGetFunction(CUfunction *hfunc, CUmodule hmod, const char *name) {
    EMU_BEGIN(cuModuleGetFunction);
    struct emu_image *image = emu_handles_find(hmod, EMU_KIND_MODULE);
    struct emu_function *function = NULL;
    if (image == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (hfunc == NULL || name == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    CUresult result = emu_image_function(image, name, &function);
    if (result == CUDA_SUCCESS) *hfunc = function->object.handle;
    EMU_END(result);
}

CUresult CUDAAPI cuModuleGetGlobal_v2(CUdeviceptr *dptr, size_t *bytes, CUmodule hmod, const char *name) {
    EMU_BEGIN(cuModuleGetGlobal_v2);
    const struct emu_image *image = emu_handles_find(hmod, EMU_KIND_MODULE);
    uintptr_t address = 0;
    size_t size = 0;
    if (image == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (name == NULL || (dptr == NULL && bytes == NULL)) EMU_END(CUDA_ERROR_INVALID_VALUE);
    if (!emu_module_find_global(image->module, name, &address, &size)) EMU_END(CUDA_ERROR_NOT_FOUND);
    if (dptr != NULL) *dptr = address;
    if (bytes != NULL) *bytes = size;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuModuleGetLoadingMode(CUmoduleLoadingMode *mode) {
    EMU_BEGIN_DRIVER(cuModuleGetLoadingMode);
    if (mode == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *mode = CU_MODULE_EAGER_LOADING;
    return emu_leave(CUDA_SUCCESS);
}
