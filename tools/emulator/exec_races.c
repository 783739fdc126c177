// Races on shared memory. Each warp keeps a clock, and the latest clock that it knows of every other warp: a barrier
// tells them to all who meet there (vector clocks; Flanagan and Freund, "FastTrack", 2009). An access is ordered after
// an earlier one of another warp when that warp's clock is known to have passed it, and after one of another lane of
// its own warp when the lanes have met since. What is not ordered, and is not two reads or two atomic operations, is a
// race.
#include <stdlib.h>

#include "warp.h"

#define ASYNC 0x20000000u         // of a writer: a copy that was not the thread's own access
#define SEVERAL_LANES 0x40000000u // of a reader: lanes of one warp
#define ATOMIC 0x80000000u        // of a writer
#define THREAD 0x1fffffffu
#define NO_ONE 0xffffffffu

static uint32_t warp_of(uint32_t thread) {
    return (thread & THREAD) >> 5;
}

static void report(struct emu_warp *warp, uint32_t lane, uint32_t at, uint32_t bytes, const char *what, uint32_t other,
                   bool several) {
    emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                     "race: %s of %u bytes at shared address 0x%x, and no barrier orders it after that of thread %u%s",
                     what, bytes, EMU_SHARED_BASE + at, other & THREAD, several ? " and others of its warp" : "");
}

// Is what `thread` did at `clock` ordered before this lane's next access?
static bool ordered(const struct emu_warp *warp, uint32_t lane, uint32_t thread, uint32_t clock) {
    uint32_t other = warp_of(thread);
    if ((thread & ASYNC) != 0) return warp->clocks[warp->cta->num_warps] >= clock;
    if (other != warp->index) return warp->clocks[other] >= clock;
    if (clock < warp->clocks[other]) return true;
    return (thread & SEVERAL_LANES) == 0 && (thread & 31) == lane;
}

static bool check_writer(struct emu_warp *warp, uint32_t lane, const struct emu_shared_word *word, uint32_t at,
                         uint32_t bytes, enum emu_access_kind kind) {
    bool was_atomic = (word->writer & ATOMIC) != 0;
    if (word->writer == NO_ONE || (was_atomic && kind == EMU_ACCESS_ATOMIC)) return true;
    if (ordered(warp, lane, word->writer & ~ATOMIC, word->write_clock)) return true;
    report(warp, lane, at, bytes,
           kind == EMU_ACCESS_READ    ? "a read after a write"
           : kind == EMU_ACCESS_WRITE ? "a write after a write"
                                      : "an atomic operation or volatile access after a write",
           word->writer & ~ATOMIC, false);
    return false;
}

static bool check_readers(struct emu_warp *warp, uint32_t lane, const struct emu_shared_word *word, uint32_t at,
                          uint32_t bytes) {
    for (uint32_t readers = word->readers; readers != 0; readers &= readers - 1) {
        uint32_t other = (uint32_t)__builtin_ctz(readers);
        uint32_t thread = warp_of(word->reader) == other ? word->reader : other << 5 | SEVERAL_LANES;
        if (ordered(warp, lane, thread, word->read_clock)) continue;
        report(warp, lane, at, bytes, "a write after a read", thread & ~SEVERAL_LANES, (thread & SEVERAL_LANES) != 0);
        return false;
    }
    return true;
}

// Readers that are ordered before this one need no more to be remembered. Of several, the earliest clock is kept: that
// may miss a race, and invents none.
static void record_read(struct emu_warp *warp, uint32_t lane, struct emu_shared_word *word) {
    uint32_t clock = warp->clocks[warp->index], bit = 1u << warp->index, me = warp->index << 5 | lane;
    bool all_before = true;
    for (uint32_t readers = word->readers & ~bit; readers != 0 && all_before; readers &= readers - 1) {
        uint32_t other = (uint32_t)__builtin_ctz(readers);
        all_before = warp->clocks[other] >= word->read_clock;
    }
    bool mine = (word->readers & bit) != 0 && word->read_clock == clock && warp_of(word->reader) == warp->index;
    if (mine && word->reader != me) me |= SEVERAL_LANES;
    if (word->readers == 0 || all_before) {
        word->readers = bit;
        word->read_clock = clock;
    } else {
        word->readers |= bit;
        if (clock < word->read_clock) word->read_clock = clock;
    }
    word->reader = me;
}

static bool check_word(struct emu_warp *warp, uint32_t lane, struct emu_shared_word *word, uint32_t at, uint32_t bytes,
                       enum emu_access_kind kind) {
    if (!check_writer(warp, lane, word, at, bytes, kind)) return false;
    if (kind == EMU_ACCESS_READ) {
        record_read(warp, lane, word);
        return true;
    }
    if (!check_readers(warp, lane, word, at, bytes)) return false;
    *word = (struct emu_shared_word){.writer = (warp->index << 5 | lane) | (kind == EMU_ACCESS_ATOMIC ? ATOMIC : 0),
                                     .write_clock = warp->clocks[warp->index]};
    return true;
}

