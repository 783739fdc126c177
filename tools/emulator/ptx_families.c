// Instructions with many spellings, decoded from the parts of their name: mov, ld, st, setp, selp.
#include <stdio.h>
#include <string.h>

#include "exec.h"
#include "ptx_reader.h"

struct type {
    uint32_t bytes;
    bool is_signed, is_float;
};

static bool parse_type(const char *name, struct type *type) {
    static const struct {
        const char *name;
        struct type type;
    } rows[] = {{"u8", {1, false, false}},  {"s8", {1, true, false}},   {"b8", {1, false, false}},
                {"u16", {2, false, false}}, {"s16", {2, true, false}},  {"b16", {2, false, false}},
                {"f16", {2, false, true}},  {"u32", {4, false, false}}, {"s32", {4, true, false}},
                {"b32", {4, false, false}}, {"f32", {4, false, true}},  {"u64", {8, false, false}},
                {"s64", {8, true, false}},  {"b64", {8, false, false}}, {"f64", {8, false, true}}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        *type = rows[i].type;
        return true;
    }
    return false;
}

#define MAX_PARTS 12

struct parts {
    char text[EMU_WORD_BYTES];
    const char *list[MAX_PARTS];
    int count;
};

static void split(const char *opcode, struct parts *parts) {
    snprintf(parts->text, sizeof(parts->text), "%s", opcode);
    parts->count = 0;
    for (char *rest = NULL, *part = strtok_r(parts->text, ".", &rest); part != NULL && parts->count < MAX_PARTS;
         part = strtok_r(NULL, ".", &rest)) {
        parts->list[parts->count++] = part;
    }
}

static enum emu_register_class class_of(const struct type *type) {
    return type->bytes == 8 ? EMU_REGISTER_64 : EMU_REGISTER_32;
}

static void add(struct emu_instruction *instruction, struct emu_operand operand) {
    instruction->operands[instruction->num_operands++] = operand;
}

static void add_read(struct emu_reader *reader, struct emu_instruction *instruction, enum emu_register_class wanted) {
    add(instruction, emu_read_operand(reader, wanted));
}

// The parts between "ld" or "st" and the type; what changes only speed or order among threads is taken and forgotten.
static bool parse_memory_part(const char *part, struct emu_instruction *instruction) {
    static const char *const harmless[] = {"nc",
                                           "L1::no_allocate",
                                           "L1::evict_first",
                                           "L1::evict_last",
                                           "L2::128B",
                                           "L2::256B",
                                           "ca",
                                           "cg",
                                           "cs",
                                           "lu",
                                           "wb",
                                           "wt",
                                           "relaxed",
                                           "gpu",
                                           "cta",
                                           "sys",
                                           "weak",
                                           "volatile"};
    if (strcmp(part, "global") == 0) {
        instruction->space = EMU_SPACE_GLOBAL;
    } else if (strcmp(part, "shared") == 0 || strcmp(part, "shared::cta") == 0) {
        instruction->space = EMU_SPACE_SHARED;
    } else if (strcmp(part, "param") == 0) {
        instruction->space = EMU_SPACE_PARAM;
    } else if (strcmp(part, "v2") == 0) {
        instruction->vector = 2;
    } else if (strcmp(part, "v4") == 0) {
        instruction->vector = 4;
    } else {
        for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
            if (strcmp(part, harmless[i]) == 0) return true;
        }
        return false;
    }
    return true;
}

// A loaded value may go to a wider register.
static void read_values(struct emu_reader *reader, struct emu_instruction *instruction) {
    bool braces = instruction->vector > 1;
    if (braces) emu_expect(reader, '{');
    for (int i = 0; i < instruction->vector; i++) {
        enum emu_register_class register_class = instruction->element_bytes == 8 ? EMU_REGISTER_64 : EMU_REGISTER_32;
        if (i > 0) emu_expect(reader, ',');
        emu_next_is_register(reader, &register_class);
        add_read(reader, instruction, register_class);
    }
    if (braces) emu_expect(reader, '}');
}

static bool read_memory(struct emu_reader *reader, const struct parts *parts, struct emu_instruction *instruction) {
    struct type type;
    bool loads = strcmp(parts->list[0], "ld") == 0;
    instruction->vector = 1;
    instruction->space = EMU_SPACE_GENERIC;
    for (int i = 1; i < parts->count - 1; i++) {
        if (!parse_memory_part(parts->list[i], instruction)) return false;
    }
    if (!parse_type(parts->list[parts->count - 1], &type)) return false;
    if (!loads && instruction->space == EMU_SPACE_PARAM) return false;
    instruction->element_bytes = (uint8_t)type.bytes;
    instruction->is_signed = type.is_signed;
    instruction->instruction_class = EMU_CLASS_MEMORY;
    instruction->execute = loads ? emu_execute_load : emu_execute_store;
    if (loads) {
        read_values(reader, instruction);
        emu_expect(reader, ',');
        emu_read_address(reader, instruction);
    } else {
        emu_read_address(reader, instruction);
        emu_expect(reader, ',');
        read_values(reader, instruction);
    }
    return true;
}

