// Barriers of a CTA (PTX ISA "bar", "barrier"): threads arrive, with a number of threads that is to come or all that
// have not exited; those that wait go on together.
#include "warp.h"

enum barrier_kind { BARRIER_SYNC, BARRIER_ARRIVE, BARRIER_RED };

struct shape { // where the operands are
    enum barrier_kind kind;
    int result, id, count, predicate; // -1: none
};

static struct shape shape_of(const struct emu_instruction *instruction) {
    struct shape shape = {BARRIER_SYNC, -1, 0, -1, -1};
    const char *operands = instruction->row->operands;
    if (operands[0] == 'd') {
        shape = (struct shape){BARRIER_RED, 0, 1, -1, instruction->num_operands - 1};
        if (instruction->num_operands == 4) shape.count = 2;
        return shape;
    }
    if (strstr(instruction->row->form, "arrive") != NULL) shape.kind = BARRIER_ARRIVE;
    if (EMU_HAS(1)) shape.count = 1;
    return shape;
}

static uint32_t expected(const struct emu_cta *cta, const struct emu_barrier *barrier) {
    return barrier->expected != 0 ? barrier->expected : cta->alive_threads;
}

// barrier.red's answer for the lanes of a split that waited.
static void write_result(struct emu_warp *warp, const struct emu_split *split, const struct emu_barrier *barrier) {
    const struct emu_instruction *instruction = &warp->cta->kernel->code[split->pc];
    struct shape shape = shape_of(instruction);
    if (shape.kind != BARRIER_RED) return;
    if (EMU_WORD_OF(OPERATION) == EMU_W_POPC) {
        uint32_t *d = EMU_32(shape.result);
        for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
            if ((split->mask >> lane & 1) != 0) d[lane] = barrier->predicates;
        }
        return;
    }
    bool yes = EMU_WORD_OF(OPERATION) == EMU_W_AND ? barrier->predicates == barrier->arrived : barrier->predicates > 0;
    emu_set_predicate(&EMU_PREDICATE(shape.result), split->mask, yes ? EMU_FULL_MASK : 0);
}

static void complete(struct emu_cta *cta, uint32_t id) {
    struct emu_barrier *barrier = &cta->barriers[id];
    for (uint32_t w = 0; w < cta->num_warps; w++) {
        struct emu_warp *warp = &cta->warps[w];
        bool waited = false;
        for (int i = 0; i < warp->num_splits; i++) {
            struct emu_split *split = &warp->splits[i];
            if (split->state != EMU_SPLIT_BARRIER || split->barrier != id) continue;
            write_result(warp, split, barrier);
            split->state = EMU_SPLIT_READY;
            split->pc++;
            split->spins = 0;
            waited = true;
        }
        if (waited) emu_race_acquire(warp, barrier->clocks);
    }
    cta->run->progress++;
    barrier->expected = barrier->arrived = barrier->predicates = 0;
    memset(barrier->clocks, 0, emu_race_num_clocks(cta) * sizeof(*barrier->clocks));
}

void emu_barriers_recount(struct emu_cta *cta) {
    for (uint32_t id = 0; id < EMU_NUM_BARRIERS; id++) {
        struct emu_barrier *barrier = &cta->barriers[id];
        if (barrier->arrived > 0 && barrier->arrived >= expected(cta, barrier)) complete(cta, id);
    }
}

static bool check_call(struct emu_warp *warp, const struct emu_split *split, uint32_t id, uint32_t count) {
    uint32_t lane = (uint32_t)__builtin_ctz(split->mask);
    const struct emu_barrier *barrier = &warp->cta->barriers[id < EMU_NUM_BARRIERS ? id : 0];
    if (id >= EMU_NUM_BARRIERS) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED, "barrier %u: a block has barriers 0 to 15", id);
    } else if (count % EMU_LANES != 0) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "barrier %u for %u threads: the number must be a multiple of 32", id, count);
    } else if (barrier->arrived > 0 && barrier->expected != count) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "barrier %u for %u threads, but those that are at it named %u (0: all)", id, count,
                         barrier->expected);
    } else {
        return true;
    }
    return false;
}

void emu_barrier_arrive(struct emu_warp *warp, struct emu_split *split, const struct emu_instruction *instruction) {
    struct emu_cta *cta = warp->cta;
    struct shape shape = shape_of(instruction);
    uint32_t first = (uint32_t)__builtin_ctz(split->mask), id = EMU_32(shape.id)[first];
    uint32_t count = shape.count >= 0 ? EMU_32(shape.count)[first] : 0;
    if (!check_call(warp, split, id, count)) return;
    struct emu_barrier *barrier = &cta->barriers[id];
    barrier->expected = count;
    barrier->arrived += (uint32_t)__builtin_popcount(split->mask);
    if (shape.predicate >= 0) {
        uint32_t set = EMU_PREDICATE(shape.predicate);
        if (instruction->negated) set = ~set;
        barrier->predicates += (uint32_t)__builtin_popcount(set & split->mask);
    }
    emu_race_release(warp, barrier->clocks);
    cta->run->counters.barrier_waits += shape.kind != BARRIER_ARRIVE;
    if (shape.kind == BARRIER_ARRIVE) {
        split->pc++;
    } else {
        split->state = EMU_SPLIT_BARRIER;
        split->barrier = id;
    }
    if (barrier->arrived > expected(cta, barrier)) {
        emu_warp_finding(warp, first, EMU_OUTCOME_LAUNCH_FAILED, "%u threads are at barrier %u, which is for %u",
                         barrier->arrived, id, expected(cta, barrier));
        return;
    }
    emu_barriers_recount(cta);
}
