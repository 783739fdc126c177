// pack: a checkpoint's NVFP4 matrix to the packed layout of abi.h. One CTA a 64x64 block, one thread an m16 tile's lane.
#pragma once
#include "row_order.cuh"

namespace moejit {

// Byte offset of the scale of row `row`, k16 block `block`, in one expert's scales (docs/numerics.md: linear or 128x4).
__device__ __forceinline__ int64_t scale_offset(int layout, int row, int block, int blocks)
{
    if (layout == MJ_SCALES_LINEAR) return static_cast<int64_t>(row) * blocks + block;
    int64_t tile = static_cast<int64_t>(row / 128) * ((blocks + 3) / 4) + block / 4;
    return tile * 512 + row % 32 * 16 + row % 128 / 32 * 4 + block % 4;
}

__device__ __forceinline__ int64_t scale_bytes(int layout, int rows, int blocks)
{
    if (layout == MJ_SCALES_LINEAR) return static_cast<int64_t>(rows) * blocks;
    return static_cast<int64_t>((rows + 127) / 128) * ((blocks + 3) / 4) * 512;
}

struct PackSource {
    const uint8_t *codes, *scales; // of this expert
    const mj_pack_args &args;

    // The checkpoint's row of row `row` (0..15) of m16 tile `tile`, or -1 beyond the matrix.
    __device__ int row_of(int tile, int row) const
    {
        int packed = tile * 16 + row;
        if (packed >= args.rows) return -1;
        if (args.row_order == MJ_ROWS_PLAIN) return packed;
        return source_row_of(args.row_order, tile * 8 + row % 8, row >= 8, args.rows / 2);
    }

    __device__ uint8_t scale(int row, int block) const
    {
        if (row < 0 || block * 16 >= args.columns) return 0;
        return scales[scale_offset(args.scale_layout, row, block, args.columns / 16)];
    }

    // The e2m1 code, 0 where there is none or where its scale is zero.
    __device__ uint32_t code(int row, int column) const
    {
        if ((scale(row, column / 16) & 0x7f) == 0) return 0;
        uint32_t pair = codes[(static_cast<int64_t>(row) * args.columns + column) / 2];
        return column % 2 == 0 ? pair & 15u : pair >> 4;
    }
};

__device__ __forceinline__ uint32_t turn_right(uint32_t word, int bits)
{
    return __funnelshift_r(word, word, bits);
}

// The bits that the two codes of fragment register 0..3 have in the word (abi.h).
__device__ __forceinline__ uint32_t place_codes(uint32_t low, uint32_t high, int reg)
{
    uint32_t bits = (low >> 3) << 15 | (low & 7u) << 6 | (high >> 3) << 31 | (high & 7u) << 22;
    constexpr uint32_t lowest = 0x00400040u;
    switch (reg) {
    case 0: return bits;
    case 1: return turn_right(bits, 10);
    case 2: return turn_right(bits, 6);
    default: return turn_right(bits & ~lowest, 4) | turn_right(bits & lowest, 28);
    }
}

// A checkpoint's e4m3 byte to the packed one: the same float with a fifth exponent bit, and no subnormals.
__device__ __forceinline__ uint8_t place_scale(uint8_t byte)
{
    int magnitude = byte & 0x7f;
    if (magnitude == 0) return 22 << 3; // 1; its codes are zeros
    if (magnitude == 0x7f) return 0xff; // NaN
    if (magnitude >= 8) return static_cast<uint8_t>(magnitude + 120);
    int shift = magnitude >= 4 ? 0 : (magnitude >= 2 ? 1 : 2);
    return static_cast<uint8_t>((15 - shift) << 3 | ((magnitude << shift) * 2 & 7));
}

__device__ __forceinline__ void pack(const mj_pack_args &args)
{
    int blocks = args.columns / 16, column_blocks = (args.columns + 63) / 64;
    int row_block = static_cast<int>(blockIdx.x) / column_blocks, column_block = static_cast<int>(blockIdx.x) % column_blocks;
    int64_t expert = blockIdx.z, matrix = expert * args.rows * (args.columns / 2);
    int64_t scales = expert * scale_bytes(args.scale_layout, args.rows, blocks);
    PackSource source{args.codes + matrix, args.scales + scales, args};

    int64_t blocks_of_expert = static_cast<int64_t>((args.rows + 63) / 64) * column_blocks;
    uint8_t *block = args.packed + (expert * blocks_of_expert + blockIdx.x) * MJ_BLOCK_BYTES;
    int tile = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    for (int step = 0; step < 4; step++) {
        uint32_t word = 0;
        for (int reg = 0; reg < 4; reg++) {
            int row = source.row_of(row_block * 4 + tile, lane / 4 + reg % 2 * 8);
            int column = column_block * 64 + step * 16 + lane % 4 * 2 + reg / 2 * 8; // even, and so is the width
            if (row < 0 || column >= args.columns) continue;
            word |= place_codes(source.code(row, column), source.code(row, column + 1), reg);
        }
        reinterpret_cast<uint32_t *>(block)[threadIdx.x * 4 + step] = word;
    }
    if (lane < 16) { // a word of scales: a row pair and two steps
        int row_pair = lane / 2, first_step = lane % 2 * 2;
        uint32_t words[2] = {0, 0};
        for (int i = 0; i < 4; i++) {
            int row = source.row_of(row_block * 4 + tile, row_pair + i % 2 * 8);
            uint8_t scale = source.scale(row, column_block * 4 + first_step + i / 2);
            if ((scale & 0x7f) == 0x7f || scale > 0x80) atomicAdd(args.invalid_scales, 1u);
            words[i / 2] |= static_cast<uint32_t>(place_scale(scale)) << (4 + i % 2 * 16);
        }
        reinterpret_cast<uint32_t *>(block + MJ_BLOCK_CODE_BYTES)[tile * 16 + lane] = words[0] | turn_right(words[1], 8);
    }
}

} // namespace moejit
