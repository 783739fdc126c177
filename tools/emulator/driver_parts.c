#include "driver_parts.h"

#include <limits.h>
#include <unistd.h>

#define GIB ((size_t)1 << 30)
#define MIB (1 << 20)

static const struct emu_part parts[] = {
    {80, "NVIDIA A100-SXM4-80GB", 80 * GIB, 108, 2048, 32, 167936, 166912, 40 * MIB, 1410000, 1593000, 5120},
    {86, "NVIDIA RTX A6000", 48 * GIB, 84, 1536, 16, 102400, 101376, 6 * MIB, 1800000, 8001000, 384},
    {89, "NVIDIA L40S", 48 * GIB, 142, 1536, 24, 102400, 101376, 96 * MIB, 2520000, 9001000, 384},
    {90, "NVIDIA H100 80GB HBM3", 80 * GIB, 132, 2048, 32, 233472, 232448, 50 * MIB, 1980000, 2619000, 5120},
    {100, "NVIDIA B200", 180 * GIB, 148, 2048, 32, 233472, 232448, 126 * MIB, 1965000, 3996000, 8192},
    {103, "NVIDIA B300", 270 * GIB, 148, 2048, 32, 233472, 232448, 126 * MIB, 1920000, 3996000, 8192},
    {120, "NVIDIA RTX PRO 6000 Blackwell", 96 * GIB, 188, 1536, 24, 102400, 101376, 128 * MIB, 2617000, 14001000, 512},
    {121, "NVIDIA GB10", 120 * GIB, 48, 1536, 24, 102400, 101376, 24 * MIB, 2418000, 8533000, 256},
};

// A program that allocates all that a part has would bring a laptop down before the emulator could refuse.
static size_t host_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES);
    long page_bytes = sysconf(_SC_PAGESIZE);
    return pages > 0 && page_bytes > 0 ? (size_t)pages * (size_t)page_bytes : GIB;
}

struct emu_part emu_part_of(int arch, int sms) {
    struct emu_part part = parts[0];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (parts[i].arch == arch) part = parts[i];
    }
    if (sms > 0) part.sms = sms;
    if (part.memory_bytes > host_bytes()) part.memory_bytes = host_bytes();
    return part;
}

struct fixed_row {
    CUdevice_attribute attribute;
    int value;
};

// What all parts have in common.
static const struct fixed_row fixed_rows[] = {
    {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y, 1024},
    {CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z, 64},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X, INT_MAX},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z, 65535},
    {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK, 49152},
    {CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1024},
    {CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY, 65536},
    {CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32},
    {CU_DEVICE_ATTRIBUTE_MAX_PITCH, INT_MAX},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK, 65536},
    {CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65536},
    {CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT, 512},
    {CU_DEVICE_ATTRIBUTE_GPU_OVERLAP, 1},
    {CU_DEVICE_ATTRIBUTE_KERNEL_EXEC_TIMEOUT, 0},
    {CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_MODE, CU_COMPUTEMODE_DEFAULT},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS, 1},
    {CU_DEVICE_ATTRIBUTE_ECC_ENABLED, 0},
    {CU_DEVICE_ATTRIBUTE_PCI_BUS_ID, 1},
    {CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID, 0},
    {CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID, 0},
    {CU_DEVICE_ATTRIBUTE_TCC_DRIVER, 0},
    {CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT, 3},
    {CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 1},
    {CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY, 1},
    {CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD, 0},
    {CU_DEVICE_ATTRIBUTE_MULTI_GPU_BOARD_GROUP_ID, 0},
    {CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS, 0},
    {CU_DEVICE_ATTRIBUTE_CONCURRENT_MANAGED_ACCESS, 0},
    {CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED, 1},
    {CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM, 0},
    {CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH, 0}, // kernels of a grid that wait for one another are not played
    {CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_GENERIC_COMPRESSION_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MULTICAST_SUPPORTED, 0},
    {CU_DEVICE_ATTRIBUTE_MAX_PERSISTING_L2_CACHE_SIZE, 0},
    {CU_DEVICE_ATTRIBUTE_MAX_ACCESS_POLICY_WINDOW_SIZE, 0},
};

CUresult emu_part_attribute(const struct emu_part *part, CUdevice_attribute attribute, int *value) {
    const struct fixed_row own_rows[] = {
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, part->arch / 10},
        {CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, part->arch % 10},
        {CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, part->sms},
        {CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, part->threads_per_sm},
        {CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, part->blocks_per_sm},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, part->shared_bytes_per_sm},
        {CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, part->shared_bytes_opt_in},
        {CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, part->l2_bytes},
        {CU_DEVICE_ATTRIBUTE_CLOCK_RATE, part->clock_khz},
        {CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, part->memory_clock_khz},
        {CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, part->bus_bits},
        {CU_DEVICE_ATTRIBUTE_INTEGRATED, part->arch == 121},
        {CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, part->arch >= 90},
        {CU_DEVICE_ATTRIBUTE_TENSOR_MAP_ACCESS_SUPPORTED, part->arch >= 90},
    };
    for (size_t i = 0; i < sizeof(own_rows) / sizeof(own_rows[0]); i++) {
        if (own_rows[i].attribute == attribute) return *value = own_rows[i].value, CUDA_SUCCESS;
    }
    for (size_t i = 0; i < sizeof(fixed_rows) / sizeof(fixed_rows[0]); i++) {
        if (fixed_rows[i].attribute == attribute) return *value = fixed_rows[i].value, CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
}
