// Runs a grid, CTA by CTA. A warp's lanes that are at the same place go together, the lowest place first; warps take
// turns of seeded length.
#include "machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "warp.h"

static uint64_t next_random(uint64_t *state) // SplitMix64
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

void emu_warp_finding(struct emu_warp *warp, int lane, enum emu_outcome outcome, const char *format, ...) {
    struct emu_cta *cta = warp->cta;
    char reason[512], line[200], text[1200];
    va_list arguments;
    if (cta->outcome != EMU_OUTCOME_OK) return; // the first one counts
    cta->outcome = outcome;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    int number = warp->current != NULL ? warp->current->line : 0;
    emu_module_line(cta->kernel->module, number, line, sizeof(line));
    const unsigned *block = cta->launch->block;
    unsigned thread = warp->index * EMU_LANES + (unsigned)lane;
    snprintf(text, sizeof(text), "%s: %s\n    line %d: %s\n    block (%u, %u, %u), thread (%u, %u, %u)",
             cta->kernel->name, reason, number, line, cta->index[0], cta->index[1], cta->index[2], thread % block[0],
             thread / block[0] % block[1], thread / block[0] / block[1]);
    if (cta->report != NULL) cta->report(cta->user, text);
}

// ---- Splits: groups of lanes by place
// -----------------------------------------------------------------------------------

static void remove_split(struct emu_warp *warp, int at) {
    warp->num_splits--;
    memmove(&warp->splits[at], &warp->splits[at + 1], (size_t)(warp->num_splits - at) * sizeof(warp->splits[0]));
}

// Keeps the order by place; lanes that meet go on together.
static void add_split(struct emu_warp *warp, uint32_t pc, uint32_t mask) {
    int at = 0;
    if (mask == 0) return;
    while (at < warp->num_splits && warp->splits[at].pc < pc) at++;
    if (at < warp->num_splits && warp->splits[at].pc == pc && !warp->splits[at].waiting) {
        warp->splits[at].mask |= mask;
        return;
    }
    memmove(&warp->splits[at + 1], &warp->splits[at], (size_t)(warp->num_splits - at) * sizeof(warp->splits[0]));
    warp->splits[at] = (struct emu_split){pc, mask, false};
    warp->num_splits++;
}

// The first group that does not wait, or -1.
static int runnable_split(const struct emu_warp *warp) {
    for (int i = 0; i < warp->num_splits; i++) {
        if (!warp->splits[i].waiting) return i;
    }
    return -1;
}

// ---- Barriers
// ------------------------------------------------------------------------------------------------------------

static uint32_t alive_threads(const struct emu_cta *cta) {
    uint32_t count = 0;
    for (uint32_t w = 0; w < cta->num_warps; w++) count += (uint32_t)__builtin_popcount(cta->warps[w].alive);
    return count;
}

// Everybody that still runs has arrived: all go on (PTX ISA "bar": exited threads count as arrived).
static void release_if_complete(struct emu_cta *cta) {
    if (cta->arrived == 0 || cta->arrived < alive_threads(cta)) return;
    cta->arrived = 0;
    cta->epoch++;
    cta->counters.barrier_waits++;
    for (uint32_t w = 0; w < cta->num_warps; w++) {
        struct emu_warp *warp = &cta->warps[w];
        struct emu_split old[EMU_LANES];
        int num = warp->num_splits;
        memcpy(old, warp->splits, sizeof(old));
        warp->num_splits = 0;
        for (int i = 0; i < num; i++) add_split(warp, old[i].pc, old[i].mask);
    }
}

static void arrive(struct emu_warp *warp, struct emu_split *split, const struct emu_instruction *instruction) {
    if (instruction->immediate != 0) {
        emu_warp_finding(warp, __builtin_ctz(split->mask), EMU_OUTCOME_LAUNCH_FAILED,
                         "named barrier %lld is not supported", (long long)instruction->immediate);
        return;
    }
    split->pc++;
    split->waiting = true;
    warp->cta->arrived += (uint32_t)__builtin_popcount(split->mask);
    release_if_complete(warp->cta);
}

// ---- Steps
// ----------------------------------------------------------------------------------------------------------------

static void count_instruction(struct emu_counters *counters, const struct emu_instruction *instruction, uint32_t mask) {
    counters->warp_instructions++;
    counters->thread_instructions += (uint64_t)__builtin_popcount(mask);
    switch (instruction->instruction_class) {
    case EMU_CLASS_INTEGER: counters->integer_ops++; break;
    case EMU_CLASS_FLOAT: counters->float_ops++; break;
    case EMU_CLASS_CONTROL: counters->control_ops++; break;
    default: break;
    }
}

static void leave(struct emu_warp *warp, int at, uint32_t mask) {
    emu_copies_land(warp, mask, 0);
    warp->alive &= ~mask;
    warp->splits[at].mask &= ~mask;
    warp->splits[at].pc++;
    if (warp->splits[at].mask == 0) remove_split(warp, at);
    release_if_complete(warp->cta);
}

