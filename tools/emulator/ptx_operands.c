// Operands: registers, constants, special registers, addresses.
#include <stdlib.h>
#include <string.h>

#include "ptx_reader.h"

static const char *const class_names[] = {"a predicate", "a 16- or 32-bit register", "a 64-bit register"};

// A constant's value in each of 32 lanes, among the kernel's constants; equal ones share a place.
struct emu_operand emu_constant(struct emu_reader *reader, uint64_t value, enum emu_register_class register_class) {
    struct emu_kernel *kernel = reader->kernel;
    uint8_t lanes[256];
    uint32_t bytes = register_class == EMU_REGISTER_64 ? 256 : (register_class == EMU_REGISTER_32 ? 128 : 32);
    memset(lanes, 0, sizeof(lanes));
    for (uint32_t lane = 0; lane < 32; lane++) {
        if (register_class == EMU_REGISTER_64) memcpy(lanes + lane * 8, &value, 8);
        if (register_class == EMU_REGISTER_32) memcpy(lanes + lane * 4, &value, 4);
    }
    if (register_class == EMU_REGISTER_PREDICATE) memset(lanes, value != 0 ? 0xff : 0, 4);
    for (uint32_t offset = 0; offset + bytes <= kernel->constant_bytes; offset += 32) {
        if (memcmp(kernel->constants + offset, lanes, bytes) == 0)
            return (struct emu_operand){offset, true, register_class};
    }
    uint8_t *grown = realloc(kernel->constants, kernel->constant_bytes + bytes);
    if (grown == NULL) emu_refuse(reader, reader->at, "the emulator has no memory for a constant");
    kernel->constants = grown;
    memcpy(grown + kernel->constant_bytes, lanes, bytes);
    kernel->constant_bytes += bytes;
    return (struct emu_operand){kernel->constant_bytes - bytes, true, register_class};
}

// The register of that name, the innermost scope's first.
static bool find_register(const struct emu_reader *reader, const char *name, struct emu_operand *operand) {
    for (size_t i = reader->num_registers; i > 0; i--) {
        const struct emu_register_name *row = &reader->registers[i - 1];
        size_t length = strlen(row->prefix);
        uint32_t idx = 0;
        if (row->count == 0) {
            if (strcmp(name, row->prefix) != 0) continue;
        } else {
            char *end;
            if (strncmp(name, row->prefix, length) != 0 || name[length] < '0' || name[length] > '9') continue;
            unsigned long number = strtoul(name + length, &end, 10);
            if (*end != '\0' || number >= row->count) continue;
            idx = (uint32_t)number;
        }
        uint32_t each =
            row->register_class == EMU_REGISTER_PREDICATE ? 4 : (row->register_class == EMU_REGISTER_64 ? 256 : 128);
        *operand = (struct emu_operand){row->first_offset + idx * each, false, row->register_class};
        return true;
    }
    return false;
}

static const char *const special_names[EMU_NUM_SPECIALS] = {
    "",         "%tid.x",   "%tid.y",    "%tid.z",    "%ntid.x",   "%ntid.y", "%ntid.z", "%ctaid.x",
    "%ctaid.y", "%ctaid.z", "%nctaid.x", "%nctaid.y", "%nctaid.z", "%laneid", "%warpid"};

// Special registers become registers of the warp that the machine fills before it starts.
static bool find_special(struct emu_reader *reader, const char *name, struct emu_operand *operand) {
    for (int i = 1; i < EMU_NUM_SPECIALS; i++) {
        if (strcmp(special_names[i], name) != 0) continue;
        struct emu_kernel *kernel = reader->kernel;
        if (kernel->special_offsets[i] == 0) {
            kernel->register_bytes = (kernel->register_bytes + 31) / 32 * 32;
            kernel->special_offsets[i] = kernel->register_bytes;
            kernel->register_bytes += 128;
        }
        *operand = (struct emu_operand){kernel->special_offsets[i], false, EMU_REGISTER_32};
        return true;
    }
    return false;
}

// What an address constant's name stands for: a variable's address, or a parameter's offset.
static bool find_symbol(struct emu_reader *reader, const char *name, int64_t *value) {
    const struct emu_variable *variable = emu_find_variable(reader->module, name);
    int parameter = emu_find_parameter(reader, name);
    if (parameter >= 0) {
        *value = (int64_t)reader->kernel->parameter_offsets[parameter];
        return true;
    }
    if (variable == NULL) return false;
    *value = (int64_t)variable->address;
    if (variable->space == EMU_SPACE_SHARED) {
        size_t after_static = (reader->kernel->facts.static_shared_bytes + 127) / 128 * 128; // as machine.c lays it out
        *value = EMU_SHARED_BASE + (int64_t)(variable->dynamic ? after_static : variable->address);
    }
    return true;
}

bool emu_next_is_register(struct emu_reader *reader, enum emu_register_class *register_class) {
    const char *place = reader->at;
    char word[EMU_WORD_BYTES];
    struct emu_operand operand;
    bool found = emu_take_word(reader, word) && find_register(reader, word, &operand);
    reader->at = place;
    if (found) *register_class = operand.register_class;
    return found;
}

struct emu_operand emu_read_operand(struct emu_reader *reader, enum emu_register_class wanted) {
    char word[EMU_WORD_BYTES];
    struct emu_operand operand;
    int64_t value;
    emu_skip_blanks(reader);
    const char *place = reader->at;
    if (emu_take_number(reader, &value)) return emu_constant(reader, (uint64_t)value, wanted);
    if (strncmp(place, "_", 1) == 0 && !(place[1] == '_' || (place[1] >= 'A' && place[1] <= 'z'))) {
        emu_refuse(reader, place, "the sink '_' is not supported");
    }
    emu_expect_word(reader, word);
    if (find_register(reader, word, &operand) || find_special(reader, word, &operand)) {
        if (operand.register_class == wanted) return operand;
        emu_refuse(reader, place, "%s is %s, needs %s", word, class_names[operand.register_class], class_names[wanted]);
    }
    if (!find_symbol(reader, word, &value)) emu_refuse(reader, place, "%s is not declared, or not supported", word);
    if (emu_take(reader, '+')) value += emu_expect_number(reader);
    return emu_constant(reader, (uint64_t)value, wanted);
}

// "[register]", "[register+n]", "[name+n]".
void emu_read_address(struct emu_reader *reader, struct emu_instruction *instruction) {
    enum emu_register_class register_class;
    int64_t value = 0;
    emu_expect(reader, '[');
    emu_skip_blanks(reader);
    instruction->has_address = emu_next_is_register(reader, &register_class);
    if (instruction->has_address) {
        instruction->address = emu_read_operand(reader, register_class);
    } else if (!emu_take_number(reader, &instruction->displacement)) {
        char word[EMU_WORD_BYTES];
        const char *place = reader->at;
        emu_expect_word(reader, word);
        if (!find_symbol(reader, word, &instruction->displacement))
            emu_refuse(reader, place, "%s is not declared", word);
    }
    if (emu_take(reader, '+')) value = emu_expect_number(reader);
    instruction->displacement += value;
    emu_expect(reader, ']');
}
