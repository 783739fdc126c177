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
// of 16 columns into it adds 32 to the address, 2 to the descriptor.
//
// Here the low word alone; the high one is a constant of the instruction below. By shfl, though all lanes have the same: so
// ptxas knows that, and computes the others of a stage in uniform registers, where wgmma wants them, instead of moving two
// registers for each (DeepSeek-R1 with 1024 tokens on one H100: 2580 us in place of 2700).
__device__ __forceinline__ uint32_t wgmma_descriptor(uint32_t shared_address)
{
    constexpr uint32_t leading = 1u << 16;
    return __shfl_sync(0xffffffffu, leading | (shared_address >> 4 & 0x3fffu), 0);
}

#define MJ_DESCRIPTOR_HIGH "0x40000040" // bit 62: swizzle of 128 bytes; bits 32..45: stride 1024 / 16

// The n / 2 registers of sums of a thread, as the text of the instruction and as operands of asm; eight columns a line.
#define MJ_SUMS_8 "%0, %1, %2, %3"
#define MJ_SUMS_16 MJ_SUMS_8 ", %4, %5, %6, %7"
#define MJ_SUMS_24 MJ_SUMS_16 ", %8, %9, %10, %11"
#define MJ_SUMS_32 MJ_SUMS_24 ", %12, %13, %14, %15"
#define MJ_SUMS_40 MJ_SUMS_32 ", %16, %17, %18, %19"
#define MJ_SUMS_48 MJ_SUMS_40 ", %20, %21, %22, %23"
#define MJ_SUMS_56 MJ_SUMS_48 ", %24, %25, %26, %27"
#define MJ_SUMS_64 MJ_SUMS_56 ", %28, %29, %30, %31"
#define MJ_SUMS_72 MJ_SUMS_64 ", %32, %33, %34, %35"
#define MJ_SUMS_80 MJ_SUMS_72 ", %36, %37, %38, %39"
#define MJ_SUMS_88 MJ_SUMS_80 ", %40, %41, %42, %43"
#define MJ_SUMS_96 MJ_SUMS_88 ", %44, %45, %46, %47"
#define MJ_SUMS_104 MJ_SUMS_96 ", %48, %49, %50, %51"
#define MJ_SUMS_112 MJ_SUMS_104 ", %52, %53, %54, %55"
#define MJ_SUMS_120 MJ_SUMS_112 ", %56, %57, %58, %59"
#define MJ_SUMS_128 MJ_SUMS_120 ", %60, %61, %62, %63"
#define MJ_SUMS_136 MJ_SUMS_128 ", %64, %65, %66, %67"
#define MJ_SUMS_144 MJ_SUMS_136 ", %68, %69, %70, %71"
#define MJ_SUMS_152 MJ_SUMS_144 ", %72, %73, %74, %75"
#define MJ_SUMS_160 MJ_SUMS_152 ", %76, %77, %78, %79"
#define MJ_SUMS_168 MJ_SUMS_160 ", %80, %81, %82, %83"
#define MJ_SUMS_176 MJ_SUMS_168 ", %84, %85, %86, %87"
#define MJ_SUMS_184 MJ_SUMS_176 ", %88, %89, %90, %91"
#define MJ_SUMS_192 MJ_SUMS_184 ", %92, %93, %94, %95"
#define MJ_SUMS_200 MJ_SUMS_192 ", %96, %97, %98, %99"
#define MJ_SUMS_208 MJ_SUMS_200 ", %100, %101, %102, %103"
#define MJ_SUMS_216 MJ_SUMS_208 ", %104, %105, %106, %107"
#define MJ_SUMS_224 MJ_SUMS_216 ", %108, %109, %110, %111"
#define MJ_SUMS_232 MJ_SUMS_224 ", %112, %113, %114, %115"
#define MJ_SUMS_240 MJ_SUMS_232 ", %116, %117, %118, %119"
#define MJ_SUMS_248 MJ_SUMS_240 ", %120, %121, %122, %123"
#define MJ_SUMS_256 MJ_SUMS_248 ", %124, %125, %126, %127"

