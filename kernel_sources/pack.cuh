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

    // A row's part of a column block: its codes, and the scales of up to four k16 steps, which follow each other in both layouts.
    struct Part {
        const uint8_t *codes, *scales; // of row 0 where the row is beyond the matrix, so that there is something to read
        bool valid;                    // false: zeros are to be made of it

        __device__ uint32_t scale(int step) const { return valid ? scales[step] : 0u; }
    };

    __device__ Part part(int row, int column_block) const
    {
        int used = row < 0 ? 0 : row;
        return Part{codes + static_cast<int64_t>(used) * (args.columns / 2) + column_block * 32,
                    scales + scale_offset(args.scale_layout, used, column_block * 4, args.columns / 16), row >= 0};
    }

    // How many steps of a column block the matrix has.
    __device__ int steps_of(int column_block) const
    {
        int left = args.columns / 16 - column_block * 4;
        return left < 4 ? left : 4;
    }

    // Eight bytes of codes: a row has a multiple of them, but where a checkpoint's tensor starts is its file's matter.
    __device__ uint2 eight_bytes(const uint8_t *bytes) const
    {
        if (reinterpret_cast<uint64_t>(args.codes) % 8 == 0) return *reinterpret_cast<const uint2 *>(bytes);
        uint32_t words[2] = {0, 0};
        for (int i = 0; i < 8; i++) words[i / 4] |= static_cast<uint32_t>(bytes[i]) << (i % 4 * 8);
        return make_uint2(words[0], words[1]);
    }
};

__device__ __forceinline__ uint32_t turn_right(uint32_t word, int bits)
{
    return __funnelshift_r(word, word, bits);
}

// The bits that a byte of two codes, of fragment register 0..3, has in the word (abi.h).
__device__ __forceinline__ uint32_t place_codes(uint32_t byte, int reg)
{
    uint32_t pair = (byte & 15u) | (byte & 0xf0u) << 12, bits = (pair & 0x00070007u) << 6 | (pair & 0x00080008u) << 12;
    constexpr uint32_t lowest = 0x00400040u;
    switch (reg) {
    case 0: return bits;
    case 1: return turn_right(bits, 10);
    case 2: return turn_right(bits, 6);
    default: return turn_right(bits & ~lowest, 4) | turn_right(bits & lowest, 28);
    }
}

// A checkpoint's e4m3 byte to the packed one: the same float with a fifth exponent bit, and no subnormals.
__device__ __forceinline__ uint32_t place_scale(uint32_t byte)
{
    uint32_t magnitude = byte & 0x7f;
    if (magnitude == 0) return 22 << 3; // 1; its codes are zeros
    if (magnitude == 0x7f) return 0xff; // NaN
    if (magnitude >= 8) return magnitude + 120;
    uint32_t shift = magnitude >= 4 ? 0 : (magnitude >= 2 ? 1 : 2);
    return (15 - shift) << 3 | ((magnitude << shift) * 2 & 7);
}

// A thread's four words, one a k16 step. Codes whose scale is zero are zeros.
__device__ __forceinline__ void pack_codes(const PackSource &source, uint32_t *block, int row_block, int column_block)
{
    int tile = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, steps = source.steps_of(column_block);
    uint32_t words[4] = {0, 0, 0, 0};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        PackSource::Part part = source.part(source.row_of(row_block * 4 + tile, lane / 4 + half * 8), column_block);
#pragma unroll
        for (int step = 0; step < 4; step++) {
            if (step >= steps) break;
            uint2 bytes = source.eight_bytes(part.codes + step * 8);
            uint32_t bits = place_codes(bytes.x >> lane % 4 * 8, half) | place_codes(bytes.y >> lane % 4 * 8, half + 2);
            words[step] |= (part.scale(step) & 0x7f) == 0 ? 0u : bits;
        }
    }
    reinterpret_cast<uint4 *>(block)[threadIdx.x] = make_uint4(words[0], words[1], words[2], words[3]);
}

// A word of scales: a row pair and two steps. By 16 lanes of a warp.
__device__ __forceinline__ void pack_scales(const PackSource &source, uint32_t *packed, int row_block, int column_block)
{
    int tile = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32, row_pair = lane / 2;
    int first_step = lane % 2 * 2, steps = source.steps_of(column_block);
    uint32_t words[2] = {0, 0};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        PackSource::Part part = source.part(source.row_of(row_block * 4 + tile, row_pair + half * 8), column_block);
#pragma unroll
        for (int i = 0; i < 2; i++) {
            uint32_t scale = first_step + i < steps ? part.scale(first_step + i) : 0u;
            if ((scale & 0x7f) == 0x7f || scale > 0x80) atomicAdd(source.args.invalid_scales, 1u);
            words[i] |= place_scale(scale) << (4 + half * 16);
        }
    }
    packed[tile * 16 + lane] = words[0] | turn_right(words[1], 8);
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
    pack_codes(source, reinterpret_cast<uint32_t *>(block), row_block, column_block);
    if (threadIdx.x % 32 < 16) pack_scales(source, reinterpret_cast<uint32_t *>(block + MJ_BLOCK_CODE_BYTES), row_block, column_block);
}

} // namespace moejit
