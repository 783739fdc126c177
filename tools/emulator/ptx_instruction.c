// One instruction: guard, name, operands.
#include <stdlib.h>
#include <string.h>

#include "exec.h"
#include "ptx_reader.h"
#include "ptx_table.h"

static struct emu_instruction *append(struct emu_reader *reader) {
    struct emu_kernel *kernel = reader->kernel;
    size_t capacity = reader->code_capacity;
    kernel->code = emu_reader_grow(reader, kernel->code, kernel->num_instructions, &capacity, sizeof(*kernel->code));
    reader->code_capacity = (uint32_t)capacity;
    struct emu_instruction *instruction = &kernel->code[kernel->num_instructions++];
    memset(instruction, 0, sizeof(*instruction));
    return instruction;
}

static void read_guard(struct emu_reader *reader, struct emu_instruction *instruction) {
    if (!emu_take(reader, '@')) return;
    instruction->guarded = true;
    instruction->guard_negated = emu_take(reader, '!');
    instruction->guard = emu_read_operand(reader, EMU_REGISTER_PREDICATE);
}

// The label is looked up when all of the kernel has been read.
static void read_branch(struct emu_reader *reader, struct emu_instruction *instruction) {
    char word[EMU_WORD_BYTES];
    size_t capacity = reader->uses_capacity;
    emu_skip_blanks(reader);
    const char *place = reader->at;
    emu_expect_word(reader, word);
    if (strlen(word) >= sizeof(reader->uses[0].name)) emu_refuse(reader, place, "a label of more than 63 characters");
    reader->uses = emu_reader_grow(reader, reader->uses, reader->num_uses, &capacity, sizeof(*reader->uses));
    capacity = reader->uses_capacity;
    reader->use_places =
        emu_reader_grow(reader, (void *)reader->use_places, reader->num_uses, &capacity, sizeof(*reader->use_places));
    reader->uses_capacity = capacity;
    strcpy(reader->uses[reader->num_uses].name, word);
    reader->uses[reader->num_uses].at = reader->kernel->num_instructions - 1;
    reader->use_places[reader->num_uses++] = place;
    instruction->flow = EMU_FLOW_BRANCH;
    instruction->execute = emu_execute_branch;
    instruction->instruction_class = EMU_CLASS_CONTROL;
}

static void add(struct emu_reader *reader, struct emu_instruction *instruction, enum emu_register_class wanted) {
    struct emu_operand operand = emu_read_operand(reader, wanted);
    instruction->operands[instruction->num_operands++] = operand;
}

// As the row's letters say (ptx_table.h).
static void read_row(struct emu_reader *reader, const struct emu_row *row, struct emu_instruction *instruction) {
    instruction->execute = row->execute;
    instruction->instruction_class = row->instruction_class;
    instruction->space = row->space;
    if (row->execute == emu_execute_barrier) instruction->flow = EMU_FLOW_BARRIER;
    bool comma = false; // before the next operand
    for (const char *letter = row->operands; *letter != '\0'; letter++) {
        bool closing = *letter == '}' || *letter == ']';
        if (comma && !closing && *letter != '?') {
            emu_expect(reader, ',');
            comma = false;
        }
        switch (*letter) {
        case '{':
        case '}':
        case '[':
        case ']': emu_expect(reader, *letter); break;
        case '?':
            if (emu_take(reader, '|')) {
                add(reader, instruction, EMU_REGISTER_PREDICATE);
            } else {
                instruction->operands[instruction->num_operands++] = emu_constant(reader, 0, EMU_REGISTER_PREDICATE);
            }
            break;
        case 'a': emu_read_address(reader, instruction); break;
        case 'n': instruction->immediate = emu_expect_number(reader); break;
        case 'p': add(reader, instruction, EMU_REGISTER_PREDICATE); break;
        case 'l': add(reader, instruction, EMU_REGISTER_64); break;
        default: add(reader, instruction, EMU_REGISTER_32); break;
        }
        comma = *letter != '{' && *letter != '[';
    }
}

static bool starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

void emu_read_instruction(struct emu_reader *reader) {
    char opcode[EMU_WORD_BYTES];
    struct emu_instruction *instruction = append(reader);
    emu_skip_blanks(reader);
    instruction->line = emu_reader_line(reader, reader->at);
    read_guard(reader, instruction);
    emu_skip_blanks(reader);
    const char *place = reader->at;
    emu_expect_word(reader, opcode);
    const struct emu_row *row = emu_row_find(opcode);
    if (row != NULL) {
        read_row(reader, row, instruction);
    } else if (strcmp(opcode, "bra") == 0 || strcmp(opcode, "bra.uni") == 0) {
        read_branch(reader, instruction);
    } else if (strcmp(opcode, "ret") == 0 || strcmp(opcode, "exit") == 0) {
        instruction->flow = EMU_FLOW_RETURN;
        instruction->execute = emu_execute_nothing;
        instruction->instruction_class = EMU_CLASS_CONTROL;
    } else if (starts_with(opcode, "fence.") || starts_with(opcode, "membar.") || starts_with(opcode, "prefetch")) {
        instruction->execute = emu_execute_nothing; // every access is in order here; a prefetch has no value
        reader->at += strcspn(reader->at, ";");
    } else if (!emu_read_family(reader, opcode, place, instruction)) {
        emu_refuse(reader, place, "instruction %s is not supported", opcode);
    }
    emu_expect(reader, ';');
}
