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

static void report(const struct emu_operation *earlier, const struct emu_operation *later, uintptr_t address) {
    char first[256], second[256], place[128] = "";
    describe(earlier, first, sizeof(first));
    describe(later, second, sizeof(second));
    const struct emu_allocated *allocation = emu_allocations_find(later->context, address);
    if (allocation != NULL) {
        snprintf(place, sizeof(place), ", byte %zu of an allocation of %zu bytes", (size_t)(address - allocation->base),
                 allocation->bytes);
    }
    emu_findings_reportf("Race: %s and %s both touch 0x%llx%s, at least one of them writes, and no stream, event or "
                         "synchronisation orders them.",
                         first, second, (unsigned long long)address, place);
}

CUresult emu_races_check(const struct emu_operation *operation, struct emu_operation *const *others,
                         const struct emu_set *unordered) {
    for (size_t i = emu_set_next(unordered, 0); i < EMU_SET_PLACES; i = emu_set_next(unordered, i + 1)) {
        uintptr_t address = 0;
        if (others[i] == operation || others[i]->footprint == NULL) continue;
        if (!emu_footprint_conflict(others[i]->footprint, operation->footprint, &address)) continue;
        report(others[i], operation, address);
        return CUDA_ERROR_LAUNCH_FAILED;
    }
    return CUDA_SUCCESS;
}
