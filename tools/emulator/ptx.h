// Parsed PTX: a module's variables and kernels, with instructions decoded once. The parser knows no values; the
// executors know no text.
#ifndef MOEJIT_EMULATOR_PTX_H
#define MOEJIT_EMULATOR_PTX_H

#include "machine.h"
#include "ptx_arena.h"

struct emu_warp;
struct emu_instruction;
struct emu_row;

// Runs one instruction for the lanes of the mask, which is never 0.
typedef void (*emu_execute_fn)(struct emu_warp *warp, const struct emu_instruction *instruction, uint32_t mask);

enum emu_type {
#define EMU_TYPE(name, spelling, bits, kind) EMU_##name,
#include "ptx_types.def"
#undef EMU_TYPE
    EMU_NUM_TYPES
};

enum emu_word {
    EMU_W_NONE,
#define EMU_WORD(name, spelling, group) EMU_W_##name,
#include "ptx_words.def"
#undef EMU_WORD
    EMU_NUM_WORDS
};

enum emu_word_group {
    EMU_GROUP_COMPARE,
    EMU_GROUP_PART,
    EMU_GROUP_MODE,
    EMU_GROUP_OPERATION,
    EMU_GROUP_ROUNDING,
    EMU_GROUP_SPACE,
    EMU_GROUP_VECTOR,
    EMU_GROUP_SCOPE,
    EMU_GROUP_FLAG,
    EMU_NUM_GROUPS
};

// What the words after a mnemonic's first dot say: one word of each group at most, apart from flags and types.
struct emu_form {
    uint8_t types[3], num_types;
    uint8_t words[EMU_NUM_GROUPS]; // enum emu_word; a second word of a group is in second_space
    uint8_t second_space;
    uint8_t count;    // of .v2, .x4 and the like; 1 without
    uint16_t columns; // of a shape like .m64n128k16
    uint64_t flags[2];
};

static inline bool emu_form_flag(const struct emu_form *form, enum emu_word word) {
    return (form->flags[word / 64] >> (word % 64) & 1) != 0;
}

enum emu_space {
    EMU_SPACE_GENERIC,
    EMU_SPACE_GLOBAL, // .const too: module variables live in the device's memory
    EMU_SPACE_SHARED, // of this CTA, or of another one of the cluster
    EMU_SPACE_LOCAL,
    EMU_SPACE_PARAM,
};

enum emu_flow {
    EMU_FLOW_NEXT,
    EMU_FLOW_BRANCH,
    EMU_FLOW_TABLE,   // brx.idx
    EMU_FLOW_EXIT,    // ret of a kernel, exit
    EMU_FLOW_MEMBERS, // waits until the lanes that operand `members` names have come, then executes
    EMU_FLOW_WARP,    // waits for all lanes of the warp, then executes
    EMU_FLOW_BARRIER, // of a CTA
    EMU_FLOW_CLUSTER, // executes; when it sets warp->retry, the lanes stay
};

enum emu_class { EMU_CLASS_INTEGER, EMU_CLASS_FLOAT, EMU_CLASS_CONTROL, EMU_CLASS_TENSOR, EMU_CLASS_MEMORY };

// Where an operand's 32 lanes are: an offset into the warp's registers or, with the top bit set, into the kernel's
// constants. A predicate is one 32-bit word, a bit a lane; registers of up to 32 bits take 4 bytes a lane, .b64 8,
// .b128 16.
#define EMU_OPERAND_CONSTANT 0x80000000u
#define EMU_OPERAND_ABSENT 0xffffffffu
#define EMU_MAX_ADDRESSES 3

struct emu_instruction {
    emu_execute_fn execute;
    const uint32_t *operands; // in the order of the text; vectors element by element, an address as its register
    const struct emu_row *row;
    int64_t displacements[EMU_MAX_ADDRESSES];
    uint32_t guard;  // operand, or EMU_OPERAND_ABSENT
    uint32_t target; // of a branch; of brx.idx the first of its places in kernel->targets
    uint32_t num_targets;
    int line;
    uint8_t guard_negated, negated; // negated: the predicate source
    uint8_t flow, instruction_class;
    uint8_t members; // operand index, of EMU_FLOW_MEMBERS
    uint8_t num_operands;
    uint8_t first_written, end_written;      // operands that it writes; the others it reads
    uint8_t num_modified;                    // of the first ones: read and written
    bool copies;                             // from register to register: mov, also of parts
    bool doubtful;                           // touches a register that may not be set, see ptx_doubts.c
    uint8_t wide_address[EMU_MAX_ADDRESSES]; // its register has 64 bits
    uint8_t space, second_space;             // enum emu_space
    uint8_t register_bytes;                  // of the first operand, where it may be wider than its type
    uint8_t source_bytes;                    // of the last one
    uint8_t element_bytes;                   // of types[0]
    uint8_t symbolic;                        // an address is a variable's: its alignment is known
    struct emu_form form;
};

