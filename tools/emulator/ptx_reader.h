// Reading PTX text: statements, words, and the state of a module being built.
#ifndef MOEJIT_EMULATOR_PTX_READER_H
#define MOEJIT_EMULATOR_PTX_READER_H

#include <setjmp.h>

#include "ptx.h"

#define EMU_WORD_BYTES 256

struct emu_register_name { // %r<10>, or one name (count 0), visible until its scope ends
    char prefix[64];
    uint32_t count, first_offset;
    enum emu_register_class register_class;
    int depth;
};

struct emu_label {
    char name[64];
    uint32_t at;
};

struct emu_reader {
    struct emu_module *module;
    const struct emu_settings *settings;
    const char *text, *at; // the whole, and where we are
    char *message;         // of a refusal
    size_t message_bytes;
    bool wrong_arch;
    jmp_buf refused; // a refusal leaves from anywhere; all memory hangs off the module and this struct
    // Of the kernel being read:
    struct emu_kernel *kernel;
    uint32_t code_capacity;
    struct emu_register_name *registers;
    size_t num_registers, registers_capacity;
    struct emu_label *labels, *uses; // uses: at = the instruction that branches
    const char **use_places;
    size_t num_labels, labels_capacity, num_uses, uses_capacity;
    char parameter_name[EMU_WORD_BYTES]; // "kernel_param_" names are looked up by position
    char (*parameter_names)[EMU_WORD_BYTES];
    size_t num_parameters;
    int depth;
};

// Leaves with "ptx:line:column: reason", the source line and a caret under `place`.
__attribute__((noreturn, format(printf, 3, 4))) void emu_refuse(struct emu_reader *reader, const char *place,
                                                                const char *format, ...);
int emu_reader_line(const struct emu_reader *reader, const char *place);

void emu_skip_blanks(struct emu_reader *reader);  // and comments
bool emu_take(struct emu_reader *reader, char c); // the character, if it is next
void emu_expect(struct emu_reader *reader, char c);
bool emu_take_word(struct emu_reader *reader, char word[EMU_WORD_BYTES]); // letters, digits, _ $ % . ::
void emu_expect_word(struct emu_reader *reader, char word[EMU_WORD_BYTES]);
// A constant: decimal, 0x, 0f, 0d, with a sign; false if none is next. Floats come as their bits.
bool emu_take_number(struct emu_reader *reader, int64_t *value);
int64_t emu_expect_number(struct emu_reader *reader);

void *emu_reader_grow(struct emu_reader *reader, void *list, size_t count, size_t *capacity, size_t item_bytes);

// ptx_operands.c: an operand of the wanted kind.
struct emu_operand emu_read_operand(struct emu_reader *reader, enum emu_register_class wanted);
void emu_read_address(struct emu_reader *reader, struct emu_instruction *instruction);
struct emu_operand emu_constant(struct emu_reader *reader, uint64_t value, enum emu_register_class register_class);
bool emu_next_is_register(struct emu_reader *reader, enum emu_register_class *register_class);

// ptx_families.c and ptx_instruction.c
bool emu_read_family(struct emu_reader *reader, const char *opcode, const char *place,
                     struct emu_instruction *instruction);
void emu_read_instruction(struct emu_reader *reader);

// ptx_declarations.c
void emu_declare_registers(struct emu_reader *reader);
void emu_declare_variable(struct emu_reader *reader, enum emu_space space, bool is_extern);
const struct emu_variable *emu_find_variable(const struct emu_module *module, const char *name);
int emu_find_parameter(const struct emu_reader *reader, const char *name);

#endif
