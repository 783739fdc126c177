// Programmatic dependent launch ("griddepcontrol"): a kernel's CTAs may start while the kernel before them in the stream still
// runs, and wait here for what it writes. sm_90 and up; nothing elsewhere, where launches are serial.
//
// Every kernel of a layer calls both, in this order. So when a kernel starts, the one before the kernel before it has ended,
// and what that or an older one wrote may be read without waiting: by down the lists of route, which is before gate_up, or the
// ids of a host's kernel before that.
#pragma once
#include "abi.h"

namespace moejit {

// Until all kernels before this one in the stream have ended and their writes can be seen.
__device__ __forceinline__ void wait_for_earlier_grids()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// The next kernel's CTAs may take what room there is.
__device__ __forceinline__ void let_later_grids_start()
{
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Both, for kernels that have nothing to do before.
__device__ __forceinline__ void begin_after_earlier_grids()
{
    wait_for_earlier_grids();
    let_later_grids_start();
}

} // namespace moejit
