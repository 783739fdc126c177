// .entry: parameters, limits, body, and what a kernel keeps after it was read.
#include <string.h>

#include "ptx_parser.h"
#include "ptx_registers.h"

#define MAX_THREADS 1024
#define MAX_BLOCKS 32         // on a multiprocessor
#define BLOCK_REGISTERS 65536 // of a block
#define MAX_REGISTERS 256     // of a thread
#define REGISTERS_STEP 8

struct parameters {
    size_t offsets[256], sizes[256];
    int count;
    size_t bytes;
};

static void parse_parameter(struct emu_parser *parser, struct parameters *parameters) {
    enum emu_type type;
    size_t alignment = 0, elements = 1;
    emu_lexer_expect(&parser->lexer, ".param");
    if (emu_lexer_take(&parser->lexer, ".align")) alignment = emu_parse_integer(parser);
    size_t bytes = emu_parse_type(parser, &type) / 8;
    // ".ptr .global .align 16": what the pointer points to.
    while (parser->lexer.token.kind == EMU_TOKEN_WORD && parser->lexer.token.text[0] == '.') {
        bool takes_number = emu_lexer_is(&parser->lexer, ".align");
        emu_lexer_advance(&parser->lexer);
        if (takes_number) emu_parse_integer(parser);
    }
    struct emu_token name = parser->lexer.token;
    if (name.kind != EMU_TOKEN_WORD) emu_parser_fail(parser, &name, "expected the name of a parameter here");
    emu_lexer_advance(&parser->lexer);
    if (emu_lexer_take(&parser->lexer, "[")) {
        elements = emu_parse_integer(parser);
        emu_lexer_expect(&parser->lexer, "]");
    }
    if (alignment == 0) alignment = bytes;
    if (parameters->count == 256 || bytes == 0 || (alignment & (alignment - 1)) != 0) {
        emu_parser_fail(parser, &name, "a parameter that the emulator cannot lay out");
    }
    struct emu_symbol *symbol = parser->lexer.failed ? NULL : emu_symbol_add(parser, &name, EMU_SYMBOL_VARIABLE);
    if (symbol == NULL) return;
    symbol->space = EMU_SPACE_PARAM;
    symbol->bytes = bytes * elements;
    symbol->alignment = alignment;
    symbol->address = (parameters->bytes + alignment - 1) / alignment * alignment;
    parameters->offsets[parameters->count] = symbol->address;
    parameters->sizes[parameters->count++] = symbol->bytes;
    parameters->bytes = symbol->address + symbol->bytes;
}

static void parse_parameters(struct emu_parser *parser, struct parameters *parameters) {
    if (!emu_lexer_take(&parser->lexer, "(")) return;
    while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, ")")) {
        parse_parameter(parser, parameters);
        if (!emu_lexer_take(&parser->lexer, ",")) break;
    }
    emu_lexer_expect(&parser->lexer, ")");
}

static void parse_three(struct emu_parser *parser, int three[3]) {
    three[0] = three[1] = three[2] = 1;
    for (int i = 0; i < 3; i++) {
        three[i] = (int)emu_parse_integer(parser);
        if (!emu_lexer_take(&parser->lexer, ",")) break;
    }
}

// A kernel that counts its registers (setmaxnreg) is launched with as many as its bounds leave a thread; without any,
// ptxas does not know how many it has, and drops setmaxnreg (PTX ISA "setmaxnreg", "Performance-Tuning Directives").
static void settle_launch_registers(struct emu_kernel_facts *facts, int min_blocks, int max_registers) {
    int most = max_registers;
    if (facts->max_threads > 0) {
        int share = BLOCK_REGISTERS / (facts->max_threads * (min_blocks > 0 ? min_blocks : 1));
        most = most == 0 || share < most ? share : most;
    }
    facts->launch_registers = (most < MAX_REGISTERS ? most : MAX_REGISTERS) / REGISTERS_STEP * REGISTERS_STEP;
}

