// Every access to memory comes through here: what it touches must exist, be aligned, written, and free of races.
#include <stdio.h>

#include "warp.h"

void emu_access_addresses(const struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                          uint32_t operand, int which, struct emu_access *access) {
    uint64_t displacement = (uint64_t)instruction->displacements[which];
    uint64_t *addresses = access->addresses;
    if (instruction->wide_address[which]) {
        const uint64_t *base = emu_lanes(warp, instruction->operands[operand]);
        EMU_EACH_LANE({ addresses[lane] = base[lane] + displacement; });
    } else {
        const uint32_t *base = emu_lanes(warp, instruction->operands[operand]);
        EMU_EACH_LANE({ addresses[lane] = (uint32_t)(base[lane] + (uint32_t)displacement); });
    }
}

// As others see it.
static enum emu_access_kind kind_seen(const struct emu_warp *warp, enum emu_access_kind kind) {
    return warp->strong ? EMU_ACCESS_ATOMIC : kind;
}

// Before a griddepcontrol.wait that these lanes know of, accesses count for themselves.
static void note(struct emu_warp *warp, uint32_t mask, uint64_t address, size_t bytes, enum emu_access_kind kind) {
    struct emu_run *run = warp->cta->run;
    if (run->footprint == NULL) return;
    bool early = run->early != NULL && (mask & ~warp->awaited) != 0;
    emu_footprint_add(early ? run->early : run->footprint, address, bytes, kind_seen(warp, kind));
}

static const char *kind_name(enum emu_access_kind kind) {
    return kind == EMU_ACCESS_READ ? "a read" : kind == EMU_ACCESS_WRITE ? "a write" : "an atomic operation";
}

// ---- Shared memory

bool emu_shared_place(const struct emu_warp *warp, uint64_t address, struct emu_cta **cta, uint32_t *offset) {
    uint32_t rank = (uint32_t)(address >> EMU_CLUSTER_SHIFT);
    *cta = warp->cta;
    *offset = (uint32_t)address & ((1u << EMU_CLUSTER_SHIFT) - 1);
    if (address >> 32 != 0) return false;
    if (rank == 0) return true;
    if (rank > warp->cta->cluster->size) return false;
    *cta = &warp->cta->cluster->ctas[rank - 1];
    return true;
}

// 4, 8 and 16 bytes, which most accesses have, a word at a time.
static bool all_written(const uint8_t *states, uint32_t bytes) {
    const uint32_t written = EMU_SHARED_WRITTEN * 0x01010101u;
    uint32_t word, others = 0;
    if (bytes % 4 != 0) return false;
    for (uint32_t i = 0; i < bytes; i += 4) {
        memcpy(&word, states + i, 4);
        others |= word ^ written;
    }
    return others == 0;
}

static void mark_written(uint8_t *states, uint32_t bytes) {
    const uint32_t written = EMU_SHARED_WRITTEN * 0x01010101u;
    uint32_t i = 0;
    for (; i + 4 <= bytes; i += 4) memcpy(states + i, &written, 4);
    for (; i < bytes; i++) states[i] = EMU_SHARED_WRITTEN;
}

static bool state_allows(const uint8_t *states, uint32_t bytes, enum emu_access_kind kind) {
    if (all_written(states, bytes)) return true;
    for (uint32_t i = 0; i < bytes; i++) {
        if (kind == EMU_ACCESS_WRITE ? states[i] == EMU_SHARED_MBARRIER : states[i] != EMU_SHARED_WRITTEN) return false;
    }
    return true;
}

static void shared_state_finding(struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner, uint32_t at,
                                 uint32_t bytes, uint64_t address, enum emu_access_kind kind) {
    for (uint32_t i = 0; i < bytes; i++) {
        uint8_t state = owner->shared_written[at + i];
        if (state == EMU_SHARED_WRITTEN || (kind == EMU_ACCESS_WRITE && state != EMU_SHARED_MBARRIER)) continue;
        emu_warp_finding(
            warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "%s of %u bytes at shared address 0x%llx meets byte 0x%llx, %s",
            kind_name(kind), bytes, (unsigned long long)address, (unsigned long long)address + i,
            state == EMU_SHARED_UNWRITTEN ? "which nobody wrote"
            : state == EMU_SHARED_COMING  ? "which an asynchronous copy that was not waited for still writes"
                                          : "which is part of an mbarrier: only mbarrier operations may touch it");
        return;
    }
}

