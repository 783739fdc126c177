// zero: the live rows of the output.
#pragma once
#include "live_tokens.cuh"
#include "ptx_dependency.cuh"

namespace moejit {

// By `num_threads` threads of each CTA: pieces of a row of 16 bytes a thread.
template <int num_threads> __device__ __forceinline__ void zero_rows(const mj_zero_args &args, int thread)
{
    int chunks = args.row_bytes / 16, pieces = (chunks + num_threads - 1) / num_threads;
    int count = live_token_count(args.live_tokens, args.num_tokens) * pieces;
#pragma unroll 1
    for (int i = static_cast<int>(blockIdx.x); i < count; i += static_cast<int>(gridDim.x)) {
        int row = i / pieces, chunk = i % pieces * num_threads + thread;
        char *to = static_cast<char *>(args.output) + row * args.row_stride_bytes;
        if (chunk < chunks) reinterpret_cast<uint4 *>(to)[chunk] = make_uint4(0, 0, 0, 0);
    }
}

template <class Config> __device__ __forceinline__ void zero(const mj_zero_args &args)
{
    begin_after_earlier_grids();
    zero_rows<Config::num_threads>(args, static_cast<int>(threadIdx.x));
}

} // namespace moejit
