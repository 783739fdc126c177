// A warp at work, and what executors may do: reach registers, report a finding.
#ifndef MOEJIT_EMULATOR_WARP_H
#define MOEJIT_EMULATOR_WARP_H

#include "ptx.h"

#define EMU_LANES 32
#define EMU_FULL_MASK 0xffffffffu

struct emu_cta;

struct emu_split { // lanes that are at the same place
    uint32_t pc, mask;
    bool waiting; // at a barrier
};

struct emu_copy { // a cp.async on its way
    uint32_t lane, group;
    uint32_t destination, bytes, zeroed; // zeroed: bytes after them
    uint8_t data[16];
};

struct emu_warp {
    struct emu_cta *cta;
    uint32_t index; // in the CTA
    uint8_t *registers;
    const uint8_t *constants;
    struct emu_split splits[EMU_LANES]; // ascending by pc
    int num_splits;
    uint32_t alive;                        // lanes that have not returned
    const struct emu_instruction *current; // for findings
    struct emu_copy *copies;
    uint32_t num_copies, copies_capacity;
    uint32_t groups[EMU_LANES]; // cp.async groups that each lane has committed
    const struct emu_allocation *last_allocation;
};

struct emu_cta {
    const struct emu_launch *launch;
    const struct emu_kernel *kernel;
    unsigned index[3];
    struct emu_warp *warps;
    uint32_t num_warps, num_threads;
    uint8_t *shared, *shared_written;
    uint32_t shared_bytes;     // from EMU_SHARED_BASE
    struct emu_shadow *shadow; // a word of shared memory each
    uint32_t epoch;            // barriers passed by the whole CTA
    uint32_t arrived;          // threads at the barrier
    struct emu_counters counters;
    enum emu_outcome outcome;
    emu_report_fn report;
    void *user;
};

// Who touched a word of shared memory since the last barrier; see exec_shared.c.
struct emu_shadow {
    uint32_t write_epoch, read_epoch;
    int16_t writer, reader; // warps; -2: several
};

static inline void *emu_lanes(const struct emu_warp *warp, const struct emu_operand *operand) {
    uint8_t *base = operand->constant ? (uint8_t *)(uintptr_t)warp->constants : warp->registers;
    return base + operand->offset;
}

// The operand's lanes by type.
#define EMU_U32(i) ((uint32_t *)emu_lanes(warp, &instruction->operands[i]))
#define EMU_U64(i) ((uint64_t *)emu_lanes(warp, &instruction->operands[i]))
#define EMU_PREDICATE(i) (*(uint32_t *)emu_lanes(warp, &instruction->operands[i]))

// Statements for each lane of the mask; the compiler vectorises the whole warp.
#define EMU_EACH_LANE(...)                                                                                             \
    do {                                                                                                               \
        if (mask == EMU_FULL_MASK) {                                                                                   \
            for (int lane = 0; lane < EMU_LANES; lane++) __VA_ARGS__;                                                  \
        } else {                                                                                                       \
            for (int lane = 0; lane < EMU_LANES; lane++) {                                                             \
                if (mask >> lane & 1) __VA_ARGS__;                                                                     \
            }                                                                                                          \
        }                                                                                                              \
    } while (0)

// Ends the launch with a sentence: kernel, line, block, thread and what.
__attribute__((format(printf, 4, 5))) void emu_warp_finding(struct emu_warp *warp, int lane, enum emu_outcome outcome,
                                                            const char *format, ...);

// Shared memory, with all checks (exec_shared.c). False, with a finding made, where the access is wrong.
bool emu_shared_check(struct emu_warp *warp, int lane, uint64_t address, uint32_t bytes, enum emu_access_kind kind);
void emu_shared_read(struct emu_warp *warp, uint64_t address, void *data, uint32_t bytes);
void emu_shared_write(struct emu_warp *warp, uint64_t address, const void *data, uint32_t bytes);

// Global memory likewise (exec_global.c). The pointer, or NULL.
void *emu_global_access(struct emu_warp *warp, int lane, uint64_t address, uint32_t bytes, enum emu_access_kind kind);

// The lanes' addresses of a memory instruction.
void emu_warp_addresses(const struct emu_warp *warp, const struct emu_instruction *instruction,
                        uint64_t addresses[EMU_LANES]);

// Lands the copies of a lane whose group is at most `group`.
void emu_copies_land(struct emu_warp *warp, uint32_t mask, uint32_t pending);

#endif