// The CTA whose bytes they are, and where there; NULL with a finding.
static struct emu_cta *locate_shared(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes,
                                     uint32_t alignment, enum emu_access_kind kind, uint32_t *at) {
    struct emu_cta *owner;
    uint32_t offset;
    bool known = emu_shared_place(warp, address, &owner, &offset);
    if (!known || offset < EMU_SHARED_BASE || offset - EMU_SHARED_BASE > owner->shared_bytes ||
        bytes > owner->shared_bytes - (offset - EMU_SHARED_BASE)) {
        emu_warp_finding(
            warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
            "%s of %u bytes at shared address 0x%llx is out of bounds: the block's shared memory is 0x%x .. 0x%x",
            kind_name(kind), bytes, (unsigned long long)address, EMU_SHARED_BASE,
            EMU_SHARED_BASE + warp->cta->shared_bytes);
        return NULL;
    }
    if ((offset & (alignment - 1)) != 0) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_MISALIGNED,
                         "%s of %u bytes at shared address 0x%llx is not aligned to %u", kind_name(kind), bytes,
                         (unsigned long long)address, alignment);
        return NULL;
    }
    if (owner->alive_threads == 0) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
                         "%s of %u bytes at shared address 0x%llx, of block %u of the cluster, which has exited",
                         kind_name(kind), bytes, (unsigned long long)address, owner->rank);
        return NULL;
    }
    *at = offset - EMU_SHARED_BASE;
    return owner;
}

uint8_t *emu_shared_check(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t alignment,
                          enum emu_access_kind kind) {
    uint32_t at;
    struct emu_cta *owner = locate_shared(warp, lane, address, bytes, alignment, kind, &at);
    if (owner == NULL) return NULL;
    if (warp->cta->checks) {
        if (!state_allows(owner->shared_written + at, bytes, kind)) {
            shared_state_finding(warp, lane, owner, at, bytes, address, kind);
            return NULL;
        }
        if (!emu_race_check(warp, lane, owner, at, bytes, kind_seen(warp, kind))) return NULL;
    }
    if (kind != EMU_ACCESS_READ) mark_written(owner->shared_written + at, bytes);
    return owner->shared + at;
}

const uint8_t *emu_shared_check_async(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes,
                                      uint32_t alignment, const char *reader) {
    uint32_t at;
    struct emu_cta *owner = locate_shared(warp, lane, address, bytes, alignment, EMU_ACCESS_READ, &at);
    if (owner == NULL) return NULL;
    if (warp->cta->checks) {
        if (!state_allows(owner->shared_written + at, bytes, EMU_ACCESS_READ)) {
            shared_state_finding(warp, lane, owner, at, bytes, address, EMU_ACCESS_READ);
            return NULL;
        }
        if (!emu_race_check_async_read(warp, lane, owner, at, bytes, reader)) return NULL;
    }
    return owner->shared + at;
}

const uint8_t *emu_shared_check_async_write(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes,
                                            uint32_t alignment, const char *writer) {
    uint32_t at;
    struct emu_cta *owner = locate_shared(warp, lane, address, bytes, alignment, EMU_ACCESS_WRITE, &at);
    if (owner == NULL) return NULL;
    if (warp->cta->checks) {
        if (!state_allows(owner->shared_written + at, bytes, EMU_ACCESS_WRITE)) {
            shared_state_finding(warp, lane, owner, at, bytes, address, EMU_ACCESS_WRITE);
            return NULL;
        }
        if (!emu_race_check_async_write(warp, lane, owner, at, bytes, writer)) return NULL;
    }
    return owner->shared + at;
}

// ---- Global memory

// Out of bounds: beyond an allocation, a little after one, or nowhere.
static void near_miss(struct emu_warp *warp, uint32_t lane, const struct emu_allocation *found, uint64_t address,
                      uint32_t bytes, enum emu_access_kind kind) {
    const char *what = kind_name(kind);
    const struct emu_allocation *before = found;
    for (uint64_t back = 16; before == NULL && back <= 512 && address > back; back += 16) {
        before = emu_memory_find(warp->cta->launch->memory, address - back);
    }
    if (before == NULL) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
                         "%s of %u bytes at address 0x%llx, which is outside every allocation", what, bytes,
                         (unsigned long long)address);
        return;
    }
    emu_warp_finding(warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
                     "%s of %u bytes at address 0x%llx, byte %llu of allocation %llu, which has %llu bytes", what,
                     bytes, (unsigned long long)address, (unsigned long long)(address - before->base),
                     (unsigned long long)before->serial, (unsigned long long)before->bytes);
}

