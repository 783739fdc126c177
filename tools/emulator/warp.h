// A warp at work, and what executors may do: reach registers and memory, report a finding.
#ifndef MOEJIT_EMULATOR_WARP_H
#define MOEJIT_EMULATOR_WARP_H

#include <string.h>

#include "ptx.h"
#include "ptx_table.h"

#define EMU_LANES 32
#define EMU_FULL_MASK 0xffffffffu
#define EMU_NUM_BARRIERS 16

struct emu_cta;

enum emu_split_state {
    EMU_SPLIT_READY,
    EMU_SPLIT_MEMBERS, // at a warp-wide instruction, others of its lanes are not there yet
    EMU_SPLIT_BARRIER, // its instruction is the barrier's
};

struct emu_split { // lanes that are at the same place
    uint32_t pc, mask;
    uint32_t state;   // enum emu_split_state
    uint32_t barrier; // of EMU_SPLIT_BARRIER
    uint32_t spins;   // backward branches since all splits of the warp had their turn
};

struct emu_copy {         // a cp.async on its way
    uint32_t lane, group; // group: of that lane
    uint32_t address;     // shared
    const uint8_t *source;
    uint8_t bytes, zeroed; // zeroed: bytes after them
    int line;
};

struct emu_warp {
    uint8_t *banks[2]; // registers, constants of the kernel
    struct emu_cta *cta;
    uint32_t index; // in the CTA
    uint32_t alive; // lanes that have not exited
    struct emu_split splits[EMU_LANES];
    int num_splits;
    bool stop;             // the instruction ends this turn of the warp: a finding, a failed wait
    bool waits;            // its last turn ended with a failed wait
    bool retry;            // the instruction could not be done: the lanes stay where they are
    uint32_t failed_waits; // such turns since the launch's progress was ...
    uint64_t progress;     // ... this
    bool strong;           // the access under way is volatile, relaxed or stronger: others may make theirs beside it
    const struct emu_instruction *current; // for findings
    const struct emu_allocation *last_allocation;
    uint8_t *local;
    uint8_t carry[EMU_LANES];
    struct emu_copy *copies;
    uint32_t num_copies, copies_capacity;
    uint32_t groups[EMU_LANES];              // cp.async groups that each lane has committed
    uint32_t bulk_groups[EMU_LANES];         // the same of bulk copies
    uint32_t awaited;                        // lanes that know of a griddepcontrol.wait
    uint32_t cluster_arrived;                // lanes between barrier.cluster.arrive and .wait
    uint32_t cluster_generations[EMU_LANES]; // of the barrier, when they arrived
    uint32_t *set;                           // lanes that have set each register in doubt (kernel->doubts)
    uint32_t max_registers;                  // of a thread (setmaxnreg)
    struct emu_wgmma *wgmma;                 // NULL until the first wgmma instruction
    uint32_t agent;                          // its own clock among those: its number in the cluster
    // What this warp has seen of every warp of the cluster; then the same, of what a proxy fence made visible to
    // asynchronous readers.
    uint32_t *clocks;
};

struct emu_barrier {
    uint32_t expected, arrived; // threads; expected 0: all that have not exited
    uint32_t predicates;        // of barrier.red: threads whose predicate is set
    uint32_t *clocks;           // of those that arrived
};

// Bytes of shared memory.
enum emu_shared_state {
    EMU_SHARED_UNWRITTEN,
    EMU_SHARED_WRITTEN,
    EMU_SHARED_COMING,   // an asynchronous copy is on its way
    EMU_SHARED_MBARRIER, // for mbarrier operations only
};

struct emu_mbarrier { // at an offset of a CTA's shared memory (PTX ISA, "mbarrier")
    uint32_t offset;
    uint32_t phase; // how many are complete
    uint32_t expected, pending;
    int32_t transactions;
    uint32_t initialiser; // the warp
    bool announced;       // it made its mbarrier.init visible to asynchronous copies
    uint32_t *clocks;     // of those that arrived in this phase and before; 2 * num_warps
    uint32_t *seen;       // the same, as the last complete phase tells those that wait
    struct emu_mbarrier *next;
};

