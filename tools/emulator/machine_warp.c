// A warp's turn. Lanes that are at the same place are a split and go together; the split at the lowest place goes
// first, so that those that branched apart meet again where their ways join.
#include "warp.h"

// A split that has gone back so often while others of its warp could run lets them: it may be spinning for them.
#define SPIN_LIMIT 2048

// Turns that ended with a failed wait, while nothing happened in the cluster that it could have waited for.
#define PATIENCE 64

void emu_warp_start(struct emu_warp *warp) {
    warp->splits[0] = (struct emu_split){.pc = 0, .mask = warp->alive, .state = EMU_SPLIT_READY};
    warp->num_splits = 1;
    warp->stop = warp->waits = warp->retry = warp->strong = false;
    warp->failed_waits = 0;
    warp->progress = 0;
    warp->current = NULL;
    warp->last_allocation = NULL;
    warp->num_copies = 0;
    emu_wgmma_clear(warp);
    warp->cluster_arrived = 0;
    warp->awaited = 0;
    memset(warp->groups, 0, sizeof(warp->groups));
    memset(warp->bulk_groups, 0, sizeof(warp->bulk_groups));
    memset(warp->carry, 0, sizeof(warp->carry));
}

static struct emu_split *add_split(struct emu_warp *warp, uint32_t pc, uint32_t mask, enum emu_split_state state) {
    struct emu_split *split = &warp->splits[warp->num_splits++];
    *split = (struct emu_split){.pc = pc, .mask = mask, .state = state};
    return split;
}

static void remove_split(struct emu_warp *warp, int at) {
    warp->splits[at] = warp->splits[--warp->num_splits];
}

// Splits that can run and are at one place become one. Those that wait for members join, to be counted again.
static void merge(struct emu_warp *warp) {
    for (int i = 0; i < warp->num_splits; i++) {
        if (warp->splits[i].state > EMU_SPLIT_MEMBERS) continue;
        for (int j = i + 1; j < warp->num_splits;) {
            struct emu_split *a = &warp->splits[i], *b = &warp->splits[j];
            if (b->state > EMU_SPLIT_MEMBERS || b->pc != a->pc ||
                (a->state == b->state && a->state != EMU_SPLIT_READY)) {
                j++;
                continue;
            }
            a->mask |= b->mask;
            a->state = EMU_SPLIT_READY;
            remove_split(warp, j);
        }
    }
}

// The lowest one that can run and has not spun too long, or -1.
static int pick(struct emu_warp *warp) {
    int best = -1;
    bool spun = false;
    for (int i = 0; i < warp->num_splits; i++) {
        if (warp->splits[i].state != EMU_SPLIT_READY) continue;
        if (warp->splits[i].spins >= SPIN_LIMIT) {
            spun = true;
        } else if (best < 0 || warp->splits[i].pc < warp->splits[best].pc) {
            best = i;
        }
    }
    if (best >= 0 || !spun) return best;
    for (int i = 0; i < warp->num_splits; i++) warp->splits[i].spins = 0;
    return pick(warp);
}

