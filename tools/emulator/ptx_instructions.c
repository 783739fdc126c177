// One instruction: the row that its mnemonic matches, its operands, its executor.
#include <stdlib.h>
#include <string.h>

#include "ptx_parser.h"

struct emu_instruction *emu_instruction_add(struct emu_parser *parser, const struct emu_row *row, int line) {
    struct emu_kernel *kernel = parser->kernel;
    struct emu_instruction *instruction =
        emu_arena_push(&parser->module->arena, (void **)&kernel->code, &parser->num_instructions,
                       &parser->code_capacity, sizeof(*instruction));
    if (instruction == NULL) {
        emu_parser_fail(parser, &parser->lexer.token, "out of memory");
        return NULL;
    }
    *instruction = (struct emu_instruction){.row = row,
                                            .guard = EMU_OPERAND_ABSENT,
                                            .flow = (uint8_t)row->flow,
                                            .members = (uint8_t)row->members,
                                            .instruction_class = (uint8_t)row->instruction_class,
                                            .line = line};
    return instruction;
}

static emu_execute_fn executor_of(const struct emu_row *row, const struct emu_form *form) {
    if (row->by_type != NULL) return row->by_type[form->types[0]];
    return row->choose != NULL ? row->choose(form) : row->execute;
}

// Says why no row took the mnemonic.
static void fail_mnemonic(struct emu_parser *parser, const struct emu_token *token, const struct emu_row *late,
                          bool name_known) {
    if (late != NULL) {
        emu_parser_fail(parser, token, "instruction %.*s needs sm_%d%s, and the module's .target is sm_%d%s",
                        (int)token->length, token->text, late->arch, late->arch_a ? "a" : "", parser->target,
                        parser->target_a ? "a" : "");
    } else {
        emu_parser_fail(parser, token, "instruction %.*s is not supported%s", (int)token->length, token->text,
                        name_known ? " in this form" : "");
    }
}

static uint8_t space_of_word(enum emu_word word, enum emu_space otherwise) {
    switch (word) {
    case EMU_W_GLOBAL:
    case EMU_W_CONST: return EMU_SPACE_GLOBAL;
    case EMU_W_SHARED:
    case EMU_W_SHARED_CTA:
    case EMU_W_SHARED_CLUSTER: return EMU_SPACE_SHARED;
    case EMU_W_LOCAL: return EMU_SPACE_LOCAL;
    case EMU_W_PARAM:
    case EMU_W_PARAM_ENTRY:
    case EMU_W_PARAM_FUNC: return EMU_SPACE_PARAM;
    default: return (uint8_t)otherwise;
    }
}

// The guard, as an operand; EMU_OPERAND_ABSENT without one.
static uint32_t parse_guard(struct emu_parser *parser, bool *negated) {
    unsigned bits;
    *negated = false;
    if (!emu_lexer_take(&parser->lexer, "@")) return EMU_OPERAND_ABSENT;
    *negated = emu_lexer_take(&parser->lexer, "!");
    return emu_parse_register(parser, 1, false, &bits);
}

extern const struct emu_row emu_row_pack, emu_row_unpack, emu_row_branch;

// Destinations come first, but for the whole of mov c, {a, b}.
static void settle_written(struct emu_instruction *instruction) {
    const char *at = instruction->row->operands;
    uint32_t count = 0, num_operands = instruction->num_operands;
    bool packs = instruction->row == &emu_row_pack, unpacks = instruction->row == &emu_row_unpack;
    while (*at == 'd' || *at == 'm' || *at == '|') {
        const char *end = at + strcspn(at, " "), *star = memchr(at, '*', (size_t)(end - at));
        uint32_t columns = instruction->form.columns, more = 1;
        if (star != NULL) {
            more = star[1] == 'v'   ? instruction->form.count
                   : star[1] == 'n' ? columns / 2
                   : star[1] == 'h' ? columns / 4
                                    : (uint32_t)strtoul(star + 1, NULL, 10);
        }
        if (*at == 'm') instruction->num_modified = (uint8_t)more;
        count += more;
        at = end + strspn(end, " ");
    }
    if (unpacks) count = num_operands - 1;
    instruction->first_written = (uint8_t)(packs ? num_operands - 1 : 0);
    instruction->end_written = (uint8_t)(packs || count > num_operands ? num_operands : count);
    instruction->copies = packs || unpacks || (strcmp(instruction->row->name, "mov") == 0 && num_operands == 2);
}