static void global_finding(struct emu_warp *warp, uint32_t lane, enum emu_access_fault fault, uint64_t address,
                           uint32_t bytes, uint32_t alignment, enum emu_access_kind kind) {
    const struct emu_allocation *found = emu_memory_find(warp->cta->launch->memory, address);
    unsigned long long at = address, base = found != NULL ? found->base : 0, size = found != NULL ? found->bytes : 0;
    unsigned long long serial = found != NULL ? found->serial : 0;
    const char *what = kind_name(kind);
    switch (fault) {
    case EMU_FAULT_MISALIGNED:
        emu_warp_finding(warp, lane, EMU_OUTCOME_MISALIGNED, "%s of %u bytes at address 0x%llx is not aligned to %u",
                         what, bytes, at, alignment);
        break;
    case EMU_FAULT_USE_AFTER_FREE:
        emu_warp_finding(warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
                         "%s of %u bytes at address 0x%llx, in allocation %llu (0x%llx, %llu bytes), which was freed",
                         what, bytes, at, serial, base, size);
        break;
    case EMU_FAULT_UNWRITTEN:
        emu_warp_finding(
            warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
            "%s of %u bytes at address 0x%llx, byte %llu of allocation %llu (0x%llx, %llu bytes), meets bytes "
            "that nobody wrote",
            what, bytes, at, at - base, serial, base, size);
        break;
    default: near_miss(warp, lane, found, address, bytes, kind); break;
    }
}
// Like emu_memory_check, with the allocation that was met last tried first.
static enum emu_access_fault check_global(struct emu_warp *warp, uint64_t address, uint32_t bytes, uint32_t alignment,
                                          enum emu_access_kind kind) {
    const struct emu_allocation *at = warp->last_allocation;
    if (at == NULL || address - at->base >= at->bytes) {
        at = address >> EMU_WINDOW_SHIFT == 0 ? emu_memory_find(warp->cta->launch->memory, address) : NULL;
        if (at == NULL) return EMU_FAULT_OUT_OF_BOUNDS;
        warp->last_allocation = at;
    }
    size_t offset = address - at->base;
    if (at->freed) return EMU_FAULT_USE_AFTER_FREE;
    if (bytes > at->bytes - offset) return EMU_FAULT_OUT_OF_BOUNDS;
    if ((address & (alignment - 1)) != 0) return EMU_FAULT_MISALIGNED;
    if (kind != EMU_ACCESS_WRITE && warp->cta->checks && !emu_memory_written(at, offset, bytes))
        return EMU_FAULT_UNWRITTEN;
    if (kind == EMU_ACCESS_WRITE) emu_memory_mark(at, offset, bytes);
    return EMU_FAULT_NONE;
}

uint8_t *emu_global_check(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t alignment,
                          enum emu_access_kind kind) {
    enum emu_access_fault fault = check_global(warp, address, bytes, alignment, kind);
    if (fault != EMU_FAULT_NONE) {
        global_finding(warp, lane, fault, address, bytes, alignment, kind);
        return NULL;
    }
    note(warp, 1u << lane, address, bytes, kind);
    return (uint8_t *)address;
}

// Lanes whose bytes follow each other, or are the same.
struct stretch {
    uint64_t begin, end;
};

static uint32_t find_stretches(uint32_t mask, uint32_t bytes, const uint64_t *addresses, struct stretch *stretches) {
    uint32_t count = 0;
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint64_t address = addresses[__builtin_ctz(lanes)];
        struct stretch *last = count > 0 ? &stretches[count - 1] : NULL;
        if (last == NULL || address < last->begin || address > last->end) {
            stretches[count++] = (struct stretch){address, address + bytes};
        } else if (address + bytes > last->end) {
            last->end = address + bytes;
        }
    }
    return count;
}

static bool check_stretches(struct emu_warp *warp, uint32_t count, const struct stretch *stretches,
                            enum emu_access_kind kind) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bytes = (uint32_t)(stretches[i].end - stretches[i].begin);
        if (check_global(warp, stretches[i].begin, bytes, 1, kind) != EMU_FAULT_NONE) return false;
    }
    return true;
}

// A stretch may be of two allocations side by side, so a fault of one is none yet.
static bool check_each_lane(struct emu_warp *warp, uint32_t mask, uint32_t bytes, uint32_t alignment,
                            enum emu_access_kind kind, const struct emu_access *access) {
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        uint64_t address = access->addresses[lane];
        enum emu_access_fault fault = check_global(warp, address, bytes, alignment, kind);
        if (fault == EMU_FAULT_NONE) continue;
        global_finding(warp, lane, fault, address, bytes, alignment, kind);
        return false;
    }
    return true;
}

static bool check_global_lanes(struct emu_warp *warp, uint32_t mask, uint32_t bytes, uint32_t alignment,
                               enum emu_access_kind kind, struct emu_access *access) {
    struct emu_run *run = warp->cta->run;
    struct stretch stretches[EMU_LANES];
    uint64_t low_bits = 0;
    uint32_t count = find_stretches(mask, bytes, access->addresses, stretches);
    EMU_EACH_LANE({ low_bits |= access->addresses[lane]; });
    bool good = (low_bits & (alignment - 1)) == 0 && check_stretches(warp, count, stretches, kind);
    if (!good && !check_each_lane(warp, mask, bytes, alignment, kind, access)) return false;
    EMU_EACH_LANE({ access->pointers[lane] = (uint8_t *)access->addresses[lane]; });
    for (uint32_t i = 0; i < count; i++) {
        note(warp, mask, stretches[i].begin, stretches[i].end - stretches[i].begin, kind);
    }
    uint64_t moved = (uint64_t)bytes * (uint64_t)__builtin_popcount(mask);
    run->counters.global_sectors += count == 1
                                        ? emu_count_sectors(stretches[0].begin, stretches[0].end - stretches[0].begin)
                                        : emu_count_lane_sectors(mask, access->addresses);
    if (kind != EMU_ACCESS_WRITE) run->counters.global_load_bytes += moved;
    if (kind != EMU_ACCESS_READ) run->counters.global_store_bytes += moved;
    return true;
}

