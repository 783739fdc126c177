// A ring of shared-memory stages between warps that copy and warps that multiply: sm_90 and up.
#pragma once
#include "ptx_mbarrier.cuh"
#include "ptx_memory.cuh"

namespace moejit {

// A position in the ring, and the parity of the barriers there.
struct RingCursor {
    int stage = 0;
    uint32_t parity = 0;
};

// Two barriers a stage: `filled` completes when its bytes are there, `drained` when nobody reads them any more.
template <int max_stages, int fill_arrivals, int drain_arrivals> struct Ring {
    struct Barriers {
        uint64_t filled[max_stages], drained[max_stages];
    };
    using Cursor = RingCursor;

    uint32_t filled, drained; // shared addresses
    int num_stages;

    // By every thread; followed by a barrier of the CTA.
    __device__ __forceinline__ void init(Barriers &barriers, int stages)
    {
        num_stages = stages;
        filled = shared_address(barriers.filled);
        drained = shared_address(barriers.drained);
        if (threadIdx.x == 0) {
#pragma unroll 1
            for (int stage = 0; stage < num_stages; stage++) {
                mbarrier_init(filled + stage * 8, fill_arrivals);
                mbarrier_init(drained + stage * 8, drain_arrivals);
            }
            mbarrier_init_fence();
        }
    }

    __device__ __forceinline__ void advance(Cursor &at) const
    {
        if (++at.stage == num_stages) at.stage = 0, at.parity ^= 1;
    }

    __device__ __forceinline__ uint32_t filled_barrier(const Cursor &at) const { return filled + at.stage * 8; }
    __device__ __forceinline__ void wait_filled(const Cursor &at) const { mbarrier_wait(filled + at.stage * 8, at.parity); }
    __device__ __forceinline__ void wait_drained(const Cursor &at) const
    {
        mbarrier_wait(drained + at.stage * 8, at.parity ^ 1);
    }

    // By all lanes of a warp that is done with the stage: one arrival.
    __device__ __forceinline__ void release(const Cursor &at) const
    {
        __syncwarp();
        if (threadIdx.x % 32 == 0) mbarrier_arrive(drained + at.stage * 8);
    }
};

} // namespace moejit