// Without a call where the build's CPU has no such instruction.
static uint32_t population(uint32_t mask) {
    if (mask == EMU_FULL_MASK) return EMU_LANES;
    mask -= mask >> 1 & 0x55555555u;
    mask = (mask & 0x33333333u) + (mask >> 2 & 0x33333333u);
    return ((mask + (mask >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
}

static void count(struct emu_counters *counters, const struct emu_instruction *instruction, uint32_t mask) {
    counters->warp_instructions++;
    counters->thread_instructions += population(mask);
    switch (instruction->instruction_class) {
    case EMU_CLASS_INTEGER: counters->integer_ops++; break;
    case EMU_CLASS_FLOAT: counters->float_ops++; break;
    case EMU_CLASS_CONTROL: counters->control_ops++; break;
    default: break;
    }
}

// Lanes that exit count as arrived at barriers and as present at warp-wide instructions.
static void leave(struct emu_warp *warp, struct emu_split *split, uint32_t mask) {
    struct emu_cta *cta = warp->cta;
    emu_copies_land(warp, mask, 0);
    warp->alive &= ~mask;
    cta->alive_threads -= (uint32_t)__builtin_popcount(mask);
    cta->run->progress++;
    split->mask &= ~mask;
    split->pc++;
    if (split->mask == 0) remove_split(warp, (int)(split - warp->splits));
    for (int i = 0; i < warp->num_splits; i++) {
        if (warp->splits[i].state == EMU_SPLIT_MEMBERS) warp->splits[i].state = EMU_SPLIT_READY;
    }
    emu_barriers_recount(cta);
    emu_cluster_leave(warp, mask);
    if (cta->alive_threads > 0) return;
    emu_wgmma_check_end(warp);
    emu_bulk_check_end(warp);
}

static void branch(struct emu_warp *warp, struct emu_split *split, uint32_t taken, uint32_t target) {
    bool backward = target <= split->pc;
    if (taken == 0) {
        split->pc++;
        return;
    }
    if (taken != split->mask) {
        uint32_t rest = split->mask & ~taken, spins = split->spins;
        add_split(warp, split->pc + 1, rest, EMU_SPLIT_READY)->spins = spins;
        split->mask = taken;
    }
    split->pc = target;
    if (backward && warp->num_splits > 1) split->spins++;
}

// brx.idx: each lane to its own of the list's places.
static void branch_by_table(struct emu_warp *warp, struct emu_split *split, const struct emu_instruction *instruction,
                            uint32_t mask) {
    uint32_t next = split->pc + 1, rest = split->mask & ~mask;
    const uint32_t *indices = EMU_32(0);
    remove_split(warp, (int)(split - warp->splits));
    if (rest != 0) add_split(warp, next, rest, EMU_SPLIT_READY);
    while (mask != 0) {
        uint32_t lane = (uint32_t)__builtin_ctz(mask), index = indices[lane], same = 0;
        if (index >= instruction->num_targets) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "brx.idx takes target %u of a list of %u", index,
                             instruction->num_targets);
            return;
        }
        for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
            uint32_t other = (uint32_t)__builtin_ctz(lanes);
            if (indices[other] == index) same |= 1u << other;
        }
        add_split(warp, warp->cta->kernel->targets[instruction->target + index], same, EMU_SPLIT_READY);
        mask &= ~same;
    }
}

// Lanes that name the same members, of which this is one.
static uint32_t group_of(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask, uint32_t lane,
                         uint32_t *members) {
    uint32_t group = 0;
    if (instruction->flow != EMU_FLOW_MEMBERS) {
        *members = warp->alive;
        return mask;
    }
    const uint32_t *named = EMU_32(instruction->members);
    *members = named[lane];
    for (uint32_t lanes = mask; lanes != 0; lanes &= lanes - 1) {
        uint32_t other = (uint32_t)__builtin_ctz(lanes);
        if (named[other] == *members) group |= 1u << other;
    }
    return group;
}

// The instruction could not be done: the split stays, and others go first.
static bool must_retry(struct emu_warp *warp, struct emu_split *split) {
    if (!warp->retry) return false;
    warp->retry = false;
    warp->waits = warp->stop = true;
    split->spins = SPIN_LIMIT;
    return true;
}

static void wait_for_cluster(struct emu_warp *warp, struct emu_split *split, const struct emu_instruction *instruction,
                             uint32_t mask) {
    uint32_t rest = split->mask & ~mask;
    instruction->execute(warp, instruction, mask);
    if (!must_retry(warp, split)) {
        split->pc++;
    } else if (rest != 0) {
        split->mask = mask;
        add_split(warp, split->pc + 1, rest, EMU_SPLIT_READY);
    }
}

