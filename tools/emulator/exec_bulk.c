// Bulk copies between global and shared memory (PTX ISA, "cp.async.bulk", "cp.reduce.async.bulk"). A copy is checked
// when it is issued and lands some turns later, when its group is waited for, or, by the seed, at once; until then its
// bytes in shared memory count as coming.
#include "warp.h"

#include <stdlib.h>

#define LONGEST_FLIGHT 4096 // rounds, where nothing waits for the copy

enum direction { TO_SHARED, TO_GLOBAL, REDUCE };

struct flight {
    struct emu_warp *warp; // and lane and instruction that issued it
    uint32_t lane;
    const struct emu_instruction *instruction;
    enum direction direction;
    struct emu_cta *owner; // of the bytes in shared memory
    uint32_t offset, bytes;
    uint8_t *other;    // the bytes elsewhere
    uint32_t mbarrier; // TO_SHARED: offset in the owner's shared memory
    uint32_t clock;    // TO_SHARED: of the owner's asynchronous writes
    uint32_t group;    // else: of the lane
    uint32_t age;
    bool landed; // but not waited for: it still counts as reading shared memory
};

struct emu_flights {
    struct flight *list;
    uint32_t count, capacity;
};

static bool fail(struct emu_warp *warp, uint32_t lane, const char *what) {
    emu_warp_finding(warp, lane, EMU_OUTCOME_OUT_OF_RESOURCES, "the host has no memory for %s", what);
    return false;
}

static bool keep(struct emu_warp *warp, const struct flight *flight) {
    struct emu_cta *cta = warp->cta;
    if (cta->flights == NULL) cta->flights = calloc(1, sizeof(*cta->flights));
    struct emu_flights *flights = cta->flights;
    if (flights == NULL) return fail(warp, flight->lane, "a bulk copy");
    if (flights->count == flights->capacity) {
        uint32_t capacity = flights->capacity * 2 + 16;
        struct flight *list = realloc(flights->list, capacity * sizeof(*list));
        if (list == NULL) return fail(warp, flight->lane, "a bulk copy");
        flights->list = list;
        flights->capacity = capacity;
    }
    flights->list[flights->count++] = *flight;
    cta->run->num_flights++;
    if (flight->direction != TO_SHARED) flight->owner->num_readings++;
    return true;
}

void emu_bulk_clear(struct emu_cta *cta) {
    if (cta->flights == NULL) return;
    for (uint32_t i = 0; i < cta->flights->count; i++) cta->run->num_flights -= !cta->flights->list[i].landed;
    free(cta->flights->list);
    free(cta->flights);
    cta->flights = NULL;
}

// ---- Landing

static void move_bytes(const struct flight *flight) {
    uint8_t *shared = flight->owner->shared + flight->offset;
    switch (flight->direction) {
    case TO_SHARED:
        memcpy(shared, flight->other, flight->bytes);
        memset(flight->owner->shared_written + flight->offset, EMU_SHARED_WRITTEN, flight->bytes);
        break;
    case TO_GLOBAL: memcpy(flight->other, shared, flight->bytes); break;
    case REDUCE: emu_atomic_reduce(flight->other, shared, flight->bytes, flight->instruction); break;
    }
}

static void forget(struct emu_flights *flights, uint32_t at) {
    memmove(&flights->list[at], &flights->list[at + 1], (--flights->count - at) * sizeof(*flights->list));
}

// True where the copy leaves the list: one that reads shared memory stays until it is waited for.
static bool land(struct emu_cta *cta, uint32_t at) {
    struct flight *flight = &cta->flights->list[at], copy = *flight;
    if (flight->landed) return false;
    flight->landed = true;
    cta->run->num_flights--;
    cta->run->progress++;
    const struct emu_instruction *current = copy.warp->current;
    copy.warp->current = copy.instruction;
    move_bytes(&copy);
    if (copy.direction == TO_SHARED) {
        forget(cta->flights, at);
        emu_mbarrier_complete(copy.warp, copy.lane, copy.owner, copy.mbarrier, copy.bytes, copy.clock);
    }
    copy.warp->current = current;
    return copy.direction == TO_SHARED;
}

