// Names: scopes, registers, constants, labels.
#include <string.h>

#include "ptx_parser.h"

void *emu_parser_allocate(struct emu_parser *parser, size_t bytes) {
    void *piece = emu_arena_allocate(&parser->module->arena, bytes);
    if (piece == NULL) emu_parser_fail(parser, &parser->lexer.token, "out of memory");
    return piece;
}

void emu_scope_open(struct emu_parser *parser) {
    struct emu_scope *scope = emu_parser_allocate(parser, sizeof(*scope));
    if (scope == NULL) return;
    scope->parent = parser->scope;
    scope->register_top = parser->register_top;
    parser->scope = scope;
}

static bool same_name(const struct emu_token *name, const char *text, size_t length) {
    return name->length == length && memcmp(name->text, text, length) == 0;
}

static struct emu_symbol *find_in(struct emu_symbol *list, const struct emu_token *name, enum emu_symbol_kind kind) {
    for (; list != NULL; list = list->next) {
        if (list->kind == kind && same_name(name, list->name, list->length)) return list;
    }
    return NULL;
}

static void settle(struct emu_parser *parser, const struct emu_reference *reference, uint32_t place) {
    if (reference->instruction != EMU_OPERAND_ABSENT) {
        parser->kernel->code[reference->instruction].target = place;
    } else {
        parser->kernel->targets[reference->place] = place;
    }
}

// A scope's registers are free after it: each piece of inline assembly has some.
void emu_scope_close(struct emu_parser *parser) {
    struct emu_scope *scope = parser->scope, *parent = scope->parent;
    for (struct emu_reference *reference = scope->references, *next; reference != NULL; reference = next) {
        next = reference->next;
        struct emu_symbol *label = find_in(scope->labels, &reference->token, EMU_SYMBOL_LABEL);
        if (label != NULL) {
            settle(parser, reference, label->place);
        } else if (parent != NULL && parent != parser->module_scope) {
            reference->next = parent->references;
            parent->references = reference;
        } else {
            emu_parser_fail(parser, &reference->token, "there is no label \"%.*s\"", (int)reference->token.length,
                            reference->token.text);
        }
    }
    parser->register_top = scope->register_top;
    parser->scope = parent;
}

struct emu_symbol *emu_symbol_add(struct emu_parser *parser, const struct emu_token *name, enum emu_symbol_kind kind) {
    struct emu_symbol *symbol = emu_parser_allocate(parser, sizeof(*symbol));
    struct emu_scope *scope = parser->scope;
    if (symbol == NULL) return NULL;
    symbol->name = name->text;
    symbol->length = name->length;
    symbol->kind = kind;
    struct emu_symbol **list =
        kind == EMU_SYMBOL_LABEL || kind == EMU_SYMBOL_TARGETS ? &scope->labels : &scope->symbols;
    symbol->next = *list;
    *list = symbol;
    return symbol;
}

struct emu_symbol *emu_symbol_find(struct emu_parser *parser, const struct emu_token *name, enum emu_symbol_kind kind) {
    bool is_label = kind == EMU_SYMBOL_LABEL || kind == EMU_SYMBOL_TARGETS;
    for (struct emu_scope *scope = parser->scope; scope != NULL; scope = scope->parent) {
        struct emu_symbol *symbol = find_in(is_label ? scope->labels : scope->symbols, name, kind);
        if (symbol != NULL) return symbol;
    }
    return NULL;
}

void emu_label_add(struct emu_parser *parser, const struct emu_token *name, uint32_t place) {
    if (find_in(parser->scope->labels, name, EMU_SYMBOL_LABEL) != NULL) {
        emu_parser_fail(parser, name, "label \"%.*s\" is here twice", (int)name->length, name->text);
        return;
    }
    struct emu_symbol *label = emu_symbol_add(parser, name, EMU_SYMBOL_LABEL);
    if (label != NULL) label->place = place;
}

