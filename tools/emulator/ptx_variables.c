// Declarations: registers, and variables with their initialisers.
#include <math.h>
#include <string.h>

#include "arithmetic.h"
#include "ptx_parser.h"

unsigned emu_parse_type(struct emu_parser *parser, enum emu_type *type) {
    const struct emu_token *token = &parser->lexer.token;
    *type = token->kind == EMU_TOKEN_WORD && token->text[0] == '.' ? emu_type_find(token->text + 1, token->length - 1)
                                                                   : EMU_NONE;
    if (*type == EMU_NONE) {
        emu_parser_fail(parser, token, "expected a type here, such as .b32");
        return 32;
    }
    emu_lexer_advance(&parser->lexer);
    return emu_type_bits(*type);
}

size_t emu_parse_integer(struct emu_parser *parser) {
    enum emu_number_kind kind;
    uint64_t value = 0;
    struct emu_token token = parser->lexer.token;
    if (!emu_token_number(&token, &kind, &value) || kind != EMU_NUMBER_INTEGER) {
        emu_parser_fail(parser, &token, "expected a whole number here");
        return 1;
    }
    emu_lexer_advance(&parser->lexer);
    return (size_t)value;
}

static uint64_t float_bits_as(enum emu_type type, double value) {
    union {
        double value;
        uint64_t bits;
    } wide = {value};
    switch (type) {
    case EMU_F64:
    case EMU_B64: return wide.bits;
    case EMU_F16: return emu_f16_from_double(value, EMU_ROUND_NEAREST);
    case EMU_BF16: return emu_bf16_from_double(value, EMU_ROUND_NEAREST);
    default: return emu_bits((float)value);
    }
}

void emu_parse_number(struct emu_parser *parser, enum emu_type type, uint64_t *bits) {
    bool negative = false, inverted = false;
    enum emu_number_kind kind;
    for (;; emu_lexer_advance(&parser->lexer)) {
        if (emu_lexer_is(&parser->lexer, "-")) {
            negative = !negative;
        } else if (emu_lexer_is(&parser->lexer, "~")) {
            inverted = true;
        } else if (!emu_lexer_is(&parser->lexer, "+")) {
            break;
        }
    }
    struct emu_token token = parser->lexer.token;
    bool is_float = emu_type_kind(type) == 'F';
    *bits = 0;
    if (!emu_token_number(&token, &kind, bits)) {
        emu_parser_fail(parser, &token, "expected a number here");
        return;
    }
    emu_lexer_advance(&parser->lexer);
    if (kind == EMU_NUMBER_INTEGER) {
        if (negative) *bits = (uint64_t)0 - *bits;
        if (inverted) *bits = ~*bits;
        if (is_float && (type == EMU_F32 || type == EMU_F64) && *bits != 0) {
            emu_parser_fail(parser, &token, "a whole number where .%s is wanted", emu_type_name(type));
        }
        return;
    }
    union {
        uint64_t bits;
        double value;
    } wide = {*bits};
    double value = kind == EMU_NUMBER_F32 ? (double)emu_float((uint32_t)*bits) : wide.value;
    if (kind == EMU_NUMBER_F32 && !negative && (type == EMU_F32 || type == EMU_B32 || type == EMU_TF32))
        return; // NaN stays
    if (emu_type_kind(type) == 'U' || emu_type_kind(type) == 'S') {
        emu_parser_fail(parser, &token, "a floating-point number where .%s is wanted", emu_type_name(type));
    }
    *bits = float_bits_as(type, negative ? -value : value);
}

// For findings.
static void keep_name(struct emu_parser *parser, const struct emu_symbol *symbol, bool range, int line) {
    struct emu_kernel *kernel = parser->kernel;
    struct emu_register_name *name = emu_arena_push(&parser->module->arena, (void **)&kernel->names, &kernel->num_names,
                                                    &kernel->names_capacity, sizeof(*name));
    const char *text = emu_arena_text(&parser->module->arena, symbol->name, symbol->length);
    if (name == NULL || text == NULL) return;
    *name = (struct emu_register_name){text, symbol->offset, range ? symbol->count : 0, symbol->bits, line};
}