void emu_bulk_progress(struct emu_cluster *cluster, uint64_t random) {
    for (uint32_t c = 0; c < cluster->size; c++) {
        struct emu_flights *flights = cluster->ctas[c].flights;
        for (uint32_t i = 0; flights != NULL && i < flights->count;) {
            if ((random & 3) != 0 || !land(&cluster->ctas[c], i)) i++;
            random = random >> 2 | random << 62;
        }
    }
}

// The youngest first, and only when nothing else moves.
void emu_bulk_late(struct emu_cluster *cluster, bool moved) {
    for (uint32_t c = 0; c < cluster->size; c++) {
        struct emu_flights *flights = cluster->ctas[c].flights;
        for (uint32_t i = flights != NULL ? flights->count : 0; i-- > 0;) {
            struct flight *flight = &flights->list[i];
            if (flight->landed || (moved && ++flight->age <= LONGEST_FLIGHT)) continue;
            land(&cluster->ctas[c], i);
            return;
        }
    }
}

// The lane's groups but for the newest `pending`: their reads end here, and become the warp's own.
static void wait_for(struct emu_warp *warp, uint32_t lane, uint32_t pending) {
    struct emu_flights *flights = warp->cta->flights;
    uint32_t committed = warp->bulk_groups[lane], before = committed > pending ? committed - pending : 0;
    for (uint32_t i = 0; flights != NULL && i < flights->count;) {
        const struct flight *flight = &flights->list[i];
        if (flight->direction == TO_SHARED || flight->warp != warp || flight->lane != lane || flight->group >= before) {
            i++;
            continue;
        }
        land(warp->cta, i);
        if (warp->cta->checks) emu_race_record_reads(warp, flight->owner, flight->offset, flight->bytes);
        flight->owner->num_readings--;
        forget(flights, i);
    }
}

static bool lands_at_once(struct emu_run *run) {
    run->random = run->random * 6364136223846793005u + 1442695040888963407u;
    return run->launch->settings->schedule == EMU_SCHEDULE_SEEDED && run->random >> 62 == 0;
}

// ---- Issuing

static const char *name_of(enum direction direction) {
    return direction == REDUCE ? "cp.reduce.async.bulk" : "cp.async.bulk";
}

static bool check_size(struct emu_warp *warp, uint32_t lane, enum direction direction, uint32_t bytes) {
    if (bytes % 16 == 0 && bytes < 1u << 20) return true;
    emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                     "%s of %u bytes: it takes a multiple of 16, below 2^20, that fits the shared memory",
                     name_of(direction), bytes);
    return false;
}

// The place in shared memory, and what is checked there.
static bool find_shared(struct flight *flight, uint64_t address) {
    struct emu_warp *warp = flight->warp;
    const char *name = name_of(flight->direction);
    if (address >> EMU_WINDOW_SHIFT == EMU_WINDOW_SHARED) address &= ((uint64_t)1 << EMU_WINDOW_SHIFT) - 1;
    const uint8_t *bytes = flight->direction == TO_SHARED
                               ? emu_shared_check_async_write(warp, flight->lane, address, flight->bytes, 16, name)
                               : emu_shared_check_async(warp, flight->lane, address, flight->bytes, 16, name);
    if (bytes == NULL) return false;
    emu_shared_place(warp, address, &flight->owner, &flight->offset);
    flight->offset -= EMU_SHARED_BASE;
    return true;
}

static bool issue(struct flight *flight) {
    struct emu_warp *warp = flight->warp;
    struct emu_cta *owner = flight->owner;
    struct emu_counters *counters = &warp->cta->run->counters;
    if (flight->direction == TO_SHARED) {
        flight->clock = ++owner->async_clock;
        memset(owner->shared_written + flight->offset, EMU_SHARED_COMING, flight->bytes);
        emu_race_async_write(owner, flight->offset, flight->bytes, warp->index << 5 | flight->lane, flight->clock);
        counters->global_load_bytes += flight->bytes;
    } else {
        counters->global_store_bytes += flight->bytes;
        counters->global_sectors += emu_count_sectors((uintptr_t)flight->other, flight->bytes);
    }
    counters->async_copies++;
    counters->async_copy_bytes += flight->bytes;
    if (!keep(warp, flight)) return false;
    if (lands_at_once(warp->cta->run)) land(warp->cta, warp->cta->flights->count - 1);
    return true;
}

