// Operands, as a row of the table asks for them.
#include <stdlib.h>
#include <string.h>

#include "ptx_parser.h"

struct spec {       // one word of emu_row.operands
    char direction; // d, m, s, i, a, t, l, |
    enum emu_type type;
    unsigned bits;
    bool wider, optional;
    unsigned count; // in braces; 0: none
};

static enum emu_type type_of_bits(unsigned bits) {
    switch (bits) {
    case 1: return EMU_PRED;
    case 8: return EMU_B8;
    case 16: return EMU_B16;
    case 64: return EMU_B64;
    case 128: return EMU_B128;
    default: return EMU_B32;
    }
}

static enum emu_type twice(enum emu_type type) {
    switch (type) {
    case EMU_U16: return EMU_U32;
    case EMU_S16: return EMU_S32;
    case EMU_U32: return EMU_U64;
    case EMU_S32: return EMU_S64;
    default: return EMU_B64;
    }
}

static const char *read_spec(const char *text, const struct emu_form *form, struct spec *spec) {
    *spec = (struct spec){.direction = *text++};
    char *end;
    if (*text == 'p') {
        spec->type = EMU_PRED;
        text++;
    } else if (*text == 'w') {
        spec->type = twice((enum emu_type)form->types[0]);
        text++;
    } else if (*text >= '0' && *text <= '9') {
        unsigned long number = strtoul(text, &end, 10);
        spec->type = number < 3 ? (enum emu_type)form->types[number] : type_of_bits((unsigned)number);
        text = end;
    }
    spec->bits = emu_type_bits(spec->type);
    for (; *text != '\0' && *text != ' '; text++) {
        if (*text == '+') spec->wider = true;
        if (*text == '?') spec->optional = true;
        if (*text == '*') {
            spec->count = text[1] == 'v'   ? form->count
                          : text[1] == 'n' ? form->columns / 2
                          : text[1] == 'h' ? form->columns / 4
                                           : (unsigned)strtoul(text + 1, &end, 10);
            if (text[1] == 'v' && form->words[EMU_GROUP_VECTOR] == EMU_W_NONE) spec->count = 0;
        }
    }
    return text + strspn(text, " ");
}

static void add(struct emu_operands *read, uint32_t operand) {
    if (read->count < sizeof(read->list) / sizeof(read->list[0])) read->list[read->count++] = operand;
}

static void check_bits(struct emu_parser *parser, const struct emu_token *name, unsigned wanted, bool wider,
                       unsigned met) {
    if (met == wanted || (wider && met >= wanted && wanted != 1)) return;
    emu_parser_fail(parser, name, "register %.*s has %u bits where %u are wanted", (int)name->length, name->text, met,
                    wanted);
}

uint32_t emu_parse_register(struct emu_parser *parser, unsigned bits, bool wider, unsigned *met) {
    struct emu_token name = parser->lexer.token;
    uint32_t operand = 0;
    if (emu_lexer_take(&parser->lexer, "_")) { // nobody reads it
        *met = bits;
        return parser->sink;
    }
    if (name.kind != EMU_TOKEN_WORD || !emu_register_find(parser, &name, &operand, met)) {
        emu_parser_fail(parser, &name, "expected a register here");
        return 0;
    }
    check_bits(parser, &name, bits, wider, *met);
    emu_lexer_advance(&parser->lexer);
    return operand;
}

// A variable's name stands for its address in its own space.
static bool variable_address(struct emu_parser *parser, const struct emu_token *name, struct emu_symbol **symbol,
                             uint64_t *address) {
    *symbol = emu_symbol_find(parser, name, EMU_SYMBOL_VARIABLE);
    if (*symbol == NULL) return false;
    emu_variable_place(parser, *symbol);
    *address = (*symbol)->address;
    return true;
}

