// The body of a kernel or function: scopes, labels, declarations, instructions.
#include <string.h>

#include "ptx_parser.h"

static void skip_line(struct emu_parser *parser) {
    int line = parser->lexer.token.line;
    while (parser->lexer.token.kind != EMU_TOKEN_END && parser->lexer.token.line == line) {
        emu_lexer_advance(&parser->lexer);
    }
}

static void skip_statement(struct emu_parser *parser) {
    while (parser->lexer.token.kind != EMU_TOKEN_END && !emu_lexer_is(&parser->lexer, ";")) {
        emu_lexer_advance(&parser->lexer);
    }
    emu_lexer_expect(&parser->lexer, ";");
}

// "name: .branchtargets a, b;"
static void parse_targets(struct emu_parser *parser, const struct emu_token *name) {
    struct emu_symbol *symbol = emu_symbol_add(parser, name, EMU_SYMBOL_TARGETS);
    if (symbol == NULL) return;
    symbol->place = (uint32_t)parser->num_targets;
    do {
        struct emu_token label = parser->lexer.token;
        uint32_t *target = emu_arena_push(&parser->module->arena, (void **)&parser->kernel->targets,
                                          &parser->num_targets, &parser->targets_capacity, sizeof(*target));
        if (target == NULL) emu_parser_fail(parser, &label, "out of memory");
        if (label.kind != EMU_TOKEN_WORD) emu_parser_fail(parser, &label, "expected a label here");
        if (parser->lexer.failed) return;
        symbol->count++;
        emu_label_refer(parser, &label, EMU_OPERAND_ABSENT, (uint32_t)parser->num_targets - 1);
        emu_lexer_advance(&parser->lexer);
    } while (emu_lexer_take(&parser->lexer, ","));
    emu_lexer_expect(&parser->lexer, ";");
}

static void parse_label(struct emu_parser *parser) {
    struct emu_token name = parser->lexer.token;
    emu_lexer_advance(&parser->lexer);
    emu_lexer_advance(&parser->lexer);
    if (emu_lexer_take(&parser->lexer, ".branchtargets")) {
        parse_targets(parser, &name);
    } else if (emu_lexer_is(&parser->lexer, ".callprototype")) {
        skip_statement(parser);
    } else {
        emu_label_add(parser, &name, (uint32_t)parser->num_instructions);
    }
}

static void parse_statement(struct emu_parser *parser) {
    struct emu_lexer *lexer = &parser->lexer;
    if (emu_lexer_is(lexer, "{")) {
        emu_parse_body(parser);
    } else if (lexer->token.kind == EMU_TOKEN_WORD && emu_token_is(&lexer->next, ":")) {
        parse_label(parser);
    } else if (emu_lexer_is(lexer, ".loc") || emu_lexer_is(lexer, ".file")) {
        skip_line(parser);
    } else if (emu_lexer_is(lexer, ".pragma")) {
        skip_statement(parser); // advice for ptxas
    } else if (emu_lexer_take(lexer, ";")) {
        return;
    } else {
        parser->is_extern = false;
        if (!emu_parse_declaration(parser)) emu_parse_instruction(parser);
    }
}

void emu_parse_body(struct emu_parser *parser) {
    emu_lexer_expect(&parser->lexer, "{");
    emu_scope_open(parser);
    while (!parser->lexer.failed && !emu_lexer_is(&parser->lexer, "}")) {
        if (parser->lexer.token.kind == EMU_TOKEN_END) {
            emu_parser_fail(parser, &parser->lexer.token, "the text ends inside a body");
            return;
        }
        parse_statement(parser);
    }
    if (parser->lexer.failed) return;
    emu_lexer_expect(&parser->lexer, "}");
    emu_scope_close(parser);
}
