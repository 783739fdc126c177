#include "driver_queue.h"

#include <stdlib.h>

#include "driver_context.h"
#include "driver_entry.h"
#include "driver_event.h"
#include "driver_findings.h"
#include "driver_races.h"
#include "driver_schedule.h"

#define MAX_PENDING 1024   // a full queue makes the next call wait, as a driver's does; a graph must fit it whole
#define MAX_REMEMBERED 512 // operations that have run, with their footprints, which may be large

// Dependent launches that wait for one another at once, each inside the run of the next: the host's stack has an end.
#define MAX_OVERLAPPING 8

// What is kept of those that ran is younger than MAX_PENDING + MAX_REMEMBERED / 2 calls, and up to MAX_REMEMBERED / 2
// more; what waits is at most MAX_PENDING.
_Static_assert(2 * MAX_PENDING + MAX_REMEMBERED <= EMU_SET_PLACES,
               "there is a place for every operation that is added");

static struct {
    struct emu_operation *operations[EMU_SET_PLACES];
    struct emu_set used, pending; // used: pending, or run and remembered
    struct emu_set seen;          // run, and the host knows
    size_t num_used, num_pending;
    size_t most_remembered; // then the oldest are let go
    uint64_t next_age;
    struct emu_point *points;
} queue = {.most_remembered = MAX_REMEMBERED};

void emu_point_register(struct emu_point *point) {
    point->previous = NULL;
    point->next = queue.points;
    if (queue.points != NULL) queue.points->previous = point;
    queue.points = point;
}

void emu_point_forget(struct emu_point *point) {
    if (point->previous != NULL) point->previous->next = point->next;
    if (point->next != NULL) point->next->previous = point->previous;
    if (queue.points == point) queue.points = point->next;
}

// Memory that an operation frees goes back only when the operation is forgotten: before, an access by somebody who does
// not know of the free would be taken for one of the next owner's.
static void destroy(struct emu_operation *operation) {
    if (operation->task.kind == EMU_TASK_FREE) {
        emu_allocations_free(operation->context, operation->task.free_address, false);
    }
    emu_task_clear(&operation->task);
    emu_footprint_destroy(operation->footprint);
    emu_footprint_destroy(operation->early);
    free(operation);
}

// Forgets operations that have run: their places may be used again.
static void release(const struct emu_set *gone) {
    for (size_t i = emu_set_next(gone, 0); i < EMU_SET_PLACES; i = emu_set_next(gone, i + 1)) {
        destroy(queue.operations[i]);
        queue.operations[i] = NULL;
        queue.num_used--;
    }
    emu_set_subtract(&queue.used, gone);
    emu_set_subtract(&queue.seen, gone);
    for (size_t i = emu_set_next(&queue.used, 0); i < EMU_SET_PLACES; i = emu_set_next(&queue.used, i + 1)) {
        emu_set_subtract(&queue.operations[i]->before, gone);
        emu_set_subtract(&queue.operations[i]->awaited, gone);
    }
    for (struct emu_point *point = queue.points; point != NULL; point = point->next)
        emu_set_subtract(&point->set, gone);
}

// An operation that the host has seen done is before all that comes later; when it is before all that still waits too,
// nothing can race with it.
static void release_settled(void) {
    struct emu_set settled = queue.seen;
    for (size_t i = emu_set_next(&queue.pending, 0); i < EMU_SET_PLACES; i = emu_set_next(&queue.pending, i + 1)) {
        emu_set_intersect(&settled, &queue.operations[i]->before);
    }
    if (emu_set_next(&settled, 0) < EMU_SET_PLACES) release(&settled);
}

static size_t num_remembered(void) {
    return queue.num_used - queue.num_pending;
}

// The memory for races has an end: the oldest of what has run is let go, raced with or not. Where much of it is younger
// than what waits, little is old: then more is remembered, so that each call finds some.
static void release_oldest(void) {
    struct emu_set gone = {{0}};
    uint64_t kept = queue.num_pending + MAX_REMEMBERED / 2;
    uint64_t horizon = queue.next_age > kept ? queue.next_age - kept : 0;
    for (size_t i = emu_set_next(&queue.used, 0); i < EMU_SET_PLACES; i = emu_set_next(&queue.used, i + 1)) {
        if (!emu_set_has(&queue.pending, i) && queue.operations[i]->age < horizon) emu_set_insert(&gone, i);
    }
    release(&gone);
    queue.most_remembered = num_remembered() + MAX_REMEMBERED / 2;
}