uint32_t emu_parse_source(struct emu_parser *parser, enum emu_type type, unsigned bits, bool wider, unsigned *met) {
    struct emu_token token = parser->lexer.token;
    uint32_t operand = 0;
    uint64_t value = 0;
    struct emu_symbol *symbol;
    *met = bits;
    if (token.kind != EMU_TOKEN_WORD) {
        emu_parse_number(parser, type, &value);
        if (bits == 1) value = value != 0 ? 0xffffffffu : 0;
        return bits == 1 ? emu_constant_operand(parser, value, 32, false)
                         : emu_constant_operand(parser, value, bits, false);
    }
    if (emu_register_find(parser, &token, &operand, met) || emu_special_find(parser, &token, &operand, met)) {
        // %tid.x may be read as 16 bits: its lanes hold numbers below 65536 in 32-bit words.
        if (!emu_register_find(parser, &token, &operand, met) && bits == 16) *met = 16;
        check_bits(parser, &token, bits, wider, *met);
        emu_lexer_advance(&parser->lexer);
        return operand;
    }
    if (emu_lexer_take(&parser->lexer, "WARP_SZ")) return emu_constant_operand(parser, 32, bits, false);
    if (variable_address(parser, &token, &symbol, &value)) {
        emu_lexer_advance(&parser->lexer);
        if (emu_lexer_take(&parser->lexer, "+")) value += emu_parse_integer(parser);
        return emu_constant_operand(parser, value, bits, symbol->is_dynamic);
    }
    emu_parser_fail(parser, &token, "\"%.*s\" is not declared", (int)token.length, token.text);
    return 0;
}

static void parse_vector(struct emu_parser *parser, const struct spec *spec, struct emu_operands *read, unsigned *met) {
    bool braces = spec->count > 1 || emu_lexer_is(&parser->lexer, "{"); // a list of one may go without
    if (braces) emu_lexer_expect(&parser->lexer, "{");
    for (unsigned i = 0; i < spec->count && !parser->lexer.failed; i++) {
        if (i > 0) emu_lexer_expect(&parser->lexer, ",");
        bool is_register = spec->direction == 'd' || spec->direction == 'm';
        add(read, is_register ? emu_parse_register(parser, spec->bits, spec->wider, met)
                              : emu_parse_source(parser, spec->type, spec->bits, spec->wider, met));
    }
    if (braces) emu_lexer_expect(&parser->lexer, "}");
}

// "[register + 8]", "[name - 4]", "[16]".
static void parse_address(struct emu_parser *parser, struct emu_instruction *instruction, struct emu_operands *read,
                          int number, const struct spec *coordinates) {
    emu_lexer_expect(&parser->lexer, "[");
    struct emu_token base = parser->lexer.token;
    uint32_t operand = 0;
    unsigned bits = 64;
    uint64_t displacement = 0;
    struct emu_symbol *symbol;
    if (base.kind == EMU_TOKEN_WORD && emu_register_find(parser, &base, &operand, &bits)) {
        if (bits < 32) emu_parser_fail(parser, &base, "an address of %u bits", bits);
        emu_lexer_advance(&parser->lexer);
    } else if (base.kind == EMU_TOKEN_WORD && variable_address(parser, &base, &symbol, &displacement)) {
        emu_lexer_advance(&parser->lexer);
        uint8_t third = EMU_SPACE_SHARED; // an mbarrier
        uint8_t *space = number == 0 ? &instruction->space : number == 1 ? &instruction->second_space : &third;
        if (*space == EMU_SPACE_GENERIC || (*space == EMU_SPACE_PARAM && symbol->space == EMU_SPACE_LOCAL)) {
            *space = (uint8_t)symbol->space;
        }
        if (*space != symbol->space) {
            emu_parser_fail(parser, &base, "%.*s does not lie in the state space that the instruction names",
                            (int)base.length, base.text);
        }
        operand = emu_constant_operand(parser, 0, 64, false);
        if (symbol->is_dynamic) {
            uint32_t *moving = emu_arena_push(&parser->module->arena, (void **)&parser->moving, &parser->num_moving,
                                              &parser->moving_capacity, sizeof(*moving));
            if (moving != NULL)
                *moving = ((uint32_t)parser->num_instructions - 1) * EMU_MAX_ADDRESSES + (uint32_t)number;
        }
    } else if (base.kind == EMU_TOKEN_NUMBER) {
        displacement = emu_parse_integer(parser);
        operand = emu_constant_operand(parser, 0, 64, false);
    } else {
        emu_parser_fail(parser, &base, "expected a register or a variable here");
        return;
    }
    while (emu_lexer_is(&parser->lexer, "+") || emu_lexer_is(&parser->lexer, "-")) {
        uint64_t more = 0;
        emu_parse_number(parser, EMU_B64, &more);
        displacement += more;
    }
    if (number < EMU_MAX_ADDRESSES) {
        instruction->displacements[number] = (int64_t)displacement;
        instruction->wide_address[number] = bits == 64;
    }
    add(read, operand);
    if (coordinates != NULL) { // of a tensor: "[map, {x, y}]"
        unsigned met;
        emu_lexer_expect(&parser->lexer, ",");
        parse_vector(parser, coordinates, read, &met);
    }
    emu_lexer_expect(&parser->lexer, "]");
}

