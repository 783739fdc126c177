// A module: directives and kernels. It is read twice: first what is declared, then what is done, so that the place of
// dynamic shared memory, which follows all static, is known when instructions are read.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptx_reader.h"

static bool next_is(struct emu_reader *reader, const char *word) {
    emu_skip_blanks(reader);
    size_t length = strlen(word);
    return strncmp(reader->at, word, length) == 0;
}

static bool take_directive(struct emu_reader *reader, const char *word) {
    if (!next_is(reader, word)) return false;
    char next = reader->at[strlen(word)];
    if (next == '_' || (next >= 'a' && next <= 'z')) return false;
    reader->at += strlen(word);
    return true;
}

static void skip_line(struct emu_reader *reader) {
    reader->at += strcspn(reader->at, "\n");
}

static void skip_statement(struct emu_reader *reader) {
    size_t length = strcspn(reader->at, ";");
    if (reader->at[length] == '\0') emu_refuse(reader, reader->at, "expected ';' before the end");
    reader->at += length + 1;
}

// ".target sm_90a": code of an arch-specific target runs on that arch alone, other code on it and later ones.
static void read_target(struct emu_reader *reader) {
    char word[EMU_WORD_BYTES];
    emu_skip_blanks(reader);
    const char *place = reader->at;
    emu_expect_word(reader, word);
    int arch = 0;
    char suffix = '\0';
    int parsed = sscanf(word, "sm_%d%c", &arch, &suffix);
    const struct emu_settings *settings = reader->settings;
    bool fits = parsed == 1 ? arch <= settings->arch
                            : parsed == 2 && suffix == 'a' && arch == settings->arch && settings->arch_a;
    if (!fits) {
        reader->wrong_arch = parsed >= 1;
        emu_refuse(reader, place, "target %s does not run on the arch played, sm_%d%s", word, settings->arch,
                   settings->arch_a ? "a" : "");
    }
    skip_line(reader);
}

static uint32_t parameter_element_bytes(struct emu_reader *reader, const char *type) {
    static const struct {
        const char *name;
        uint32_t bytes;
    } rows[] = {{".b8", 1},  {".u8", 1},  {".s8", 1},  {".b16", 2}, {".u16", 2}, {".s16", 2}, {".f16", 2}, {".b32", 4},
                {".u32", 4}, {".s32", 4}, {".f32", 4}, {".b64", 8}, {".u64", 8}, {".s64", 8}, {".f64", 8}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].name, type) == 0) return rows[i].bytes;
    }
    emu_refuse(reader, reader->at, "a parameter of type %s", type);
}

// ".param .align 8 .b8 name[112]", ".param .u64 .ptr .global .align 1 name".
static void read_parameter(struct emu_reader *reader) {
    struct emu_kernel *kernel = reader->kernel;
    char word[EMU_WORD_BYTES];
    size_t alignment = 0, count = 1;
    uint32_t element = 0;
    if (!take_directive(reader, ".param")) emu_refuse(reader, reader->at, "expected .param");
    for (;;) {
        emu_expect_word(reader, word);
        if (strcmp(word, ".align") == 0) {
            size_t given = (size_t)emu_expect_number(reader);
            if (element == 0) alignment = given; // after .ptr it is what the pointer points to
        } else if (word[0] == '.') {
            if (element == 0) element = parameter_element_bytes(reader, word);
        } else {
            break;
        }
    }
    if (emu_take(reader, '[')) {
        count = (size_t)emu_expect_number(reader);
        emu_expect(reader, ']');
    }
    if (alignment == 0) alignment = element;
    size_t num = reader->num_parameters,
           offset = (kernel->facts.parameter_bytes + alignment - 1) / alignment * alignment;
    char(*names)[EMU_WORD_BYTES] = realloc(reader->parameter_names, (num + 1) * sizeof(*names));
    if (names != NULL) reader->parameter_names = names;
    size_t *offsets = realloc(kernel->parameter_offsets, (num + 1) * sizeof(*offsets));
    if (offsets != NULL) kernel->parameter_offsets = offsets;
    size_t *sizes = realloc(kernel->parameter_sizes, (num + 1) * sizeof(*sizes));
    if (sizes != NULL) kernel->parameter_sizes = sizes;
    if (names == NULL || offsets == NULL || sizes == NULL) emu_refuse(reader, reader->at, "the emulator has no memory");
    strcpy(names[num], word);
    offsets[num] = offset;
    sizes[num] = count * element;
    kernel->facts.parameter_bytes = offset + sizes[num];
    kernel->facts.num_parameters = (int)++reader->num_parameters;
}

static void read_parameters(struct emu_reader *reader) {
    if (!emu_take(reader, '(') || emu_take(reader, ')')) return;
    do {
        read_parameter(reader);
    } while (emu_take(reader, ','));
    emu_expect(reader, ')');
}

static void read_three(struct emu_reader *reader, int values[3]) {
    values[0] = (int)emu_expect_number(reader);
    values[1] = emu_take(reader, ',') ? (int)emu_expect_number(reader) : 1;
    values[2] = emu_take(reader, ',') ? (int)emu_expect_number(reader) : 1;
}

