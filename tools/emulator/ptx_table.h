// The table of supported instructions, which the parser reads and the documentation prints.
#ifndef MOEJIT_EMULATOR_PTX_TABLE_H
#define MOEJIT_EMULATOR_PTX_TABLE_H

#include "ptx.h"

struct emu_row {
    const char *name;
    const char *form; // a template of ptx_form.h
    // The operands, with blanks between. A direction: d destination, m a register that is read and written, s source,
    // i a number, a address, t a tensor map's address with coordinates, l label; then what it is: 0, 1, 2 the n-th type
    // of the form, w twice as wide as the first, a number of bits, p a predicate. Then '+' where the register may be
    // wider than that, '*' and how many there are in braces (v: as the form says, n: half the columns of its shape, h:
    // a quarter), '?' where it may be left out;
    // "|p" a second predicate after a bar.
    const char *operands;
    emu_execute_fn execute;        // one of the three
    const emu_execute_fn *by_type; // by the form's first type, NULL where there is none
    emu_execute_fn (*choose)(const struct emu_form *form);
    enum emu_class instruction_class;
    enum emu_flow flow;
    enum emu_space space;
    int arch;    // the first that has it; 0: all from sm_80
    bool arch_a; // only with the letter
    int members; // the operand that names the lanes, of EMU_FLOW_MEMBERS
};

// The rows of one file of executors.
struct emu_row_group {
    const struct emu_row *rows;
    size_t count;
};
#define EMU_ROWS(name, list) const struct emu_row_group name = {list, sizeof(list) / sizeof((list)[0])}
extern const struct emu_row_group *const emu_row_groups[];
extern const size_t emu_num_row_groups;

// mov between a register and its parts (exec_move.c).
emu_execute_fn emu_choose_braced(bool unpacks, uint32_t part_bytes, uint32_t whole_bytes);

// Prints the table as lines "name  form  operands".
void emu_rows_print(void (*line)(void *user, const char *text), void *user);

#endif