static void branch(struct emu_warp *warp, int at, uint32_t taken, uint32_t target) {
    struct emu_split split = warp->splits[at];
    remove_split(warp, at);
    add_split(warp, split.pc + 1, split.mask & ~taken);
    add_split(warp, target, taken);
}

// Lanes that reach the place of another group join it.
static void merge(struct emu_warp *warp, int at) {
    if (at + 1 >= warp->num_splits || warp->splits[at + 1].pc != warp->splits[at].pc || warp->splits[at + 1].waiting)
        return;
    warp->splits[at + 1].mask |= warp->splits[at].mask;
    remove_split(warp, at);
}

static void step(struct emu_warp *warp, int at) {
    struct emu_split *split = &warp->splits[at];
    const struct emu_instruction *instruction = &warp->cta->kernel->code[split->pc];
    uint32_t mask = split->mask;
    if (instruction->guarded) {
        uint32_t guard = *(const uint32_t *)emu_lanes(warp, &instruction->guard);
        mask &= instruction->guard_negated ? ~guard : guard;
    }
    warp->current = instruction;
    count_instruction(&warp->cta->counters, instruction, mask);
    switch (instruction->flow) {
    case EMU_FLOW_BRANCH: branch(warp, at, mask, instruction->target); return;
    case EMU_FLOW_RETURN: leave(warp, at, mask); return;
    case EMU_FLOW_BARRIER:
        if (mask != split->mask && mask != 0) {
            emu_warp_finding(warp, __builtin_ctz(mask), EMU_OUTCOME_LAUNCH_FAILED,
                             "a barrier under a guard that not all lanes pass");
        } else if (mask != 0) {
            arrive(warp, split, instruction);
        } else {
            split->pc++;
        }
        return;
    case EMU_FLOW_NEXT: break;
    }
    if (mask != 0) instruction->execute(warp, instruction, mask);
    split->pc++;
    if (warp->num_splits > 1) merge(warp, at);
}

// The end of a body without "ret" counts as one.
static bool run_warp(struct emu_warp *warp, uint32_t quantum) {
    struct emu_cta *cta = warp->cta;
    bool moved = false;
    while (quantum-- > 0 && cta->outcome == EMU_OUTCOME_OK) {
        int at = runnable_split(warp);
        if (at < 0) break;
        moved = true;
        if (warp->splits[at].pc >= cta->kernel->num_instructions) {
            leave(warp, at, warp->splits[at].mask);
        } else {
            step(warp, at);
        }
    }
    return moved;
}

static void report_deadlock(struct emu_cta *cta) {
    for (uint32_t w = 0; w < cta->num_warps; w++) {
        struct emu_warp *warp = &cta->warps[w];
        if (warp->num_splits == 0) continue;
        warp->current = &cta->kernel->code[warp->splits[0].pc - 1];
        emu_warp_finding(warp, __builtin_ctz(warp->splits[0].mask), EMU_OUTCOME_LAUNCH_FAILED,
                         "deadlock: %u threads wait at a barrier that %u of %u running ones have reached", cta->arrived,
                         cta->arrived, alive_threads(cta));
        return;
    }
}

// Turns of 1 to 512 instructions, or, in the adversarial schedule, as long as one warp can go on, last warp first.
static void run_cta(struct emu_cta *cta, uint64_t *random) {
    bool adversarial = cta->launch->settings->schedule == EMU_SCHEDULE_ADVERSARIAL;
    while (cta->outcome == EMU_OUTCOME_OK && alive_threads(cta) > 0) {
        bool moved = false;
        uint64_t bits = next_random(random);
        uint32_t first = (uint32_t)(bits % cta->num_warps);
        for (uint32_t i = 0; i < cta->num_warps && cta->outcome == EMU_OUTCOME_OK; i++) {
            uint32_t w = adversarial ? cta->num_warps - 1 - i : (first + i) % cta->num_warps;
            uint32_t quantum = adversarial ? UINT32_MAX : (uint32_t)(1 + next_random(random) % 512);
            moved = run_warp(&cta->warps[w], quantum) || moved;
        }
        if (!moved && cta->outcome == EMU_OUTCOME_OK) report_deadlock(cta);
    }
}

// ---- CTAs
// -----------------------------------------------------------------------------------------------------------------

static void fill_special(struct emu_warp *warp, enum emu_special special, uint32_t value) {
    uint32_t offset = warp->cta->kernel->special_offsets[special];
    uint32_t *lanes = (uint32_t *)(void *)(warp->registers + offset);
    for (int lane = 0; offset != 0 && lane < EMU_LANES; lane++) lanes[lane] = value;
}

static void fill_thread_specials(struct emu_warp *warp) {
    const uint32_t *offsets = warp->cta->kernel->special_offsets;
    const unsigned *block = warp->cta->launch->block;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        uint32_t thread = warp->index * EMU_LANES + lane;
        uint32_t values[4] = {thread % block[0], thread / block[0] % block[1], thread / block[0] / block[1], lane};
        const enum emu_special specials[4] = {EMU_SPECIAL_TID_X, EMU_SPECIAL_TID_Y, EMU_SPECIAL_TID_Z,
                                              EMU_SPECIAL_LANEID};
        for (int i = 0; i < 4; i++) {
            uint32_t offset = offsets[specials[i]];
            if (offset != 0) ((uint32_t *)(void *)(warp->registers + offset))[lane] = values[i];
        }
    }
}