// Executes for each group of lanes that is complete; the others wait here. A barrier of the CTA takes a whole warp.
static void meet(struct emu_warp *warp, struct emu_split *split, const struct emu_instruction *instruction,
                 uint32_t mask) {
    uint32_t waiting = 0, pc = split->pc;
    for (uint32_t left = mask; left != 0;) {
        uint32_t lane = (uint32_t)__builtin_ctz(left), members;
        uint32_t group = group_of(warp, instruction, left, lane, &members);
        left &= ~group;
        if ((members >> lane & 1) == 0) {
            emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                             "the lane is not among the members 0x%08x that it names", members);
            return;
        }
        if ((members & warp->alive & ~group) != 0) {
            waiting |= group;
        } else if (instruction->flow != EMU_FLOW_BARRIER) {
            instruction->execute(warp, instruction, group);
        }
    }
    if (must_retry(warp, split)) return;
    if (instruction->flow == EMU_FLOW_BARRIER && waiting == 0) {
        if (mask != split->mask) add_split(warp, pc + 1, split->mask & ~mask, EMU_SPLIT_READY);
        split->mask = mask;
        emu_barrier_arrive(warp, split, instruction);
        return;
    }
    uint32_t going = split->mask & ~waiting;
    if (waiting == 0) {
        split->pc++;
        return;
    }
    split->mask = waiting;
    split->state = EMU_SPLIT_MEMBERS;
    if (going != 0) add_split(warp, pc + 1, going, EMU_SPLIT_READY);
}

static bool is_aligned(const struct emu_instruction *instruction) {
    return strcmp(instruction->row->name, "bar") == 0 || EMU_FLAG(ALIGNED);
}

// ".aligned": all lanes of the warp that are there execute it (PTX ISA, "bar", "mma", "ldmatrix").
static bool whole_warp(struct emu_warp *warp, const struct emu_split *split, const struct emu_instruction *instruction,
                       uint32_t mask) {
    bool aligned =
        instruction->flow == EMU_FLOW_WARP || (instruction->flow == EMU_FLOW_BARRIER && is_aligned(instruction));
    if (!aligned || mask == split->mask) return true;
    emu_warp_finding(warp, (uint32_t)__builtin_ctz(mask), EMU_OUTCOME_LAUNCH_FAILED,
                     "%s under a guard that not all lanes pass (lanes 0x%08x of 0x%08x)",
                     instruction->flow == EMU_FLOW_BARRIER ? "a barrier" : "a warp-wide instruction", mask,
                     split->mask);
    return false;
}

static void flow(struct emu_warp *warp, struct emu_split *split, const struct emu_instruction *instruction,
                 uint32_t mask) {
    if (mask == 0 && instruction->flow != EMU_FLOW_BRANCH) {
        split->pc++;
        return;
    }
    if (!whole_warp(warp, split, instruction, mask)) return;
    switch (instruction->flow) {
    case EMU_FLOW_BRANCH: branch(warp, split, mask, instruction->target); break;
    case EMU_FLOW_TABLE: branch_by_table(warp, split, instruction, mask); break;
    case EMU_FLOW_EXIT: leave(warp, split, mask); break;
    case EMU_FLOW_CLUSTER: wait_for_cluster(warp, split, instruction, mask); break;
    case EMU_FLOW_BARRIER:
        if (!is_aligned(instruction)) {
            if (mask != split->mask) add_split(warp, split->pc + 1, split->mask & ~mask, EMU_SPLIT_READY);
            split->mask = mask;
            emu_barrier_arrive(warp, split, instruction);
            break;
        }
        meet(warp, split, instruction, mask);
        break;
    default: meet(warp, split, instruction, mask); break;
    }
}

// Where another split of the warp may be met: the nearest place of one at or after this.
static uint32_t meeting_place(const struct emu_warp *warp, int at) {
    uint32_t place = UINT32_MAX;
    for (int i = 0; i < warp->num_splits; i++) {
        const struct emu_split *split = &warp->splits[i];
        if (i == at || split->state > EMU_SPLIT_MEMBERS || split->pc < warp->splits[at].pc) continue;
        if (split->pc < place) place = split->pc;
    }
    return place;
}

