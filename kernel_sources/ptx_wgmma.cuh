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

// The n / 2 registers of sums of a thread, as the text of the instruction; eight columns a line. PTX knows them by name, sum<set>_<i>;
// the compiler does not know of them. As operands of each asm, and where the main loops of all widths meet, they were more than half
// of NVRTC's time (docs/decisions/0018-sums-by-name.md). All asm that touches them is volatile, so none is moved past another.
#define MJ_SUMS_8 "sum%5_0, sum%5_1, sum%5_2, sum%5_3"
#define MJ_SUMS_16 MJ_SUMS_8 ", sum%5_4, sum%5_5, sum%5_6, sum%5_7"
#define MJ_SUMS_24 MJ_SUMS_16 ", sum%5_8, sum%5_9, sum%5_10, sum%5_11"
#define MJ_SUMS_32 MJ_SUMS_24 ", sum%5_12, sum%5_13, sum%5_14, sum%5_15"
#define MJ_SUMS_40 MJ_SUMS_32 ", sum%5_16, sum%5_17, sum%5_18, sum%5_19"
#define MJ_SUMS_48 MJ_SUMS_40 ", sum%5_20, sum%5_21, sum%5_22, sum%5_23"
#define MJ_SUMS_56 MJ_SUMS_48 ", sum%5_24, sum%5_25, sum%5_26, sum%5_27"
#define MJ_SUMS_64 MJ_SUMS_56 ", sum%5_28, sum%5_29, sum%5_30, sum%5_31"
#define MJ_SUMS_72 MJ_SUMS_64 ", sum%5_32, sum%5_33, sum%5_34, sum%5_35"
#define MJ_SUMS_80 MJ_SUMS_72 ", sum%5_36, sum%5_37, sum%5_38, sum%5_39"
#define MJ_SUMS_88 MJ_SUMS_80 ", sum%5_40, sum%5_41, sum%5_42, sum%5_43"
#define MJ_SUMS_96 MJ_SUMS_88 ", sum%5_44, sum%5_45, sum%5_46, sum%5_47"
#define MJ_SUMS_104 MJ_SUMS_96 ", sum%5_48, sum%5_49, sum%5_50, sum%5_51"
#define MJ_SUMS_112 MJ_SUMS_104 ", sum%5_52, sum%5_53, sum%5_54, sum%5_55"
#define MJ_SUMS_120 MJ_SUMS_112 ", sum%5_56, sum%5_57, sum%5_58, sum%5_59"
#define MJ_SUMS_128 MJ_SUMS_120 ", sum%5_60, sum%5_61, sum%5_62, sum%5_63"
#define MJ_SUMS_136 MJ_SUMS_128 ", sum%5_64, sum%5_65, sum%5_66, sum%5_67"
#define MJ_SUMS_144 MJ_SUMS_136 ", sum%5_68, sum%5_69, sum%5_70, sum%5_71"
#define MJ_SUMS_152 MJ_SUMS_144 ", sum%5_72, sum%5_73, sum%5_74, sum%5_75"
#define MJ_SUMS_160 MJ_SUMS_152 ", sum%5_76, sum%5_77, sum%5_78, sum%5_79"
#define MJ_SUMS_168 MJ_SUMS_160 ", sum%5_80, sum%5_81, sum%5_82, sum%5_83"
#define MJ_SUMS_176 MJ_SUMS_168 ", sum%5_84, sum%5_85, sum%5_86, sum%5_87"
#define MJ_SUMS_184 MJ_SUMS_176 ", sum%5_88, sum%5_89, sum%5_90, sum%5_91"
#define MJ_SUMS_192 MJ_SUMS_184 ", sum%5_92, sum%5_93, sum%5_94, sum%5_95"
#define MJ_SUMS_200 MJ_SUMS_192 ", sum%5_96, sum%5_97, sum%5_98, sum%5_99"
#define MJ_SUMS_208 MJ_SUMS_200 ", sum%5_100, sum%5_101, sum%5_102, sum%5_103"
#define MJ_SUMS_216 MJ_SUMS_208 ", sum%5_104, sum%5_105, sum%5_106, sum%5_107"
#define MJ_SUMS_224 MJ_SUMS_216 ", sum%5_108, sum%5_109, sum%5_110, sum%5_111"
#define MJ_SUMS_232 MJ_SUMS_224 ", sum%5_112, sum%5_113, sum%5_114, sum%5_115"
#define MJ_SUMS_240 MJ_SUMS_232 ", sum%5_116, sum%5_117, sum%5_118, sum%5_119"
#define MJ_SUMS_248 MJ_SUMS_240 ", sum%5_120, sum%5_121, sum%5_122, sum%5_123"
#define MJ_SUMS_256 MJ_SUMS_248 ", sum%5_124, sum%5_125, sum%5_126, sum%5_127"

