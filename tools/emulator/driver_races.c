#include "driver_races.h"

#include <stdio.h>

#include "driver_context.h"
#include "driver_findings.h"

static void describe(const struct emu_operation *operation, char *text, size_t bytes) {
    char task[160];
    emu_task_describe(&operation->task, task, sizeof(task));
    snprintf(text, bytes, "%s (operation %llu, stream %u)", task, (unsigned long long)operation->number,
             operation->stream);
}

// Why nothing orders the two, where it is a wait inside the kernel that would.
static const struct emu_operation *forgetful(const struct emu_operation *a, const struct emu_operation *b) {
    if (a->prerequisite != 0 && emu_set_has(&a->awaited, b->place)) return a;
    if (b->prerequisite != 0 && emu_set_has(&b->awaited, a->place)) return b;
    return NULL;
}

static void report(const struct emu_operation *earlier, const struct emu_operation *later, uintptr_t address) {
    char first[256], second[256], place[128] = "", why[512] = "no stream, event or synchronisation orders them";
    describe(earlier, first, sizeof(first));
    describe(later, second, sizeof(second));
    const struct emu_allocated *allocation = emu_allocations_find(later->context, address);
    if (allocation != NULL) {
        snprintf(place, sizeof(place), ", byte %zu of an allocation of %zu bytes", (size_t)(address - allocation->base),
                 allocation->bytes);
    }
    const struct emu_operation *dependent = forgetful(earlier, later);
    if (dependent != NULL) {
        snprintf(why, sizeof(why), "no griddepcontrol.wait comes before in %s, a programmatic dependent launch",
                 dependent == earlier ? first : second);
    }
    emu_findings_reportf("Race: %s and %s both touch 0x%llx%s, at least one of them writes, and %s.", first, second,
                         (unsigned long long)address, place, why);
}

// What an operation touched after `before`, and all of another one.
static bool conflict(const struct emu_footprint *footprint, const struct emu_operation *other,
                     const struct emu_set *before, uintptr_t *address) {
    if (footprint == NULL || emu_set_has(before, other->place)) return false;
    if (other->early != NULL && emu_footprint_conflict(other->early, footprint, address)) return true;
    return emu_footprint_conflict(other->footprint, footprint, address);
}

CUresult emu_races_check(const struct emu_operation *operation, struct emu_operation *const *others,
                         const struct emu_set *done) {
    for (size_t i = emu_set_next(done, 0); i < EMU_SET_PLACES; i = emu_set_next(done, i + 1)) {
        uintptr_t address = 0;
        if (others[i] == operation || others[i]->footprint == NULL) continue;
        if (!conflict(operation->early, others[i], &operation->before, &address) &&
            !conflict(operation->footprint, others[i], &operation->awaited, &address)) {
            continue;
        }
        report(others[i], operation, address);
        return CUDA_ERROR_LAUNCH_FAILED;
    }
    return CUDA_SUCCESS;
}
