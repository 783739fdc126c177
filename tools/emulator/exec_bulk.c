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
    cta->run->num_flights -= cta->flights->count;
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

static void land(struct emu_cta *cta, uint32_t at) {
    struct emu_flights *flights = cta->flights;
    struct flight flight = flights->list[at];
    memmove(&flights->list[at], &flights->list[at + 1], (--flights->count - at) * sizeof(flight));
    cta->run->num_flights--;
    cta->run->progress++;
    const struct emu_instruction *current = flight.warp->current;
    flight.warp->current = flight.instruction;
    move_bytes(&flight);
    if (flight.direction == TO_SHARED) {
        emu_mbarrier_complete(flight.warp, flight.lane, flight.owner, flight.mbarrier, flight.bytes, flight.clock);
    } else {
        flight.owner->num_readings--;
        if (cta->checks) emu_race_record_reads(flight.warp, flight.owner, flight.offset, flight.bytes);
    }
    flight.warp->current = current;
}

void emu_bulk_progress(struct emu_cluster *cluster, uint64_t random) {
    for (uint32_t c = 0; c < cluster->size; c++) {
        struct emu_flights *flights = cluster->ctas[c].flights;
        for (uint32_t i = 0; flights != NULL && i < flights->count;) {
            if ((random & 3) == 0) {
                land(&cluster->ctas[c], i);
            } else {
                i++;
            }
            random = random >> 2 | random << 62;
        }
    }
}

// The youngest first, and only when nothing else moves.
void emu_bulk_late(struct emu_cluster *cluster, bool moved) {
    for (uint32_t c = 0; c < cluster->size; c++) {
        struct emu_flights *flights = cluster->ctas[c].flights;
        if (flights == NULL || flights->count == 0) continue;
        uint32_t youngest = flights->count - 1;
        if (!moved || ++flights->list[youngest].age > LONGEST_FLIGHT) {
            land(&cluster->ctas[c], youngest);
            return;
        }
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
    }
    counters->async_copies++;
    counters->async_copy_bytes += flight->bytes;
    if (!keep(warp, flight)) return false;
    if (lands_at_once(warp->cta->run)) land(warp->cta, warp->cta->flights->count - 1);
    return true;
}

// Operands: shared address, global address, bytes, mbarrier.
static bool load_lane(struct flight *flight, uint64_t to, uint64_t from, uint64_t mbarrier) {
    struct emu_warp *warp = flight->warp;
    struct emu_cta *owner;
    if (!check_size(warp, flight->lane, TO_SHARED, flight->bytes)) return false;
    flight->other = emu_global_check(warp, flight->lane, from, flight->bytes, 16, EMU_ACCESS_READ);
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

EMU_EXECUTE(load) {
    struct emu_access to, from, mbarrier;
    emu_access_addresses(warp, instruction, mask, 0, 0, &to);
    emu_access_addresses(warp, instruction, mask, 1, 1, &from);
    emu_access_addresses(warp, instruction, mask, 3, 2, &mbarrier);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct flight flight = {
            .warp = warp, .lane = lane, .instruction = instruction, .direction = TO_SHARED, .bytes = EMU_32(2)[lane]};
        if (!load_lane(&flight, to.addresses[lane], from.addresses[lane], mbarrier.addresses[lane])) return;
    }
}

#define ROW .instruction_class = EMU_CLASS_MEMORY, .arch = 90
static const struct emu_row rows[] = {
    {"cp", "async bulk shared::cluster|shared::cta global mbarrier::complete_tx::bytes ?L2::cache_hint",
     "a a s32 a s64?", load, ROW},
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
            if (flight->owner != warp->cta) continue;
            warp->current = flight->instruction;
            emu_warp_finding(warp, flight->lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "the block ends, and a bulk copy of %u bytes at shared address 0x%x, issued by thread "
                             "%u, is still under way",
                             flight->bytes, EMU_SHARED_BASE + flight->offset, flight->warp->index << 5 | flight->lane);
            return;
        }
    }
}