#define MJ_WGMMA(n)                                                                                                            \
    if constexpr (columns == n) {                                                                                              \
        asm volatile("{ .reg .pred add; setp.eq.u32 add, 0, 0;\n"                                                              \
                     ".reg .b64 descriptor; mov.b64 descriptor, {%4, " MJ_DESCRIPTOR_HIGH "};\n"                               \
                     "wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" MJ_SUMS_##n "}, {%0, %1, %2, %3}, descriptor"\
                     ", add, 1, 1, 0; }" ::"r"(a[0]),                                                                          \
                     "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(descriptor), "n"(set));                                              \
    }

// set += a * b, bf16 factors, f32 sums ("Register Fragments for wgmma.mma_async.m64nNk16"). Of warp w and lane l, with
// r = 16 w + l / 4 and q = l % 4: a as for mma.m16n8k16 of the warp's 16 rows; sums 4 j ... 4 j + 3 = rows r (the first two) and
// r + 8, columns 8 j + 2 q and the next.
template <int columns, int set> __device__ __forceinline__ void wgmma_bf16(const uint32_t (&a)[4], uint32_t descriptor)
{
    static_assert(columns % 8 == 0 && columns >= 8 && columns <= 256, "an n of the instruction");
    MJ_WGMMA(8)
    MJ_WGMMA(16)
    MJ_WGMMA(24)
    MJ_WGMMA(32)
    MJ_WGMMA(40)
    MJ_WGMMA(48)
    MJ_WGMMA(56)
    MJ_WGMMA(64)
    MJ_WGMMA(72)
    MJ_WGMMA(80)
    MJ_WGMMA(88)
    MJ_WGMMA(96)
    MJ_WGMMA(104)
    MJ_WGMMA(112)
    MJ_WGMMA(120)
    MJ_WGMMA(128)
    MJ_WGMMA(136)
    MJ_WGMMA(144)
    MJ_WGMMA(152)
    MJ_WGMMA(160)
    MJ_WGMMA(168)
    MJ_WGMMA(176)
    MJ_WGMMA(184)
    MJ_WGMMA(192)
    MJ_WGMMA(200)
    MJ_WGMMA(208)
    MJ_WGMMA(216)
    MJ_WGMMA(224)
    MJ_WGMMA(232)
    MJ_WGMMA(240)
    MJ_WGMMA(248)
    MJ_WGMMA(256)
}

// Once in a kernel, before all else that is done to the set.
template <int set, int columns> __device__ __forceinline__ void declare_sums()
{
    asm volatile(".reg .f32 sum%0_<%1>;" ::"n"(set), "n"(columns / 2));
}

template <int set, int columns, int j = 0> __device__ __forceinline__ void zero_sums()
{
    if constexpr (j < columns / 8) {
        asm volatile("mov.b32 sum%0_%1, 0;\n"
                     "mov.b32 sum%0_%2, 0;\n"
                     "mov.b32 sum%0_%3, 0;\n"
                     "mov.b32 sum%0_%4, 0;" ::"n"(set), "n"(4 * j), "n"(4 * j + 1), "n"(4 * j + 2), "n"(4 * j + 3));
        zero_sums<set, columns, j + 1>();
    }
}

// Into variables, once no wgmma that adds to them is under way.
template <int set, int j = 0, int size> __device__ __forceinline__ void take_sums(float (&d)[size][4])
{
    if constexpr (j < size) {
        asm volatile("mov.b32 %0, sum%4_%5;\n"
                     "mov.b32 %1, sum%4_%6;\n"
                     "mov.b32 %2, sum%4_%7;\n"
                     "mov.b32 %3, sum%4_%8;"
                     : "=f"(d[j][0]), "=f"(d[j][1]), "=f"(d[j][2]), "=f"(d[j][3])
                     : "n"(set), "n"(4 * j), "n"(4 * j + 1), "n"(4 * j + 2), "n"(4 * j + 3));
        take_sums<set, j + 1>(d);
    }
}

} // namespace moejit
