// Bulk copies between global and shared memory (PTX ISA, "cp.async.bulk", "cp.reduce.async.bulk"). A copy is checked
// when it is issued and lands some turns later, when its group is waited for, or, by the seed, at once; until then its
// bytes in shared memory count as coming.
#include "exec_bulk.h"

#include <stdlib.h>

#define LONGEST_FLIGHT 4096 // rounds, where nothing waits for the copy

struct emu_flights {
    struct emu_flight *list;
    uint32_t count, capacity;
};

static bool fail(struct emu_warp *warp, uint32_t lane, const char *what) {
    emu_warp_finding(warp, lane, EMU_OUTCOME_OUT_OF_RESOURCES, "the host has no memory for %s", what);
    return false;
}

static bool keep(struct emu_warp *warp, const struct emu_flight *flight) {
    struct emu_cta *cta = warp->cta;
    if (cta->flights == NULL) cta->flights = calloc(1, sizeof(*cta->flights));
    struct emu_flights *flights = cta->flights;
    if (flights == NULL) return free(flight->pieces), fail(warp, flight->lane, "a bulk copy");
    if (flights->count == flights->capacity) {
        uint32_t capacity = flights->capacity * 2 + 16;
        struct emu_flight *list = realloc(flights->list, capacity * sizeof(*list));
        if (list == NULL) return free(flight->pieces), fail(warp, flight->lane, "a bulk copy");
        flights->list = list;
        flights->capacity = capacity;
    }
    flights->list[flights->count++] = *flight;
    cta->run->num_flights++;
    if (flight->direction != EMU_TO_SHARED) flight->owner->num_readings++;
    return true;
}

void emu_bulk_clear(struct emu_cta *cta) {
    if (cta->flights == NULL) return;
    for (uint32_t i = 0; i < cta->flights->count; i++) {
        cta->run->num_flights -= !cta->flights->list[i].landed;
        free(cta->flights->list[i].pieces);
    }
    free(cta->flights->list);
    free(cta->flights);
    cta->flights = NULL;
}

// ---- Landing

// One range of neighbours, both sides given.
static void move_range(const struct emu_flight *flight, uint8_t *other, uint32_t offset, uint32_t bytes) {
    uint8_t *shared = flight->owner->shared + offset;
    switch (flight->direction) {
    case EMU_TO_SHARED: memcpy(shared, other, bytes); break;
    case EMU_TO_GLOBAL: memcpy(other, shared, bytes); break;
    case EMU_REDUCE:
        emu_atomic_reduce(other, shared, bytes, (enum emu_word)flight->instruction->form.words[EMU_GROUP_OPERATION],
                          flight->type);
        break;
    }
}

// What lies outside the tensor arrives as zeros, and is not written.
static void move_pieces(const struct emu_flight *flight) {
    for (uint32_t i = 0; i < flight->pieces->count; i++) {
        const struct emu_piece *piece = &flight->pieces->list[i];
        if (flight->direction == EMU_TO_SHARED) memset(flight->owner->shared + piece->offset, 0, EMU_PIECE_BYTES);
        if (piece->end <= piece->first) continue;
        move_range(flight, piece->other + piece->first, piece->offset + piece->first,
                   (uint32_t)(piece->end - piece->first));
    }
}

static void move_bytes(struct emu_flight *flight) {
    if (flight->pieces != NULL) {
        move_pieces(flight);
    } else {
        move_range(flight, flight->other != NULL ? flight->other : flight->value, flight->offset, flight->bytes);
    }
    if (flight->direction != EMU_TO_SHARED) return;
    memset(flight->owner->shared_written + flight->offset, EMU_SHARED_WRITTEN, flight->bytes);
}

static void forget(struct emu_flights *flights, uint32_t at) {
    free(flights->list[at].pieces);
    memmove(&flights->list[at], &flights->list[at + 1], (--flights->count - at) * sizeof(*flights->list));
}