static void keep_operands(struct emu_parser *parser, struct emu_instruction *instruction,
                          const struct emu_operands *read) {
    uint32_t *kept = emu_parser_allocate(parser, read->count * sizeof(*kept) + 4);
    if (kept == NULL) return;
    memcpy(kept, read->list, read->count * sizeof(*kept));
    instruction->operands = kept;
    instruction->num_operands = (uint8_t)read->count;
    settle_written(instruction);
}

bool emu_parse_dynamic_special(struct emu_parser *parser, struct emu_instruction *instruction,
                               struct emu_operands *read);

// "mov" between a register and a braced list: how many parts there are is told by their widths.
static bool parse_braced_move(struct emu_parser *parser, struct emu_instruction *instruction,
                              struct emu_operands *read) {
    unsigned met, bits = emu_type_bits((enum emu_type)instruction->form.types[0]);
    bool unpack = emu_lexer_take(&parser->lexer, "{");
    uint32_t whole = 0;
    if (!unpack) {
        struct emu_token name = parser->lexer.token;
        if (parser->lexer.next.kind != EMU_TOKEN_PUNCTUATION || name.kind != EMU_TOKEN_WORD) return false;
        struct emu_lexer saved = parser->lexer;
        emu_lexer_advance(&parser->lexer);
        if (!emu_lexer_take(&parser->lexer, ",") || !emu_lexer_take(&parser->lexer, "{")) {
            parser->lexer = saved;
            return false;
        }
        if (!emu_register_find(parser, &name, &whole, &met) || met != bits) {
            emu_parser_fail(parser, &name, "expected a register of %u bits here", bits);
        }
    }
    unsigned parts = 0, part_bits = bits;
    do {
        struct emu_token name = parser->lexer.token;
        uint32_t operand = parser->sink;
        unsigned known = 0;
        if (!emu_lexer_take(&parser->lexer, "_")) {
            if (name.kind == EMU_TOKEN_WORD && emu_register_find(parser, &name, &operand, &known)) {
                emu_lexer_advance(&parser->lexer);
                part_bits = known;
            } else if (!unpack) {
                operand = emu_parse_source(parser, part_bits == 16 ? EMU_B16 : EMU_B32,
                                           part_bits == bits ? bits / 2 : part_bits, false, &known);
            } else {
                emu_parser_fail(parser, &name, "expected a register here");
            }
        }
        read->list[read->count++] = operand;
        parts++;
    } while (!parser->lexer.failed && parts < 8 && emu_lexer_take(&parser->lexer, ","));
    emu_lexer_expect(&parser->lexer, "}");
    if (unpack) {
        emu_lexer_expect(&parser->lexer, ",");
        whole = emu_parse_source(parser, (enum emu_type)instruction->form.types[0], bits, false, &met);
    }
    read->list[read->count++] = whole;
    if (parts * (bits / parts) != bits || parts < 2) {
        emu_parser_fail(parser, &parser->lexer.token, "%u parts do not make %u bits", parts, bits);
    }
    instruction->element_bytes = (uint8_t)(bits / 8 / parts);
    instruction->register_bytes = (uint8_t)(bits / 8);
    instruction->row = unpack ? &emu_row_unpack : &emu_row_pack;
    instruction->execute = emu_choose_braced(unpack, instruction->element_bytes, instruction->register_bytes);
    return true;
}

static void finish_flow(struct emu_parser *parser, struct emu_instruction *instruction) {
    // "ret" of an inlined function goes on after its call; conditional or not, as a branch.
    if (instruction->flow == EMU_FLOW_EXIT && parser->inline_depth > 0 && strcmp(instruction->row->name, "ret") == 0) {
        instruction->flow = EMU_FLOW_BRANCH;
        emu_label_refer(parser, &emu_return_label, (uint32_t)parser->num_instructions - 1, 0);
    }
}

