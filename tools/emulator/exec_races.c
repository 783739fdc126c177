// Races on shared memory. Each warp keeps a clock, and the latest clock that it knows of every other warp of its
// cluster: a barrier tells them to all who meet there (vector clocks; Flanagan and Freund, "FastTrack", 2009). An
// access is ordered after an earlier one of another warp when that warp's clock is known to have passed it, and after
// one of another lane of its own warp when the lanes have met since. What is not ordered, and is not two reads or two
// atomic operations, is a race.
#include <stdio.h>
#include <stdlib.h>

#include "warp.h"

#define ASYNC 0x20000000u         // of a writer: a copy that was not the thread's own access
#define SEVERAL_LANES 0x40000000u // of a reader: lanes of one warp
#define ATOMIC 0x80000000u        // of a writer
#define THREAD 0x1fffffffu
#define NO_ONE 0xffffffffu
#define READER_BITS 64 // warps of a cluster that are told apart

// Threads and warps are numbered through the cluster, block by block.
static uint32_t warp_of(uint32_t thread) {
    return (thread & THREAD) >> 5;
}

static uint32_t thread_of(const struct emu_warp *warp, uint32_t lane) {
    return warp->agent << 5 | lane;
}

// "thread 7", in another block "thread 7 of block 1 of the cluster".
struct thread_text {
    char text[64];
};

static struct thread_text describe(const struct emu_warp *warp, uint32_t thread) {
    struct thread_text described;
    uint32_t per_cta = warp->cta->num_warps * EMU_LANES, rank = (thread & THREAD) / per_cta;
    int used = snprintf(described.text, sizeof(described.text), "thread %u", (thread & THREAD) % per_cta);
    if (rank != warp->cta->rank) {
        snprintf(described.text + used, sizeof(described.text) - (size_t)used, " of block %u of the cluster", rank);
    }
    return described;
}

static void report(struct emu_warp *warp, uint32_t lane, uint32_t at, uint32_t bytes, const char *what, uint32_t other,
                   bool several) {
    emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                     "race: %s of %u bytes at shared address 0x%x, and no barrier orders it after that of %s%s", what,
                     bytes, EMU_SHARED_BASE + at, describe(warp, other).text, several ? " and others of its warp" : "");
}

// Is what `thread` did at `clock` ordered before this lane's next access to the owner's memory?
static bool ordered(const struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner, uint32_t thread,
                    uint32_t clock) {
    uint32_t other = warp_of(thread);
    if ((thread & ASYNC) != 0) return warp->clocks[emu_race_async_agent(owner)] >= clock;
    if (other != warp->agent) return warp->clocks[other] >= clock;
    if (clock < warp->clocks[other]) return true;
    return (thread & SEVERAL_LANES) == 0 && (thread & 31) == lane;
}

static bool check_writer(struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner,
                         const struct emu_shared_word *word, uint32_t at, uint32_t bytes, enum emu_access_kind kind) {
    bool was_atomic = (word->writer & ATOMIC) != 0;
    if (word->writer == NO_ONE || (was_atomic && kind == EMU_ACCESS_ATOMIC)) return true;
    if (ordered(warp, lane, owner, word->writer & ~ATOMIC, word->write_clock)) return true;
    report(warp, lane, at, bytes,
           kind == EMU_ACCESS_READ    ? "a read after a write"
           : kind == EMU_ACCESS_WRITE ? "a write after a write"
                                      : "an atomic operation or volatile access after a write",
           word->writer & ~ATOMIC, false);
    return false;
}

// Of several warps that share a bit one that is ordered will do: that may miss a race, and invents none.
static bool reader_ordered(const struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner, uint32_t thread,
                           uint32_t clock) {
    uint32_t num_warps = owner->cluster_size * owner->num_warps;
    for (uint32_t other = warp_of(thread) % READER_BITS; other < num_warps; other += READER_BITS) {
        uint32_t same = other == warp_of(thread) ? thread : other << 5 | SEVERAL_LANES;
        if (ordered(warp, lane, owner, same, clock)) return true;
    }
    return false;
}

