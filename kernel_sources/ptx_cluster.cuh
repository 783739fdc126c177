// A cluster of CTAs: its barrier, and the shared memory of its other CTAs; sm_90 and up.
#pragma once
#include "abi.h"

namespace moejit {

// "%clusterid", "%cluster_ctarank": a cluster's CTAs follow each other in the grid.
__device__ __forceinline__ int cluster_idx()
{
    int idx;
    asm("mov.u32 %0, %%clusterid.x;" : "=r"(idx));
    return idx;
}

__device__ __forceinline__ int cluster_rank()
{
    int rank;
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

// "barrier.cluster": arrive, and wait until all threads of the cluster have that have not exited. What they wrote before they
// arrived can be seen then. Threads take turns: none arrives again before it has waited.
__device__ __forceinline__ void cluster_arrive()
{
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

__device__ __forceinline__ void cluster_wait()
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// "mapa": where another CTA of the cluster has what is at this address of this one's shared memory.
__device__ __forceinline__ uint32_t map_shared(uint32_t address, int rank)
{
    uint32_t mapped;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
    return mapped;
}

__device__ __forceinline__ float4 load_mapped(uint32_t address)
{
    float4 v;
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(address)
                 : "memory");
    return v;
}

} // namespace moejit