static bool read_compare(struct emu_reader *reader, const struct parts *parts, struct emu_instruction *instruction) {
    static const struct {
        const char *name;
        enum emu_compare compare;
    } compares[] = {{"eq", EMU_EQ},   {"ne", EMU_NE},   {"lt", EMU_LT},   {"le", EMU_LE},   {"gt", EMU_GT},
                    {"ge", EMU_GE},   {"lo", EMU_LT},   {"ls", EMU_LE},   {"hi", EMU_GT},   {"hs", EMU_GE},
                    {"equ", EMU_EQU}, {"neu", EMU_NEU}, {"ltu", EMU_LTU}, {"leu", EMU_LEU}, {"gtu", EMU_GTU},
                    {"geu", EMU_GEU}, {"num", EMU_NUM}, {"nan", EMU_NAN}};
    struct type type;
    int found = -1;
    if (parts->count != 3 || !parse_type(parts->list[2], &type)) return false;
    for (size_t i = 0; i < sizeof(compares) / sizeof(compares[0]); i++) {
        if (strcmp(compares[i].name, parts->list[1]) == 0) found = (int)compares[i].compare;
    }
    if (found < 0 || type.bytes == 1 || (type.is_float && type.bytes != 4) || (!type.is_float && found > EMU_GE))
        return false;
    instruction->immediate = found;
    if (type.is_float) {
        instruction->execute = emu_execute_setp_f32;
    } else if (type.bytes == 2) {
        instruction->execute = type.is_signed ? emu_execute_setp_s16 : emu_execute_setp_u16;
    } else if (type.bytes == 4) {
        instruction->execute = type.is_signed ? emu_execute_setp_s32 : emu_execute_setp_u32;
    } else {
        instruction->execute = type.is_signed ? emu_execute_setp_s64 : emu_execute_setp_u64;
    }
    instruction->instruction_class = type.is_float ? EMU_CLASS_FLOAT : EMU_CLASS_INTEGER;
    add_read(reader, instruction, EMU_REGISTER_PREDICATE);
    emu_expect(reader, ',');
    add_read(reader, instruction, class_of(&type));
    emu_expect(reader, ',');
    add_read(reader, instruction, class_of(&type));
    return true;
}

static bool read_select(struct emu_reader *reader, const struct parts *parts, struct emu_instruction *instruction) {
    struct type type;
    if (parts->count != 2 || !parse_type(parts->list[1], &type)) return false;
    instruction->execute = type.bytes == 8 ? emu_execute_select_64 : emu_execute_select_32;
    for (int i = 0; i < 3; i++) {
        add_read(reader, instruction, class_of(&type));
        emu_expect(reader, ',');
    }
    add_read(reader, instruction, EMU_REGISTER_PREDICATE);
    return true;
}

static void read_pair(struct emu_reader *reader, struct emu_instruction *instruction) {
    emu_expect(reader, '{');
    add_read(reader, instruction, EMU_REGISTER_32);
    emu_expect(reader, ',');
    add_read(reader, instruction, EMU_REGISTER_32);
    emu_expect(reader, '}');
}

// "mov.b32 {l, h}, r", "mov.b32 r, {l, h}" and the plain ones.
static bool read_move(struct emu_reader *reader, const struct parts *parts, struct emu_instruction *instruction) {
    struct type type;
    if (parts->count != 2 || !parse_type(parts->list[1], &type)) return false;
    enum emu_register_class whole = class_of(&type);
    emu_skip_blanks(reader);
    if (*reader->at == '{') {
        read_pair(reader, instruction);
        emu_expect(reader, ',');
        add_read(reader, instruction, whole);
        instruction->execute = type.bytes == 8 ? emu_execute_mov_unpack_32 : emu_execute_mov_unpack_16;
        return type.bytes >= 4;
    }
    add_read(reader, instruction, whole);
    emu_expect(reader, ',');
    emu_skip_blanks(reader);
    if (*reader->at == '{') {
        read_pair(reader, instruction);
        instruction->execute = type.bytes == 8 ? emu_execute_mov_pack_32 : emu_execute_mov_pack_16;
        return type.bytes >= 4;
    }
    add_read(reader, instruction, whole);
    instruction->execute = type.bytes == 8   ? emu_execute_mov_64
                           : type.bytes == 4 ? emu_execute_mov_32
                                             : emu_execute_mov_16_from_32;
    return true;
}

bool emu_read_family(struct emu_reader *reader, const char *opcode, const char *place,
                     struct emu_instruction *instruction) {
    struct parts parts;
    split(opcode, &parts);
    (void)place;
    instruction->instruction_class = EMU_CLASS_INTEGER;
    if (parts.count < 2) return false;
    if (strcmp(parts.list[0], "ld") == 0 || strcmp(parts.list[0], "st") == 0)
        return read_memory(reader, &parts, instruction);
    if (strcmp(parts.list[0], "setp") == 0) return read_compare(reader, &parts, instruction);
    if (strcmp(parts.list[0], "selp") == 0) return read_select(reader, &parts, instruction);
    if (strcmp(parts.list[0], "mov") == 0) return read_move(reader, &parts, instruction);
    return false;
}