static void parse_registers(struct emu_parser *parser) {
    enum emu_type type;
    emu_lexer_advance(&parser->lexer);
    unsigned bits = emu_parse_type(parser, &type);
    if (parser->kernel == NULL) emu_parser_fail(parser, &parser->lexer.token, "a register outside a kernel");
    while (!parser->lexer.failed) {
        struct emu_token name = parser->lexer.token;
        uint32_t count = 1;
        bool range = false;
        if (name.kind != EMU_TOKEN_WORD) emu_parser_fail(parser, &name, "expected the name of a register here");
        emu_lexer_advance(&parser->lexer);
        if (emu_lexer_take(&parser->lexer, "<")) {
            range = true;
            count = (uint32_t)emu_parse_integer(parser);
            if (count > 1000000) emu_parser_fail(parser, &name, "%u registers are too many", count);
            emu_lexer_expect(&parser->lexer, ">");
        }
        if (parser->lexer.failed) return;
        struct emu_symbol *symbol = emu_symbol_add(parser, &name, range ? EMU_SYMBOL_RANGE : EMU_SYMBOL_REGISTER);
        if (symbol == NULL) return;
        symbol->bits = bits;
        symbol->count = count;
        symbol->offset = emu_register_allocate(parser, bits, count);
        keep_name(parser, symbol, range, name.line);
        if (!emu_lexer_take(&parser->lexer, ",")) break;
    }
    emu_lexer_expect(&parser->lexer, ";");
}

struct declaration {
    enum emu_space space;
    bool is_extern;
    size_t alignment, element_bytes, elements;
    bool unsized;
    enum emu_type type;
    struct emu_token name;
};

static void write_element(struct emu_parser *parser, const struct declaration *declaration, uint8_t *at, size_t left) {
    uint64_t bits = 0;
    const struct emu_token *token = &parser->lexer.token;
    if (token->kind == EMU_TOKEN_WORD) { // generic(name) or name, with an offset
        bool generic = emu_lexer_take(&parser->lexer, "generic");
        if (generic) emu_lexer_expect(&parser->lexer, "(");
        const struct emu_symbol *symbol = emu_symbol_find(parser, &parser->lexer.token, EMU_SYMBOL_VARIABLE);
        if (symbol == NULL || symbol->space != EMU_SPACE_GLOBAL) {
            emu_parser_fail(parser, &parser->lexer.token, "an initialiser may name only .global and .const variables");
            return;
        }
        emu_lexer_advance(&parser->lexer);
        if (generic) emu_lexer_expect(&parser->lexer, ")");
        bits = symbol->address;
        if (emu_lexer_take(&parser->lexer, "+")) bits += emu_parse_integer(parser);
    } else {
        emu_parse_number(parser, declaration->type, &bits);
    }
    size_t bytes = declaration->element_bytes;
    if (bytes > left || bytes > sizeof(bits)) {
        emu_parser_fail(parser, &parser->lexer.token, "more values than the variable holds");
        return;
    }
    memcpy(at, &bits, bytes);
}

// Values in nested braces, row by row.
static size_t write_initialiser(struct emu_parser *parser, const struct declaration *declaration, uint8_t *at,
                                size_t left) {
    if (!emu_lexer_take(&parser->lexer, "{")) {
        write_element(parser, declaration, at, left);
        return declaration->element_bytes;
    }
    size_t used = 0;
    while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, "}")) {
        used += write_initialiser(parser, declaration, at + used, left - used);
        if (!emu_lexer_take(&parser->lexer, ",")) break;
    }
    emu_lexer_expect(&parser->lexer, "}");
    return used;
}

static void place_in_device(struct emu_parser *parser, struct emu_symbol *symbol,
                            const struct declaration *declaration) {
    struct emu_variable *variable = emu_parser_allocate(parser, sizeof(*variable));
    if (variable == NULL) return;
    size_t bytes = symbol->bytes > 0 ? symbol->bytes : 1;
    variable->name = emu_arena_text(&parser->module->arena, symbol->name, symbol->length);
    variable->bytes = symbol->bytes;
    variable->address = emu_memory_allocate(parser->module->memory, bytes);
    if (variable->address == 0 || variable->name == NULL) {
        emu_parser_fail(parser, &declaration->name, "no device memory for this variable of %zu bytes", symbol->bytes);
        return;
    }
    variable->next = parser->module->variables;
    parser->module->variables = variable;
    symbol->address = variable->address;
    memset((void *)variable->address, 0, bytes);
    emu_memory_mark_written(parser->module->memory, variable->address, bytes);
    if (emu_lexer_take(&parser->lexer, "=")) {
        write_initialiser(parser, declaration, (uint8_t *)variable->address, symbol->bytes);
    }
}