// A word that is met in parts is from then on four bytes.
static struct emu_shared_word *bytes_of(struct emu_cta *cta, uint32_t word_at) {
    if (cta->bytes == NULL) {
        cta->bytes = malloc((cta->shared_bytes + 4) * sizeof(*cta->bytes));
        if (cta->bytes == NULL) return NULL;
    }
    struct emu_shared_word *word = &cta->words[word_at], *bytes = &cta->bytes[word_at * 4];
    if (word->reader != NO_ONE) {
        for (int i = 0; i < 4; i++) bytes[i] = *word;
        word->reader = NO_ONE;
    }
    return bytes;
}

// Of what a warp knows: one clock for each warp, one for asynchronous writes, one for each warpgroup's wgmma, and
// whether a griddepcontrol.wait lies before.
static uint32_t num_warpgroups(const struct emu_cta *cta) {
    return (cta->num_warps + 3) / 4;
}

static uint32_t num_agents(const struct emu_cta *cta) {
    return cta->num_warps + 1 + num_warpgroups(cta) + 1;
}

static uint32_t matrix_agent(const struct emu_cta *cta, uint32_t warpgroup) {
    return cta->num_warps + 1 + warpgroup;
}

static uint32_t await_agent(const struct emu_cta *cta) {
    return num_agents(cta) - 1;
}

void emu_race_await(struct emu_warp *warp, uint32_t mask) {
    warp->awaited |= mask;
    warp->clocks[await_agent(warp->cta)] = 1;
}

// To the clocks of another block of the cluster, of which no more is kept.
void emu_race_await_release(const struct emu_warp *warp, const struct emu_cta *owner, uint32_t *clocks) {
    uint32_t agent = await_agent(owner);
    if (warp->clocks[await_agent(warp->cta)] != 0) clocks[agent] = 1;
}

static uint32_t *matrix_reads_of(struct emu_cta *cta, uint32_t warpgroup) {
    return cta->matrix_reads + (size_t)warpgroup * (cta->shared_bytes / 4 + 1);
}

bool emu_race_matrix_read(struct emu_warp *warp, uint32_t offset, uint32_t bytes, uint32_t group) {
    struct emu_cta *cta = warp->cta;
    if (cta->matrix_reads == NULL) {
        cta->matrix_reads = calloc((size_t)num_warpgroups(cta) * (cta->shared_bytes / 4 + 1), sizeof(uint32_t));
    }
    if (cta->matrix_reads == NULL) {
        emu_warp_finding(warp, 0, EMU_OUTCOME_OUT_OF_RESOURCES, "the host has no memory to follow wgmma");
        return false;
    }
    uint32_t *groups = matrix_reads_of(cta, warp->index / 4);
    for (uint32_t word = offset / 4; word < (offset + bytes) / 4; word++) {
        if (groups[word] < group) groups[word] = group;
    }
    return true;
}

void emu_race_matrix_done(struct emu_warp *warp, uint32_t group) {
    warp->clocks[matrix_agent(warp->cta, warp->index / 4)] = group;
}

static bool check_matrix_reads(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                               uint32_t bytes) {
    for (uint32_t warpgroup = 0; owner->matrix_reads != NULL && warpgroup < num_warpgroups(owner); warpgroup++) {
        const uint32_t *groups = matrix_reads_of(owner, warpgroup);
        uint32_t known = warp->clocks[matrix_agent(owner, warpgroup)];
        for (uint32_t word = offset / 4; word < (offset + bytes + 3) / 4; word++) {
            if (groups[word] <= known) continue;
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "race: a write of %u bytes at shared address 0x%x, which a wgmma.mma_async of warps %u to "
                             "%u reads, and no wgmma.wait_group orders it before",
                             bytes, EMU_SHARED_BASE + offset, 4 * warpgroup, 4 * warpgroup + 3);
            return false;
        }
    }
    return true;
}

// What asynchronous operations still read must not be written.
static bool check_readings(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                           uint32_t bytes) {
    return check_matrix_reads(warp, lane, owner, offset, bytes) &&
           (owner->num_readings == 0 || emu_bulk_check_write(warp, lane, owner, offset, bytes));
}

bool emu_race_check(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset, uint32_t bytes,
                    enum emu_access_kind kind) {
    if (owner != warp->cta) return true; // clocks of a cluster are not kept
    if (kind != EMU_ACCESS_READ && !check_readings(warp, lane, owner, offset, bytes)) return false;
    for (uint32_t at = offset; at < offset + bytes;) {
        struct emu_shared_word *word = &owner->words[at / 4];
        bool whole = at % 4 == 0 && offset + bytes - at >= 4;
        if (whole && word->reader != NO_ONE) {
            if (!check_word(warp, lane, word, offset, bytes, kind)) return false;
            at += 4;
            continue;
        }
        struct emu_shared_word *parts = bytes_of(owner, at / 4);
        if (parts == NULL) return true;
        if (!check_word(warp, lane, &parts[at % 4], offset, bytes, kind)) return false;
        at++;
    }
    return true;
}

