// pack_fp4: a checkpoint's NVFP4 matrix to the block-scaled layout of abi.h. One CTA a block of 128 rows, one thread a row.
#pragma once
#include "pack.cuh"

namespace moejit {

__device__ __forceinline__ void pack_fp4(const mj_pack_args &args)
{
    int blocks = args.columns / 16, column_blocks = (args.columns + 63) / 64;
    int row_block = static_cast<int>(blockIdx.x) / column_blocks, column_block = static_cast<int>(blockIdx.x) % column_blocks;
    int64_t expert = blockIdx.z, matrix = expert * args.rows * (args.columns / 2);
    int64_t scales = expert * scale_bytes(args.scale_layout, args.rows, blocks);
    PackSource source{args.codes + matrix, args.scales + scales, args};

    int64_t blocks_of_expert = static_cast<int64_t>((args.rows + 127) / 128) * column_blocks;
    uint8_t *packed = args.packed + (expert * blocks_of_expert + blockIdx.x) * MJ_SCALED_BLOCK_BYTES;
    int i = static_cast<int>(threadIdx.x), row = source.row_of(row_block * 8 + i / 16, i % 16);
    PackSource::Part part = source.part(row, column_block);
    int steps = part.valid ? source.steps_of(column_block) : 0;
    uint32_t word = 0;
    for (int block = 0; block < 4; block++) { // zeros beyond the matrix
        uint32_t scale = block < steps ? part.scale(block) : 0u;
        *reinterpret_cast<uint2 *>(packed + i / 8 * 256 + block / 2 * 128 + i % 8 * 16 + block % 2 * 8) =
            block < steps ? source.eight_bytes(part.codes + block * 8) : make_uint2(0, 0);
        if ((scale & 0x7f) == 0x7f || scale > 0x80) atomicAdd(args.invalid_scales, 1u);
        word |= (scale & 0x7f) << (block * 8); // tensor cores take no sign
    }
    *reinterpret_cast<uint32_t *>(packed + MJ_SCALED_BLOCK_CODE_BYTES + i % 32 * 16 + i / 32 * 4) = word;
}

} // namespace moejit
