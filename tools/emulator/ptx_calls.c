// Functions. A call is replaced by the body of its function: kernels here have no stack, and recursion is refused.
#include <string.h>

#include "ptx_parser.h"

#define MAX_INLINE_DEPTH 32
#define MAX_ARGUMENTS 64

const struct emu_token emu_return_label = {EMU_TOKEN_WORD, "$return", 7, 0};
static const struct emu_token skip_label = {EMU_TOKEN_WORD, "$skip", 5, 0};
extern const struct emu_row emu_row_branch, emu_row_assert;

static void skip_group(struct emu_parser *parser, const char *open, const char *close) {
    int depth = 0;
    do {
        if (emu_lexer_is(&parser->lexer, open)) depth++;
        if (emu_lexer_is(&parser->lexer, close)) depth--;
        if (parser->lexer.token.kind == EMU_TOKEN_END) {
            emu_parser_fail(parser, &parser->lexer.token, "the text ends before \"%s\"", close);
            return;
        }
        emu_lexer_advance(&parser->lexer);
    } while (depth > 0);
}

// ".func (return parameters) name (parameters) { body }": remembered by name, read at each call.
void emu_parse_function(struct emu_parser *parser) {
    struct emu_lexer begin = parser->lexer;
    if (emu_lexer_is(&parser->lexer, "(")) skip_group(parser, "(", ")");
    struct emu_token name = parser->lexer.token;
    if (name.kind != EMU_TOKEN_WORD) emu_parser_fail(parser, &name, "expected the name of a function here");
    emu_lexer_advance(&parser->lexer);
    if (emu_lexer_is(&parser->lexer, "(")) skip_group(parser, "(", ")");
    while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, "{") && !emu_lexer_is(&parser->lexer, ";")) {
        if (parser->lexer.token.kind == EMU_TOKEN_END) emu_parser_fail(parser, &name, "a function without a body");
        emu_lexer_advance(&parser->lexer);
    }
    bool has_body = emu_lexer_is(&parser->lexer, "{");
    if (has_body) {
        skip_group(parser, "{", "}");
    } else {
        emu_lexer_expect(&parser->lexer, ";");
    }
    if (parser->lexer.failed) return;
    struct emu_symbol *symbol = emu_symbol_find(parser, &name, EMU_SYMBOL_FUNCTION);
    if (symbol == NULL) symbol = emu_symbol_add(parser, &name, EMU_SYMBOL_FUNCTION);
    if (symbol == NULL) return;
    if (has_body || symbol->body.begin == NULL) symbol->body = begin;
    symbol->bytes = has_body || symbol->bytes != 0;
}

struct arguments {
    const struct emu_symbol *list[MAX_ARGUMENTS];
    int count;
};

static void parse_arguments(struct emu_parser *parser, struct arguments *arguments) {
    arguments->count = 0;
    if (!emu_lexer_take(&parser->lexer, "(")) return;
    while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, ")")) {
        struct emu_token name = parser->lexer.token;
        const struct emu_symbol *symbol = emu_symbol_find(parser, &name, EMU_SYMBOL_VARIABLE);
        if (symbol == NULL || symbol->space != EMU_SPACE_LOCAL || arguments->count == MAX_ARGUMENTS) {
            emu_parser_fail(parser, &name, "the emulator takes only .param variables as arguments of a call");
            return;
        }
        arguments->list[arguments->count++] = symbol;
        emu_lexer_advance(&parser->lexer);
        if (!emu_lexer_take(&parser->lexer, ",")) break;
    }
    emu_lexer_expect(&parser->lexer, ")");
}

