// zero: the live rows of the output. Launched only where the number of live tokens is on the device.
#pragma once
#include "live_tokens.cuh"

namespace moejit {

template <class Config> __device__ __forceinline__ void zero(const mj_zero_args &args)
{
    int rows = live_token_count(args.live_tokens, args.num_tokens);
    int64_t chunks = args.row_bytes / 16;
    for (int64_t i = blockIdx.x * static_cast<int64_t>(Config::num_threads) + threadIdx.x; i < rows * chunks;
         i += gridDim.x * static_cast<int64_t>(Config::num_threads)) {
        char *row = static_cast<char *>(args.output) + i / chunks * args.row_stride_bytes;
        reinterpret_cast<uint4 *>(row)[i % chunks] = make_uint4(0, 0, 0, 0);
    }
}

} // namespace moejit
