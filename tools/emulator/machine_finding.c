// Findings: a sentence, and where it happened.
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "warp.h"

struct emu_reporter {
    pthread_mutex_t lock; // host threads that run CTAs share it
    emu_report_fn report;
    void *user;
};

struct emu_reporter *emu_reporter_create(emu_report_fn report, void *user) {
    struct emu_reporter *reporter = calloc(1, sizeof(*reporter));
    if (reporter == NULL) return NULL;
    pthread_mutex_init(&reporter->lock, NULL);
    reporter->report = report;
    reporter->user = user;
    return reporter;
}

void emu_reporter_destroy(struct emu_reporter *reporter) {
    if (reporter == NULL) return;
    pthread_mutex_destroy(&reporter->lock);
    free(reporter);
}

static void deliver(struct emu_reporter *reporter, const char *text) {
    pthread_mutex_lock(&reporter->lock);
    if (reporter->report != NULL) reporter->report(reporter->user, text);
    pthread_mutex_unlock(&reporter->lock);
}

static void thread_text(const struct emu_cta *cta, uint32_t thread, char *text, size_t bytes) {
    const unsigned *block = cta->launch->block;
    snprintf(text, bytes, "block (%u, %u, %u), thread (%u, %u, %u)", cta->index[0], cta->index[1], cta->index[2],
             thread % block[0], thread / block[0] % block[1], thread / block[0] / block[1]);
}

void emu_warp_finding(struct emu_warp *warp, uint32_t lane, enum emu_outcome outcome, const char *format, ...) {
    struct emu_cta *cta = warp->cta;
    char reason[512], line[240], place[128], text[1200];
    va_list arguments;
    warp->stop = true;
    if (cta->run->outcome != EMU_OUTCOME_OK) return; // the first one counts
    cta->run->outcome = outcome;
    va_start(arguments, format);
    vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    int number = warp->current != NULL ? warp->current->line : 0;
    emu_module_line(cta->kernel->module, number, line, sizeof(line));
    thread_text(cta, warp->index * EMU_LANES + lane, place, sizeof(place));
    snprintf(text, sizeof(text), "%s: %s\n    %s\n    line %d: %s", cta->kernel->name, reason, place, number, line);
    deliver(cta->run->reporter, text);
}

static int split_text(const struct emu_warp *warp, const struct emu_split *split, char *text, size_t bytes) {
    const struct emu_cta *cta = warp->cta;
    const struct emu_instruction *instruction = &cta->kernel->code[split->pc];
    char line[160], place[128];
    const char *why = "runs, and its waits fail";
    emu_module_line(cta->kernel->module, instruction->line, line, sizeof(line));
    thread_text(cta, warp->index * EMU_LANES + (uint32_t)__builtin_ctz(split->mask), place, sizeof(place));
    if (split->state == EMU_SPLIT_MEMBERS) why = "waits for other lanes of its warp";
    if (split->state == EMU_SPLIT_BARRIER) {
        const struct emu_barrier *barrier = &cta->barriers[split->barrier];
        uint32_t expected = barrier->expected != 0 ? barrier->expected : cta->alive_threads;
        return snprintf(text, bytes,
                        "\n    %s, lanes 0x%08x: waits at barrier %u, where %u of %u threads are\n        line %d: %s",
                        place, split->mask, split->barrier, barrier->arrived, expected, instruction->line, line);
    }
    if (strcmp(instruction->row->name, "setmaxnreg") == 0) {
        return snprintf(
            text, bytes,
            "\n    %s, lanes 0x%08x: has %u registers a thread and waits for more, of which the block's pool "
            "has %u\n        line %d: %s",
            place, split->mask, warp->max_registers, cta->free_registers, instruction->line, line);
    }
    return snprintf(text, bytes, "\n    %s, lanes 0x%08x: %s\n        line %d: %s", place, split->mask, why,
                    instruction->line, line);
}

// An mbarrier whose phase has begun and not ended.
static int mbarrier_text(const struct emu_cta *cta, const struct emu_mbarrier *mbarrier, char *text, size_t bytes) {
    if (mbarrier->pending == mbarrier->expected && mbarrier->transactions == 0) return 0;
    return snprintf(text, bytes,
                    "\n    mbarrier at shared address 0x%x of block (%u, %u, %u): phase %u waits for %u of %u arrivals "
                    "and %d bytes",
                    mbarrier->offset, cta->index[0], cta->index[1], cta->index[2], mbarrier->phase, mbarrier->pending,
                    mbarrier->expected, mbarrier->transactions);
}

// Every warp that is not done, and what it waits for; the text ends where the buffer does.
void emu_deadlock_report(struct emu_cluster *cluster) {
    char text[6000];
    size_t used = 0;
    struct emu_run *run = cluster->ctas[0].run;
    if (run->outcome != EMU_OUTCOME_OK) return;
    run->outcome = EMU_OUTCOME_LAUNCH_FAILED;
    used += (size_t)snprintf(text, sizeof(text), "%s: deadlock: no thread that is left can go on",
                             cluster->ctas[0].kernel->name);
    for (uint32_t c = 0; c < cluster->size; c++) {
        const struct emu_cta *cta = &cluster->ctas[c];
        const struct emu_mbarrier *mbarrier = cta->mbarriers;
        for (; mbarrier != NULL && used < sizeof(text) - 1; mbarrier = mbarrier->next) {
            used += (size_t)mbarrier_text(cta, mbarrier, text + used, sizeof(text) - used);
        }
        for (uint32_t w = 0; w < cta->num_warps; w++) {
            for (int i = 0; i < cta->warps[w].num_splits && used < sizeof(text) - 1; i++) {
                used += (size_t)split_text(&cta->warps[w], &cta->warps[w].splits[i], text + used, sizeof(text) - used);
            }
        }
    }
    deliver(run->reporter, text);
}