void emu_label_refer(struct emu_parser *parser, const struct emu_token *name, uint32_t instruction, uint32_t place) {
    struct emu_reference *reference = emu_parser_allocate(parser, sizeof(*reference));
    if (reference == NULL) return;
    *reference = (struct emu_reference){parser->scope->references, *name, instruction, place};
    parser->scope->references = reference;
}

static uint32_t lane_bytes(unsigned bits) {
    return bits == 1 ? 0 : bits <= 32 ? 4 : bits / 8;
}

// A predicate has 4 bytes for all lanes.
uint32_t emu_register_bytes(unsigned bits) {
    return bits == 1 ? 4 : 32 * lane_bytes(bits);
}

uint32_t emu_register_allocate(struct emu_parser *parser, unsigned bits, uint32_t count) {
    uint32_t offset = parser->register_top;
    if (bits != 1) offset = (offset + 127) / 128 * 128; // lanes start a cache line pair
    parser->register_top = offset + count * emu_register_bytes(bits);
    if (parser->register_top > parser->kernel->register_bytes) parser->kernel->register_bytes = parser->register_top;
    while (parser->num_weights <= parser->register_top / 128 && !parser->lexer.failed) {
        uint8_t *weight = emu_arena_push(&parser->module->arena, (void **)&parser->kernel->slot_weights,
                                         &parser->num_weights, &parser->weights_capacity, sizeof(*weight));
        if (weight == NULL) emu_parser_fail(parser, &parser->lexer.token, "out of memory");
    }
    for (uint32_t i = 0; i < count && bits > 1 && !parser->lexer.failed; i++) {
        parser->kernel->slot_weights[(offset + i * emu_register_bytes(bits)) / 128] =
            (uint8_t)(bits <= 32 ? 1 : bits / 32);
    }
    return offset;
}

// %r57 of %r<100>.
static bool find_in_range(const struct emu_scope *scope, const struct emu_token *name, uint32_t *operand,
                          unsigned *bits) {
    size_t stem = name->length;
    while (stem > 0 && name->text[stem - 1] >= '0' && name->text[stem - 1] <= '9') stem--;
    if (stem == name->length || name->length - stem > 7) return false;
    uint32_t number = 0;
    for (size_t i = stem; i < name->length; i++) number = number * 10 + (uint32_t)(name->text[i] - '0');
    struct emu_token stem_name = *name;
    stem_name.length = stem;
    const struct emu_symbol *range = find_in(scope->symbols, &stem_name, EMU_SYMBOL_RANGE);
    if (range == NULL || number >= range->count) return false;
    *bits = range->bits;
    *operand = range->offset + number * emu_register_bytes(range->bits);
    return true;
}

bool emu_register_find(struct emu_parser *parser, const struct emu_token *name, uint32_t *operand, unsigned *bits) {
    for (const struct emu_scope *scope = parser->scope; scope != NULL; scope = scope->parent) {
        const struct emu_symbol *symbol = find_in(scope->symbols, name, EMU_SYMBOL_REGISTER);
        if (symbol != NULL) {
            *operand = symbol->offset;
            *bits = symbol->bits;
            return true;
        }
        if (find_in_range(scope, name, operand, bits)) return true;
    }
    return false;
}