// Registers hold NaN patterns that differ between runs of other seeds: nobody should read one that was not set.
static void start_warp(struct emu_warp *warp) {
    struct emu_cta *cta = warp->cta;
    const struct emu_launch *launch = cta->launch;
    memset(warp->registers, 0xff, cta->kernel->register_bytes);
    for (int i = 0; i < 3; i++) {
        fill_special(warp, (enum emu_special)(EMU_SPECIAL_NTID_X + i), launch->block[i]);
        fill_special(warp, (enum emu_special)(EMU_SPECIAL_CTAID_X + i), cta->index[i]);
        fill_special(warp, (enum emu_special)(EMU_SPECIAL_NCTAID_X + i), launch->grid[i]);
    }
    fill_special(warp, EMU_SPECIAL_WARPID, warp->index);
    fill_thread_specials(warp);
    uint32_t left = cta->num_threads - warp->index * EMU_LANES;
    warp->alive = left >= EMU_LANES ? EMU_FULL_MASK : (1u << left) - 1;
    warp->num_splits = 0;
    add_split(warp, 0, warp->alive);
    memset(warp->groups, 0, sizeof(warp->groups));
    warp->num_copies = 0;
    warp->last_allocation = NULL;
    warp->current = NULL;
}

static void start_cta(struct emu_cta *cta) {
    memset(cta->shared, 0xff, cta->shared_bytes);
    memset(cta->shared_written, 0, cta->shared_bytes);
    memset(cta->shadow, 0, (cta->shared_bytes / 4 + 1) * sizeof(*cta->shadow));
    cta->epoch = cta->arrived = 0;
    for (uint32_t w = 0; w < cta->num_warps; w++) start_warp(&cta->warps[w]);
}

static void free_cta(struct emu_cta *cta) {
    for (uint32_t w = 0; cta->warps != NULL && w < cta->num_warps; w++) {
        free(cta->warps[w].registers);
        free(cta->warps[w].copies);
    }
    free(cta->warps);
    free(cta->shared);
    free(cta->shared_written);
    free(cta->shadow);
}

static bool make_cta(struct emu_cta *cta, const struct emu_launch *launch) {
    cta->launch = launch;
    cta->kernel = launch->kernel;
    cta->num_threads = launch->block[0] * launch->block[1] * launch->block[2];
    cta->num_warps = (cta->num_threads + EMU_LANES - 1) / EMU_LANES;
    // Dynamic memory begins after the static, at the alignment of its declaration.
    size_t static_bytes = cta->kernel->facts.static_shared_bytes;
    cta->shared_bytes = (uint32_t)((static_bytes + 127) / 128 * 128 + launch->dynamic_shared_bytes);
    cta->warps = calloc(cta->num_warps, sizeof(*cta->warps));
    cta->shared = malloc(cta->shared_bytes + 1);
    cta->shared_written = malloc(cta->shared_bytes + 1);
    cta->shadow = malloc((cta->shared_bytes / 4 + 1) * sizeof(*cta->shadow));
    if (cta->warps == NULL || cta->shared == NULL || cta->shared_written == NULL || cta->shadow == NULL) return false;
    for (uint32_t w = 0; w < cta->num_warps; w++) {
        struct emu_warp *warp = &cta->warps[w];
        warp->cta = cta;
        warp->index = w;
        warp->constants = cta->kernel->constants;
        warp->registers = malloc(cta->kernel->register_bytes);
        if (warp->registers == NULL) return false;
    }
    return true;
}

static void add_counters(struct emu_counters *sum, const struct emu_counters *more) {
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof(*sum) / sizeof(uint64_t); i++) to[i] += from[i];
}

enum emu_outcome emu_machine_run(const struct emu_launch *launch, emu_report_fn report, void *user) {
    struct emu_cta cta = {.report = report, .user = user};
    uint64_t random = launch->schedule_seed, num_ctas = (uint64_t)launch->grid[0] * launch->grid[1] * launch->grid[2];
    if (!make_cta(&cta, launch)) {
        free_cta(&cta);
        return EMU_OUTCOME_OUT_OF_RESOURCES;
    }
    // A rotation of the grid: any CTA may be the first.
    uint64_t first = num_ctas > 0 ? next_random(&random) % num_ctas : 0;
    for (uint64_t i = 0; i < num_ctas && cta.outcome == EMU_OUTCOME_OK; i++) {
        uint64_t idx = (first + i) % num_ctas;
        cta.index[0] = (unsigned)(idx % launch->grid[0]);
        cta.index[1] = (unsigned)(idx / launch->grid[0] % launch->grid[1]);
        cta.index[2] = (unsigned)(idx / launch->grid[0] / launch->grid[1]);
        start_cta(&cta);
        run_cta(&cta, &random);
    }
    if (launch->counters != NULL) add_counters(launch->counters, &cta.counters);
    free_cta(&cta);
    return cta.outcome;
}
