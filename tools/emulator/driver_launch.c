// Launches: what a driver checks before it queues a kernel.
#include <cuda.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "driver_entry.h"
#include "driver_findings.h"
#include "driver_function.h"
#include "driver_stream.h"

#define MAX_GRID_YZ 65535
#define MAX_BLOCK_THREADS 1024
#define MAX_BLOCK_Z 64
#define PORTABLE_CLUSTER 8 // blocks; CUDA C++ Programming Guide, thread block clusters
#define LARGEST_CLUSTER 16 // with the function's leave

struct request {
    CUfunction function;
    unsigned grid[3], block[3], cluster[3];
    unsigned dynamic_shared_bytes;
    CUstream stream;
    void **parameters, **extra;
    bool programmatic;
};

static bool any_zero(const unsigned dim[3]) {
    return dim[0] == 0 || dim[1] == 0 || dim[2] == 0;
}

static CUresult check_shape(const struct request *request, const struct emu_function *function) {
    const unsigned *grid = request->grid, *block = request->block;
    const struct emu_kernel_facts *facts = &function->facts;
    if (any_zero(grid) || any_zero(block)) return CUDA_ERROR_INVALID_VALUE;
    if (grid[0] > INT_MAX || grid[1] > MAX_GRID_YZ || grid[2] > MAX_GRID_YZ) return CUDA_ERROR_INVALID_VALUE;
    if (block[0] > MAX_BLOCK_THREADS || block[1] > MAX_BLOCK_THREADS || block[2] > MAX_BLOCK_Z) {
        return CUDA_ERROR_INVALID_VALUE;
    }
    unsigned threads = block[0] * block[1] * block[2]; // at most 2^26
    if (threads > MAX_BLOCK_THREADS || threads > (unsigned)facts->max_threads) return CUDA_ERROR_INVALID_VALUE;
    for (int i = 0; i < 3; i++) {
        if (facts->required_threads[0] != 0 && block[i] != (unsigned)facts->required_threads[i]) {
            return CUDA_ERROR_INVALID_VALUE;
        }
    }
    bool fits = request->dynamic_shared_bytes <= (unsigned)function->max_dynamic_shared_bytes;
    return fits ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

// A cluster that the kernel requires is the launch's, whether the launch names it or not.
static CUresult settle_cluster(struct request *request, const struct emu_function *function) {
    const int *required = function->facts.required_cluster;
    unsigned *cluster = request->cluster;
    bool named = cluster[0] != 0;
    for (int i = 0; i < 3 && required[0] != 0; i++) {
        if (named && cluster[i] != (unsigned)required[i]) return CUDA_ERROR_INVALID_VALUE;
        cluster[i] = (unsigned)required[i];
    }
    if (cluster[0] == 0) return CUDA_SUCCESS;
    unsigned largest = function->non_portable_cluster ? LARGEST_CLUSTER : PORTABLE_CLUSTER;
    if (function->object.context->part.arch < 90) largest = 1;
    for (int i = 0; i < 3; i++) {
        if (cluster[i] == 0 || cluster[i] > largest) return CUDA_ERROR_INVALID_CLUSTER_SIZE;
        if (request->grid[i] % cluster[i] != 0) return CUDA_ERROR_INVALID_VALUE;
    }
    return cluster[0] * cluster[1] * cluster[2] > largest ? CUDA_ERROR_INVALID_CLUSTER_SIZE : CUDA_SUCCESS;
}

// The parameters come as a list of pointers, or packed in `extra`, a list of keys and values.
static CUresult pack_parameters(const struct request *request, const struct emu_function *function, char *packed) {
    const struct emu_kernel_facts *facts = &function->facts;
    if (request->parameters != NULL && request->extra != NULL) return CUDA_ERROR_INVALID_VALUE;
    if (request->extra != NULL) {
        const void *buffer = NULL;
        size_t bytes = 0;
        for (void **item = request->extra; *item != CU_LAUNCH_PARAM_END; item += 2) {
            if (*item == CU_LAUNCH_PARAM_BUFFER_POINTER) buffer = item[1];
            if (*item == CU_LAUNCH_PARAM_BUFFER_SIZE) bytes = *(const size_t *)item[1];
        }
        if (bytes < facts->parameter_bytes || buffer == NULL) return CUDA_ERROR_INVALID_VALUE;
        memcpy(packed, buffer, facts->parameter_bytes);
        return CUDA_SUCCESS;
    }
    for (int i = 0; i < facts->num_parameters; i++) {
        size_t offset = 0, bytes = 0;
        if (request->parameters == NULL || request->parameters[i] == NULL) return CUDA_ERROR_INVALID_VALUE;
        emu_kernel_parameter(function->kernel, i, &offset, &bytes);
        memcpy(packed + offset, request->parameters[i], bytes);
    }
    return CUDA_SUCCESS;
}

static CUresult launch(struct emu_context *context, struct request *request) {
    struct emu_function *function = emu_handles_find(request->function, EMU_KIND_FUNCTION);
    if (function == NULL || function->object.context != context) return CUDA_ERROR_INVALID_HANDLE;
    CUresult result = check_shape(request, function);
    if (result == CUDA_SUCCESS) result = settle_cluster(request, function);
    if (result != CUDA_SUCCESS) return result;
    char *packed = calloc(1, function->facts.parameter_bytes + 1);
    if (packed == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    result = pack_parameters(request, function, packed);
    if (result != CUDA_SUCCESS) return free(packed), result;
    struct emu_task task = {.kind = EMU_TASK_KERNEL,
                            .kernel = {.function = function,
                                       .function_handle = request->function,
                                       .dynamic_shared_bytes = request->dynamic_shared_bytes,
                                       .parameters = packed,
                                       .parameter_bytes = function->facts.parameter_bytes,
                                       .programmatic = request->programmatic}};
    memcpy(task.kernel.grid, request->grid, sizeof(request->grid));
    memcpy(task.kernel.block, request->block, sizeof(request->block));
    memcpy(task.kernel.cluster, request->cluster, sizeof(request->cluster));
    return emu_stream_issue(context, request->stream, &task);
}

CUresult CUDAAPI cuLaunchKernel(CUfunction f, unsigned int gridDimX, unsigned int gridDimY, unsigned int gridDimZ,
                                unsigned int blockDimX, unsigned int blockDimY, unsigned int blockDimZ,
                                unsigned int sharedMemBytes, CUstream hStream, void **kernelParams, void **extra) {
    EMU_BEGIN(cuLaunchKernel);
    struct request request = {.function = f,
                              .grid = {gridDimX, gridDimY, gridDimZ},
                              .block = {blockDimX, blockDimY, blockDimZ},
                              .dynamic_shared_bytes = sharedMemBytes,
                              .stream = hStream,
                              .parameters = kernelParams,
                              .extra = extra};
    EMU_END(launch(context, &request));
}

// Hints change nothing here.
static CUresult take_attribute(struct request *request, const CUlaunchAttribute *attribute) {
    switch (attribute->id) {
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION:
        request->cluster[0] = attribute->value.clusterDim.x;
        request->cluster[1] = attribute->value.clusterDim.y;
        request->cluster[2] = attribute->value.clusterDim.z;
        return any_zero(request->cluster) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION:
        request->programmatic = attribute->value.programmaticStreamSerializationAllowed != 0;
        return CUDA_SUCCESS;
    case CU_LAUNCH_ATTRIBUTE_COOPERATIVE:
        return attribute->value.cooperative == 0 ? CUDA_SUCCESS : CUDA_ERROR_NOT_SUPPORTED;
    case CU_LAUNCH_ATTRIBUTE_IGNORE:
    case CU_LAUNCH_ATTRIBUTE_ACCESS_POLICY_WINDOW:
    case CU_LAUNCH_ATTRIBUTE_CLUSTER_SCHEDULING_POLICY_PREFERENCE:
    case CU_LAUNCH_ATTRIBUTE_PRIORITY:
    case CU_LAUNCH_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT: return CUDA_SUCCESS;
    default:
        emu_findings_reportf("cuLaunchKernelEx: launch attribute %d is not played.", (int)attribute->id);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
}

CUresult CUDAAPI cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction f, void **kernelParams, void **extra) {
    EMU_BEGIN(cuLaunchKernelEx);
    if (config == NULL || (config->numAttrs > 0 && config->attrs == NULL)) EMU_END(CUDA_ERROR_INVALID_VALUE);
    struct request request = {.function = f,
                              .grid = {config->gridDimX, config->gridDimY, config->gridDimZ},
                              .block = {config->blockDimX, config->blockDimY, config->blockDimZ},
                              .dynamic_shared_bytes = config->sharedMemBytes,
                              .stream = config->hStream,
                              .parameters = kernelParams,
                              .extra = extra};
    CUresult result = CUDA_SUCCESS;
    for (unsigned i = 0; i < config->numAttrs && result == CUDA_SUCCESS; i++) {
        result = take_attribute(&request, &config->attrs[i]);
    }
    EMU_END(result == CUDA_SUCCESS ? launch(context, &request) : result);
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData) {
    EMU_BEGIN(cuLaunchHostFunc);
    if (fn == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    struct emu_task task = {.kind = EMU_TASK_HOST, .host = {.function = fn, .user = userData}};
    EMU_END(emu_stream_issue(context, hStream, &task));
}