// Formal parameters become other names of the arguments' memory.
static void bind(struct emu_parser *parser, const struct arguments *arguments, const struct emu_token *call) {
    if (!emu_lexer_take(&parser->lexer, "(")) return;
    for (int i = 0; !parser->lexer.failed && !emu_lexer_is(&parser->lexer, ")"); i++) {
        struct emu_token name = parser->lexer.token;
        while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, ",") && !emu_lexer_is(&parser->lexer, ")") &&
               !emu_lexer_is(&parser->lexer, "[")) {
            if (parser->lexer.token.kind == EMU_TOKEN_WORD) name = parser->lexer.token;
            emu_lexer_advance(&parser->lexer);
        }
        if (emu_lexer_is(&parser->lexer, "[")) skip_group(parser, "[", "]");
        struct emu_symbol *symbol = emu_symbol_add(parser, &name, EMU_SYMBOL_VARIABLE);
        if (symbol == NULL) return;
        if (i >= arguments->count) {
            emu_parser_fail(parser, call, "the call has %d arguments, the function wants more", arguments->count);
            return;
        }
        const char *kept_name = symbol->name;
        size_t kept_length = symbol->length;
        struct emu_symbol *next = symbol->next;
        *symbol = *arguments->list[i];
        symbol->name = kept_name;
        symbol->length = kept_length;
        symbol->next = next;
        if (!emu_lexer_take(&parser->lexer, ",")) break;
    }
    emu_lexer_expect(&parser->lexer, ")");
}

static void read_body(struct emu_parser *parser, const struct emu_symbol *function, const struct arguments *results,
                      const struct arguments *arguments, const struct emu_token *call) {
    struct emu_lexer after = parser->lexer;
    parser->lexer = function->body;
    bind(parser, results, call);
    emu_lexer_advance(&parser->lexer); // its name
    bind(parser, arguments, call);
    while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, "{")) emu_lexer_advance(&parser->lexer);
    emu_parse_body(parser);
    if (!parser->lexer.failed) parser->lexer = after;
}

static void inline_function(struct emu_parser *parser, const struct emu_symbol *function,
                            const struct arguments *results, const struct arguments *arguments, uint32_t guard,
                            bool negated, const struct emu_token *call) {
    struct emu_scope *caller = parser->scope;
    parser->scope = parser->module_scope;
    emu_scope_open(parser);
    if (parser->lexer.failed) return;
    if (guard != EMU_OPERAND_ABSENT) {
        struct emu_instruction *skip = emu_instruction_add(parser, &emu_row_branch, call->line);
        if (skip == NULL) return;
        skip->guard = guard;
        skip->guard_negated = !negated;
        emu_label_refer(parser, &skip_label, (uint32_t)parser->num_instructions - 1, 0);
    }
    if (++parser->inline_depth > MAX_INLINE_DEPTH) {
        emu_parser_fail(parser, call, "calls go deeper than %d, perhaps for ever: the emulator takes no recursion",
                        MAX_INLINE_DEPTH);
    }
    read_body(parser, function, results, arguments, call);
    parser->inline_depth--;
    if (parser->lexer.failed) return;
    emu_label_add(parser, &emu_return_label, (uint32_t)parser->num_instructions);
    emu_label_add(parser, &skip_label, (uint32_t)parser->num_instructions);
    emu_scope_close(parser);
    parser->scope = caller;
}

// "call (result), name, (arguments);" and its shorter forms.
void emu_parse_call(struct emu_parser *parser, uint32_t guard, bool negated) {
    struct emu_token call = parser->lexer.token;
    struct arguments results, arguments = {.count = 0};
    emu_lexer_advance(&parser->lexer);
    parse_arguments(parser, &results);
    if (results.count > 0) emu_lexer_expect(&parser->lexer, ",");
    struct emu_token name = parser->lexer.token;
    const struct emu_symbol *function = emu_symbol_find(parser, &name, EMU_SYMBOL_FUNCTION);
    emu_lexer_advance(&parser->lexer);
    if (emu_lexer_take(&parser->lexer, ",")) parse_arguments(parser, &arguments);
    emu_lexer_expect(&parser->lexer, ";");
    if (parser->lexer.failed) return;
    if (emu_token_is(&name, "__assertfail")) {
        struct emu_instruction *trap = emu_instruction_add(parser, &emu_row_assert, call.line);
        if (trap == NULL) return;
        trap->execute = emu_row_assert.execute;
        trap->guard = guard;
        trap->guard_negated = negated;
    } else if (function == NULL || function->bytes == 0) {
        emu_parser_fail(parser, &name, "the emulator has no body for the function \"%.*s\"", (int)name.length,
                        name.text);
    } else {
        inline_function(parser, function, &results, &arguments, guard, negated, &call);
    }
}