struct emu_shared_word { // who touched bytes of shared memory: see exec_races.c
    uint64_t readers;
    uint32_t writer, write_clock, read_clock, reader;
};

struct emu_run;
struct emu_cluster;

struct emu_cta {
    struct emu_run *run; // of a host thread
    const struct emu_launch *launch;
    const struct emu_kernel *kernel;
    struct emu_cluster *cluster;
    unsigned index[3];
    uint32_t rank; // in the cluster
    struct emu_warp *warps;
    uint32_t num_warps, num_threads, alive_threads;
    uint32_t cluster_size, num_agents;     // agents: those that have a clock, see exec_races.c
    uint32_t free_registers;               // that warps gave back: for each thread of one warp
    uint8_t *shared, *shared_written;      // one byte a byte: 1 written, 2 an asynchronous copy is on its way
    uint32_t shared_bytes;                 // from EMU_SHARED_BASE
    struct emu_shared_word *words, *bytes; // bytes: from the first access to part of a word on
    struct emu_barrier barriers[EMU_NUM_BARRIERS];
    struct emu_mbarrier *mbarriers;
    struct emu_flights *flights; // bulk copies that it issued, under way; NULL before the first
    uint32_t num_readings;       // of shared memory by bulk copies that were not waited for
    uint32_t *matrix_reads;      // NULL, or for each warpgroup and word the last group of wgmma that reads it
    uint32_t async_clock;        // copies into shared memory so far
    uint32_t *clocks;            // storage of all warps' and barriers' clocks
    uint32_t *fence_clocks;      // of those that fenced
    // Of the cluster's first block: of those that arrived at barrier.cluster, now and the last time.
    uint32_t *cluster_clocks, *cluster_seen;
    bool checks;
};

struct emu_cluster {
    struct emu_cta *ctas;
    uint32_t size;
    uint32_t arrived_threads, generation; // of barrier.cluster
};

// What the CTAs that one host thread runs have in common.
struct emu_run {
    const struct emu_launch *launch;
    struct emu_counters counters;
    struct emu_footprint *footprint; // of the cluster that runs
    struct emu_footprint *early;     // the same, of what came before griddepcontrol.wait
    uint64_t random, progress;       // progress: happenings that a waiting warp may wait for
    uint32_t num_flights;            // bulk copies under way
    bool fenced;                     // the CTA orders memory with others by fences of its own
    enum emu_outcome outcome;
    struct emu_reporter *reporter;
};

static inline void *emu_lanes(const struct emu_warp *warp, uint32_t operand) {
    return warp->banks[operand >> 31] + (operand & 0x7fffffffu);
}

// The operand's lanes by width.
#define EMU_32(i) ((uint32_t *)emu_lanes(warp, instruction->operands[i]))
#define EMU_64(i) ((uint64_t *)emu_lanes(warp, instruction->operands[i]))
#define EMU_PREDICATE(i) (*(uint32_t *)emu_lanes(warp, instruction->operands[i]))
#define EMU_HAS(i) (instruction->operands[i] != EMU_OPERAND_ABSENT)
#define EMU_FLAG(name) emu_form_flag(&instruction->form, EMU_W_##name)
#define EMU_WORD_OF(name) ((enum emu_word)instruction->form.words[EMU_GROUP_##name])

static inline void emu_set_predicate(uint32_t *predicate, uint32_t mask, uint32_t bits) {
    *predicate = (*predicate & ~mask) | (bits & mask);
}

#if defined(__clang__)
#define EMU_VECTORISE
#else
#define EMU_VECTORISE _Pragma("GCC ivdep")
#endif