// The source, in global memory or in the block's own shared memory.
static const uint8_t *find_source(struct flight *flight, uint64_t address) {
    struct emu_warp *warp = flight->warp;
    if (flight->instruction->second_space == EMU_SPACE_SHARED) {
        return emu_shared_check_async(warp, flight->lane, address, flight->bytes, 16, name_of(TO_SHARED));
    }
    return emu_global_check(warp, flight->lane, address, flight->bytes, 16, EMU_ACCESS_READ);
}

// Operands: shared address, source, bytes, mbarrier.
static bool load_lane(struct flight *flight, uint64_t to, uint64_t from, uint64_t mbarrier) {
    struct emu_warp *warp = flight->warp;
    struct emu_cta *owner;
    if (!check_size(warp, flight->lane, TO_SHARED, flight->bytes)) return false;
    flight->other = (uint8_t *)(uintptr_t)find_source(flight, from);
    if (flight->other == NULL || !find_shared(flight, to)) return false;
    const struct emu_mbarrier *found = emu_mbarrier_find(warp, flight->lane, mbarrier, &owner);
    if (found == NULL) return false;
    if (owner != flight->owner) {
        emu_warp_finding(warp, flight->lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "the mbarrier of a bulk copy lies in another block's shared memory than its bytes");
        return false;
    }
    flight->mbarrier = found->offset;
    return issue(flight);
}

// To the same place of every block that the mask names, each with its own mbarrier.
static bool load_blocks(struct flight *flight, uint32_t blocks, uint64_t to, uint64_t from, uint64_t mbarrier) {
    const uint64_t inside = (1u << EMU_CLUSTER_SHIFT) - 1;
    for (; blocks != 0; blocks &= blocks - 1) {
        uint64_t rank = (uint64_t)(__builtin_ctz(blocks) + 1) << EMU_CLUSTER_SHIFT;
        if (!load_lane(flight, (to & inside) | rank, from, (mbarrier & inside) | rank)) return false;
    }
    return true;
}

EMU_EXECUTE(load) {
    struct emu_access to, from, mbarrier;
    emu_access_addresses(warp, instruction, mask, 0, 0, &to);
    emu_access_addresses(warp, instruction, mask, 1, 1, &from);
    emu_access_addresses(warp, instruction, mask, 3, 2, &mbarrier);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct flight flight = {
            .warp = warp, .lane = lane, .instruction = instruction, .direction = TO_SHARED, .bytes = EMU_32(2)[lane]};
        bool good = EMU_FLAG(MULTICAST)
                        ? load_blocks(&flight, EMU_32(4)[lane] & 0xffff, to.addresses[lane], from.addresses[lane],
                                      mbarrier.addresses[lane])
                        : load_lane(&flight, to.addresses[lane], from.addresses[lane], mbarrier.addresses[lane]);
        // Read once, however many blocks get it.
        if (good && instruction->second_space != EMU_SPACE_SHARED)
            warp->cta->run->counters.global_sectors += emu_count_sectors(from.addresses[lane], flight.bytes);
        if (!good) return;
    }
}

// Operands: global address, shared address, bytes.
static bool store_lane(struct flight *flight, uint64_t to, uint64_t from) {
    struct emu_warp *warp = flight->warp;
    enum emu_access_kind kind = flight->direction == REDUCE ? EMU_ACCESS_ATOMIC : EMU_ACCESS_WRITE;
    if (!check_size(warp, flight->lane, flight->direction, flight->bytes) || !find_shared(flight, from)) return false;
    flight->other = emu_global_check(warp, flight->lane, to, flight->bytes, 16, kind);
    if (flight->other == NULL) return false;
    flight->group = warp->bulk_groups[flight->lane];
    return issue(flight);
}

static void store_lanes(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                        enum direction direction) {
    struct emu_access to, from;
    emu_access_addresses(warp, instruction, mask, 0, 0, &to);
    emu_access_addresses(warp, instruction, mask, 1, 1, &from);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct flight flight = {
            .warp = warp, .lane = lane, .instruction = instruction, .direction = direction, .bytes = EMU_32(2)[lane]};
        if (!store_lane(&flight, to.addresses[lane], from.addresses[lane])) return;
    }
}

EMU_EXECUTE(store) {
    store_lanes(warp, instruction, mask, TO_GLOBAL);
}

EMU_EXECUTE(reduce) {
    store_lanes(warp, instruction, mask, REDUCE);
}

EMU_EXECUTE(commit) {
    (void)instruction;
    EMU_EACH_LANE({ warp->bulk_groups[lane]++; });
}

