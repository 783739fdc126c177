// mbarrier (PTX ISA, "Parallel Synchronization: mbarrier"). The object lives beside the shared memory; its eight bytes
// there are marked, so that nothing else touches them. Arrivals tell the arriving warp's clock to those that wait.
#include <stdlib.h>

#include "warp.h"

#define LARGEST_COUNT 0xfffffu // 2^20 - 1, of pending arrivals and of transactions

void emu_mbarriers_clear(struct emu_cta *cta) {
    while (cta->mbarriers != NULL) {
        struct emu_mbarrier *mbarrier = cta->mbarriers;
        cta->mbarriers = mbarrier->next;
        free(mbarrier->clocks);
        free(mbarrier);
    }
}

static struct emu_mbarrier *find(struct emu_cta *cta, uint32_t offset) {
    for (struct emu_mbarrier *mbarrier = cta->mbarriers; mbarrier != NULL; mbarrier = mbarrier->next) {
        if (mbarrier->offset == offset) return mbarrier;
    }
    return NULL;
}

struct emu_mbarrier *emu_mbarrier_find(struct emu_warp *warp, uint32_t lane, uint64_t address, struct emu_cta **owner) {
    uint32_t offset;
    if (address >> EMU_WINDOW_SHIFT == EMU_WINDOW_SHARED) address &= ((uint64_t)1 << EMU_WINDOW_SHIFT) - 1;
    bool known = emu_shared_place(warp, address, owner, &offset);
    struct emu_mbarrier *mbarrier = known ? find(*owner, offset) : NULL;
    if (mbarrier == NULL) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "there is no initialised mbarrier at shared address 0x%llx", (unsigned long long)address);
    }
    return mbarrier;
}

void emu_mbarriers_announce(struct emu_warp *warp) {
    for (struct emu_mbarrier *mbarrier = warp->cta->mbarriers; mbarrier != NULL; mbarrier = mbarrier->next) {
        if (mbarrier->initialiser == warp->index) mbarrier->announced = true;
    }
}

static void complete_if_due(struct emu_cta *owner, struct emu_mbarrier *mbarrier) {
    uint32_t num_clocks = emu_race_num_clocks(owner);
    owner->run->progress++;
    if (mbarrier->pending != 0 || mbarrier->transactions != 0) return;
    mbarrier->phase++;
    mbarrier->pending = mbarrier->expected;
    memcpy(mbarrier->seen, mbarrier->clocks, num_clocks * sizeof(*mbarrier->seen));
}

bool emu_mbarrier_arrive(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, struct emu_mbarrier *mbarrier,
                         uint32_t count, bool relaxed) {
    if (count == 0 || count > mbarrier->pending) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "%u arrivals at the mbarrier at shared address 0x%x, whose phase %u waits for %u", count,
                         mbarrier->offset, mbarrier->phase, mbarrier->pending);
        return false;
    }
    if (relaxed) {
        emu_race_release_relaxed(warp, mbarrier->clocks);
    } else {
        emu_race_release(warp, mbarrier->clocks);
    }
    mbarrier->pending -= count;
    complete_if_due(owner, mbarrier);
    return true;
}

bool emu_mbarrier_transact(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, struct emu_mbarrier *mbarrier,
                           int32_t transactions) {
    int64_t sum = (int64_t)mbarrier->transactions + transactions;
    if (sum > (int64_t)LARGEST_COUNT || sum < -(int64_t)LARGEST_COUNT) {
        emu_warp_finding(
            warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
            "the transaction count of the mbarrier at shared address 0x%x becomes %lld: it must stay within "
            "2^20 - 1",
            mbarrier->offset, (long long)sum);
        return false;
    }
    mbarrier->transactions = (int32_t)sum;
    if (transactions < 0) complete_if_due(owner, mbarrier);
    return true;
}

void emu_mbarrier_complete(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset, uint32_t bytes,
                           uint32_t clock) {
    struct emu_mbarrier *mbarrier = find(owner, offset);
    if (mbarrier == NULL) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "the mbarrier at shared address 0x%x was invalidated while a bulk copy was on its way",
                         offset);
        return;
    }
    uint32_t *known = &mbarrier->clocks[emu_race_async_agent(owner)];
    if (*known < clock) *known = clock;
    emu_mbarrier_transact(warp, lane, owner, mbarrier, -(int32_t)bytes);
}

// ---- Instructions: operand `which` is the address, in a register of 32 bits or, generic, of 64.

static void addresses_of(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                         uint32_t operand, struct emu_access *access) {
    emu_access_addresses(warp, instruction, mask, operand, 0, access);
    if (instruction->space == EMU_SPACE_SHARED) return;
    EMU_EACH_LANE({ access->addresses[lane] &= ((uint64_t)1 << EMU_WINDOW_SHIFT) - 1; });
}