// ---- Local memory and parameters

static uint8_t *check_local(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t alignment,
                            enum emu_access_kind kind) {
    size_t size = warp->cta->kernel->facts.local_bytes;
    if (address > size || bytes > size - address) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
                         "%s of %u bytes at local address 0x%llx is out of bounds: a thread has %zu bytes",
                         kind_name(kind), bytes, (unsigned long long)address, size);
        return NULL;
    }
    if ((address & (alignment - 1)) != 0) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_MISALIGNED,
                         "%s of %u bytes at local address 0x%llx is not aligned to %u", kind_name(kind), bytes,
                         (unsigned long long)address, alignment);
        return NULL;
    }
    return warp->local + lane * size + address;
}

static uint8_t *check_parameter(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes,
                                enum emu_access_kind kind) {
    size_t size = warp->cta->kernel->facts.parameter_bytes;
    if (kind != EMU_ACCESS_READ || address > size || bytes > size - address) {
        emu_warp_finding(
            warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
            "%s of %u bytes at parameter address 0x%llx: the kernel has %zu bytes of them, to be read only",
            kind_name(kind), bytes, (unsigned long long)address, size);
        return NULL;
    }
    return (uint8_t *)(uintptr_t)warp->cta->launch->parameters + address;
}

// ---- All spaces

static uint8_t *check_generic(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes,
                              uint32_t alignment, enum emu_access_kind kind) {
    uint64_t inside = address & (((uint64_t)1 << EMU_WINDOW_SHIFT) - 1);
    switch (address >> EMU_WINDOW_SHIFT) {
    case EMU_WINDOW_SHARED: return emu_shared_check(warp, lane, inside, bytes, alignment, kind);
    case EMU_WINDOW_LOCAL: return check_local(warp, lane, inside, bytes, alignment, kind);
    case EMU_WINDOW_PARAM: return check_parameter(warp, lane, inside, bytes, kind);
    default: return emu_global_check(warp, lane, address, bytes, alignment, kind);
    }
}

static uint8_t *check_one(struct emu_warp *warp, uint32_t lane, enum emu_space space, uint32_t bytes,
                          uint32_t alignment, enum emu_access_kind kind, uint64_t address) {
    switch (space) {
    case EMU_SPACE_SHARED: return emu_shared_check(warp, lane, address, bytes, alignment, kind);
    case EMU_SPACE_LOCAL: return check_local(warp, lane, address, bytes, alignment, kind);
    case EMU_SPACE_PARAM: return check_parameter(warp, lane, address, bytes, kind);
    default: return check_generic(warp, lane, address, bytes, alignment, kind);
    }
}

static bool all_global(uint32_t mask, const struct emu_access *access) {
    uint64_t windows = 0;
    EMU_EACH_LANE({ windows |= access->addresses[lane] >> EMU_WINDOW_SHIFT; });
    return windows == 0;
}

static bool all_same(uint32_t mask, const struct emu_access *access) {
    uint64_t first = access->addresses[__builtin_ctz(mask)], different = 0;
    EMU_EACH_LANE({ different |= access->addresses[lane] ^ first; });
    return different == 0;
}

bool emu_access_check(struct emu_warp *warp, uint32_t mask, enum emu_space space, uint32_t bytes, uint32_t alignment,
                      enum emu_access_kind kind, struct emu_access *access) {
    if (space == EMU_SPACE_GLOBAL || (space == EMU_SPACE_GENERIC && all_global(mask, access))) {
        return check_global_lanes(warp, mask, bytes, alignment, kind, access);
    }
    if (space == EMU_SPACE_PARAM && all_same(mask, access)) {
        uint8_t *at =
            check_parameter(warp, (uint32_t)__builtin_ctz(mask), access->addresses[__builtin_ctz(mask)], bytes, kind);
        EMU_EACH_LANE({ access->pointers[lane] = at; });
        return at != NULL;
    }
    if (space == EMU_SPACE_SHARED) emu_count_shared(warp, mask, bytes, access);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        access->pointers[lane] = check_one(warp, lane, space, bytes, alignment, kind, access->addresses[lane]);
        if (access->pointers[lane] == NULL) return false;
    }
    return true;
}
