// The tensor cores of sm_100a and sm_103a, and their memory: 128 lanes by 512 columns of 32 bits; an address is lane << 16 |
// column.
#pragma once
#include "abi.h"

namespace moejit {

// "tcgen05.alloc", by one warp: `columns`, a power of two from 32; their address goes to shared memory.
template <int columns> __device__ __forceinline__ void tensor_memory_allocate(uint32_t destination)
{
    asm volatile("tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%0], %1;" ::"r"(destination), "n"(columns) : "memory");
    asm volatile("tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;");
}

template <int columns> __device__ __forceinline__ void tensor_memory_free(uint32_t address)
{
    asm volatile("tcgen05.dealloc.cta_group::1.sync.aligned.b32 %0, %1;" ::"r"(address), "n"(columns));
}

// "Shared memory descriptor" of tcgen05, K-major and without swizzle: core matrices of 8 rows by 16 bytes, `next_k` bytes
// from one to that of the next 16 bytes, `next_rows` to that of the next 8 rows. Bits 46 to 48 are the constant 1.
__device__ __forceinline__ uint64_t tcgen05_descriptor(uint32_t shared_address, uint32_t next_k, uint32_t next_rows)
{
    return static_cast<uint64_t>(shared_address >> 4 & 0x3fffu) | static_cast<uint64_t>(next_k >> 4) << 16 |
           static_cast<uint64_t>(next_rows >> 4) << 32 | 1ull << 46;
}

// "tcgen05.cp": 32 rows of 16 bytes from shared memory to four columns, and the same to each 32 lanes. In order with the mma
// of the same thread.
__device__ __forceinline__ void copy_scales(uint32_t address, uint64_t descriptor)
{
    asm volatile("tcgen05.cp.cta_group::1.32x128b.warpx4 [%0], %1;" ::"r"(address), "l"(descriptor) : "memory");
}

// "Instruction descriptor" of kind::mxf4nvf4: factors e2m1 (1 at bits 7 and 10), scales ue4m3 (0 at bit 23), the first scales
// of a column (0 at bits 4 and 29), k 64.
template <int rows, int columns> __device__ __forceinline__ constexpr uint32_t nvfp4_instruction()
{
    static_assert(rows == 128 && columns % 8 == 0 && columns <= 256, "shapes of one CTA");
    return 1u << 7 | 1u << 10 | static_cast<uint32_t>(columns >> 3) << 17 | static_cast<uint32_t>(rows >> 7) << 27;
}

// "tcgen05.mma", by one thread: d (f32, tensor memory) = a * b (64 columns of codes), + d where `add`.
__device__ __forceinline__ void tcgen05_mma_nvfp4(uint32_t d, uint64_t a, uint64_t b, uint32_t instruction, uint32_t a_scales,
                                                  uint32_t b_scales, bool add)
{
    asm volatile("{ .reg .pred add; setp.ne.b32 add, %6, 0;\n"
                 "tcgen05.mma.cta_group::1.kind::mxf4nvf4.block_scale.scale_vec::4X [%0], %1, %2, %3, [%4], [%5], add; }" ::"r"(d),
                 "l"(a), "l"(b), "r"(instruction), "r"(a_scales), "r"(b_scales), "r"(add ? 1 : 0)
                 : "memory");
}

// "tcgen05.commit": an arrival when all that this thread issued has ended.
__device__ __forceinline__ void tcgen05_commit(uint32_t barrier)
{
    asm volatile("tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%0];" ::"r"(barrier) : "memory");
}

// "tcgen05.fence": order of tensor memory's asynchronous accesses with a barrier before, or after.
__device__ __forceinline__ void tcgen05_fence_before_sync() { asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory"); }
__device__ __forceinline__ void tcgen05_fence_after_sync() { asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory"); }

// "tcgen05.ld" 16x256b, by a warp: 16 lanes by eight columns, to registers as mma.sync has its sums.
__device__ __forceinline__ void load_sums(float (&c)[4], uint32_t address)
{
    asm volatile("tcgen05.ld.sync.aligned.16x256b.x1.b32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
                 : "r"(address));
    asm volatile("tcgen05.wait::ld.sync.aligned;" : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])::"memory");
}

} // namespace moejit
