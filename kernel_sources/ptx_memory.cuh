// Memory instructions that CUDA C++ has no spelling for. Each names its section of the PTX ISA.
#pragma once
#include "abi.h"

namespace moejit {

__device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// "cp.async": 16 bytes from global to shared memory; where !valid nothing is read and zeros are written.
__device__ __forceinline__ void copy_async_16(uint32_t destination, const void *source, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination),
                 "l"(__cvta_generic_to_global(source)), "r"(valid ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void copy_async_16(uint32_t destination, const void *source)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(destination), "l"(__cvta_generic_to_global(source))
                 : "memory");
}

// The first `bytes` of 16 or 4; zeros for the others. The smaller ones go by L1.
__device__ __forceinline__ void copy_async_16_part(uint32_t destination, const void *source, int bytes)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination),
                 "l"(__cvta_generic_to_global(source)), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void copy_async_4_part(uint32_t destination, const void *source, int bytes)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(destination), "l"(__cvta_generic_to_global(source)),
                 "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void copy_async_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Until at most `pending` of this thread's newest groups are in flight.
template <int pending> __device__ __forceinline__ void copy_async_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
}

// "prefetch": to L2, which all kernels share, so that it may be asked for before another one has written it.
__device__ __forceinline__ void prefetch_l2(const void *source)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(source)));
}

// "ldmatrix": four, or two, 8x8 matrices of 16-bit elements; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void load_matrix_x4(uint32_t (&m)[4], uint32_t row_address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(row_address)
                 : "memory");
}

__device__ __forceinline__ void load_matrix_x2(uint32_t (&m)[2], uint32_t row_address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(m[0]), "=r"(m[1])
                 : "r"(row_address)
                 : "memory");
}

// "stmatrix" with .trans, sm_90 and up: lane l gives the address of where column l % 8 of matrix l / 8 goes, 16 bytes.
__device__ __forceinline__ void store_columns_x4(uint32_t address, const uint32_t (&m)[4])
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(m[0]), "r"(m[1]),
                 "r"(m[2]), "r"(m[3])
                 : "memory");
}

__device__ __forceinline__ void store_columns_x2(uint32_t address, const uint32_t (&m)[2])
{
    asm volatile("stmatrix.sync.aligned.m8n8.x2.trans.shared.b16 [%0], {%1, %2};" ::"r"(address), "r"(m[0]), "r"(m[1])
                 : "memory");
}

__device__ __forceinline__ void load_shared_16(uint32_t (&v)[4], uint32_t address)
{
    asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3])
                 : "r"(address)
                 : "memory");
}

__device__ __forceinline__ void load_shared_8(uint32_t (&v)[2], uint32_t address)
{
    asm volatile("ld.shared.v2.b32 {%0, %1}, [%2];" : "=r"(v[0]), "=r"(v[1]) : "r"(address) : "memory");
}

} // namespace moejit