static void parse_table_branch(struct emu_parser *parser, struct emu_instruction *instruction,
                               struct emu_operands *read) {
    unsigned met;
    read->list[read->count++] = emu_parse_source(parser, EMU_U32, 32, false, &met);
    emu_lexer_expect(&parser->lexer, ",");
    const struct emu_symbol *targets = emu_symbol_find(parser, &parser->lexer.token, EMU_SYMBOL_TARGETS);
    if (targets == NULL) {
        emu_parser_fail(parser, &parser->lexer.token, "there is no .branchtargets list of this name");
        return;
    }
    emu_lexer_advance(&parser->lexer);
    instruction->target = targets->place;
    instruction->num_targets = targets->count;
}

// One row's try at the operands. Several rows may share a form and differ in operands.
static void try_row(struct emu_parser *parser, struct emu_instruction *instruction, const struct emu_row *row,
                    const struct emu_form *form, emu_execute_fn execute, int line) {
    struct emu_operands read = {.count = 0};
    *instruction = (struct emu_instruction){.row = row,
                                            .guard = EMU_OPERAND_ABSENT,
                                            .form = *form,
                                            .execute = execute,
                                            .flow = (uint8_t)row->flow,
                                            .members = (uint8_t)row->members,
                                            .instruction_class = (uint8_t)row->instruction_class,
                                            .line = line};
    instruction->element_bytes = (uint8_t)(emu_type_bits((enum emu_type)form->types[0]) / 8);
    instruction->space = space_of_word((enum emu_word)form->words[EMU_GROUP_SPACE], row->space);
    instruction->second_space = space_of_word((enum emu_word)form->second_space, EMU_SPACE_GENERIC);
    if (row->flow == EMU_FLOW_TABLE) {
        parse_table_branch(parser, instruction, &read);
    } else if (strcmp(row->name, "mov") != 0 || (!emu_parse_dynamic_special(parser, instruction, &read) &&
                                                 !parse_braced_move(parser, instruction, &read))) {
        emu_parse_operands(parser, instruction, row->operands, &read);
    }
    emu_lexer_expect(&parser->lexer, ";");
    if (!parser->lexer.failed) keep_operands(parser, instruction, &read);
}

// Tries the rows that the mnemonic matches; what the last of them had to say stands where none fits.
static bool try_rows(struct emu_parser *parser, struct emu_instruction *instruction, const struct emu_token *token) {
    struct emu_mnemonic mnemonic;
    struct emu_form form;
    struct emu_lexer begin = parser->lexer;
    const struct emu_row *late = NULL;
    size_t num_moving = parser->num_moving, group_at, row_at;
    bool name_known = false, tried = false;
    if (!emu_mnemonic_split(&mnemonic, token->text, token->length)) {
        emu_parser_fail(parser, token, "\"%.*s\" has too many parts", (int)token->length, token->text);
        return false;
    }
    for (group_at = 0; group_at < emu_num_row_groups; group_at++) {
        for (row_at = 0; row_at < emu_row_groups[group_at]->count; row_at++) {
            const struct emu_row *row = &emu_row_groups[group_at]->rows[row_at];
            if (!emu_mnemonic_named(&mnemonic, row->name)) continue;
            name_known = true;
            if (!emu_form_match(&form, row->form, &mnemonic)) continue;
            emu_execute_fn execute = executor_of(row, &form);
            if (execute == NULL) continue;
            if (row->arch > parser->target || (row->arch_a && !parser->target_a)) {
                late = row;
                continue;
            }
            tried = true;
            parser->lexer = begin;
            parser->num_moving = num_moving;
            try_row(parser, instruction, row, &form, execute, token->line);
            if (!parser->lexer.failed) return true;
        }
    }
    if (!tried) fail_mnemonic(parser, token, late, name_known);
    return false;
}

void emu_parse_instruction(struct emu_parser *parser) {
    bool negated;
    uint32_t guard = parse_guard(parser, &negated);
    struct emu_token token = parser->lexer.token;
    if (token.kind != EMU_TOKEN_WORD) {
        emu_parser_fail(parser, &token, "expected an instruction here");
        return;
    }
    if (emu_token_is(&token, "call") || emu_token_is(&token, "call.uni")) {
        emu_parse_call(parser, guard, negated);
        return;
    }
    struct emu_instruction *instruction = emu_instruction_add(parser, &emu_row_branch, token.line);
    if (instruction == NULL) return;
    emu_lexer_advance(&parser->lexer);
    if (!try_rows(parser, instruction, &token)) return;
    instruction->guard = guard;
    instruction->guard_negated = negated;
    finish_flow(parser, instruction);
}
