// .reg, .global, .const, .shared.
#include <stdlib.h>
#include <string.h>

#include "ptx_reader.h"

struct type_row {
    const char *name;
    uint32_t bytes; // 0: a predicate
};

static const struct type_row types[] = {
    {".pred", 0},  {".b8", 1},  {".u8", 1},  {".s8", 1},  {".b16", 2}, {".u16", 2},
    {".s16", 2},   {".f16", 2}, {".b32", 4}, {".u32", 4}, {".s32", 4}, {".f32", 4},
    {".f16x2", 4}, {".b64", 8}, {".u64", 8}, {".s64", 8}, {".f64", 8},
};

static uint32_t read_type(struct emu_reader *reader) {
    char word[EMU_WORD_BYTES];
    emu_skip_blanks(reader);
    const char *place = reader->at;
    emu_expect_word(reader, word);
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strcmp(types[i].name, word) == 0) return types[i].bytes;
    }
    emu_refuse(reader, place, "type %s is not supported", word);
}

// After ".reg".
void emu_declare_registers(struct emu_reader *reader) {
    uint32_t bytes = read_type(reader);
    enum emu_register_class register_class = bytes == 0   ? EMU_REGISTER_PREDICATE
                                             : bytes == 8 ? EMU_REGISTER_64
                                                          : EMU_REGISTER_32;
    uint32_t each = bytes == 0 ? 4 : (bytes == 8 ? 256 : 128); // 32 lanes; a predicate is a bit a lane
    do {
        char word[EMU_WORD_BYTES];
        emu_skip_blanks(reader);
        const char *place = reader->at;
        emu_expect_word(reader, word);
        reader->registers = emu_reader_grow(reader, reader->registers, reader->num_registers,
                                            &reader->registers_capacity, sizeof(*reader->registers));
        struct emu_register_name *name = &reader->registers[reader->num_registers];
        if (strlen(word) >= sizeof(name->prefix))
            emu_refuse(reader, place, "a register's name of more than 63 characters");
        strcpy(name->prefix, word);
        name->count = 0;
        if (emu_take(reader, '<')) {
            int64_t count = emu_expect_number(reader);
            emu_expect(reader, '>');
            if (count < 1 || count > 1 << 20) emu_refuse(reader, place, "%lld registers", (long long)count);
            name->count = (uint32_t)count;
        }
        name->register_class = register_class;
        name->depth = reader->depth;
        uint32_t offset = (reader->kernel->register_bytes + 31) / 32 * 32;
        name->first_offset = offset;
        reader->kernel->register_bytes = offset + each * (name->count > 0 ? name->count : 1);
        reader->num_registers++;
    } while (emu_take(reader, ','));
    emu_expect(reader, ';');
}

static uintptr_t place_shared(struct emu_module *module, size_t bytes, size_t alignment) {
    size_t end = 0;
    for (size_t i = 0; i < module->num_variables; i++) {
        const struct emu_variable *other = &module->variables[i];
        if (other->space == EMU_SPACE_SHARED && !other->dynamic && other->address + other->bytes > end) {
            end = other->address + other->bytes;
        }
    }
    (void)bytes;
    return (end + alignment - 1) / alignment * alignment;
}

static void initialise(struct emu_reader *reader, struct emu_variable *variable, uint32_t element) {
    bool braces = emu_take(reader, '{');
    uint8_t *memory = (uint8_t *)variable->address;
    for (size_t offset = 0;; offset += element) {
        int64_t value = emu_expect_number(reader);
        if (offset + element > variable->bytes) emu_refuse(reader, reader->at, "more values than the variable holds");
        memcpy(memory + offset, &value, element);
        if (!braces || !emu_take(reader, ',')) break;
    }
    if (braces) emu_expect(reader, '}');
}

// After ".global", ".const" or ".shared".
void emu_declare_variable(struct emu_reader *reader, enum emu_space space, bool is_extern) {
    char word[EMU_WORD_BYTES];
    size_t alignment = 0;
    emu_skip_blanks(reader);
    while (strncmp(reader->at, ".align", 6) == 0) {
        emu_expect_word(reader, word);
        alignment = (size_t)emu_expect_number(reader);
        emu_skip_blanks(reader);
    }
    uint32_t element = read_type(reader);
    if (alignment == 0) alignment = element;
    const char *place = reader->at;
    emu_expect_word(reader, word);
    size_t count = 1;
    bool open = false;
    while (emu_take(reader, '[')) {
        int64_t number = 0;
        if (!emu_take_number(reader, &number)) open = true;
        count *= (size_t)number;
        emu_expect(reader, ']');
    }
    struct emu_module *module = reader->module;
    struct emu_variable *grown = realloc(module->variables, (module->num_variables + 1) * sizeof(*grown));
    if (grown == NULL) emu_refuse(reader, place, "the emulator has no memory for a variable");
    module->variables = grown;
    struct emu_variable variable = {
        .space = space, .bytes = count * element, .dynamic = space == EMU_SPACE_SHARED && open};
    if (open && (space != EMU_SPACE_SHARED || !is_extern))
        emu_refuse(reader, place, "an array without a size that is not .extern .shared");
    if (space == EMU_SPACE_SHARED) {
        variable.address =
            variable.dynamic ? alignment : place_shared(module, variable.bytes, alignment); // dynamic: see machine.c
    } else {
        variable.address = emu_memory_allocate(module->memory, variable.bytes);
        if (variable.address == 0)
            emu_refuse(reader, place, "no device memory for %zu bytes of %s", variable.bytes, word);
        memset((void *)variable.address, 0, variable.bytes); // PTX ISA "Variables": zero unless initialised
        emu_memory_mark_written(module->memory, variable.address, variable.bytes);
    }
    variable.name = strdup(word);
    module->variables[module->num_variables++] = variable;
    if (variable.name == NULL) emu_refuse(reader, place, "the emulator has no memory for a name");
    if (emu_take(reader, '=')) initialise(reader, &module->variables[module->num_variables - 1], element);
    emu_expect(reader, ';');
}

const struct emu_variable *emu_find_variable(const struct emu_module *module, const char *name) {
    for (size_t i = 0; i < module->num_variables; i++) {
        if (strcmp(module->variables[i].name, name) == 0) return &module->variables[i];
    }
    return NULL;
}

int emu_find_parameter(const struct emu_reader *reader, const char *name) {
    for (size_t i = 0; i < reader->num_parameters; i++) {
        if (strcmp(reader->parameter_names[i], name) == 0) return (int)i;
    }
    return -1;
}