static void parse_tensor(struct emu_parser *parser, struct emu_instruction *instruction, struct emu_operands *read,
                         int number) {
    struct spec coordinates = {.direction = 's', .type = EMU_B32, .bits = 32, .count = instruction->form.count};
    parse_address(parser, instruction, read, number, &coordinates);
}

static void parse_label(struct emu_parser *parser, struct emu_instruction *instruction) {
    struct emu_token name = parser->lexer.token;
    if (name.kind != EMU_TOKEN_WORD) emu_parser_fail(parser, &name, "expected a label here");
    (void)instruction;
    emu_label_refer(parser, &name, (uint32_t)parser->num_instructions - 1, 0);
    emu_lexer_advance(&parser->lexer);
}

static void parse_one(struct emu_parser *parser, struct emu_instruction *instruction, const struct spec *spec,
                      struct emu_operands *read, int *addresses) {
    unsigned met = spec->bits;
    switch (spec->direction) {
    case 'a': parse_address(parser, instruction, read, (*addresses)++, NULL); return;
    case 't': parse_tensor(parser, instruction, read, (*addresses)++); return;
    case 'l': parse_label(parser, instruction); return;
    default: break;
    }
    if (spec->count > 0) {
        parse_vector(parser, spec, read, &met);
    } else if (spec->direction == 'd' || spec->direction == '|') {
        add(read, emu_parse_register(parser, spec->bits, spec->wider, &met));
    } else if (spec->direction == 'i' && parser->lexer.token.kind == EMU_TOKEN_WORD) {
        emu_parser_fail(parser, &parser->lexer.token, "expected a number here");
    } else {
        if (spec->bits == 1 && emu_lexer_take(&parser->lexer, "!")) instruction->negated = true;
        add(read, emu_parse_source(parser, spec->type, spec->bits, spec->wider, &met));
        instruction->source_bytes = (uint8_t)(met / 8);
    }
    if (read->count == 1 || spec->count >= read->count) instruction->register_bytes = (uint8_t)(met / 8);
}

void emu_parse_operands(struct emu_parser *parser, struct emu_instruction *instruction, const char *operands,
                        struct emu_operands *read) {
    int addresses = 0;
    bool first = true;
    while (*operands != '\0' && !parser->lexer.failed) {
        struct spec spec;
        operands = read_spec(operands, &instruction->form, &spec);
        if (spec.direction == '|') {
            if (emu_lexer_take(&parser->lexer, "|")) {
                parse_one(parser, instruction, &spec, read, &addresses);
            } else {
                add(read, EMU_OPERAND_ABSENT);
            }
            continue;
        }
        if (spec.optional && emu_lexer_is(&parser->lexer, ";")) {
            add(read, EMU_OPERAND_ABSENT);
            continue;
        }
        if (!first) emu_lexer_expect(&parser->lexer, ",");
        first = false;
        parse_one(parser, instruction, &spec, read, &addresses);
    }
}