static void parse_limits(struct emu_parser *parser, struct emu_kernel_facts *facts) {
    int three[3], min_blocks = 0, max_registers = 0;
    while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, "{")) {
        if (emu_lexer_take(&parser->lexer, ".maxntid")) {
            parse_three(parser, three);
            facts->max_threads = three[0] * three[1] * three[2];
        } else if (emu_lexer_take(&parser->lexer, ".reqntid")) {
            parse_three(parser, facts->required_threads);
            facts->max_threads = facts->required_threads[0] * facts->required_threads[1] * facts->required_threads[2];
        } else if (emu_lexer_take(&parser->lexer, ".reqnctapercluster")) {
            parse_three(parser, facts->required_cluster);
        } else if (emu_lexer_take(&parser->lexer, ".minnctapersm")) {
            min_blocks = (int)emu_parse_integer(parser);
        } else if (emu_lexer_take(&parser->lexer, ".maxnreg")) {
            max_registers = (int)emu_parse_integer(parser);
        } else if (emu_lexer_take(&parser->lexer, ".maxclusterrank") ||
                   emu_lexer_take(&parser->lexer, ".maxnctapersm")) {
            emu_parse_integer(parser);
        } else if (emu_lexer_take(&parser->lexer, ".pragma")) {
            emu_lexer_advance(&parser->lexer);
            emu_lexer_expect(&parser->lexer, ";");
        } else if (!emu_lexer_take(&parser->lexer, ".explicitcluster") &&
                   !emu_lexer_take(&parser->lexer, ".noreturn")) {
            emu_parser_fail(parser, &parser->lexer.token, "the emulator does not know this directive of a kernel");
        }
    }
    if (min_blocks > MAX_BLOCKS || max_registers < 0) min_blocks = max_registers = 0;
    if (facts->max_threads <= MAX_THREADS) settle_launch_registers(facts, min_blocks, max_registers);
    if (facts->max_threads <= 0 || facts->max_threads > MAX_THREADS) facts->max_threads = MAX_THREADS;
}

static void start_kernel(struct emu_parser *parser, struct emu_kernel *kernel) {
    parser->kernel = kernel;
    parser->num_instructions = parser->code_capacity = 0;
    parser->constants = NULL;
    parser->num_constants = parser->constants_capacity = 0;
    parser->num_targets = parser->targets_capacity = 0;
    parser->moving = NULL;
    parser->num_moving = parser->moving_capacity = 0;
    parser->num_weights = parser->weights_capacity = 0;
    parser->register_top = parser->shared_top = parser->local_top = 0;
    parser->dynamic_alignment = 16;
    parser->sink = emu_register_allocate(parser, 128, 1);
    if (!parser->lexer.failed) memset(kernel->slot_weights, 0, parser->num_weights); // nothing of the thread's
    for (size_t i = 1; i < sizeof(kernel->specials) / sizeof(kernel->specials[0]); i++) {
        kernel->specials[i] = emu_register_allocate(parser, 32, 1);
    }
    kernel->first_register = parser->register_top;
}

// Dynamic shared memory begins where the static ends: now known.
static void settle_shared(struct emu_parser *parser, struct emu_kernel *kernel) {
    uint32_t alignment = parser->dynamic_alignment;
    uint32_t begin = (parser->shared_top + alignment - 1) / alignment * alignment;
    kernel->facts.static_shared_bytes = parser->shared_top;
    kernel->dynamic_shared_offset = begin;
    for (size_t i = 0; i < parser->num_constants; i++) {
        if (parser->constants[i].moves) parser->constants[i].value += EMU_SHARED_BASE + begin;
    }
    for (size_t i = 0; i < parser->num_moving; i++) {
        uint32_t moving = parser->moving[i];
        kernel->code[moving / EMU_MAX_ADDRESSES].displacements[moving % EMU_MAX_ADDRESSES] += EMU_SHARED_BASE + begin;
    }
}

static void write_constants(struct emu_parser *parser, struct emu_kernel *kernel) {
    uint8_t *bytes = emu_parser_allocate(parser, kernel->constant_bytes + 256);
    if (bytes == NULL) return;
    bytes += 128 - (uintptr_t)bytes % 128;
    kernel->constants = bytes;
    for (size_t i = 0; i < parser->num_constants; i++) {
        const struct emu_constant *constant = &parser->constants[i];
        for (uint32_t lane = 0; lane < 32; lane++) {
            memcpy(bytes + constant->offset + lane * constant->bytes, &constant->value,
                   constant->bytes < 8 ? constant->bytes : 8);
        }
    }
}

