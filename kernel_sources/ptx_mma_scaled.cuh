// The block-scaled tensor core instruction of sm_120a and sm_121a.
#pragma once
#include "abi.h"

namespace moejit {

// PTX ISA "Matrix Fragments for mma.m16n8k64" and "Block Scaling for mma.sync": c += (a * its scales) * (b * its scales), e2m1
// factors, a ue4m3 scale for each 16 of k, f32 sums. Of lane l, with r = l / 4, q = l % 4: a = rows r and r + 8, columns 8q to
// 8q + 7, then the same 32 columns on; b = rows 8q to 8q + 7 and 32 on, column r; c as of mma_bf16. A word of scales, byte i for
// k 16 i and up: of a's row r in lane q = 2 a_lanes, of row r + 8 in the next; of b's column r in lane q = b_lane. Other lanes'
// words do not count.
template <int a_lanes, int b_lane>
__device__ __forceinline__ void mma_nvfp4(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], uint32_t a_scales,
                                          uint32_t b_scales)
{
    static_assert(0 <= a_lanes && a_lanes < 2 && 0 <= b_lane && b_lane < 4, "lanes of a group of four");
    asm volatile("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3}, {%10}, {0, %12}, {%11}, {0, %13};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(a_scales), "r"(b_scales), "n"(a_lanes),
                   "n"(b_lane));
}

} // namespace moejit
