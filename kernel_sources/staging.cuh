// Sums of a tile, or of a part of one, on their way from the main loop's registers to an epilogue: by shared memory, so that a
// thread gets neighbouring rows of one token. Here nothing else is done to them: the code is repeated for each set of registers,
// and an epilogue in each copy outgrew the instruction cache (docs/benchmarks.md).
#pragma once
#include "abi.h"

namespace moejit {

// Values to staging[token][row], a token's rows `stride` floats after the last one's. Sums: something with for_each_sum.
template <int stride, class Sums> __device__ __forceinline__ void stage_sums(const Sums &sums, float *staging)
{
    sums.for_each_sum([&](int token, int row, float first, float second) {
        staging[token * stride + row] = first;
        staging[token * stride + row + 8] = second;
    });
}

// Where the fragments of mma and wgmma that a thread holds are staged: of a warp's 16 rows and eight tokens a lane has rows l / 4 and
// l / 4 + 8 of tokens 2 (l % 4) and the next.
template <int stride> __device__ __forceinline__ float *fragment_place(float *staging, int thread)
{
    int lane = thread % 32;
    return staging + lane % 4 * 2 * stride + thread / 32 * 16 + lane / 4;
}

template <int stride> __device__ __forceinline__ void stage_fragment(const float (&sum)[4], float *place)
{
    place[0] = sum[0];
    place[8] = sum[2];
    place[stride] = sum[1];
    place[stride + 8] = sum[3];
}

// Neighbouring staged values; their place is a multiple of as many.
template <int width> __device__ __forceinline__ void load_staged(float (&values)[width], const float *staged)
{
    static_assert(width == 2 || width % 4 == 0, "8 or 16 bytes at once");
    if constexpr (width == 2) {
        float2 pair = *reinterpret_cast<const float2 *>(staged);
        values[0] = pair.x, values[1] = pair.y;
    } else {
#pragma unroll
        for (int i = 0; i < width; i += 4) {
            float4 four = *reinterpret_cast<const float4 *>(staged + i);
            values[i] = four.x, values[i + 1] = four.y, values[i + 2] = four.z, values[i + 3] = four.w;
        }
    }
}

// Calls f(token, first row) for every `width` rows of every token; width divides rows. A thread of num_threads.
template <int rows, int width, int num_threads, class F>
__device__ __forceinline__ void for_each_group(int num_tokens, int thread, F f)
{
    constexpr int groups = rows / width;
#pragma unroll 1 // registers are short: the main loop's sums are alive
    for (int i = thread; i < num_tokens * groups; i += num_threads) f(i / groups, i % groups * width);
}

} // namespace moejit