void emu_queue_observe(const struct emu_set *set) {
    struct emu_set seen = *set;
    emu_set_intersect(&seen, &queue.used);
    emu_set_subtract(&seen, &queue.pending);
    emu_set_unite(&queue.seen, &seen);
    release_settled();
}

bool emu_queue_pending(const struct emu_set *set) {
    return emu_set_meets(set, &queue.pending);
}

static struct emu_operation *find_age(uint64_t age) {
    for (size_t i = emu_set_next(&queue.used, 0); i < EMU_SET_PLACES; i = emu_set_next(&queue.used, i + 1)) {
        if (queue.operations[i]->age == age) return queue.operations[i];
    }
    return NULL;
}

// griddepcontrol.wait waits for one grid. Where that one ended without a wait of its own, nothing says that those
// before it have ended.
static void settle_awaited(struct emu_operation *operation) {
    const struct emu_operation *other = operation->prerequisite != 0 ? find_age(operation->prerequisite) : NULL;
    if (other == NULL || other->prerequisite == 0) return;
    operation->awaited = operation->before;
    emu_set_unite(&operation->awaited, other->waited ? &other->awaited : &other->before);
    emu_set_insert(&operation->awaited, other->place);
}

static CUresult check_races(struct emu_operation *operation) {
    struct emu_set done = queue.used;
    if (operation->footprint == NULL) return CUDA_SUCCESS;
    settle_awaited(operation);
    emu_set_subtract(&done, &queue.pending);
    return emu_races_check(operation, queue.operations, &done);
}

// What the footprint and the run of one operation come to, with the lock held again.
static void conclude(struct emu_operation *operation, struct emu_operation *outer, CUresult result) {
    struct emu_context *context = operation->context;
    operation->running = false;
    context->running = outer;
    context->overlapping--;
    context->users--;
    if (result == CUDA_SUCCESS) result = check_races(operation);
    if (operation->task.kind == EMU_TASK_EVENT)
        emu_event_reached(operation->task.event.event, operation->task.event.record);
    if (result != CUDA_SUCCESS) emu_context_fail(context, result);
    emu_set_erase(&queue.pending, operation->place);
    queue.num_pending--;
    emu_tally_trace(&context->trace, operation->number);
    emu_wake();
}

static bool touches_memory(const struct emu_operation *operation) {
    enum emu_task_kind kind = operation->task.kind;
    return kind == EMU_TASK_KERNEL || kind == EMU_TASK_COPY || kind == EMU_TASK_FILL;
}

// Inside the run of another operation of the context, if that awaits this one.
static void run(struct emu_operation *operation) {
    struct emu_context *context = operation->context;
    struct emu_operation *outer = context->running;
    CUresult result = CUDA_SUCCESS;
    operation->running = true;
    context->running = operation;
    context->overlapping++;
    context->users++;
    if (context->sticky == CUDA_SUCCESS) { // a broken context runs nothing any more
        if (context->settings.checks && touches_memory(operation)) {
            operation->footprint = emu_footprint_create();
            if (operation->prerequisite != 0) operation->early = emu_footprint_create();
        }
        uint64_t seed = emu_schedule_launch_seed(context, operation->number);
        if (emu_set_meets(&operation->awaited, &queue.pending)) emu_tally_trace(&context->trace, ~operation->number);
        emu_unlock();
        result = emu_task_run(operation, seed);
        emu_lock();
    }
    conclude(operation, outer, result);
}

static bool ready(const struct emu_operation *operation) {
    bool overlaps = operation->context->overlapping < MAX_OVERLAPPING;
    return !operation->running && !emu_set_meets(overlaps ? &operation->before : &operation->awaited, &queue.pending);
}

// Runs one ready operation of the context, of this set where there is one, or else says that there is none.
static bool step(struct emu_context *context, const struct emu_set *among) {
    struct emu_operation *candidates[MAX_PENDING];
    size_t count = 0;
    for (size_t i = emu_set_next(&queue.pending, 0); i < EMU_SET_PLACES; i = emu_set_next(&queue.pending, i + 1)) {
        struct emu_operation *operation = queue.operations[i];
        if (operation->context != context || (among != NULL && !emu_set_has(among, i))) continue;
        if (ready(operation)) candidates[count++] = operation;
    }
    if (count == 0) return false;
    run(candidates[emu_schedule_pick(context, candidates, count)]);
    return true;
}

// Something in the set, or before something in it, that is ready: in another context when its own has nothing to run.
static struct emu_operation *blocker(const struct emu_set *set) {
    for (size_t i = emu_set_next(set, 0); i < EMU_SET_PLACES; i = emu_set_next(set, i + 1)) {
        if (emu_set_has(&queue.pending, i) && ready(queue.operations[i])) return queue.operations[i];
    }
    return NULL;
}