static bool check_readers(struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner,
                          const struct emu_shared_word *word, uint32_t at, uint32_t bytes) {
    for (uint64_t readers = word->readers; readers != 0; readers &= readers - 1) {
        uint32_t other = (uint32_t)__builtin_ctzll(readers);
        uint32_t thread = warp_of(word->reader) % READER_BITS == other ? word->reader : other << 5 | SEVERAL_LANES;
        if (reader_ordered(warp, lane, owner, thread, word->read_clock)) continue;
        report(warp, lane, at, bytes, "a write after a read", thread & ~SEVERAL_LANES, (thread & SEVERAL_LANES) != 0);
        return false;
    }
    return true;
}

// Readers that are ordered before this one need no more to be remembered. Of several, the earliest clock is kept: that
// may miss a race, and invents none.
static void record_read(struct emu_warp *warp, uint32_t lane, struct emu_shared_word *word) {
    uint32_t clock = warp->clocks[warp->agent], me = thread_of(warp, lane);
    uint64_t bit = (uint64_t)1 << warp->agent % READER_BITS;
    bool all_before = true;
    for (uint64_t readers = word->readers & ~bit; readers != 0 && all_before; readers &= readers - 1) {
        uint32_t other = (uint32_t)__builtin_ctzll(readers);
        all_before = warp->clocks[other] >= word->read_clock;
    }
    bool mine = (word->readers & bit) != 0 && word->read_clock == clock && warp_of(word->reader) == warp->agent;
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

static bool check_word(struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner, struct emu_shared_word *word,
                       uint32_t at, uint32_t bytes, enum emu_access_kind kind) {
    if (!check_writer(warp, lane, owner, word, at, bytes, kind)) return false;
    if (kind == EMU_ACCESS_READ) {
        record_read(warp, lane, word);
        return true;
    }
    if (!check_readers(warp, lane, owner, word, at, bytes)) return false;
    *word = (struct emu_shared_word){.writer = thread_of(warp, lane) | (kind == EMU_ACCESS_ATOMIC ? ATOMIC : 0),
                                     .write_clock = warp->clocks[warp->agent]};
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

// Of what a warp knows: one clock for each warp of the cluster, then one for asynchronous writes to each block, one for
// each warpgroup's wgmma, and whether a griddepcontrol.wait lies before.
static uint32_t num_warpgroups(const struct emu_cta *cta) {
    return (cta->num_warps + 3) / 4;
}

uint32_t emu_race_num_agents(uint32_t cluster_size, uint32_t num_warps) {
    return cluster_size * (num_warps + 1 + (num_warps + 3) / 4) + 1;
}

uint32_t emu_race_async_agent(const struct emu_cta *owner) {
    return owner->cluster_size * owner->num_warps + owner->rank;
}

static uint32_t matrix_agent(const struct emu_cta *cta, uint32_t warpgroup) {
    return cta->cluster_size * (cta->num_warps + 1) + cta->rank * num_warpgroups(cta) + warpgroup;
}

static uint32_t await_agent(const struct emu_cta *cta) {
    return cta->num_agents - 1;
}

void emu_race_await(struct emu_warp *warp, uint32_t mask) {
    warp->awaited |= mask;
    warp->clocks[await_agent(warp->cta)] = 1;
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
    if (kind != EMU_ACCESS_READ && !check_readings(warp, lane, owner, offset, bytes)) return false;
    for (uint32_t at = offset; at < offset + bytes;) {
        struct emu_shared_word *word = &owner->words[at / 4];
        bool whole = at % 4 == 0 && offset + bytes - at >= 4;
        if (whole && word->reader != NO_ONE) {
            if (!check_word(warp, lane, owner, word, offset, bytes, kind)) return false;
            at += 4;
            continue;
        }
        struct emu_shared_word *parts = bytes_of(owner, at / 4);
        if (parts == NULL) return true;
        if (!check_word(warp, lane, owner, &parts[at % 4], offset, bytes, kind)) return false;
        at++;
    }
    return true;
}

static void join(uint32_t *to, const uint32_t *from, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) to[i] = to[i] > from[i] ? to[i] : from[i];
}

void emu_race_release(struct emu_warp *warp, uint32_t *clocks) {
    join(clocks, warp->clocks, emu_race_num_clocks(warp->cta));
    warp->clocks[warp->agent]++;
}

void emu_race_acquire(struct emu_warp *warp, const uint32_t *clocks) {
    join(warp->clocks, clocks, emu_race_num_clocks(warp->cta));
    if (warp->clocks[await_agent(warp->cta)] != 0) warp->awaited = EMU_FULL_MASK;
}

uint32_t emu_race_num_clocks(const struct emu_cta *cta) {
    return 2 * cta->num_agents;
}

// All that the warp knows of is from now on visible to asynchronous operations that come after.
void emu_race_proxy_fence(struct emu_warp *warp) {
    uint32_t count = warp->cta->num_agents;
    join(warp->clocks + count, warp->clocks, count);
    warp->clocks[warp->agent]++;
}

static struct emu_shared_word *record_of(struct emu_cta *owner, uint32_t at) {
    struct emu_shared_word *word = &owner->words[at / 4];
    return word->reader != NO_ONE || owner->bytes == NULL ? word : &owner->bytes[at];
}

static bool check_async_reader(struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner,
                               const struct emu_shared_word *word, uint32_t at, uint32_t bytes, const char *reader) {
    const uint32_t *fenced = warp->clocks + warp->cta->num_agents;
    if (word->writer == NO_ONE) return true;
    if ((word->writer & ASYNC) == 0 && fenced[warp_of(word->writer)] >= word->write_clock) return true;
    if (!check_writer(warp, lane, owner, word, at, bytes, EMU_ACCESS_READ)) return false;
    if ((word->writer & ASYNC) != 0) return true;
    emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                     "%s reads shared address 0x%x, which %s wrote with no fence.proxy.async between", reader,
                     EMU_SHARED_BASE + at, describe(warp, word->writer).text);
    return false;
}