static const struct {
    const char *name;
    enum emu_special special;
} specials[] = {
    {"%tid.x", EMU_SPECIAL_TID_X},
    {"%tid.y", EMU_SPECIAL_TID_Y},
    {"%tid.z", EMU_SPECIAL_TID_Z},
    {"%ntid.x", EMU_SPECIAL_NTID_X},
    {"%ntid.y", EMU_SPECIAL_NTID_Y},
    {"%ntid.z", EMU_SPECIAL_NTID_Z},
    {"%ctaid.x", EMU_SPECIAL_CTAID_X},
    {"%ctaid.y", EMU_SPECIAL_CTAID_Y},
    {"%ctaid.z", EMU_SPECIAL_CTAID_Z},
    {"%nctaid.x", EMU_SPECIAL_NCTAID_X},
    {"%nctaid.y", EMU_SPECIAL_NCTAID_Y},
    {"%nctaid.z", EMU_SPECIAL_NCTAID_Z},
    {"%clusterid.x", EMU_SPECIAL_CLUSTERID_X},
    {"%clusterid.y", EMU_SPECIAL_CLUSTERID_Y},
    {"%clusterid.z", EMU_SPECIAL_CLUSTERID_Z},
    {"%nclusterid.x", EMU_SPECIAL_NCLUSTERID_X},
    {"%nclusterid.y", EMU_SPECIAL_NCLUSTERID_Y},
    {"%nclusterid.z", EMU_SPECIAL_NCLUSTERID_Z},
    {"%cluster_ctaid.x", EMU_SPECIAL_CLUSTER_CTAID_X},
    {"%cluster_ctaid.y", EMU_SPECIAL_CLUSTER_CTAID_Y},
    {"%cluster_ctaid.z", EMU_SPECIAL_CLUSTER_CTAID_Z},
    {"%cluster_nctaid.x", EMU_SPECIAL_CLUSTER_NCTAID_X},
    {"%cluster_nctaid.y", EMU_SPECIAL_CLUSTER_NCTAID_Y},
    {"%cluster_nctaid.z", EMU_SPECIAL_CLUSTER_NCTAID_Z},
    {"%cluster_ctarank", EMU_SPECIAL_CLUSTER_CTARANK},
    {"%cluster_nctarank", EMU_SPECIAL_CLUSTER_NCTARANK},
    {"%laneid", EMU_SPECIAL_LANEID},
    {"%warpid", EMU_SPECIAL_WARPID},
    {"%nwarpid", EMU_SPECIAL_NWARPID},
    {"%smid", EMU_SPECIAL_SMID},
    {"%dynamic_smem_size", EMU_SPECIAL_DYNAMIC_SMEM_SIZE},
};

bool emu_special_find(struct emu_parser *parser, const struct emu_token *name, uint32_t *operand, unsigned *bits) {
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
        if (!emu_token_is(name, specials[i].name)) continue;
        *operand = parser->kernel->specials[specials[i].special];
        *bits = 32;
        return true;
    }
    return false;
}

uint32_t emu_constant_operand(struct emu_parser *parser, uint64_t value, unsigned bits, bool moves) {
    uint8_t bytes = (uint8_t)lane_bytes(bits);
    if (bits < 64 && bits > 1) value &= ((uint64_t)1 << bits) - 1;
    for (size_t i = 0; i < parser->num_constants && !moves; i++) {
        const struct emu_constant *known = &parser->constants[i];
        if (known->value == value && known->bytes == bytes && !known->moves)
            return known->offset | EMU_OPERAND_CONSTANT;
    }
    struct emu_constant *constant =
        emu_arena_push(&parser->module->arena, (void **)&parser->constants, &parser->num_constants,
                       &parser->constants_capacity, sizeof(*constant));
    if (constant == NULL) {
        emu_parser_fail(parser, &parser->lexer.token, "out of memory");
        return EMU_OPERAND_CONSTANT;
    }
    uint32_t offset = (parser->kernel->constant_bytes + 127) / 128 * 128;
    *constant = (struct emu_constant){value, offset, bytes, moves};
    parser->kernel->constant_bytes = offset + emu_register_bytes(bits);
    return offset | EMU_OPERAND_CONSTANT;
}

void emu_variable_place(struct emu_parser *parser, struct emu_symbol *symbol) {
    if (!symbol->is_lazy || symbol->placed == parser->kernel) return;
    symbol->placed = parser->kernel;
    if (symbol->is_dynamic) {
        if (symbol->alignment > parser->dynamic_alignment) parser->dynamic_alignment = (uint32_t)symbol->alignment;
        return;
    }
    uint32_t alignment = (uint32_t)symbol->alignment;
    parser->shared_top = (parser->shared_top + alignment - 1) / alignment * alignment;
    symbol->address = EMU_SHARED_BASE + parser->shared_top;
    parser->shared_top += (uint32_t)symbol->bytes;
}