EMU_EXECUTE(wait) { // with .read too: who has read everything may as well have written it
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        wait_for(warp, (uint32_t)__builtin_ctz(lanes), EMU_32(0)[0]);
    }
    emu_race_warp_sync(warp);
}

EMU_EXECUTE(prefetch) {
    struct emu_access from;
    emu_access_addresses(warp, instruction, mask, 0, 0, &from);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes), bytes = EMU_32(1)[lane];
        if (bytes % 16 == 0 && from.addresses[lane] % 16 == 0) continue;
        emu_warp_finding(warp, lane, EMU_OUTCOME_MISALIGNED,
                         "cp.async.bulk.prefetch of %u bytes at address 0x%llx: both must be multiples of 16", bytes,
                         (unsigned long long)from.addresses[lane]);
        return;
    }
}

#define ROW .instruction_class = EMU_CLASS_MEMORY, .arch = 90
#define REDUCE_FORM "reduce async bulk global shared::cta bulk_group ?L2::cache_hint "
static const struct emu_row rows[] = {
    {"cp", "async bulk shared::cluster|shared::cta global mbarrier::complete_tx::bytes ?L2::cache_hint",
     "a a s32 a s64?", load, ROW},
    {"cp", "async bulk shared::cluster global mbarrier::complete_tx::bytes multicast::cluster ?L2::cache_hint",
     "a a s32 a s16 s64?", load, ROW},
    {"cp", "async bulk shared::cluster shared::cta mbarrier::complete_tx::bytes", "a a s32 a", load, ROW},
    {"cp", "async bulk global shared::cta bulk_group ?L2::cache_hint", "a a s32 s64?", store, ROW},
    {"cp", REDUCE_FORM "add f32|f64|u32|s32|u64", "a a s32 s64?", reduce, ROW},
    {"cp", REDUCE_FORM "add noftz f16|bf16", "a a s32 s64?", reduce, ROW},
    {"cp", REDUCE_FORM "min|max u32|s32|u64|s64|f16|bf16", "a a s32 s64?", reduce, ROW},
    {"cp", REDUCE_FORM "and|or|xor b32|b64", "a a s32 s64?", reduce, ROW},
    {"cp", REDUCE_FORM "inc|dec u32", "a a s32 s64?", reduce, ROW},
    {"cp", "async bulk commit_group", "", commit, ROW},
    {"cp", "async bulk wait_group ?read", "i32", wait, ROW},
    {"cp", "async bulk prefetch L2 global ?L2::cache_hint", "a s32 s64?", prefetch, ROW},
};
EMU_ROWS(emu_rows_bulk, rows);

// ---- What may not happen while a copy is under way

bool emu_bulk_check_write(struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner, uint32_t offset,
                          uint32_t bytes) {
    for (uint32_t c = 0; c < owner->cluster->size; c++) {
        const struct emu_flights *flights = owner->cluster->ctas[c].flights;
        for (uint32_t i = 0; flights != NULL && i < flights->count; i++) {
            const struct flight *flight = &flights->list[i];
            if (flight->direction == TO_SHARED || flight->owner != owner || offset >= flight->offset + flight->bytes ||
                flight->offset >= offset + bytes) {
                continue;
            }
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "race: a write of %u bytes at shared address 0x%x, which a bulk copy of thread %u reads "
                             "that was not waited for",
                             bytes, EMU_SHARED_BASE + offset, flight->warp->index << 5 | flight->lane);
            return false;
        }
    }
    return true;
}

void emu_bulk_check_end(struct emu_warp *warp) {
    const struct emu_cluster *cluster = warp->cta->cluster;
    for (uint32_t c = 0; c < cluster->size; c++) {
        const struct emu_flights *flights = cluster->ctas[c].flights;
        for (uint32_t i = 0; flights != NULL && i < flights->count; i++) {
            const struct flight *flight = &flights->list[i];
            if (flight->owner != warp->cta && flight->warp->cta != warp->cta) continue;
            warp->current = flight->instruction;
            emu_warp_finding(warp, flight->lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "the block ends, and a bulk copy of %u bytes at shared address 0x%x, issued by thread "
                             "%u, was not waited for",
                             flight->bytes, EMU_SHARED_BASE + flight->offset, flight->warp->index << 5 | flight->lane);
            return;
        }
    }
}
