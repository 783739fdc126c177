// The machine: runs one grid of one parsed kernel to its end. It knows nothing of streams, contexts or handles (those
// are driver_*.c) and nothing of the text of PTX (ptx_*.c).
#ifndef MOEJIT_EMULATOR_MACHINE_H
#define MOEJIT_EMULATOR_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "memory.h"

enum emu_sums { EMU_SUMS_HARDWARE, EMU_SUMS_NEAREST };
enum emu_schedule { EMU_SCHEDULE_SEEDED, EMU_SCHEDULE_ADVERSARIAL };

// From the environment, read once for each context: MOEJIT_EMULATOR_{ARCH,SEED,CHECKS,SUMS,LOG,THREADS,SCHEDULE}.
struct emu_settings {
    int arch;    // 80, 86, 89, 90, 100, 103, 120, 121
    bool arch_a; // arch-specific features (sm_90a, sm_100a, ...)
    uint64_t seed;
    bool checks;
    enum emu_sums sums;
    enum emu_schedule schedule;
    int threads; // host threads that may run CTAs at once; 1 = repeatable order
};

struct emu_module; // parsed PTX: kernels, module-scope variables
struct emu_kernel; // one .entry of a module

// Parses PTX text. On failure returns NULL and writes a diagnostic (file:line:column, source line, caret, reason) to
// text, which is always terminated. *unsupported tells a wrong arch (the module's .target needs more than settings
// offer) apart.
struct emu_module *emu_module_create(const char *ptx, size_t bytes, const struct emu_settings *settings,
                                     struct emu_memory *memory, char *text, size_t text_bytes, bool *wrong_arch);
void emu_module_destroy(struct emu_module *module);
const struct emu_kernel *emu_module_find_kernel(const struct emu_module *module, const char *name);
bool emu_module_find_global(const struct emu_module *module, const char *name, uintptr_t *address, size_t *bytes);

struct emu_kernel_facts {
    const char *name;
    size_t parameter_bytes; // of the whole parameter block
    int num_parameters;
    size_t static_shared_bytes, local_bytes, constant_bytes;
    int max_threads;         // .maxntid, or 1024
    int launch_registers;    // a thread's at the start, where directives bound them; 0 where none does
    int required_threads[3]; // .reqntid, or 0
    int registers_estimate;
    int required_cluster[3];  // .reqnctapercluster, or 0
    bool launches_dependents; // it has a griddepcontrol.launch_dependents
    bool waits;               // it has a griddepcontrol.wait
    bool waits_first;         // and in its text one comes before each launch_dependents
};
void emu_kernel_describe(const struct emu_kernel *kernel, struct emu_kernel_facts *facts);
void emu_kernel_parameter(const struct emu_kernel *kernel, int index, size_t *offset, size_t *bytes);

// Which bytes one operation (kernel, copy or set) touched; the driver half compares operations that nothing orders.
struct emu_footprint;
struct emu_footprint *emu_footprint_create(void);
void emu_footprint_destroy(struct emu_footprint *footprint);
void emu_footprint_add(struct emu_footprint *footprint, uintptr_t address, size_t bytes, enum emu_access_kind kind);
void emu_footprint_merge(struct emu_footprint *to, const struct emu_footprint *from);
void emu_footprint_clear(struct emu_footprint *footprint);
// True, with the first byte in conflict, when both touch it and at least one writes (two atomics do not conflict).
bool emu_footprint_conflict(const struct emu_footprint *a, const struct emu_footprint *b, uintptr_t *address);

struct emu_counters { // per launch; documented in docs/emulator.md
    uint64_t warp_instructions, thread_instructions;
    uint64_t integer_ops, float_ops, control_ops, tensor_ops;
    uint64_t global_load_bytes, global_store_bytes, global_sectors, atomics;
    uint64_t shared_accesses, shared_bank_conflicts;
    uint64_t barrier_waits, async_copies, async_copy_bytes;
};

enum emu_outcome { // mapped to a sticky CUresult by the driver half
    EMU_OUTCOME_OK,
    EMU_OUTCOME_ILLEGAL_ADDRESS,
    EMU_OUTCOME_MISALIGNED,
    EMU_OUTCOME_ILLEGAL_INSTRUCTION,
    EMU_OUTCOME_LAUNCH_FAILED,
    EMU_OUTCOME_OUT_OF_RESOURCES,
};

struct emu_launch {
    const struct emu_kernel *kernel;
    unsigned grid[3], block[3], cluster[3]; // cluster 0,0,0 = none
    unsigned dynamic_shared_bytes;
    const void *parameters; // parameter_bytes, laid out as the kernel declares them
    struct emu_memory *memory;
    const struct emu_settings *settings;
    uint64_t schedule_seed;          // which order of warps and CTAs
    struct emu_footprint *footprint; // optional
    // Of a programmatic dependent launch, else NULL: griddepcontrol.wait calls it, on any of the host threads; it
    // returns when the grids before have ended, false when they will not. What a thread touches before it knows of
    // such a wait goes to early, in place of footprint.
    bool (*await)(void *user);
    void *await_user;
    struct emu_footprint *early;
    struct emu_counters *counters; // optional, added to
};

// A finding (text with kernel, PTX line, block, thread) goes to report; the launch then ends with that outcome.
typedef void (*emu_report_fn)(void *user, const char *text);
enum emu_outcome emu_machine_run(const struct emu_launch *launch, emu_report_fn report, void *user);

#endif