static uint32_t bump(uint32_t *top, const struct emu_symbol *symbol) {
    uint32_t alignment = (uint32_t)symbol->alignment, at = (*top + alignment - 1) / alignment * alignment;
    *top = at + (uint32_t)symbol->bytes;
    return at;
}

static void place(struct emu_parser *parser, struct emu_symbol *symbol, const struct declaration *declaration) {
    if (symbol->bytes > (size_t)1 << 30) {
        emu_parser_fail(parser, &declaration->name, "a variable of %zu bytes is too large", symbol->bytes);
        return;
    }
    switch (symbol->space) {
    case EMU_SPACE_SHARED:
        symbol->is_dynamic = declaration->is_extern || declaration->unsized;
        symbol->is_lazy = true;
        if (parser->kernel != NULL) emu_variable_place(parser, symbol);
        break;
    case EMU_SPACE_LOCAL:
        if (parser->kernel == NULL) {
            emu_parser_fail(parser, &declaration->name, "a .local variable outside a kernel");
            return;
        }
        symbol->address = bump(&parser->local_top, symbol);
        break;
    default: place_in_device(parser, symbol, declaration); break;
    }
}

static void parse_dimensions(struct emu_parser *parser, struct declaration *declaration) {
    while (emu_lexer_take(&parser->lexer, "[")) {
        if (emu_lexer_take(&parser->lexer, "]")) {
            declaration->unsized = true;
            declaration->elements = 0;
            continue;
        }
        declaration->elements *= emu_parse_integer(parser);
        emu_lexer_expect(&parser->lexer, "]");
    }
}

static void parse_variable(struct emu_parser *parser, struct declaration *declaration) {
    declaration->alignment = 0;
    declaration->element_bytes = 1;
    size_t vector = 1;
    for (;;) {
        if (emu_lexer_take(&parser->lexer, ".align")) {
            declaration->alignment = emu_parse_integer(parser);
        } else if (emu_lexer_take(&parser->lexer, ".v2")) {
            vector = 2;
        } else if (emu_lexer_take(&parser->lexer, ".v4")) {
            vector = 4;
        } else {
            break;
        }
    }
    declaration->element_bytes = emu_parse_type(parser, &declaration->type) / 8;
    if (declaration->element_bytes == 0)
        emu_parser_fail(parser, &parser->lexer.token, "a variable cannot be a predicate");
    if (declaration->alignment == 0) declaration->alignment = declaration->element_bytes * vector;
    if ((declaration->alignment & (declaration->alignment - 1)) != 0 || declaration->alignment > 65536) {
        emu_parser_fail(parser, &parser->lexer.token, "alignment %zu is no power of two", declaration->alignment);
    }
    do {
        declaration->name = parser->lexer.token;
        declaration->elements = vector;
        declaration->unsized = false;
        emu_lexer_advance(&parser->lexer);
        parse_dimensions(parser, declaration);
        if (parser->lexer.failed) return;
        struct emu_symbol *symbol = emu_symbol_add(parser, &declaration->name, EMU_SYMBOL_VARIABLE);
        if (symbol == NULL) return;
        symbol->space = declaration->space;
        symbol->alignment = declaration->alignment;
        symbol->bytes = declaration->elements * declaration->element_bytes;
        place(parser, symbol, declaration);
    } while (emu_lexer_take(&parser->lexer, ","));
    emu_lexer_expect(&parser->lexer, ";");
}

bool emu_parse_declaration(struct emu_parser *parser) {
    struct declaration declaration = {.space = EMU_SPACE_GENERIC};
    if (emu_lexer_is(&parser->lexer, ".reg")) {
        parse_registers(parser);
        return true;
    }
    if (emu_lexer_is(&parser->lexer, ".shared")) declaration.space = EMU_SPACE_SHARED;
    if (emu_lexer_is(&parser->lexer, ".global") || emu_lexer_is(&parser->lexer, ".const")) {
        declaration.space = EMU_SPACE_GLOBAL;
    }
    // A .param inside a body carries a call's argument: memory of the thread.
    if (emu_lexer_is(&parser->lexer, ".local") || emu_lexer_is(&parser->lexer, ".param")) {
        declaration.space = EMU_SPACE_LOCAL;
    }
    if (declaration.space == EMU_SPACE_GENERIC) return false;
    emu_lexer_advance(&parser->lexer);
    declaration.is_extern = parser->is_extern;
    parse_variable(parser, &declaration);
    return true;
}