// True where the copy leaves the list: one that reads shared memory stays until it is waited for.
static bool land(struct emu_cta *cta, uint32_t at) {
    struct emu_flight *flight = &cta->flights->list[at], copy = *flight;
    if (flight->landed) return false;
    flight->landed = true;
    cta->run->num_flights--;
    cta->run->progress++;
    const struct emu_instruction *current = copy.warp->current;
    copy.warp->current = copy.instruction;
    move_bytes(&copy);
    if (copy.direction == EMU_TO_SHARED) {
        forget(cta->flights, at);
        emu_mbarrier_complete(copy.warp, copy.lane, copy.owner, copy.mbarrier, copy.bytes, copy.clock);
    }
    copy.warp->current = current;
    return copy.direction == EMU_TO_SHARED;
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
            struct emu_flight *flight = &flights->list[i];
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
        const struct emu_flight *flight = &flights->list[i];
        if (flight->direction == EMU_TO_SHARED || flight->warp != warp || flight->lane != lane ||
            flight->group >= before) {
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

static const char *name_of(const struct emu_flight *flight) {
    if (strcmp(flight->instruction->row->name, "st") == 0) return "st.async";
    return flight->direction == EMU_REDUCE ? "cp.reduce.async.bulk" : "cp.async.bulk";
}

static bool check_size(const struct emu_flight *flight) {
    uint32_t bytes = flight->bytes;
    if (bytes % 16 == 0 && bytes < 1u << 20) return true;
    emu_warp_finding(flight->warp, flight->lane, EMU_OUTCOME_LAUNCH_FAILED,
                     "%s of %u bytes: it takes a multiple of 16, below 2^20, that fits the shared memory",
                     name_of(flight), bytes);
    return false;
}

// The place in shared memory, and what is checked there.
bool emu_flight_find_shared(struct emu_flight *flight, uint64_t address) {
    struct emu_warp *warp = flight->warp;
    const char *name = name_of(flight);
    if (address >> EMU_WINDOW_SHIFT == EMU_WINDOW_SHARED) address &= ((uint64_t)1 << EMU_WINDOW_SHIFT) - 1;
    const uint8_t *bytes =
        flight->direction == EMU_TO_SHARED
            ? emu_shared_check_async_write(warp, flight->lane, address, flight->bytes, flight->alignment, name)
            : emu_shared_check_async(warp, flight->lane, address, flight->bytes, flight->alignment, name);
    if (bytes == NULL) return false;
    emu_shared_place(warp, address, &flight->owner, &flight->offset);
    flight->offset -= EMU_SHARED_BASE;
    return true;
}

bool emu_flight_issue(struct emu_flight *flight) {
    struct emu_warp *warp = flight->warp;
    struct emu_cta *owner = flight->owner;
    struct emu_counters *counters = &warp->cta->run->counters;
    if (flight->direction == EMU_TO_SHARED) {
        flight->clock = ++owner->async_clock;
        memset(owner->shared_written + flight->offset, EMU_SHARED_COMING, flight->bytes);
        emu_race_async_write(owner, flight->offset, flight->bytes, warp->agent << 5 | flight->lane, flight->clock);
        if (flight->other != NULL || flight->pieces != NULL) counters->global_load_bytes += flight->bytes;
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
static const uint8_t *find_source(struct emu_flight *flight, uint64_t address) {
    struct emu_warp *warp = flight->warp;
    if (flight->instruction->second_space == EMU_SPACE_SHARED) {
        return emu_shared_check_async(warp, flight->lane, address, flight->bytes, 16, name_of(flight));
    }
    return emu_global_check(warp, flight->lane, address, flight->bytes, 16, EMU_ACCESS_READ);
}

bool emu_flight_find_mbarrier(struct emu_flight *flight, uint64_t address) {
    struct emu_warp *warp = flight->warp;
    struct emu_cta *owner;
    const struct emu_mbarrier *found = emu_mbarrier_find(warp, flight->lane, address, &owner);
    if (found == NULL) return false;
    flight->mbarrier = found->offset;
    if (owner != flight->owner) {
        emu_warp_finding(warp, flight->lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "the mbarrier of a bulk copy lies in another block's shared memory than its bytes");
        return false;
    }
    if (!warp->cta->checks || found->announced) return true;
    emu_warp_finding(warp, flight->lane, EMU_OUTCOME_LAUNCH_FAILED,
                     "a bulk copy completes on the mbarrier at shared address 0x%x, and no fence.mbarrier_init or "
                     "fence.proxy.async of warp %u came after its mbarrier.init",
                     found->offset, found->initialiser);
    return false;
}

// Operands: shared address, source, bytes, mbarrier.
static bool load_lane(struct emu_flight *flight, uint64_t to, uint64_t from, uint64_t mbarrier) {
    if (!check_size(flight)) return false;
    flight->other = (uint8_t *)(uintptr_t)find_source(flight, from);
    return flight->other != NULL && emu_flight_find_shared(flight, to) && emu_flight_find_mbarrier(flight, mbarrier) &&
           emu_flight_issue(flight);
}

// To the same place of every block that the mask names, each with its own mbarrier.
static bool load_blocks(struct emu_flight *flight, uint32_t blocks, uint64_t to, uint64_t from, uint64_t mbarrier) {
    for (; blocks != 0; blocks &= blocks - 1) {
        uint32_t rank = (uint32_t)__builtin_ctz(blocks);
        if (!load_lane(flight, emu_in_block(to, rank), from, emu_in_block(mbarrier, rank))) return false;
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
        struct emu_flight flight = {.warp = warp,
                                    .lane = lane,
                                    .instruction = instruction,
                                    .direction = EMU_TO_SHARED,
                                    .bytes = EMU_32(2)[lane],
                                    .alignment = 16};
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
static bool store_lane(struct emu_flight *flight, uint64_t to, uint64_t from) {
    struct emu_warp *warp = flight->warp;
    enum emu_access_kind kind = flight->direction == EMU_REDUCE ? EMU_ACCESS_ATOMIC : EMU_ACCESS_WRITE;
    if (!check_size(flight) || !emu_flight_find_shared(flight, from)) return false;
    flight->other = emu_global_check(warp, flight->lane, to, flight->bytes, 16, kind);
    if (flight->other == NULL) return false;
    flight->group = warp->bulk_groups[flight->lane];
    return emu_flight_issue(flight);
}

static void store_lanes(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                        enum emu_direction direction) {
    struct emu_access to, from;
    emu_access_addresses(warp, instruction, mask, 0, 0, &to);
    emu_access_addresses(warp, instruction, mask, 1, 1, &from);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct emu_flight flight = {.warp = warp,
                                    .lane = lane,
                                    .instruction = instruction,
                                    .direction = direction,
                                    .type = (enum emu_type)instruction->form.types[0],
                                    .bytes = EMU_32(2)[lane],
                                    .alignment = 16};
        if (!store_lane(&flight, to.addresses[lane], from.addresses[lane])) return;
    }
}

EMU_EXECUTE(store_value) { // st.async: [shared address], values, [mbarrier]
    struct emu_access to, mbarrier;
    uint32_t count = instruction->form.count, bytes = instruction->element_bytes;
    emu_access_addresses(warp, instruction, mask, 0, 0, &to);
    emu_access_addresses(warp, instruction, mask, 1 + count, 1, &mbarrier);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct emu_flight flight = {.warp = warp,
                                    .lane = lane,
                                    .instruction = instruction,
                                    .direction = EMU_TO_SHARED,
                                    .bytes = bytes * count,
                                    .alignment = bytes * count};
        for (uint32_t i = 0; i < count; i++) {
            memcpy(flight.value + i * bytes,
                   (const uint8_t *)emu_lanes(warp, instruction->operands[1 + i]) + lane * bytes, bytes);
        }
        if (!emu_flight_find_shared(&flight, to.addresses[lane]) ||
            !emu_flight_find_mbarrier(&flight, mbarrier.addresses[lane]) || !emu_flight_issue(&flight)) {
            return;
        }
    }
}

EMU_EXECUTE(store) {
    store_lanes(warp, instruction, mask, EMU_TO_GLOBAL);
}

EMU_EXECUTE(reduce) {
    store_lanes(warp, instruction, mask, EMU_REDUCE);
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
    {"st", "async ?weak shared::cluster mbarrier::complete_tx::bytes ?v2 b32|u32|s32|f32|b64|u64|s64|f64", "a s0*v a",
     store_value, ROW},
    {"st", "async ?weak shared::cluster mbarrier::complete_tx::bytes v4 b32|u32|s32|f32", "a s0*v a", store_value, ROW},
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
            const struct emu_flight *flight = &flights->list[i];
            if (flight->direction == EMU_TO_SHARED || flight->owner != owner ||
                offset >= flight->offset + flight->bytes || flight->offset >= offset + bytes) {
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
            const struct emu_flight *flight = &flights->list[i];
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