static void join(uint32_t *to, const uint32_t *from, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) to[i] = to[i] > from[i] ? to[i] : from[i];
}

void emu_race_release(struct emu_warp *warp, uint32_t *clocks) {
    join(clocks, warp->clocks, emu_race_num_clocks(warp->cta));
    warp->clocks[warp->index]++;
}

void emu_race_acquire(struct emu_warp *warp, const uint32_t *clocks) {
    join(warp->clocks, clocks, emu_race_num_clocks(warp->cta));
    if (warp->clocks[await_agent(warp->cta)] != 0) warp->awaited = EMU_FULL_MASK;
}

uint32_t emu_race_num_clocks(const struct emu_cta *cta) {
    return 2 * num_agents(cta);
}

// All that the warp knows of is from now on visible to asynchronous operations that come after.
void emu_race_proxy_fence(struct emu_warp *warp) {
    uint32_t count = num_agents(warp->cta);
    join(warp->clocks + count, warp->clocks, count);
    warp->clocks[warp->index]++;
}

static struct emu_shared_word *record_of(struct emu_cta *owner, uint32_t at) {
    struct emu_shared_word *word = &owner->words[at / 4];
    return word->reader != NO_ONE || owner->bytes == NULL ? word : &owner->bytes[at];
}

static bool check_async_reader(struct emu_warp *warp, uint32_t lane, const struct emu_shared_word *word, uint32_t at,
                               uint32_t bytes, const char *reader) {
    const uint32_t *fenced = warp->clocks + num_agents(warp->cta);
    if (word->writer == NO_ONE) return true;
    if ((word->writer & ASYNC) == 0 && fenced[warp_of(word->writer)] >= word->write_clock) return true;
    if (!check_writer(warp, lane, word, at, bytes, EMU_ACCESS_READ)) return false;
    if ((word->writer & ASYNC) != 0) return true;
    emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                     "%s reads shared address 0x%x, which thread %u wrote with no fence.proxy.async between", reader,
                     EMU_SHARED_BASE + at, word->writer & THREAD);
    return false;
}

bool emu_race_check_async_read(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                               uint32_t bytes, const char *reader) {
    if (owner != warp->cta) return true;
    for (uint32_t at = offset; at < offset + bytes; at++) {
        const struct emu_shared_word *word = record_of(owner, at);
        if (!check_async_reader(warp, lane, word, at, bytes, reader)) return false;
        if (word == &owner->words[at / 4]) at |= 3;
    }
    return true;
}

bool emu_race_check_async_write(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                                uint32_t bytes, const char *writer) {
    const uint32_t *fenced = warp->clocks + num_agents(warp->cta);
    if (owner != warp->cta) return true;
    if (!check_readings(warp, lane, owner, offset, bytes)) return false;
    for (uint32_t at = offset; at < offset + bytes; at++) {
        const struct emu_shared_word *word = record_of(owner, at);
        if (!check_writer(warp, lane, word, at, bytes, EMU_ACCESS_WRITE)) return false;
        if (!check_readers(warp, lane, word, at, bytes)) return false;
        bool ordinary = word->writer != NO_ONE && (word->writer & ASYNC) == 0;
        if (ordinary && fenced[warp_of(word->writer)] < word->write_clock) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "%s writes shared address 0x%x, which thread %u wrote with no fence.proxy.async between",
                             writer, EMU_SHARED_BASE + at, word->writer & THREAD);
            return false;
        }
        if (word == &owner->words[at / 4]) at |= 3;
    }
    return true;
}

void emu_race_record_reads(struct emu_warp *warp, struct emu_cta *owner, uint32_t offset, uint32_t bytes) {
    if (owner != warp->cta) return;
    for (uint32_t at = offset; at < offset + bytes; at++) {
        struct emu_shared_word *word = record_of(owner, at);
        record_read(warp, 0, word);
        if (word == &owner->words[at / 4]) at |= 3;
    }
}

void emu_race_async_write(struct emu_cta *owner, uint32_t offset, uint32_t bytes, uint32_t thread, uint32_t clock) {
    for (uint32_t at = offset; at < offset + bytes; at++) {
        struct emu_shared_word *word = record_of(owner, at);
        bool whole = word == &owner->words[at / 4];
        *word = (struct emu_shared_word){.writer = thread | ASYNC, .write_clock = clock};
        if (whole) at |= 3;
    }
}

void emu_race_warp_sync(struct emu_warp *warp) {
    warp->clocks[warp->index]++;
    if (warp->awaited != 0) warp->awaited = EMU_FULL_MASK;
}

// A flag that one warp sets after a fence, and another one sees before its own, orders what lies around. Which flag it
// was is not followed: any two fences count as such a pair.
void emu_race_fence(struct emu_warp *warp) {
    emu_race_acquire(warp, warp->cta->fence_clocks);
    emu_race_release(warp, warp->cta->fence_clocks);
    if (warp->current->form.words[EMU_GROUP_SCOPE] != EMU_W_CTA) warp->cta->run->fenced = true;
}
