// What every entry point does first and last: it is counted, it may be made to fail, it needs cuInit and mostly a
// context, and it holds the driver's lock. The lock is let go while an operation (a kernel, a host function) runs.
#ifndef MOEJIT_EMULATOR_DRIVER_ENTRY_H
#define MOEJIT_EMULATOR_DRIVER_ENTRY_H

#include <cuda.h>
#include <stdbool.h>
#include <stdint.h>

struct emu_context;

enum emu_entry {
#define ENTRY(name, symbol, since) EMU_ENTRY_##symbol,
#include "driver_entries.def"
#undef ENTRY
    EMU_NUM_ENTRIES
};

// The lock, and the condition that is signalled whenever an operation ends or a thread leaves a context.
void emu_lock(void);
void emu_unlock(void);
void emu_wait(void); // for the condition, with the lock held
void emu_wake(void);

// Counts the call; on success the lock is held. The first needs no cuInit, the second no context, the third a healthy
// one.
CUresult emu_enter_bare(enum emu_entry entry);
CUresult emu_enter_driver(enum emu_entry entry);
CUresult emu_enter_context(enum emu_entry entry, struct emu_context **context);

// An injected result by which a call is skipped: it does nothing and says that all went well.
#define EMU_SKIPPED ((CUresult)0x7ffffffe)
static inline CUresult emu_answer(CUresult refused) {
    return refused == EMU_SKIPPED ? CUDA_SUCCESS : refused;
}

CUresult emu_leave(CUresult result);
CUresult emu_leave_context(struct emu_context *context, CUresult result);

// A host function runs on this thread: it may call no entry point.
void emu_entry_forbid(bool forbid);
void emu_entry_set_initialised(void);

// Failure injection and counting, for emulator.h.
bool emu_entry_find(const char *symbol, enum emu_entry *entry);
int emu_entry_fail_at(const char *symbol, uint64_t n, CUresult result);
uint64_t emu_entry_failures(void);
uint64_t emu_entry_calls(const char *symbol);
void emu_entry_reset(void);

#define EMU_BEGIN_BARE(symbol)                                                                                         \
    do {                                                                                                               \
        CUresult refused = emu_enter_bare(EMU_ENTRY_##symbol);                                                         \
        if (refused != CUDA_SUCCESS) return emu_answer(refused);                                                       \
    } while (0)

#define EMU_BEGIN_DRIVER(symbol)                                                                                       \
    do {                                                                                                               \
        CUresult refused = emu_enter_driver(EMU_ENTRY_##symbol);                                                       \
        if (refused != CUDA_SUCCESS) return emu_answer(refused);                                                       \
    } while (0)

// Declares `context`, the current one.
#define EMU_BEGIN(symbol)                                                                                              \
    struct emu_context *context = NULL;                                                                                \
    do {                                                                                                               \
        CUresult refused = emu_enter_context(EMU_ENTRY_##symbol, &context);                                            \
        if (refused != CUDA_SUCCESS) return emu_answer(refused);                                                       \
    } while (0)

#define EMU_END(result) return emu_leave_context(context, (result))

#endif
