// What a kernel's registers are good for, told from its flow graph alone.
#ifndef MOEJIT_EMULATOR_PTX_REGISTERS_H
#define MOEJIT_EMULATOR_PTX_REGISTERS_H

#include "ptx.h"

struct emu_liveness;
struct emu_liveness *emu_liveness_create(const struct emu_kernel *kernel); // NULL where memory is out
void emu_liveness_destroy(struct emu_liveness *liveness);
// How many 32-bit registers a thread needs at least: the most that are live at once.
int emu_liveness_registers(const struct emu_liveness *liveness);
// Is there a way through the kernel that reads the register before it is written?
bool emu_liveness_enters(const struct emu_liveness *liveness, uint32_t operand);

// Instructions [first, end) in the order of the text outside of which nobody needs the register's value; first ==
// UINT32_MAX where none names it. spans: by operand / 4, register_bytes / 4 + 1 of them.
struct emu_span {
    uint32_t first, end;
};
void emu_liveness_spans(const struct emu_liveness *liveness, struct emu_span *spans);

// Sets kernel->doubts and marks instructions (ptx_doubts.c). False where memory is out.
bool emu_doubts_find(struct emu_kernel *kernel, const struct emu_liveness *liveness, struct emu_arena *arena);
// Gives registers whose spans do not meet one place (ptx_places.c). The liveness is of no use after it.
bool emu_places_share(struct emu_kernel *kernel, const struct emu_liveness *liveness, struct emu_arena *arena);

#endif
