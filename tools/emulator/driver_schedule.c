#include "driver_schedule.h"

#include "driver_context.h"
#include "driver_random.h"

#define EARLY_ONE_IN 4 // rare enough that queues build up and leave a choice

void emu_schedule_start(struct emu_context *context) {
    context->dice = emu_random_mix(context->settings.seed);
}

// The youngest first, so what was enqueued earlier on another stream comes as late as the program lets it: an operation
// that forgot to wait for it runs too soon.
static size_t youngest(struct emu_operation *const *ready, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (ready[i]->age > ready[best]->age) best = i;
    }
    return best;
}

// By age, not by place: places depend on what other contexts do.
static size_t nth_oldest(struct emu_operation *const *ready, size_t count, size_t n) {
    for (size_t i = 0; i < count; i++) {
        size_t older = 0;
        for (size_t j = 0; j < count; j++) older += ready[j]->age < ready[i]->age;
        if (older == n) return i;
    }
    return 0;
}

size_t emu_schedule_pick(struct emu_context *context, struct emu_operation *const *ready, size_t count) {
    if (context->settings.schedule == EMU_SCHEDULE_ADVERSARIAL) return youngest(ready, count);
    if (count == 1) return 0;
    return nth_oldest(ready, count, (size_t)(emu_random_next(&context->dice) % count));
}

bool emu_schedule_runs_early(struct emu_context *context) {
    if (context->settings.schedule == EMU_SCHEDULE_ADVERSARIAL) return false;
    return emu_random_next(&context->dice) % EARLY_ONE_IN == 0;
}

uint64_t emu_schedule_launch_seed(const struct emu_context *context, uint64_t number) {
    return emu_random_mix(emu_random_mix(context->settings.seed) + number);
}
