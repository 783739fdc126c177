// cp.async (PTX ISA, "Asynchronous copy"): a copy lands when its group is waited for, or, by the seed, at once; both
// are legal, and what forgets to wait meets bytes that are still on their way.
#include <stdlib.h>

#include "warp.h"

static bool keep_copy(struct emu_warp *warp, const struct emu_copy *copy) {
    if (warp->num_copies == warp->copies_capacity) {
        uint32_t capacity = warp->copies_capacity * 2 + 64;
        struct emu_copy *copies = realloc(warp->copies, capacity * sizeof(*copies));
        if (copies == NULL) return false;
        warp->copies = copies;
        warp->copies_capacity = capacity;
    }
    warp->copies[warp->num_copies++] = *copy;
    return true;
}

static void land(struct emu_warp *warp, const struct emu_copy *copy) {
    struct emu_cta *cta = warp->cta;
    uint32_t at = copy->address - EMU_SHARED_BASE, bytes = (uint32_t)copy->bytes + copy->zeroed;
    if (copy->bytes > 0) memcpy(cta->shared + at, copy->source, copy->bytes);
    memset(cta->shared + at + copy->bytes, 0, copy->zeroed);
    memset(cta->shared_written + at, EMU_SHARED_WRITTEN, bytes);
    // It becomes the thread's own write at this moment: others need a barrier after it.
    if (cta->checks) emu_race_check(warp, copy->lane, cta, at, bytes, EMU_ACCESS_WRITE);
}

void emu_copies_land(struct emu_warp *warp, uint32_t mask, uint32_t pending) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < warp->num_copies; i++) {
        const struct emu_copy *copy = &warp->copies[i];
        uint32_t done = warp->groups[copy->lane] - pending; // groups below this number must have landed
        if ((mask >> copy->lane & 1) != 0 && warp->groups[copy->lane] >= pending && copy->group < done) {
            land(warp, copy);
        } else {
            warp->copies[kept++] = *copy;
        }
    }
    warp->num_copies = kept;
}

enum copy_kind { COPY_WHOLE, COPY_SIZED, COPY_UNLESS };

// How many bytes of the source the lane reads; the rest is zeros.
static uint32_t bytes_read(const struct emu_warp *warp, const struct emu_instruction *instruction, enum copy_kind kind,
                           uint32_t lane, uint32_t size) {
    if (kind == COPY_SIZED) return EMU_32(3)[lane];
    if (kind == COPY_WHOLE) return size;
    bool ignore = (EMU_PREDICATE(3) >> lane & 1) != 0;
    return ignore != (instruction->negated != 0) ? 0 : size;
}

static bool copy_lane(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t lane, uint32_t size,
                      uint32_t read, uint64_t to, uint64_t from) {
    if (read > size || from % size != 0) {
        emu_warp_finding(
            warp, lane, read > size ? EMU_OUTCOME_LAUNCH_FAILED : EMU_OUTCOME_MISALIGNED,
            "cp.async of %u bytes from address 0x%llx reads %u bytes: at most its size, from a multiple of it", size,
            (unsigned long long)from, read);
        return false;
    }
    if (emu_shared_check(warp, lane, to, size, size, EMU_ACCESS_WRITE) == NULL) return false;
    const uint8_t *source = read > 0 ? emu_global_check(warp, lane, from, read, 1, EMU_ACCESS_READ) : NULL;
    if (read > 0 && source == NULL) return false;
    struct emu_copy copy = {lane,          warp->groups[lane],     (uint32_t)to & 0xffffff, source,
                            (uint8_t)read, (uint8_t)(size - read), instruction->line};
    memset(warp->cta->shared_written + (copy.address - EMU_SHARED_BASE), EMU_SHARED_COMING, size);
    if (keep_copy(warp, &copy)) return true;
    emu_warp_finding(warp, lane, EMU_OUTCOME_OUT_OF_RESOURCES, "the host has no memory for a copy");
    return false;
}

// Operands: shared address, global address, size, and how many of its bytes to read, or whether to read none.
static void copy_lanes(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                       enum copy_kind kind) {
    struct emu_access to, from;
    struct emu_counters *counters = &warp->cta->run->counters;
    uint32_t size = EMU_32(2)[0];
    emu_access_addresses(warp, instruction, mask, 0, 0, &to);
    emu_access_addresses(warp, instruction, mask, 1, 1, &from);
    if (size != 4 && size != 8 && size != 16) {
        emu_warp_finding(warp, 0, EMU_OUTCOME_LAUNCH_FAILED, "cp.async of %u bytes: it takes 4, 8 or 16", size);
        return;
    }
    uint32_t reading = 0; // lanes
    emu_count_shared(warp, mask, size, &to);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes), read = bytes_read(warp, instruction, kind, lane, size);
        if (!copy_lane(warp, instruction, lane, size, read, to.addresses[lane], from.addresses[lane])) return;
        counters->async_copies++;
        counters->async_copy_bytes += read;
        counters->global_load_bytes += read;
        if (read > 0) reading |= 1u << lane;
    }
    counters->global_sectors += emu_count_lane_sectors(reading, from.addresses);
}

EMU_EXECUTE(copy_whole) {
    copy_lanes(warp, instruction, mask, COPY_WHOLE);
}

EMU_EXECUTE(copy_sized) {
    copy_lanes(warp, instruction, mask, COPY_SIZED);
}

EMU_EXECUTE(copy_unless) {
    copy_lanes(warp, instruction, mask, COPY_UNLESS);
}

EMU_EXECUTE(commit) {
    (void)instruction;
    EMU_EACH_LANE({ warp->groups[lane]++; });
}

EMU_EXECUTE(wait_group) {
    emu_copies_land(warp, mask, EMU_32(0)[0]);
}

EMU_EXECUTE(wait_all) {
    (void)instruction;
    EMU_EACH_LANE({ warp->groups[lane]++; });
    emu_copies_land(warp, mask, 0);
}

#define ROW .instruction_class = EMU_CLASS_MEMORY
#define PREFETCH "?L2::64B|L2::128B|L2::256B"
#define COPY "async ca|cg shared|shared::cta global "
static const struct emu_row rows[] = {
    {"cp", COPY PREFETCH, "a a i32", copy_whole, ROW},
    {"cp", COPY PREFETCH, "a a i32 s32", copy_sized, ROW},
    {"cp", COPY PREFETCH, "a a i32 sp", copy_unless, ROW},
    {"cp", COPY "L2::cache_hint " PREFETCH, "a a i32 s64", copy_whole, ROW},
    {"cp", COPY "L2::cache_hint " PREFETCH, "a a i32 s32 s64", copy_sized, ROW},
    {"cp", COPY "L2::cache_hint " PREFETCH, "a a i32 sp s64", copy_unless, ROW},
    {"cp", "async commit_group", "", commit, ROW},
    {"cp", "async wait_group", "i32", wait_group, ROW},
    {"cp", "async wait_all", "", wait_all, ROW},
};
EMU_ROWS(emu_rows_copy, rows);
