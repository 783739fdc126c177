// Parsed PTX: a module's variables and kernels, instructions decoded once. The parser knows no values; the executors no
// text.
#ifndef MOEJIT_EMULATOR_PTX_H
#define MOEJIT_EMULATOR_PTX_H

#include "machine.h"

struct emu_warp;
struct emu_instruction;

// Runs one instruction for the lanes of the mask, which is never 0.
typedef void (*emu_execute_fn)(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask);

enum emu_register_class { EMU_REGISTER_PREDICATE, EMU_REGISTER_32, EMU_REGISTER_64 }; // 16-bit ones live in 32

// Where an operand's 32 lanes are: an offset into the warp's registers, or into the kernel's constants. A predicate is
// one 32-bit word, a bit a lane.
struct emu_operand {
    uint32_t offset;
    bool constant;
    enum emu_register_class register_class;
};

enum emu_space { EMU_SPACE_GENERIC, EMU_SPACE_GLOBAL, EMU_SPACE_SHARED, EMU_SPACE_PARAM };
enum emu_flow { EMU_FLOW_NEXT, EMU_FLOW_BRANCH, EMU_FLOW_RETURN, EMU_FLOW_BARRIER };
enum emu_class { EMU_CLASS_INTEGER, EMU_CLASS_FLOAT, EMU_CLASS_CONTROL, EMU_CLASS_TENSOR, EMU_CLASS_MEMORY };

#define EMU_MAX_OPERANDS 16

struct emu_instruction {
    emu_execute_fn execute;
    struct emu_operand operands[EMU_MAX_OPERANDS]; // destinations first
    uint8_t num_operands;
    bool guarded, guard_negated;
    struct emu_operand guard;
    enum emu_flow flow;
    enum emu_class instruction_class;
    uint32_t target; // of a branch
    // Memory: [address register + displacement], or a displacement alone.
    bool has_address;
    struct emu_operand address;
    int64_t displacement;
    enum emu_space space;
    uint8_t element_bytes, vector; // of a load or store
    bool is_signed, is_float, is_volatile;
    int64_t immediate; // of cp.async.wait_group, a barrier's id
    int line;
};

struct emu_kernel {
    char *name;
    struct emu_module *module;
    struct emu_instruction *code;
    uint32_t num_instructions;
    uint32_t register_bytes; // of a warp
    uint8_t *constants;      // operand values, 32 lanes each
    uint32_t constant_bytes;
    struct emu_kernel_facts facts;
    size_t *parameter_offsets, *parameter_sizes;
    uint32_t special_offsets[16]; // in the warp's registers, by enum emu_special; 0 where the kernel does not ask
};

enum emu_special {
    EMU_SPECIAL_NONE,
    EMU_SPECIAL_TID_X,
    EMU_SPECIAL_TID_Y,
    EMU_SPECIAL_TID_Z,
    EMU_SPECIAL_NTID_X,
    EMU_SPECIAL_NTID_Y,
    EMU_SPECIAL_NTID_Z,
    EMU_SPECIAL_CTAID_X,
    EMU_SPECIAL_CTAID_Y,
    EMU_SPECIAL_CTAID_Z,
    EMU_SPECIAL_NCTAID_X,
    EMU_SPECIAL_NCTAID_Y,
    EMU_SPECIAL_NCTAID_Z,
    EMU_SPECIAL_LANEID,
    EMU_SPECIAL_WARPID,
    EMU_NUM_SPECIALS
};

struct emu_variable { // of a module: .global, .const or .shared
    char *name;
    enum emu_space space;
    uintptr_t address; // device address, or offset into a CTA's shared memory
    size_t bytes;
    bool dynamic; // .extern .shared: starts after the static ones
};

struct emu_module {
    struct emu_memory *memory;
    char *text; // the PTX, for findings
    struct emu_kernel **kernels;
    size_t num_kernels;
    struct emu_variable *variables;
    size_t num_variables;
};

// The line of the module's text, without its end and leading blanks, cut to bytes.
void emu_module_line(const struct emu_module *module, int line, char *text, size_t bytes);

#define EMU_SHARED_BASE 1024 // the first shared address; below is what a driver keeps for itself

#endif