static void read_performance_directives(struct emu_reader *reader) {
    int values[3];
    struct emu_kernel_facts *facts = &reader->kernel->facts;
    facts->max_threads = 1024;
    for (;;) {
        if (take_directive(reader, ".maxntid")) {
            read_three(reader, values);
            facts->max_threads = values[0] * values[1] * values[2];
        } else if (take_directive(reader, ".reqntid")) {
            read_three(reader, facts->required_threads);
        } else if (take_directive(reader, ".minnctapersm") || take_directive(reader, ".maxnreg")) {
            emu_expect_number(reader);
        } else {
            break;
        }
    }
}

static void add_label(struct emu_reader *reader, const char *name) {
    reader->labels =
        emu_reader_grow(reader, reader->labels, reader->num_labels, &reader->labels_capacity, sizeof(*reader->labels));
    if (strlen(name) >= sizeof(reader->labels[0].name))
        emu_refuse(reader, reader->at, "a label of more than 63 characters");
    strcpy(reader->labels[reader->num_labels].name, name);
    reader->labels[reader->num_labels++].at = reader->kernel->num_instructions;
}

// "name:" but not "name::part".
static bool take_label(struct emu_reader *reader, char name[EMU_WORD_BYTES]) {
    const char *start = reader->at;
    if (emu_take_word(reader, name)) {
        emu_skip_blanks(reader);
        if (*reader->at == ':') {
            reader->at++;
            return true;
        }
    }
    reader->at = start;
    return false;
}

static void close_scope(struct emu_reader *reader) {
    while (reader->num_registers > 0 && reader->registers[reader->num_registers - 1].depth == reader->depth) {
        reader->num_registers--;
    }
    reader->depth--;
}

static void resolve_labels(struct emu_reader *reader) {
    for (size_t i = 0; i < reader->num_uses; i++) {
        bool found = false;
        for (size_t j = 0; j < reader->num_labels && !found; j++) {
            found = strcmp(reader->uses[i].name, reader->labels[j].name) == 0;
            if (found) reader->kernel->code[reader->uses[i].at].target = reader->labels[j].at;
        }
        if (!found) emu_refuse(reader, reader->use_places[i], "there is no label %s", reader->uses[i].name);
    }
}

// A body, braces included. When declarations are wanted, instructions are passed over, and the other way round.
static void read_body(struct emu_reader *reader, bool declarations) {
    char word[EMU_WORD_BYTES];
    emu_expect(reader, '{');
    reader->depth = 1;
    while (reader->depth > 0) {
        emu_skip_blanks(reader);
        if (*reader->at == '\0') emu_refuse(reader, reader->at, "the text ends inside a kernel");
        if (emu_take(reader, '{')) {
            reader->depth++;
        } else if (emu_take(reader, '}')) {
            close_scope(reader);
        } else if (take_directive(reader, ".shared")) {
            if (declarations) {
                emu_declare_variable(reader, EMU_SPACE_SHARED, false);
            } else {
                skip_statement(reader);
            }
        } else if (!declarations && take_directive(reader, ".reg")) {
            emu_declare_registers(reader);
        } else if (next_is(reader, ".loc")) {
            skip_line(reader);
        } else if (next_is(reader, ".pragma") || (declarations && next_is(reader, ".reg"))) {
            skip_statement(reader);
        } else if (take_label(reader, word)) {
            if (!declarations) add_label(reader, word);
        } else if (declarations) {
            skip_statement(reader);
        } else if (*reader->at == '.') {
            emu_refuse(reader, reader->at, "this directive is not supported inside a kernel");
        } else {
            emu_read_instruction(reader);
        }
    }
    if (!declarations) resolve_labels(reader);
}

static struct emu_kernel *add_kernel(struct emu_reader *reader, const char *name) {
    struct emu_module *module = reader->module;
    struct emu_kernel **kernels = realloc(module->kernels, (module->num_kernels + 1) * sizeof(*kernels));
    struct emu_kernel *kernel = calloc(1, sizeof(*kernel));
    if (kernels != NULL) module->kernels = kernels;
    if (kernels == NULL || kernel == NULL || (kernel->name = strdup(name)) == NULL) {
        free(kernel);
        emu_refuse(reader, reader->at, "the emulator has no memory for a kernel");
    }
    module->kernels[module->num_kernels++] = kernel;
    kernel->module = module;
    kernel->facts.name = kernel->name;
    kernel->register_bytes = 32; // offset 0 stands for "none"
    return kernel;
}

static size_t static_shared_bytes(const struct emu_module *module) {
    size_t end = 0;
    for (size_t i = 0; i < module->num_variables; i++) {
        const struct emu_variable *variable = &module->variables[i];
        if (variable->space != EMU_SPACE_SHARED || variable->dynamic) continue;
        if (variable->address + variable->bytes > end) end = variable->address + variable->bytes;
    }
    return end;
}

