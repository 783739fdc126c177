#include "driver_function.h"

#include <stdlib.h>
#include <string.h>

#include "driver_entry.h"

#define DEFAULT_DYNAMIC_SHARED_BYTES 49152 // what every kernel gets without asking
#define BLOCK_REGISTERS 65536
#define MAX_REGISTERS 255 // of a thread
#define REGISTERS_STEP 8  // a warp's registers come in pieces of 256

// A compiler keeps within what a block of the kernel's largest size can have, whatever the PTX asks for.
static int registers_of(const struct emu_kernel_facts *facts) {
    int most = facts->max_threads > 0 ? BLOCK_REGISTERS / facts->max_threads : MAX_REGISTERS;
    most -= most % REGISTERS_STEP;
    if (most > MAX_REGISTERS) most = MAX_REGISTERS;
    return facts->registers_estimate < most ? facts->registers_estimate : most;
}

CUresult emu_image_function(struct emu_image *image, const char *name, struct emu_function **function) {
    const struct emu_kernel *kernel = emu_module_find_kernel(image->module, name);
    if (kernel == NULL) return CUDA_ERROR_NOT_FOUND;
    for (*function = image->functions; *function != NULL; *function = (*function)->next) {
        if ((*function)->kernel == kernel) return CUDA_SUCCESS; // the same handle each time
    }
    struct emu_function *made = calloc(1, sizeof(*made));
    if (made == NULL || !emu_handles_add(&made->object, EMU_KIND_FUNCTION, image->object.context)) {
        free(made);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    made->image = image;
    made->kernel = kernel;
    emu_kernel_describe(kernel, &made->facts);
    made->facts.registers_estimate = registers_of(&made->facts);
    size_t fixed = made->facts.static_shared_bytes;
    made->max_dynamic_shared_bytes =
        fixed < DEFAULT_DYNAMIC_SHARED_BYTES ? (int)(DEFAULT_DYNAMIC_SHARED_BYTES - fixed) : 0;
    made->carveout = -1;
    made->next = image->functions;
    image->functions = made;
    *function = made;
    return CUDA_SUCCESS;
}

static struct emu_function *find(CUfunction handle) {
    return emu_handles_find(handle, EMU_KIND_FUNCTION);
}

static CUresult get_attribute(const struct emu_function *function, CUfunction_attribute attribute, int *value) {
    const struct emu_kernel_facts *facts = &function->facts;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK: *value = facts->max_threads; break;
    case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: *value = (int)facts->static_shared_bytes; break;
    case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES: *value = (int)facts->constant_bytes; break;
    case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES: *value = (int)facts->local_bytes; break;
    case CU_FUNC_ATTRIBUTE_NUM_REGS: *value = facts->registers_estimate; break;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION: *value = function->object.context->settings.arch; break;
    case CU_FUNC_ATTRIBUTE_CACHE_MODE_CA: *value = 0; break;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: *value = function->max_dynamic_shared_bytes; break;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: *value = function->carveout; break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SIZE_MUST_BE_SET: *value = 0; break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_WIDTH: *value = facts->required_cluster[0]; break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_HEIGHT: *value = facts->required_cluster[1]; break;
    case CU_FUNC_ATTRIBUTE_REQUIRED_CLUSTER_DEPTH: *value = facts->required_cluster[2]; break;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED: *value = function->non_portable_cluster; break;
    case CU_FUNC_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE: *value = 0; break;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuFuncGetAttribute(int *pi, CUfunction_attribute attrib, CUfunction hfunc) {
    EMU_BEGIN(cuFuncGetAttribute);
    if (find(hfunc) == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (pi == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    EMU_END(get_attribute(find(hfunc), attrib, pi));
}

static CUresult set_attribute(struct emu_function *function, CUfunction_attribute attribute, int value) {
    const struct emu_part *part = &function->object.context->part;
    int room = part->shared_bytes_opt_in - (int)function->facts.static_shared_bytes;
    switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        if (value < 0 || value > room) return CUDA_ERROR_INVALID_VALUE;
        function->max_dynamic_shared_bytes = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT:
        if (value < -1 || value > 100) return CUDA_ERROR_INVALID_VALUE;
        function->carveout = value;
        return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED:
        if (value != 0 && value != 1) return CUDA_ERROR_INVALID_VALUE;
        function->non_portable_cluster = value;
        return CUDA_SUCCESS;
    default: return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult CUDAAPI cuFuncSetAttribute(CUfunction hfunc, CUfunction_attribute attrib, int value) {
    EMU_BEGIN(cuFuncSetAttribute);
    EMU_END(find(hfunc) == NULL ? CUDA_ERROR_INVALID_HANDLE : set_attribute(find(hfunc), attrib, value));
}

CUresult CUDAAPI cuFuncSetCacheConfig(CUfunction hfunc, CUfunc_cache config) {
    EMU_BEGIN(cuFuncSetCacheConfig);
    if ((unsigned)config > CU_FUNC_CACHE_PREFER_EQUAL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    EMU_END(find(hfunc) == NULL ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS);
}

CUresult CUDAAPI cuFuncGetName(const char **name, CUfunction hfunc) {
    EMU_BEGIN(cuFuncGetName);
    if (name == NULL || find(hfunc) == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *name = find(hfunc)->facts.name;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuFuncGetModule(CUmodule *hmod, CUfunction hfunc) {
    EMU_BEGIN(cuFuncGetModule);
    if (find(hfunc) == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (hmod == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *hmod = find(hfunc)->image->object.handle;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuFuncGetParamInfo(CUfunction func, size_t paramIndex, size_t *paramOffset, size_t *paramSize) {
    EMU_BEGIN(cuFuncGetParamInfo);
    size_t offset = 0, bytes = 0;
    if (find(func) == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (paramOffset == NULL || paramIndex >= (size_t)find(func)->facts.num_parameters) {
        EMU_END(CUDA_ERROR_INVALID_VALUE);
    }
    emu_kernel_parameter(find(func)->kernel, (int)paramIndex, &offset, &bytes);
    *paramOffset = offset;
    if (paramSize != NULL) *paramSize = bytes;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuFuncLoad(CUfunction function) {
    EMU_BEGIN(cuFuncLoad);
    EMU_END(find(function) == NULL ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS);
}

CUresult CUDAAPI cuFuncIsLoaded(CUfunctionLoadingState *state, CUfunction function) {
    EMU_BEGIN(cuFuncIsLoaded);
    if (find(function) == NULL) EMU_END(CUDA_ERROR_INVALID_HANDLE);
    if (state == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *state = CU_FUNCTION_LOADING_STATE_LOADED;
    EMU_END(CUDA_SUCCESS);
}
