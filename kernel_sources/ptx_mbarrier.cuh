// Barriers in shared memory, the copies that arrive on them, and barriers of a part of the CTA: sm_90 and up.
#pragma once
#include "abi.h"

namespace moejit {

// "mbarrier.init": phases complete after `arrivals` arrivals and all bytes announced.
__device__ __forceinline__ void mbarrier_init(uint32_t barrier, int arrivals)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// "fence.mbarrier_init": the barriers' first values, to the asynchronous copies that will arrive on them.
__device__ __forceinline__ void mbarrier_init_fence()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// One arrival, and `bytes` that bulk copies will bring in this phase.
__device__ __forceinline__ void mbarrier_arrive_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Until the phase of that parity has completed.
__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t parity)
{
    uint32_t done;
    do {
        asm volatile("{ .reg .pred done; mbarrier.try_wait.parity.shared.b64 done, [%1], %2; selp.u32 %0, 1, 0, done; }"
                     : "=r"(done)
                     : "r"(barrier), "r"(parity)
                     : "memory");
    } while (done == 0);
}

// "cp.async.mbarrier.arrive": arrives once this thread's cp.async so far are complete; .noinc: one of those expected.
__device__ __forceinline__ void copy_async_arrive(uint32_t barrier)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}

// "cp.async.bulk": `bytes`, a multiple of 16, from global to shared memory; completes on the barrier.
__device__ __forceinline__ void copy_bulk(uint32_t destination, const void *source, uint32_t bytes, uint32_t barrier)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(destination),
                 "l"(__cvta_generic_to_global(source)), "r"(bytes), "r"(barrier)
                 : "memory");
}

// "fence.proxy.async": what ordinary instructions wrote to shared memory, to asynchronous ones such as wgmma.
__device__ __forceinline__ void fence_proxy_async()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// "barrier": `threads` threads, a multiple of 32, at barrier `idx` of 1 to 15 (0 is __syncthreads).
__device__ __forceinline__ void named_barrier(int idx, int threads)
{
    asm volatile("barrier.cta.sync %0, %1;" ::"r"(idx), "r"(threads) : "memory");
}

} // namespace moejit
