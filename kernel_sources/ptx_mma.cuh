// The tensor core instruction of the portable family.
#pragma once
#include "abi.h"

namespace moejit {

// PTX ISA "Matrix Fragments for mma.m16n8k16": c += a * b, bf16 factors, f32 sums. Of lane l, with r = l / 4, q = l % 4:
// a = rows r and r + 8, columns 2q and 2q + 8; b = rows 2q and 2q + 8, column r; c = rows r (0, 1) and r + 8 (2, 3),
// columns 2q and 2q + 1.
__device__ __forceinline__ void mma_bf16(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

} // namespace moejit