// After ".entry".
static void read_kernel(struct emu_reader *reader, bool declarations) {
    char name[EMU_WORD_BYTES];
    emu_expect_word(reader, name);
    if (declarations) {
        reader->at += strcspn(reader->at, "{");
        read_body(reader, true);
        return;
    }
    reader->kernel = add_kernel(reader, name);
    reader->num_registers = reader->num_labels = reader->num_uses = reader->num_parameters = 0;
    reader->code_capacity = 0;
    reader->kernel->facts.static_shared_bytes = static_shared_bytes(reader->module);
    read_parameters(reader);
    read_performance_directives(reader);
    read_body(reader, false);
    reader->kernel->facts.registers_estimate =
        (int)(reader->kernel->register_bytes / 128 < 255 ? reader->kernel->register_bytes / 128 : 255);
}

static void read_module(struct emu_reader *reader, bool declarations) {
    bool is_extern = false;
    reader->at = reader->text;
    for (emu_skip_blanks(reader); *reader->at != '\0'; emu_skip_blanks(reader)) {
        if (take_directive(reader, ".version") || take_directive(reader, ".address_size") ||
            take_directive(reader, ".file")) {
            skip_line(reader);
        } else if (take_directive(reader, ".target")) {
            read_target(reader);
        } else if (take_directive(reader, ".visible") || take_directive(reader, ".weak")) {
            continue;
        } else if (take_directive(reader, ".extern")) {
            is_extern = true;
            continue;
        } else if (take_directive(reader, ".entry")) {
            read_kernel(reader, declarations);
        } else if (next_is(reader, ".global") || next_is(reader, ".const") || next_is(reader, ".shared")) {
            char word[EMU_WORD_BYTES];
            emu_expect_word(reader, word);
            enum emu_space space = strcmp(word, ".shared") == 0 ? EMU_SPACE_SHARED : EMU_SPACE_GLOBAL;
            if (declarations) {
                emu_declare_variable(reader, space, is_extern);
            } else {
                skip_statement(reader);
            }
        } else {
            emu_refuse(reader, reader->at, "this is not supported at a module's top");
        }
        is_extern = false;
    }
}

static void free_reader(struct emu_reader *reader) {
    free(reader->registers);
    free(reader->labels);
    free(reader->uses);
    free((void *)reader->use_places);
    free(reader->parameter_names);
}

struct emu_module *emu_module_create(const char *ptx, size_t bytes, const struct emu_settings *settings,
                                     struct emu_memory *memory, char *text, size_t text_bytes, bool *wrong_arch) {
    struct emu_module *volatile module = calloc(1, sizeof(*module));
    *wrong_arch = false;
    if (text_bytes > 0) text[0] = '\0';
    if (module == NULL || (module->text = strndup(ptx, bytes)) == NULL) {
        free(module);
        return NULL;
    }
    module->memory = memory;
    struct emu_reader reader = {
        .module = module, .settings = settings, .text = module->text, .message = text, .message_bytes = text_bytes};
    if (setjmp(reader.refused) == 0) {
        read_module(&reader, true);
        read_module(&reader, false);
    } else {
        emu_module_destroy(module);
        module = NULL;
    }
    *wrong_arch = reader.wrong_arch;
    free_reader(&reader);
    return module;
}

void emu_module_destroy(struct emu_module *module) {
    if (module == NULL) return;
    for (size_t i = 0; i < module->num_kernels; i++) {
        struct emu_kernel *kernel = module->kernels[i];
        free(kernel->name);
        free(kernel->code);
        free(kernel->constants);
        free(kernel->parameter_offsets);
        free(kernel->parameter_sizes);
        free(kernel);
    }
    for (size_t i = 0; i < module->num_variables; i++) {
        if (module->variables[i].space == EMU_SPACE_GLOBAL)
            emu_memory_free(module->memory, module->variables[i].address);
        free(module->variables[i].name);
    }
    free(module->kernels);
    free(module->variables);
    free(module->text);
    free(module);
}

const struct emu_kernel *emu_module_find_kernel(const struct emu_module *module, const char *name) {
    for (size_t i = 0; i < module->num_kernels; i++) {
        if (strcmp(module->kernels[i]->name, name) == 0) return module->kernels[i];
    }
    return NULL;
}

bool emu_module_find_global(const struct emu_module *module, const char *name, uintptr_t *address, size_t *bytes) {
    const struct emu_variable *variable = emu_find_variable(module, name);
    if (variable == NULL || variable->space != EMU_SPACE_GLOBAL) return false;
    *address = variable->address;
    *bytes = variable->bytes;
    return true;
}

void emu_kernel_describe(const struct emu_kernel *kernel, struct emu_kernel_facts *facts) {
    *facts = kernel->facts;
}

void emu_kernel_parameter(const struct emu_kernel *kernel, int index, size_t *offset, size_t *bytes) {
    *offset = kernel->parameter_offsets[index];
    *bytes = kernel->parameter_sizes[index];
}

void emu_module_line(const struct emu_module *module, int line, char *text, size_t bytes) {
    const char *c = module->text;
    for (int i = 1; i < line && c != NULL; i++) c = strchr(c, '\n') != NULL ? strchr(c, '\n') + 1 : NULL;
    if (c == NULL) c = "";
    c += strspn(c, " \t");
    snprintf(text, bytes, "%.*s", (int)strcspn(c, "\n"), c);
}