bool emu_race_check_async_read(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                               uint32_t bytes, const char *reader) {
    for (uint32_t at = offset; at < offset + bytes; at++) {
        const struct emu_shared_word *word = record_of(owner, at);
        if (!check_async_reader(warp, lane, owner, word, at, bytes, reader)) return false;
        if (word == &owner->words[at / 4]) at |= 3;
    }
    return true;
}

bool emu_race_check_async_write(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                                uint32_t bytes, const char *writer) {
    const uint32_t *fenced = warp->clocks + warp->cta->num_agents;
    if (!check_readings(warp, lane, owner, offset, bytes)) return false;
    for (uint32_t at = offset; at < offset + bytes; at++) {
        const struct emu_shared_word *word = record_of(owner, at);
        if (!check_writer(warp, lane, owner, word, at, bytes, EMU_ACCESS_WRITE)) return false;
        if (!check_readers(warp, lane, owner, word, at, bytes)) return false;
        bool ordinary = word->writer != NO_ONE && (word->writer & ASYNC) == 0;
        if (ordinary && fenced[warp_of(word->writer)] < word->write_clock) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "%s writes shared address 0x%x, which %s wrote with no fence.proxy.async between", writer,
                             EMU_SHARED_BASE + at, describe(warp, word->writer).text);
            return false;
        }
        if (word == &owner->words[at / 4]) at |= 3;
    }
    return true;
}

void emu_race_record_reads(struct emu_warp *warp, struct emu_cta *owner, uint32_t offset, uint32_t bytes) {
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
    warp->clocks[warp->agent]++;
    if (warp->awaited != 0) warp->awaited = EMU_FULL_MASK;
}

// A flag that one warp sets after a fence, and another one sees before its own, orders what lies around. Which flag it
// was is not followed: any two fences count as such a pair, in one block or, where their scope is wider, in the
// cluster.
void emu_race_fence(struct emu_warp *warp) {
    struct emu_cta *cta = warp->cta;
    bool wide = warp->current->form.words[EMU_GROUP_SCOPE] != EMU_W_CTA;
    emu_race_acquire(warp, cta->fence_clocks);
    if (wide) emu_race_acquire(warp, cta->cluster->ctas[0].fence_clocks);
    if (wide) join(cta->cluster->ctas[0].fence_clocks, warp->clocks, emu_race_num_clocks(cta));
    emu_race_release(warp, cta->fence_clocks);
    if (wide) cta->run->fenced = true;
}

// An arrival that is relaxed tells what fences before it released.
void emu_race_release_relaxed(struct emu_warp *warp, uint32_t *clocks) {
    const struct emu_cta *cta = warp->cta;
    join(clocks, cta->fence_clocks, emu_race_num_clocks(cta));
    join(clocks, cta->cluster->ctas[0].fence_clocks, emu_race_num_clocks(cta));
}