// Statements for each lane of the mask. Lanes are independent, so a compiler may vectorise them.
#define EMU_EACH_LANE(...)                                                                                             \
    do {                                                                                                               \
        if (mask == EMU_FULL_MASK) {                                                                                   \
            EMU_VECTORISE                                                                                              \
            for (uint32_t lane = 0; lane < EMU_LANES; lane++) __VA_ARGS__                                              \
        } else {                                                                                                       \
            for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {                                              \
                uint32_t lane = (uint32_t)__builtin_ctz(lanes);                                                        \
                __VA_ARGS__                                                                                            \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

#define EMU_EXECUTE(name)                                                                                              \
    static void name(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask)

// Ends the launch with a sentence: kernel, line, block, thread and what.
__attribute__((format(printf, 4, 5))) void emu_warp_finding(struct emu_warp *warp, uint32_t lane,
                                                            enum emu_outcome outcome, const char *format, ...);

// Where the lanes' bytes are, after all checks; false, with a finding made, where one is wrong.
struct emu_access {
    uint64_t addresses[EMU_LANES];
    uint8_t *pointers[EMU_LANES];
};
void emu_access_addresses(const struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask,
                          uint32_t operand, int which, struct emu_access *access);
bool emu_access_check(struct emu_warp *warp, uint32_t mask, enum emu_space space, uint32_t bytes, uint32_t alignment,
                      enum emu_access_kind kind, struct emu_access *access);
// For the counters (exec_counts.c).
void emu_count_shared(struct emu_warp *warp, uint32_t mask, uint32_t bytes, const struct emu_access *access);
uint64_t emu_count_sectors(uint64_t address, uint64_t bytes);
uint32_t emu_count_lane_sectors(uint32_t mask, const uint64_t *addresses); // of a warp's aligned accesses
// One lane's bytes of shared memory of this CTA or another of the cluster; NULL with a finding.
uint8_t *emu_shared_check(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t alignment,
                          enum emu_access_kind kind);
uint8_t *emu_global_check(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes, uint32_t alignment,
                          enum emu_access_kind kind);
// Bytes of shared memory that an asynchronous operation of this warp reads; `reader` names it in a finding.
const uint8_t *emu_shared_check_async(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes,
                                      uint32_t alignment, const char *reader);
// ... or will write.
const uint8_t *emu_shared_check_async_write(struct emu_warp *warp, uint32_t lane, uint64_t address, uint32_t bytes,
                                            uint32_t alignment, const char *writer);
// The CTA and offset of a shared address; false when there is no such CTA.
bool emu_shared_place(const struct emu_warp *warp, uint64_t address, struct emu_cta **cta, uint32_t *offset);

// Order between warps of a CTA (exec_races.c).
bool emu_race_check(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset, uint32_t bytes,
                    enum emu_access_kind kind);
void emu_race_release(struct emu_warp *warp, uint32_t *clocks); // what warp has done so far is known to `clocks`
void emu_race_acquire(struct emu_warp *warp, const uint32_t *clocks);
void emu_race_release_relaxed(struct emu_warp *warp, uint32_t *clocks); // only what fences made known before
void emu_race_warp_sync(struct emu_warp *warp);                         // lanes of the warp have met
void emu_race_proxy_fence(struct emu_warp *warp); // ordinary accesses so far, before asynchronous ones after it
// Bytes that an asynchronous operation of this warp reads: what others did must come before, and ordinary writes must
// have been fenced for it.
bool emu_race_check_async_read(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                               uint32_t bytes, const char *reader);
bool emu_race_check_async_write(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset,
                                uint32_t bytes, const char *writer);
// Bytes that a group of wgmma of this warp's warpgroup reads; they have been read where a warp of it waited for the
// group, and where others know of that.
bool emu_race_matrix_read(struct emu_warp *warp, uint32_t offset, uint32_t bytes, uint32_t group);
void emu_race_matrix_done(struct emu_warp *warp, uint32_t group);
// Asynchronous reads that ended: from now on they count as reads of the warp.
void emu_race_record_reads(struct emu_warp *warp, struct emu_cta *owner, uint32_t offset, uint32_t bytes);
// Bytes that an asynchronous copy writes in the name of a thread; the clock is of the owner's asynchronous writes.
void emu_race_async_write(struct emu_cta *owner, uint32_t offset, uint32_t bytes, uint32_t thread, uint32_t clock);
uint32_t emu_race_num_clocks(const struct emu_cta *cta);
uint32_t emu_race_num_agents(uint32_t cluster_size, uint32_t num_warps);
uint32_t emu_race_async_agent(const struct emu_cta *owner); // whose clock counts asynchronous writes to the CTA
void emu_race_fence(struct emu_warp *warp); // fences, acquire and release: order after all earlier fences of the CTA
// The lanes have waited for the grids that this one depends on; `awaited` tells those that learn of it.
void emu_race_await(struct emu_warp *warp, uint32_t mask);

// mbarrier objects (exec_mbarrier.c). Arrivals and transactions return false with a finding; lane is for findings.
struct emu_mbarrier *emu_mbarrier_find(struct emu_warp *warp, uint32_t lane, uint64_t address, struct emu_cta **owner);
bool emu_mbarrier_arrive(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, struct emu_mbarrier *mbarrier,
                         uint32_t count, bool relaxed);
bool emu_mbarrier_transact(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, struct emu_mbarrier *mbarrier,
                           int32_t transactions);
// Bytes that arrived, with the clock of their copy.
void emu_mbarrier_complete(struct emu_warp *warp, uint32_t lane, struct emu_cta *owner, uint32_t offset, uint32_t bytes,
                           uint32_t clock);
// A fence of the warp that makes its mbarrier.init visible to asynchronous copies.
void emu_mbarriers_announce(struct emu_warp *warp);
void emu_mbarriers_clear(struct emu_cta *cta);

// cp.async (exec_copy.c): lands copies of the lanes but for the newest `pending` groups.
void emu_copies_land(struct emu_warp *warp, uint32_t mask, uint32_t pending);

// Bulk copies (exec_bulk.c): some of those under way land; with the adversarial schedule the youngest, late.
void emu_bulk_progress(struct emu_cluster *cluster, uint64_t random);
void emu_bulk_late(struct emu_cluster *cluster, bool moved);
bool emu_bulk_check_write(struct emu_warp *warp, uint32_t lane, const struct emu_cta *owner, uint32_t offset,
                          uint32_t bytes);
void emu_bulk_check_end(struct emu_warp *warp);
void emu_bulk_clear(struct emu_cta *cta);
// Each element at `to` becomes what an atomic operation makes of it and that at `from` (exec_atomic.c).
void emu_atomic_reduce(uint8_t *to, const uint8_t *from, uint32_t bytes, enum emu_word operation, enum emu_type type);

// wgmma (exec_wgmma_order.c): false, with a finding, where an instruction touches registers of one that is under way.
bool emu_wgmma_observe(struct emu_warp *warp, const struct emu_instruction *instruction);
void emu_wgmma_check_end(struct emu_warp *warp); // the last warp of its CTA to exit
void emu_wgmma_clear(struct emu_warp *warp);

// Registers in doubt (exec_doubts.c): false, with a finding, where the instruction reads one that is not set. lanes:
// those that read the guard; mask: those that it lets pass.
bool emu_doubts_observe(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t lanes,
                        uint32_t mask);

// Barriers of a cluster (exec_cluster.c): after threads exited.
void emu_cluster_recount(struct emu_cluster *cluster);
void emu_cluster_leave(struct emu_warp *warp, uint32_t mask); // lanes that have just exited

// Barriers of a CTA (machine_barrier.c): the lanes arrive; the split waits where it must.
void emu_barrier_arrive(struct emu_warp *warp, struct emu_split *split, const struct emu_instruction *instruction);
void emu_barriers_recount(struct emu_cta *cta); // after threads exited

// A warp's turn (machine_warp.c): runs until the budget is spent, nothing can go on, or a wait fails.
void emu_warp_run(struct emu_warp *warp, uint32_t budget);
void emu_warp_start(struct emu_warp *warp);
bool emu_warp_stuck(const struct emu_warp *warp); // cannot go on by itself, or has long waited in vain

// CTAs (machine_cta.c).
bool emu_cta_create(struct emu_cta *cta, struct emu_run *run);
void emu_cta_destroy(struct emu_cta *cta);
void emu_cta_start(struct emu_cta *cta, uint64_t number);

// Findings (machine_finding.c).
struct emu_reporter *emu_reporter_create(emu_report_fn report, void *user);
void emu_reporter_destroy(struct emu_reporter *reporter);
void emu_deadlock_report(struct emu_cluster *cluster);

#endif