EMU_EXECUTE(mbarrier_init) { // [address], count
    struct emu_access access;
    addresses_of(warp, instruction, mask, 0, &access);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes), count = EMU_32(1)[lane];
        uint32_t offset = (uint32_t)access.addresses[lane];
        struct emu_cta *cta = warp->cta;
        if (emu_shared_check(warp, lane, offset, 8, 8, EMU_ACCESS_WRITE) == NULL) return;
        if (count == 0 || count > LARGEST_COUNT) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "mbarrier.init with count %u: it must be 1 to 2^20 - 1", count);
            return;
        }
        struct emu_mbarrier *mbarrier = calloc(1, sizeof(*mbarrier));
        uint32_t num_clocks = emu_race_num_clocks(cta);
        uint32_t *clocks = calloc(2 * (size_t)num_clocks, sizeof(*clocks));
        if (mbarrier == NULL || clocks == NULL) {
            free(mbarrier);
            free(clocks);
            emu_warp_finding(warp, lane, EMU_OUTCOME_OUT_OF_RESOURCES, "the host has no memory for an mbarrier");
            return;
        }
        *mbarrier = (struct emu_mbarrier){.offset = offset,
                                          .expected = count,
                                          .pending = count,
                                          .initialiser = warp->index,
                                          .clocks = clocks,
                                          .seen = clocks + num_clocks,
                                          .next = cta->mbarriers};
        cta->mbarriers = mbarrier;
        memset(cta->shared_written + (offset - EMU_SHARED_BASE), EMU_SHARED_MBARRIER, 8);
    }
    warp->cta->run->progress++;
}

EMU_EXECUTE(mbarrier_inval) { // [address]
    struct emu_access access;
    addresses_of(warp, instruction, mask, 0, &access);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct emu_cta *owner;
        struct emu_mbarrier *mbarrier = emu_mbarrier_find(warp, lane, access.addresses[lane], &owner);
        if (mbarrier == NULL) return;
        struct emu_mbarrier **at = &owner->mbarriers;
        while (*at != mbarrier) at = &(*at)->next;
        *at = mbarrier->next;
        memset(owner->shared_written + (mbarrier->offset - EMU_SHARED_BASE), EMU_SHARED_UNWRITTEN, 8);
        free(mbarrier->clocks);
        free(mbarrier);
    }
}

// Operands: a state or "_" where the row has one, [address], then a count, which with .expect_tx is of transactions.
static void arrive(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask, bool has_state,
                   bool drops) {
    struct emu_access access;
    uint32_t address = has_state ? 1 : 0;
    bool has_count = instruction->num_operands > address + 1u && EMU_HAS(address + 1);
    addresses_of(warp, instruction, mask, address, &access);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes), count = has_count ? EMU_32(address + 1)[lane] : 1;
        struct emu_cta *owner;
        struct emu_mbarrier *mbarrier = emu_mbarrier_find(warp, lane, access.addresses[lane], &owner);
        if (mbarrier == NULL) return;
        if (EMU_FLAG(EXPECT_TX)) {
            if (!emu_mbarrier_transact(warp, lane, owner, mbarrier, (int32_t)count)) return;
            count = 1;
        }
        if (EMU_FLAG(NOCOMPLETE) && count >= mbarrier->pending) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "mbarrier.arrive.noComplete completes the phase");
            return;
        }
        uint64_t state = (uint64_t)mbarrier->phase << 32 | mbarrier->pending; // before the arrival
        if (drops && mbarrier->expected >= count) mbarrier->expected -= count;
        if (!emu_mbarrier_arrive(warp, lane, owner, mbarrier, count, EMU_FLAG(RELAXED))) return;
        if (has_state) EMU_64(0)[lane] = state;
    }
}

EMU_EXECUTE(mbarrier_arrive) {
    arrive(warp, instruction, mask, true, false);
}

EMU_EXECUTE(mbarrier_arrive_drop) {
    arrive(warp, instruction, mask, true, true);
}

EMU_EXECUTE(mbarrier_transactions) { // expect_tx, complete_tx: [address], count
    struct emu_access access;
    addresses_of(warp, instruction, mask, 0, &access);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct emu_cta *owner;
        struct emu_mbarrier *mbarrier = emu_mbarrier_find(warp, lane, access.addresses[lane], &owner);
        int32_t count = (int32_t)EMU_32(1)[lane];
        if (mbarrier == NULL) return;
        if (!emu_mbarrier_transact(warp, lane, owner, mbarrier, EMU_FLAG(EXPECT_TX) ? count : -count)) return;
    }
}

