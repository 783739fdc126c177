// Global memory: every access is checked against the allocations of the context.
#include "warp.h"

static void report(struct emu_warp *warp, int lane, uint64_t address, uint32_t bytes, enum emu_access_kind kind,
                   enum emu_access_fault fault) {
    static const char *const verbs[] = {"read", "write", "atomic access"};
    static const char *const reasons[] = {"", "which is outside every allocation", "which was freed",
                                          "which is not aligned to them", "of which nobody has written all"};
    const struct emu_allocation *near = emu_memory_find(warp->cta->launch->memory, address);
    if (near == NULL) near = emu_memory_find(warp->cta->launch->memory, address - bytes);
    enum emu_outcome outcome = fault == EMU_FAULT_MISALIGNED  ? EMU_OUTCOME_MISALIGNED
                               : fault == EMU_FAULT_UNWRITTEN ? EMU_OUTCOME_LAUNCH_FAILED
                                                              : EMU_OUTCOME_ILLEGAL_ADDRESS;
    if (near == NULL) {
        emu_warp_finding(warp, lane, outcome, "%s of %u bytes at 0x%llx, %s", verbs[kind], bytes,
                         (unsigned long long)address, reasons[fault]);
    } else {
        emu_warp_finding(warp, lane, outcome,
                         "%s of %u bytes at 0x%llx, %s (byte %lld of allocation %llu, which has %zu)", verbs[kind],
                         bytes, (unsigned long long)address, reasons[fault], (long long)(address - near->base),
                         (unsigned long long)near->serial, near->bytes);
    }
}

void *emu_global_access(struct emu_warp *warp, int lane, uint64_t address, uint32_t bytes, enum emu_access_kind kind) {
    const struct emu_launch *launch = warp->cta->launch;
    const struct emu_allocation *allocation = warp->last_allocation;
    if (allocation == NULL || address - allocation->base >= allocation->bytes) {
        allocation = emu_memory_find(launch->memory, address);
        if (allocation == NULL) {
            report(warp, lane, address, bytes, kind, EMU_FAULT_OUT_OF_BOUNDS);
            return NULL;
        }
        warp->last_allocation = allocation;
    }
    size_t offset = address - allocation->base;
    enum emu_access_fault fault = EMU_FAULT_NONE;
    bool checks = launch->settings->checks;
    if (allocation->freed) {
        fault = EMU_FAULT_USE_AFTER_FREE;
    } else if (bytes > allocation->bytes - offset) {
        fault = EMU_FAULT_OUT_OF_BOUNDS;
    } else if (address % bytes != 0) {
        fault = EMU_FAULT_MISALIGNED;
    } else if (checks && kind != EMU_ACCESS_WRITE && !emu_memory_written(allocation, offset, bytes)) {
        fault = EMU_FAULT_UNWRITTEN;
    }
    if (fault != EMU_FAULT_NONE) {
        report(warp, lane, address, bytes, kind, fault);
        return NULL;
    }
    if (checks && kind != EMU_ACCESS_READ) emu_memory_mark(allocation, offset, bytes);
    if (launch->footprint != NULL) emu_footprint_add(launch->footprint, address, bytes, kind);
    struct emu_counters *counters = &warp->cta->counters;
    if (kind == EMU_ACCESS_READ) {
        counters->global_load_bytes += bytes;
    } else {
        counters->global_store_bytes += bytes;
        counters->atomics += kind == EMU_ACCESS_ATOMIC;
    }
    return (void *)(uintptr_t)address;
}