struct emu_kernel {
    char *name;
    struct emu_module *module;
    struct emu_instruction *code;
    uint32_t num_instructions;
    uint32_t *targets;       // of brx.idx
    uint32_t register_bytes; // of a warp
    uint32_t first_register; // those before are the emulator's: special registers, and what "_" names
    struct emu_register_name *names;
    size_t num_names, names_capacity;
    uint32_t *doubts; // by operand / 4: 1 .. num_doubts for registers that may be read before they are set, else 0
    uint32_t num_doubts;
    uint32_t *doubt_operands; // of each, before places were shared: for its name
    uint8_t *slot_weights;    // 32-bit registers for each 128 bytes of them; the second half of a wide one has none
    uint8_t *constants;       // values of operands, 32 lanes each
    uint32_t constant_bytes;
    uint32_t dynamic_shared_offset; // where dynamic shared memory begins, after EMU_SHARED_BASE
    struct emu_kernel_facts facts;
    size_t *parameter_offsets, *parameter_sizes;
    uint32_t specials[32]; // offsets in the warp's registers, by enum emu_special; 0 where the kernel does not ask
};

// Special registers that stay the same while a warp lives. Those that change are read by executors.
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
    EMU_SPECIAL_CLUSTERID_X,
    EMU_SPECIAL_CLUSTERID_Y,
    EMU_SPECIAL_CLUSTERID_Z,
    EMU_SPECIAL_NCLUSTERID_X,
    EMU_SPECIAL_NCLUSTERID_Y,
    EMU_SPECIAL_NCLUSTERID_Z,
    EMU_SPECIAL_CLUSTER_CTAID_X,
    EMU_SPECIAL_CLUSTER_CTAID_Y,
    EMU_SPECIAL_CLUSTER_CTAID_Z,
    EMU_SPECIAL_CLUSTER_NCTAID_X,
    EMU_SPECIAL_CLUSTER_NCTAID_Y,
    EMU_SPECIAL_CLUSTER_NCTAID_Z,
    EMU_SPECIAL_CLUSTER_CTARANK,
    EMU_SPECIAL_CLUSTER_NCTARANK,
    EMU_SPECIAL_LANEID,
    EMU_SPECIAL_WARPID,
    EMU_SPECIAL_NWARPID,
    EMU_SPECIAL_SMID,
    EMU_SPECIAL_DYNAMIC_SMEM_SIZE,
};

struct emu_register_name { // of a declaration
    const char *text;
    uint32_t offset, count; // count: 0 where it declares no range
    unsigned bits;
    int line;
};

struct emu_variable { // of a module: .global or .const
    char *name;
    uintptr_t address;
    size_t bytes;
    struct emu_variable *next;
};

struct emu_module {
    struct emu_arena arena;
    struct emu_memory *memory;
    char *text; // the PTX, for findings
    struct emu_kernel **kernels;
    size_t num_kernels, kernels_capacity;
    struct emu_variable *variables;
};

// The line of the module's text without leading blanks and its end, cut to bytes.
void emu_module_line(const struct emu_module *module, int line, char *text, size_t bytes);

// The name of the register at an operand of before places were shared, as an instruction of that line knows it.
void emu_kernel_register_name(const struct emu_kernel *kernel, uint32_t operand, int line, char *text, size_t bytes);

// Shared memory begins here; below is what the driver keeps for itself on real parts, and a null pointer.
#define EMU_SHARED_BASE 1024u

// Where windows of other memories lie among generic addresses: no allocation of a process reaches up here.
#define EMU_WINDOW_SHIFT 56
#define EMU_WINDOW_SHARED 1u
#define EMU_WINDOW_LOCAL 2u
#define EMU_WINDOW_PARAM 3u
// A shared address of another CTA of the cluster has its rank + 1 up here; 0 is the CTA's own.
#define EMU_CLUSTER_SHIFT 24

#endif