// False when the operations of the set are with other threads for now.
static bool advance(const struct emu_set *set) {
    struct emu_set waiting = *set;
    emu_set_intersect(&waiting, &queue.pending);
    struct emu_context *context = queue.operations[emu_set_next(&waiting, 0)]->context;
    if (context->running != NULL) return false;
    if (step(context, NULL)) return true;
    struct emu_operation *foreign = blocker(set);
    return foreign != NULL && foreign->context->running == NULL && step(foreign->context, NULL);
}

// The host threads of one grid all come here; the first runs what there is to run.
bool emu_queue_await(struct emu_operation *operation) {
    struct emu_context *context = operation->context;
    emu_lock();
    operation->waited = true;
    while (emu_set_meets(&operation->awaited, &queue.pending)) {
        bool moved = context->running == operation && step(context, &operation->awaited);
        if (!moved && context->running == operation) {
            struct emu_operation *foreign = blocker(&operation->awaited);
            moved = foreign != NULL && foreign->context->running == NULL && step(foreign->context, NULL);
        }
        if (!moved) emu_wait();
    }
    bool good = context->sticky == CUDA_SUCCESS;
    emu_unlock();
    return good;
}

// A stream's or event's set holds all that was before, so waiting for the set is waiting for its blockers too.
void emu_queue_finish(struct emu_point *point) {
    while (emu_queue_pending(&point->set)) {
        if (!advance(&point->set)) emu_wait();
    }
    emu_queue_observe(&point->set);
}

static void all_of(const struct emu_context *context, struct emu_set *set) {
    *set = (struct emu_set){{0}};
    for (size_t i = emu_set_next(&queue.used, 0); i < EMU_SET_PLACES; i = emu_set_next(&queue.used, i + 1)) {
        if (queue.operations[i]->context != context) continue;
        emu_set_insert(set, i);
        emu_set_unite(set, &queue.operations[i]->before);
    }
}

void emu_queue_finish_all(struct emu_context *context) {
    struct emu_point all = {0};
    all_of(context, &all.set);
    emu_point_register(&all);
    emu_queue_finish(&all);
    emu_point_forget(&all);
}

void emu_queue_poll(const struct emu_set *set) {
    if (emu_queue_pending(set)) advance(set);
}

void emu_queue_maybe(struct emu_context *context) {
    if (context->running == NULL && emu_schedule_runs_early(context)) step(context, NULL);
}

CUresult emu_queue_reserve(struct emu_context *context, size_t count) {
    if (count > MAX_PENDING) {
        emu_findings_reportf("A graph of %zu nodes was launched; the emulator takes at most %d.", count, MAX_PENDING);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    while (queue.num_pending + count > MAX_PENDING) {
        struct emu_set waiting = queue.pending;
        if (!advance(&waiting)) emu_wait();
    }
    if (num_remembered() > queue.most_remembered) release_oldest();
    return context->sticky;
}

uint64_t emu_queue_add(struct emu_context *context, struct emu_task *task, unsigned stream, struct emu_set *before,
                       const struct emu_start *start) {
    struct emu_operation *operation = calloc(1, sizeof(*operation));
    if (operation == NULL) {
        emu_task_clear(task);
        return 0;
    }
    size_t place = 0;
    while (emu_set_has(&queue.used, place)) place++; // reserved, so there is one
    *operation = (struct emu_operation){
        .task = *task,
        .context = context,
        .number = context->next_operation++,
        .age = ++queue.next_age,
        .stream = stream,
        .place = place,
        .before = start != NULL ? start->set : *before,
        .prerequisite = start != NULL ? start->prerequisite : 0,
        .awaited = *before,
    };
    emu_set_unite(&operation->before, &queue.seen);
    emu_set_unite(&operation->awaited, &queue.seen);
    queue.operations[place] = operation;
    queue.num_used++;
    emu_set_insert(&queue.used, place);
    emu_set_insert(&queue.pending, place);
    queue.num_pending++;
    emu_set_insert(before, place);
    task->kind = EMU_TASK_EMPTY; // its owner is the operation now
    return operation->age;
}

void emu_queue_forget(struct emu_context *context) {
    struct emu_set gone = {{0}};
    for (size_t i = emu_set_next(&queue.used, 0); i < EMU_SET_PLACES; i = emu_set_next(&queue.used, i + 1)) {
        if (queue.operations[i]->context == context) emu_set_insert(&gone, i);
    }
    release(&gone);
}
