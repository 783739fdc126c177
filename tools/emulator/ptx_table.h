// The table of supported instructions: exact spellings with their executor and the kinds of their operands. What has
// many spellings (ld, st, setp, selp, mov, cvt between integers) is decoded from its parts in ptx_families.c.
#ifndef MOEJIT_EMULATOR_PTX_TABLE_H
#define MOEJIT_EMULATOR_PTX_TABLE_H

#include "ptx.h"

struct emu_row {
    const char *name;
    // One letter an operand: p predicate, h 16-bit, r 32-bit, l 64-bit register or constant; n a number known when the
    // module is read; a an address in brackets; '{' and '}' around a vector; '?' before an optional "|p" of the
    // destination.
    const char *operands;
    emu_execute_fn execute;
    enum emu_class instruction_class;
    enum emu_space space; // of an address
};

extern const struct emu_row emu_rows[];
extern const int emu_num_rows;
const struct emu_row *emu_row_find(const char *name);

#endif