#define MJ_SUM(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define MJ_OPERANDS_8 MJ_SUM(0)
#define MJ_OPERANDS_16 MJ_OPERANDS_8, MJ_SUM(1)
#define MJ_OPERANDS_24 MJ_OPERANDS_16, MJ_SUM(2)
#define MJ_OPERANDS_32 MJ_OPERANDS_24, MJ_SUM(3)
#define MJ_OPERANDS_40 MJ_OPERANDS_32, MJ_SUM(4)
#define MJ_OPERANDS_48 MJ_OPERANDS_40, MJ_SUM(5)
#define MJ_OPERANDS_56 MJ_OPERANDS_48, MJ_SUM(6)
#define MJ_OPERANDS_64 MJ_OPERANDS_56, MJ_SUM(7)
#define MJ_OPERANDS_72 MJ_OPERANDS_64, MJ_SUM(8)
#define MJ_OPERANDS_80 MJ_OPERANDS_72, MJ_SUM(9)
#define MJ_OPERANDS_88 MJ_OPERANDS_80, MJ_SUM(10)
#define MJ_OPERANDS_96 MJ_OPERANDS_88, MJ_SUM(11)
#define MJ_OPERANDS_104 MJ_OPERANDS_96, MJ_SUM(12)
#define MJ_OPERANDS_112 MJ_OPERANDS_104, MJ_SUM(13)
#define MJ_OPERANDS_120 MJ_OPERANDS_112, MJ_SUM(14)
#define MJ_OPERANDS_128 MJ_OPERANDS_120, MJ_SUM(15)
#define MJ_OPERANDS_136 MJ_OPERANDS_128, MJ_SUM(16)
#define MJ_OPERANDS_144 MJ_OPERANDS_136, MJ_SUM(17)
#define MJ_OPERANDS_152 MJ_OPERANDS_144, MJ_SUM(18)
#define MJ_OPERANDS_160 MJ_OPERANDS_152, MJ_SUM(19)
#define MJ_OPERANDS_168 MJ_OPERANDS_160, MJ_SUM(20)
#define MJ_OPERANDS_176 MJ_OPERANDS_168, MJ_SUM(21)
#define MJ_OPERANDS_184 MJ_OPERANDS_176, MJ_SUM(22)
#define MJ_OPERANDS_192 MJ_OPERANDS_184, MJ_SUM(23)
#define MJ_OPERANDS_200 MJ_OPERANDS_192, MJ_SUM(24)
#define MJ_OPERANDS_208 MJ_OPERANDS_200, MJ_SUM(25)
#define MJ_OPERANDS_216 MJ_OPERANDS_208, MJ_SUM(26)
#define MJ_OPERANDS_224 MJ_OPERANDS_216, MJ_SUM(27)
#define MJ_OPERANDS_232 MJ_OPERANDS_224, MJ_SUM(28)
#define MJ_OPERANDS_240 MJ_OPERANDS_232, MJ_SUM(29)
#define MJ_OPERANDS_248 MJ_OPERANDS_240, MJ_SUM(30)
#define MJ_OPERANDS_256 MJ_OPERANDS_248, MJ_SUM(31)

#define MJ_WGMMA(n, a, b)                                                                                                      \
    if constexpr (columns == n) {                                                                                              \
        asm volatile("{ .reg .pred add; setp.eq.u32 add, 0, 0;\n"                                                              \
                     ".reg .b64 descriptor; mov.b64 descriptor, {" b ", " MJ_DESCRIPTOR_HIGH "};\n"                            \
                     "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" MJ_SUMS_##n "}, {" a "}, descriptor"         \
                     ", add, 1, 1, 0; }"                                                                                       \
                     : MJ_OPERANDS_##n                                                                                         \
                     : "r"(a_registers[0]), "r"(a_registers[1]), "r"(a_registers[2]), "r"(a_registers[3]), "r"(descriptor));   \
    }

// d += a * b, bf16 factors, f32 sums ("Register Fragments for wgmma.mma_async.m64nNk16"). Of warp w and lane l, with
// r = 16 w + l / 4 and q = l % 4: a as for mma.m16n8k16 of the warp's 16 rows; d[j] = rows r (0, 1) and r + 8 (2, 3), columns
// 8 j + 2 q and the next.
template <int columns, int size>
__device__ __forceinline__ void wgmma_bf16(float (&d)[size][4], const uint32_t (&a_registers)[4], uint32_t descriptor)
{
    static_assert(columns % 8 == 0 && columns >= 8 && columns <= 256 && columns <= size * 8, "an n of the instruction");
    MJ_WGMMA(8, "%4, %5, %6, %7", "%8")
    MJ_WGMMA(16, "%8, %9, %10, %11", "%12")
    MJ_WGMMA(24, "%12, %13, %14, %15", "%16")
    MJ_WGMMA(32, "%16, %17, %18, %19", "%20")
    MJ_WGMMA(40, "%20, %21, %22, %23", "%24")
    MJ_WGMMA(48, "%24, %25, %26, %27", "%28")
    MJ_WGMMA(56, "%28, %29, %30, %31", "%32")
    MJ_WGMMA(64, "%32, %33, %34, %35", "%36")
    MJ_WGMMA(72, "%36, %37, %38, %39", "%40")
    MJ_WGMMA(80, "%40, %41, %42, %43", "%44")
    MJ_WGMMA(88, "%44, %45, %46, %47", "%48")
    MJ_WGMMA(96, "%48, %49, %50, %51", "%52")
    MJ_WGMMA(104, "%52, %53, %54, %55", "%56")
    MJ_WGMMA(112, "%56, %57, %58, %59", "%60")
    MJ_WGMMA(120, "%60, %61, %62, %63", "%64")
    MJ_WGMMA(128, "%64, %65, %66, %67", "%68")
    MJ_WGMMA(136, "%68, %69, %70, %71", "%72")
    MJ_WGMMA(144, "%72, %73, %74, %75", "%76")
    MJ_WGMMA(152, "%76, %77, %78, %79", "%80")
    MJ_WGMMA(160, "%80, %81, %82, %83", "%84")
    MJ_WGMMA(168, "%84, %85, %86, %87", "%88")
    MJ_WGMMA(176, "%88, %89, %90, %91", "%92")
    MJ_WGMMA(184, "%92, %93, %94, %95", "%96")
    MJ_WGMMA(192, "%96, %97, %98, %99", "%100")
    MJ_WGMMA(200, "%100, %101, %102, %103", "%104")
    MJ_WGMMA(208, "%104, %105, %106, %107", "%108")
    MJ_WGMMA(216, "%108, %109, %110, %111", "%112")
    MJ_WGMMA(224, "%112, %113, %114, %115", "%116")
    MJ_WGMMA(232, "%116, %117, %118, %119", "%120")
    MJ_WGMMA(240, "%120, %121, %122, %123", "%124")
    MJ_WGMMA(248, "%124, %125, %126, %127", "%128")
    MJ_WGMMA(256, "%128, %129, %130, %131", "%132")
}

} // namespace moejit
