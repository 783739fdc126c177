#include "driver_entry.h"

#include <pthread.h>
#include <string.h>

#include "driver_context.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static bool initialised;
static _Thread_local bool forbidden;

static struct {
    uint64_t calls[EMU_NUM_ENTRIES], all_calls;
    uint64_t fail_in; // calls left until the failure, the failing one included; 0 = not armed
    bool fail_any;
    enum emu_entry fail_entry;
    CUresult fail_result;
    uint64_t failures;
} tally;

static const char *const symbols[] = {
#define ENTRY(name, symbol, since) #symbol,
#include "driver_entries.def"
#undef ENTRY
};

void emu_lock(void) {
    pthread_mutex_lock(&lock);
}

void emu_unlock(void) {
    pthread_mutex_unlock(&lock);
}

void emu_wait(void) {
    pthread_cond_wait(&wake, &lock);
}

void emu_wake(void) {
    pthread_cond_broadcast(&wake);
}

static CUresult count(enum emu_entry entry) {
    tally.calls[entry]++;
    tally.all_calls++;
    if (tally.fail_in == 0 || !(tally.fail_any || tally.fail_entry == entry)) return CUDA_SUCCESS;
    if (--tally.fail_in > 0) return CUDA_SUCCESS;
    tally.failures++;
    return tally.fail_result;
}

CUresult emu_enter_bare(enum emu_entry entry) {
    if (forbidden) return CUDA_ERROR_NOT_PERMITTED;
    emu_lock();
    CUresult result = count(entry);
    if (result != CUDA_SUCCESS) emu_unlock();
    return result;
}

CUresult emu_enter_driver(enum emu_entry entry) {
    CUresult result = emu_enter_bare(entry);
    if (result != CUDA_SUCCESS || initialised) return result;
    return emu_leave(CUDA_ERROR_NOT_INITIALIZED);
}

CUresult emu_enter_context(enum emu_entry entry, struct emu_context **context) {
    CUresult result = emu_enter_driver(entry);
    if (result != CUDA_SUCCESS) return result;
    CUcontext current = emu_context_current();
    *context = emu_context_find(current);
    if (*context == NULL)
        return emu_leave(current == NULL ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_CONTEXT_IS_DESTROYED);
    if ((*context)->sticky != CUDA_SUCCESS) return emu_leave((*context)->sticky);
    (*context)->users++;
    return CUDA_SUCCESS;
}

CUresult emu_leave(CUresult result) {
    emu_unlock();
    return result;
}

CUresult emu_leave_context(struct emu_context *context, CUresult result) {
    context->users--;
    if (context->closing) emu_wake();
    return emu_leave(result);
}

void emu_entry_forbid(bool forbid) {
    forbidden = forbid;
}

void emu_entry_set_initialised(void) {
    initialised = true;
}

bool emu_entry_find(const char *symbol, enum emu_entry *entry) {
    for (int i = 0; i < EMU_NUM_ENTRIES; i++) {
        if (strcmp(symbols[i], symbol) != 0) continue;
        *entry = (enum emu_entry)i;
        return true;
    }
    return false;
}

int emu_entry_fail_at(const char *symbol, uint64_t n, CUresult result) {
    enum emu_entry entry = EMU_NUM_ENTRIES;
    if (symbol != NULL && !emu_entry_find(symbol, &entry)) return 0;
    emu_lock();
    tally.fail_in = n;
    tally.fail_any = symbol == NULL;
    tally.fail_entry = entry;
    tally.fail_result = result;
    emu_unlock();
    return 1;
}

uint64_t emu_entry_failures(void) {
    emu_lock();
    uint64_t failures = tally.failures;
    emu_unlock();
    return failures;
}

uint64_t emu_entry_calls(const char *symbol) {
    enum emu_entry entry = EMU_NUM_ENTRIES;
    if (symbol != NULL && !emu_entry_find(symbol, &entry)) return 0;
    emu_lock();
    uint64_t calls = symbol == NULL ? tally.all_calls : tally.calls[entry];
    emu_unlock();
    return calls;
}

void emu_entry_reset(void) {
    emu_lock();
    memset(&tally, 0, sizeof(tally));
    emu_unlock();
}