// Straight on until a split is met, the flow turns, or the turn is over; returns what is left of the budget.
static uint32_t run_split(struct emu_warp *warp, int at, uint32_t budget) {
    struct emu_split *split = &warp->splits[at];
    struct emu_counters *counters = &warp->cta->run->counters;
    const struct emu_instruction *code = warp->cta->kernel->code;
    uint32_t place = meeting_place(warp, at), lanes = split->mask, pc = split->pc;
    while (budget > 0) {
        const struct emu_instruction *instruction = &code[pc];
        uint32_t mask = lanes;
        budget--;
        if (instruction->guard != EMU_OPERAND_ABSENT) {
            uint32_t guard = *(const uint32_t *)emu_lanes(warp, instruction->guard);
            mask &= instruction->guard_negated ? ~guard : guard;
        }
        count(counters, instruction, mask);
        warp->current = instruction;
        if (instruction->doubtful && warp->cta->checks && !emu_doubts_observe(warp, instruction, lanes, mask)) break;
        if (warp->wgmma != NULL && mask != 0 && !emu_wgmma_observe(warp, instruction)) break;
        if (instruction->flow != EMU_FLOW_NEXT) {
            split->pc = pc;
            flow(warp, split, instruction, mask);
            return budget;
        }
        if (mask != 0) instruction->execute(warp, instruction, mask);
        pc++;
        if (warp->waits) split->spins = SPIN_LIMIT; // others of the warp go first
        if (pc == place || warp->stop) break;
    }
    split->pc = pc;
    return budget;
}

// Lanes may meet in different bar.warp.sync of the same members.
static bool release_warp_barrier(struct emu_warp *warp) {
    const struct emu_instruction *code = warp->cta->kernel->code;
    for (int i = 0; i < warp->num_splits; i++) {
        const struct emu_split *first = &warp->splits[i];
        const struct emu_instruction *instruction = &code[first->pc];
        if (first->state != EMU_SPLIT_MEMBERS || strcmp(instruction->row->name, "bar") != 0) continue;
        if (instruction->flow != EMU_FLOW_MEMBERS) continue;
        uint32_t members = EMU_32(0)[__builtin_ctz(first->mask)], present = 0;
        for (int j = 0; j < warp->num_splits; j++) {
            const struct emu_split *split = &warp->splits[j];
            if (split->state == EMU_SPLIT_MEMBERS && code[split->pc].execute == instruction->execute)
                present |= split->mask;
        }
        if ((members & warp->alive & ~present) != 0) continue;
        for (int j = 0; j < warp->num_splits; j++) {
            struct emu_split *split = &warp->splits[j];
            if (split->state != EMU_SPLIT_MEMBERS || (split->mask & members) == 0) continue;
            split->state = EMU_SPLIT_READY;
            split->pc++;
        }
        emu_race_warp_sync(warp);
        return true;
    }
    return false;
}

void emu_warp_run(struct emu_warp *warp, uint32_t budget) {
    warp->stop = warp->waits = false;
    while (budget > 0 && !warp->stop && warp->cta->run->outcome == EMU_OUTCOME_OK) {
        if (warp->num_splits > 1) merge(warp);
        int at = warp->num_splits == 1 && warp->splits[0].state == EMU_SPLIT_READY ? 0 : pick(warp);
        if (at < 0 && release_warp_barrier(warp)) continue;
        if (at < 0) return;
        budget = run_split(warp, at, budget);
    }
    uint64_t progress = warp->cta->run->progress;
    if (warp->progress != progress) warp->failed_waits = 0;
    warp->progress = progress;
    warp->failed_waits += warp->waits;
}

bool emu_warp_stuck(const struct emu_warp *warp) {
    bool ready = false;
    for (int i = 0; i < warp->num_splits; i++) ready = ready || warp->splits[i].state == EMU_SPLIT_READY;
    return !ready || (warp->progress == warp->cta->run->progress && warp->failed_waits >= PATIENCE);
}
