// How many blocks fit an SM, by threads, registers and shared memory.
#include "driver_entry.h"
#include "driver_function.h"

#define WARP_LANES 32
#define SM_REGISTERS 65536
#define WARP_REGISTERS_STEP                                                                                            \
    256                 // registers are given to a warp in such pieces (occupancy calculator, all of CC 8.0 and up)
#define SHARED_STEP 128 // and shared memory to a block in such
#define SHARED_RESERVED 1024 // of each block, for the system

static size_t round_up(size_t value, size_t step) {
    return (value + step - 1) / step * step;
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

int emu_function_blocks_per_sm(const struct emu_function *function, int block_threads, size_t dynamic_shared_bytes) {
    const struct emu_part *part = &function->object.context->part;
    size_t shared = function->facts.static_shared_bytes + dynamic_shared_bytes;
    if (block_threads > function->facts.max_threads) return 0;
    if (shared > (size_t)part->shared_bytes_opt_in) return 0;
    size_t warps = round_up((size_t)block_threads, WARP_LANES) / WARP_LANES;
    size_t registers = round_up((size_t)function->facts.registers_estimate * WARP_LANES, WARP_REGISTERS_STEP);
    size_t blocks = least((size_t)part->blocks_per_sm, (size_t)part->threads_per_sm / WARP_LANES / warps);
    if (registers > 0) blocks = least(blocks, SM_REGISTERS / registers / warps);
    return (int)least(blocks, (size_t)part->shared_bytes_per_sm / round_up(shared + SHARED_RESERVED, SHARED_STEP));
}

static CUresult occupancy(int *blocks, CUfunction handle, int block_threads, size_t dynamic_shared_bytes) {
    const struct emu_function *function = emu_handles_find(handle, EMU_KIND_FUNCTION);
    if (function == NULL) return CUDA_ERROR_INVALID_HANDLE;
    if (blocks == NULL || block_threads <= 0) return CUDA_ERROR_INVALID_VALUE;
    *blocks = emu_function_blocks_per_sm(function, block_threads, dynamic_shared_bytes);
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessor(int *numBlocks, CUfunction func, int blockSize,
                                                             size_t dynamicSMemSize) {
    EMU_BEGIN(cuOccupancyMaxActiveBlocksPerMultiprocessor);
    EMU_END(occupancy(numBlocks, func, blockSize, dynamicSMemSize));
}

CUresult CUDAAPI cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *numBlocks, CUfunction func, int blockSize,
                                                                      size_t dynamicSMemSize, unsigned int flags) {
    EMU_BEGIN(cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags);
    if ((flags & ~(unsigned)CU_OCCUPANCY_DISABLE_CACHING_OVERRIDE) != 0) EMU_END(CUDA_ERROR_INVALID_VALUE);
    EMU_END(occupancy(numBlocks, func, blockSize, dynamicSMemSize));
}

static unsigned cluster_blocks(const CUlaunchConfig *config) {
    for (unsigned i = 0; i < config->numAttrs; i++) {
        const CUlaunchAttribute *attribute = &config->attrs[i];
        if (attribute->id != CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) continue;
        return attribute->value.clusterDim.x * attribute->value.clusterDim.y * attribute->value.clusterDim.z;
    }
    return 1;
}

// As if all SMs were of one piece: a real part has groups of SMs, and answers a little less.
CUresult CUDAAPI cuOccupancyMaxActiveClusters(int *numClusters, CUfunction func, const CUlaunchConfig *config) {
    EMU_BEGIN(cuOccupancyMaxActiveClusters);
    int blocks = 0;
    if (numClusters == NULL || config == NULL || context->part.arch < 90) EMU_END(CUDA_ERROR_INVALID_VALUE);
    int threads = (int)(config->blockDimX * config->blockDimY * config->blockDimZ);
    CUresult result = occupancy(&blocks, func, threads, config->sharedMemBytes);
    unsigned cluster = cluster_blocks(config);
    if (result == CUDA_SUCCESS && cluster == 0) result = CUDA_ERROR_INVALID_CLUSTER_SIZE;
    if (result == CUDA_SUCCESS) *numClusters = (int)((unsigned)(blocks * context->part.sms) / cluster);
    EMU_END(result);
}
