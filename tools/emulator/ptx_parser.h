// What the parts of the parser share.
#ifndef MOEJIT_EMULATOR_PTX_PARSER_H
#define MOEJIT_EMULATOR_PTX_PARSER_H

#include "ptx_form.h"
#include "ptx_lexer.h"
#include "ptx_table.h"

enum emu_symbol_kind {
    EMU_SYMBOL_REGISTER,
    EMU_SYMBOL_RANGE, // %r<100>
    EMU_SYMBOL_VARIABLE,
    EMU_SYMBOL_FUNCTION,
    EMU_SYMBOL_LABEL,
    EMU_SYMBOL_TARGETS, // .branchtargets
};

struct emu_symbol {
    struct emu_symbol *next;
    const char *name;
    size_t length;
    enum emu_symbol_kind kind;
    unsigned bits;   // of a register
    uint32_t offset; // of a register or the first of a range
    uint32_t count;  // of a range
    uint32_t place;  // of a label; of targets the first in kernel->targets
    enum emu_space space;
    uint64_t address; // of a variable in its space
    size_t bytes, alignment;
    bool is_dynamic;                 // .extern .shared: the address counts from the end of the static ones
    bool is_lazy;                    // .shared of the module: gets its place in each kernel that names it
    const struct emu_kernel *placed; // ... which was the last
    struct emu_lexer body;           // of a function: at its return parameters
};

struct emu_reference { // to a label not yet seen
    struct emu_reference *next;
    struct emu_token token;
    uint32_t instruction; // whose target, or EMU_OPERAND_ABSENT for kernel->targets[place]
    uint32_t place;
};

struct emu_scope {
    struct emu_scope *parent;
    struct emu_symbol *symbols, *labels;
    struct emu_reference *references;
    uint32_t register_top; // before it was opened
};

struct emu_constant {
    uint64_t value;
    uint32_t offset;
    uint8_t bytes; // a lane
    bool moves;    // with dynamic shared memory
};

struct emu_parser {
    struct emu_lexer lexer;
    struct emu_module *module;
    const struct emu_settings *settings;
    int target; // of the module
    bool target_a, wrong_arch;
    bool is_extern; // of the declaration being read
    struct emu_scope *scope, *module_scope;
    // Of the kernel being read:
    struct emu_kernel *kernel;
    size_t num_instructions, code_capacity;
    struct emu_constant *constants;
    size_t num_constants, constants_capacity;
    size_t num_targets, targets_capacity;
    uint32_t *moving; // displacements that move with dynamic shared memory: EMU_MAX_ADDRESSES * instruction + which
    size_t num_moving, moving_capacity;
    uint32_t register_top;
    size_t num_weights, weights_capacity;
    uint32_t shared_top, local_top, dynamic_alignment;
    uint32_t inline_depth; // of calls whose function's body is being read in their place
    uint32_t sink;         // a register for "_"
};

// Failure at a token, with a sentence.
#define emu_parser_fail(parser, at, ...) emu_lexer_fail(&(parser)->lexer, at, __VA_ARGS__)
void *emu_parser_allocate(struct emu_parser *parser, size_t bytes); // NULL after a failure was noted

// Symbols (ptx_symbols.c).
void emu_scope_open(struct emu_parser *parser);
void emu_scope_close(struct emu_parser *parser); // settles references to its labels
struct emu_symbol *emu_symbol_add(struct emu_parser *parser, const struct emu_token *name, enum emu_symbol_kind kind);
void emu_label_add(struct emu_parser *parser, const struct emu_token *name, uint32_t place);
struct emu_symbol *emu_symbol_find(struct emu_parser *parser, const struct emu_token *name, enum emu_symbol_kind kind);
// The register a token names: its operand and bits; false when there is none of this name.
bool emu_register_find(struct emu_parser *parser, const struct emu_token *name, uint32_t *operand, unsigned *bits);
bool emu_special_find(struct emu_parser *parser, const struct emu_token *name, uint32_t *operand, unsigned *bits);
uint32_t emu_register_allocate(struct emu_parser *parser, unsigned bits, uint32_t count);
uint32_t emu_register_bytes(unsigned bits); // of a warp
uint32_t emu_constant_operand(struct emu_parser *parser, uint64_t value, unsigned bits, bool moves);
void emu_variable_place(struct emu_parser *parser, struct emu_symbol *symbol); // of the module, in this kernel
void emu_label_refer(struct emu_parser *parser, const struct emu_token *name, uint32_t instruction, uint32_t place);

// Declarations (ptx_variables.c).
bool emu_parse_declaration(struct emu_parser *parser); // .reg and variables; false when the token starts none
size_t emu_parse_integer(struct emu_parser *parser);
void emu_parse_number(struct emu_parser *parser, enum emu_type type, uint64_t *bits); // sign and number, as type
unsigned emu_parse_type(struct emu_parser *parser, enum emu_type *type);              // ".b32"; its bits

// Operands (ptx_operands.c): reads what the row asks for.
struct emu_operands {
    uint32_t list[160];
    uint32_t count;
};
void emu_parse_operands(struct emu_parser *parser, struct emu_instruction *instruction, const char *operands,
                        struct emu_operands *read);
uint32_t emu_parse_source(struct emu_parser *parser, enum emu_type type, unsigned bits, bool wider, unsigned *met);
uint32_t emu_parse_register(struct emu_parser *parser, unsigned bits, bool wider, unsigned *met);

// Statements (ptx_statements.c, ptx_instructions.c, ptx_calls.c).
void emu_parse_body(struct emu_parser *parser); // from '{' to its '}'
void emu_parse_instruction(struct emu_parser *parser);
extern const struct emu_token emu_return_label; // where an inlined function's ret goes
void emu_parse_call(struct emu_parser *parser, uint32_t guard, bool negated);
struct emu_instruction *emu_instruction_add(struct emu_parser *parser, const struct emu_row *row, int line);

// Functions and kernels (ptx_kernels.c).
void emu_parse_entry(struct emu_parser *parser);
void emu_parse_function(struct emu_parser *parser);

#endif
