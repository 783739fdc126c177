#include "jit/module.h"

#include <stdio.h>
#include <string.h>

#define LOG_BYTES 1024

// What an image is refused with that another driver made, or that is not what it says; not what a sick device says.
static bool is_refusal(CUresult result) {
    return result == CUDA_ERROR_NO_BINARY_FOR_GPU || result == CUDA_ERROR_INVALID_IMAGE ||
           result == CUDA_ERROR_INVALID_PTX || result == CUDA_ERROR_UNSUPPORTED_PTX_VERSION ||
           result == CUDA_ERROR_JIT_COMPILER_NOT_FOUND || result == CUDA_ERROR_INVALID_SOURCE ||
           result == CUDA_ERROR_NOT_FOUND;
}

static moejit_status load_image(const struct mj_driver *driver, const struct mj_image *image, const char *symbol,
                                struct mj_module *module, bool *refused, struct mj_error *error) {
    char log[LOG_BYTES] = "", tried[LOG_BYTES + 160];
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(size_t)LOG_BYTES};
    CUresult result = CUDA_ERROR_NO_BINARY_FOR_GPU;
    if (image->cubin != NULL) result = driver->cuModuleLoadDataEx(&module->module, image->cubin, 2, options, values);
    if (is_refusal(result) && image->ptx != NULL) {
        values[1] = (void *)(size_t)LOG_BYTES; // the driver has written how much it used
        result = driver->cuModuleLoadDataEx(&module->module, image->ptx, 2, options, values);
    }
    if (result == CUDA_SUCCESS) return MOEJIT_STATUS_OK;
    *refused = is_refusal(result);
    module->module = NULL;
    log[LOG_BYTES - 1] = '\0';
    snprintf(tried, sizeof(tried), "loading %s%s%s", symbol, log[0] != '\0' ? ": " : "", log);
    return mj_driver_failed(driver, result, tried, error);
}

moejit_status mj_module_load(const struct mj_driver *driver, const struct mj_image *image, const char *symbol,
                             int num_threads, int shared_bytes, int most_shared_bytes, struct mj_module *module,
                             bool *refused, struct mj_error *error) {
    memset(module, 0, sizeof(*module));
    *refused = false;
    moejit_status status = load_image(driver, image, symbol, module, refused, error);
    if (status != MOEJIT_STATUS_OK) return status;
    CUresult result = driver->cuModuleGetFunction(&module->function, module->module, symbol);
    *refused = is_refusal(result);
    // Under lazy loading the code would come to the GPU with the first launch, which may be inside a capture.
    if (result == CUDA_SUCCESS) result = driver->cuFuncLoad(module->function);
    if (result == CUDA_SUCCESS && shared_bytes > 0) {
        result = driver->cuFuncSetAttribute(module->function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                            most_shared_bytes);
    }
    if (result == CUDA_SUCCESS) {
        result = driver->cuOccupancyMaxActiveBlocksPerMultiprocessor(&module->blocks_per_sm, module->function,
                                                                     num_threads, (size_t)shared_bytes);
    }
    if (result != CUDA_SUCCESS) {
        char tried[160];
        snprintf(tried, sizeof(tried), "preparing %s with %d bytes of dynamic shared memory", symbol, shared_bytes);
        status = mj_driver_failed(driver, result, tried, error);
        mj_module_unload(driver, module);
    } else if (module->blocks_per_sm < 1) {
        status =
            mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED,
                         "%s needs %d bytes of shared memory and %d threads, and no CTA of it fits a multiprocessor",
                         symbol, shared_bytes, num_threads);
        mj_module_unload(driver, module);
    }
    return status;
}

void mj_module_unload(const struct mj_driver *driver, struct mj_module *module) {
    if (module->module != NULL) driver->cuModuleUnload(module->module);
    memset(module, 0, sizeof(*module));
}