static void keep_parameters(struct emu_parser *parser, struct emu_kernel *kernel, const struct parameters *parameters) {
    size_t bytes = (size_t)parameters->count * sizeof(size_t);
    kernel->parameter_offsets = emu_parser_allocate(parser, bytes + 1);
    kernel->parameter_sizes = emu_parser_allocate(parser, bytes + 1);
    if (parser->lexer.failed) return;
    memcpy(kernel->parameter_offsets, parameters->offsets, bytes);
    memcpy(kernel->parameter_sizes, parameters->sizes, bytes);
    kernel->facts.num_parameters = parameters->count;
    kernel->facts.parameter_bytes = parameters->bytes;
}

extern const struct emu_row emu_row_end;

// The first griddepcontrol of that form, or the kernel's end.
static uint32_t find_dependency_control(const struct emu_kernel *kernel, const char *form) {
    uint32_t i = 0;
    for (; i < kernel->num_instructions; i++) {
        const struct emu_row *row = kernel->code[i].row;
        if (strcmp(row->name, "griddepcontrol") == 0 && strcmp(row->form, form) == 0) break;
    }
    return i;
}

static void find_dependency_controls(struct emu_kernel *kernel) {
    uint32_t launch = find_dependency_control(kernel, "launch_dependents");
    kernel->facts.launches_dependents = launch < kernel->num_instructions;
    kernel->facts.waits = find_dependency_control(kernel, "wait") < kernel->num_instructions;
    kernel->facts.waits_first = find_dependency_control(kernel, "wait") < launch;
}

static void finish_kernel(struct emu_parser *parser, struct emu_kernel *kernel) {
    emu_instruction_add(parser, &emu_row_end, parser->lexer.token.line); // a body may end without ret
    if (parser->lexer.failed) return;
    kernel->num_instructions = (uint32_t)parser->num_instructions;
    settle_shared(parser, kernel);
    write_constants(parser, kernel);
    kernel->facts.local_bytes = parser->local_top;
    struct emu_liveness *liveness = emu_liveness_create(kernel);
    kernel->facts.registers_estimate = emu_liveness_registers(liveness);
    if (!emu_doubts_find(kernel, liveness, &parser->module->arena) ||
        !emu_places_share(kernel, liveness, &parser->module->arena)) {
        emu_parser_fail(parser, &parser->lexer.token, "out of memory");
    }
    emu_liveness_destroy(liveness);
    find_dependency_controls(kernel);
    struct emu_kernel **place =
        emu_arena_push(&parser->module->arena, (void **)&parser->module->kernels, &parser->module->num_kernels,
                       &parser->module->kernels_capacity, sizeof(*place));
    if (place == NULL) {
        emu_parser_fail(parser, &parser->lexer.token, "out of memory");
        return;
    }
    *place = kernel;
}

void emu_parse_entry(struct emu_parser *parser) {
    struct parameters parameters = {.count = 0};
    struct emu_token name = parser->lexer.token;
    struct emu_kernel *kernel = emu_parser_allocate(parser, sizeof(*kernel));
    if (name.kind != EMU_TOKEN_WORD) emu_parser_fail(parser, &name, "expected the name of a kernel here");
    if (parser->lexer.failed) return;
    emu_lexer_advance(&parser->lexer);
    kernel->name = emu_arena_text(&parser->module->arena, name.text, name.length);
    kernel->module = parser->module;
    kernel->facts.name = kernel->name;
    start_kernel(parser, kernel);
    emu_scope_open(parser);
    parse_parameters(parser, &parameters);
    keep_parameters(parser, kernel, &parameters);
    if (emu_lexer_take(&parser->lexer, ";")) { // only declared
        parser->scope = parser->module_scope;
        parser->kernel = NULL;
        return;
    }
    parse_limits(parser, &kernel->facts);
    emu_parse_body(parser);
    if (parser->lexer.failed) return;
    emu_scope_close(parser);
    finish_kernel(parser, kernel);
    parser->kernel = NULL;
}