// p, [address], state or parity: has that phase completed? A wait that fails lets other warps run.
EMU_EXECUTE(mbarrier_wait) {
    struct emu_access access;
    uint32_t done = 0;
    bool acquired = false;
    addresses_of(warp, instruction, mask, 1, &access);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct emu_cta *owner;
        const struct emu_mbarrier *mbarrier = emu_mbarrier_find(warp, lane, access.addresses[lane], &owner);
        if (mbarrier == NULL) return;
        bool complete = EMU_FLAG(PARITY) ? (mbarrier->phase & 1) != (EMU_32(2)[lane] & 1)
                                         : mbarrier->phase != (uint32_t)(EMU_64(2)[lane] >> 32);
        done |= (uint32_t)complete << lane;
        if (complete && !EMU_FLAG(RELAXED)) {
            emu_race_acquire(warp, mbarrier->seen);
            acquired = true;
        }
    }
    if (acquired) emu_race_warp_sync(warp);
    emu_set_predicate(&EMU_PREDICATE(0), mask, done);
    if (done != mask) {
        warp->waits = warp->stop = true;
        warp->cta->run->counters.barrier_waits++;
    }
}

EMU_EXECUTE(mbarrier_pending) { // count, state
    EMU_EACH_LANE({ EMU_32(0)[lane] = (uint32_t)EMU_64(1)[lane]; });
}

// cp.async.mbarrier.arrive: an arrival once the lane's copies have landed. Here they land at once, which is legal; what
// does not wait for the mbarrier is still unordered. Without .noinc the arrival is one more than the count expects.
EMU_EXECUTE(copy_arrive) {
    struct emu_access access;
    emu_access_addresses(warp, instruction, mask, 0, 0, &access);
    EMU_EACH_LANE({ warp->groups[lane]++; });
    emu_copies_land(warp, mask, 0);
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t lane = (uint32_t)__builtin_ctz(lanes);
        struct emu_cta *owner;
        struct emu_mbarrier *mbarrier = emu_mbarrier_find(warp, lane, access.addresses[lane], &owner);
        if (mbarrier == NULL) return;
        if (!EMU_FLAG(NOINC)) mbarrier->pending++;
        if (!emu_mbarrier_arrive(warp, lane, owner, mbarrier, 1, false)) return;
    }
}

#define ROW .instruction_class = EMU_CLASS_CONTROL
#define SHARED "?shared|shared::cta"
#define ANY "?shared|shared::cta|shared::cluster"
#define ORDER "?release|relaxed ?cta|cluster"
#define WAIT "?acquire|relaxed ?cta|cluster"
static const struct emu_row rows[] = {
    {"mbarrier", "init " SHARED " b64", "a s32", mbarrier_init, ROW},
    {"mbarrier", "inval " SHARED " b64", "a", mbarrier_inval, ROW},
    {"mbarrier", "arrive ?noComplete " ORDER " " ANY " b64", "d64 a s32?", mbarrier_arrive, ROW},
    {"mbarrier", "arrive expect_tx " ORDER " " ANY " b64", "d64 a s32", mbarrier_arrive, ROW, .arch = 90},
    {"mbarrier", "arrive_drop ?noComplete " ORDER " " ANY " b64", "d64 a s32?", mbarrier_arrive_drop, ROW},
    {"mbarrier", "arrive_drop expect_tx " ORDER " " ANY " b64", "d64 a s32", mbarrier_arrive_drop, ROW, .arch = 90},
    {"mbarrier", "expect_tx ?relaxed ?cta|cluster " ANY " b64", "a s32", mbarrier_transactions, ROW, .arch = 90},
    {"mbarrier", "complete_tx ?relaxed ?cta|cluster " ANY " b64", "a s32", mbarrier_transactions, ROW, .arch = 90},
    {"mbarrier", "test_wait parity " WAIT " " SHARED " b64", "dp a s32", mbarrier_wait, ROW},
    {"mbarrier", "test_wait " WAIT " " SHARED " b64", "dp a s64", mbarrier_wait, ROW},
    {"mbarrier", "try_wait parity " WAIT " " SHARED " b64", "dp a s32 s32?", mbarrier_wait, ROW, .arch = 90},
    {"mbarrier", "try_wait " WAIT " " SHARED " b64", "dp a s64 s32?", mbarrier_wait, ROW, .arch = 90},
    {"mbarrier", "pending_count b64", "d32 s64", mbarrier_pending, ROW},
    {"cp", "async mbarrier arrive ?noinc " SHARED " b64", "a", copy_arrive, ROW},
};
EMU_ROWS(emu_rows_mbarrier, rows);
