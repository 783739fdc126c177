// The asynchronous tensor core instruction of sm_90a: a warpgroup multiplies 64 rows by n columns, 16 deep.
#pragma once
#include "abi.h"

namespace moejit {

// "wgmma.fence": registers written so far may be read by the wgmma that follow.
__device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

// Until at most `pending` groups are unfinished: their operands must not be touched before.
template <int pending> __device__ __forceinline__ void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// "setmaxnreg": this warpgroup's registers a thread from here on; others' growing waits for those given back.
template <int count> __device__ __forceinline__ void shrink_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(count));
}

template <int count> __device__ __forceinline__ void grow_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(count));
}

// "Matrix Descriptor Format" of wgmma: a matrix of rows of 128 bytes, K-major, swizzled by 128 bytes; groups of eight rows
// follow each other (1024 bytes). The leading offset is not used then. The tile starts on a multiple of 1024 bytes; a step
// of 16 columns into it adds 32 to the address.
__device__ __forceinline__ uint64_t wgmma_descriptor(uint32_t shared_address)
{
    constexpr uint64_t swizzle_128 = 1ull << 62, stride = (1024ull >> 4) << 32, leading = 1ull << 16;
    return swizzle_128 | stride | leading | (shared_address >> 4 & 0x3fffu);
}

#define MJ_SUMS_8 "%0, %1, %2, %3"
#define MJ_SUMS_16 MJ_SUMS_8 ", %4, %5, %6, %7"
#define MJ_SUMS_24 MJ_SUMS_16 ", %8, %9, %10, %11"
#define MJ_SUMS_32 MJ_SUMS_24 ", %12, %13, %14, %15"
#define MJ_SUMS_48 MJ_SUMS_32 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define MJ_SUMS_64 MJ_SUMS_48 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define MJ_SUMS_96                                                                                                             \
    MJ_SUMS_64 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define MJ_SUMS_128                                                                                                            \
    MJ_SUMS_96 ", %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"

#define MJ_SUM(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define MJ_OPERANDS_8 MJ_SUM(0)
#define MJ_OPERANDS_16 MJ_OPERANDS_8, MJ_SUM(1)
#define MJ_OPERANDS_24 MJ_OPERANDS_16, MJ_SUM(2)
#define MJ_OPERANDS_32 MJ_OPERANDS_24, MJ_SUM(3)
#define MJ_OPERANDS_48 MJ_OPERANDS_32, MJ_SUM(4), MJ_SUM(5)
#define MJ_OPERANDS_64 MJ_OPERANDS_48, MJ_SUM(6), MJ_SUM(7)
#define MJ_OPERANDS_96 MJ_OPERANDS_64, MJ_SUM(8), MJ_SUM(9), MJ_SUM(10), MJ_SUM(11)
#define MJ_OPERANDS_128 MJ_OPERANDS_96, MJ_SUM(12), MJ_SUM(13), MJ_SUM(14), MJ_SUM(15)

#define MJ_WGMMA(n, a, b)                                                                                                      \
    if constexpr (columns == n) {                                                                                              \
        asm volatile("{ .reg .pred add; setp.eq.u32 add, 0, 0;\n"                                                              \
                     "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" MJ_SUMS_##n "}, {" a "}, " b                 \
                     ", add, 1, 1, 0; }"                                                                                       \
                     : MJ_OPERANDS_##n                                                                                         \
                     : "r"(a_registers[0]), "r"(a_registers[1]), "r"(a_registers[2]), "r"(a_registers[3]), "l"(descriptor));   \
    }

// d += a * b, bf16 factors, f32 sums ("Register Fragments for wgmma.mma_async.m64nNk16"). Of warp w and lane l, with
// r = 16 w + l / 4 and q = l % 4: a as for mma.m16n8k16 of the warp's 16 rows; d[j] = rows r (0, 1) and r + 8 (2, 3), columns
// 8 j + 2 q and the next.
template <int columns, int size>
__device__ __forceinline__ void wgmma_bf16(float (&d)[size][4], const uint32_t (&a_registers)[4], uint64_t descriptor)
{
    static_assert(columns == 8 || columns == 16 || columns == 24 || columns == 32 || columns == 48 || columns == 64 ||
                      columns == 96 || columns == 128,
                  "a width that is written out above");
    MJ_WGMMA(8, "%4, %5, %6, %7", "%8")
    MJ_WGMMA(16, "%8, %9, %10, %11", "%12")
    MJ_WGMMA(24, "%12, %13, %14, %15", "%16")
    MJ_WGMMA(32, "%16, %17, %18, %19", "%20")
    MJ_WGMMA(48, "%24, %25, %26, %27", "%28")
    MJ_WGMMA(64, "%32, %33, %34, %35", "%36")
    MJ_WGMMA(96, "%48, %49, %50, %51", "%52")
    MJ_WGMMA(128, "%64, %65, %66, %67", "%68")
}

} // namespace moejit
