// A module: directives outside kernels, and the questions that the driver half asks.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptx_parser.h"

// ".target sm_90a, debug": the kernels run on this arch or a later one; with the letter only on this one.
static void parse_target(struct emu_parser *parser) {
    struct emu_token token = parser->lexer.token;
    if (token.kind != EMU_TOKEN_WORD || token.length < 5 || memcmp(token.text, "sm_", 3) != 0) {
        emu_parser_fail(parser, &token, "expected an architecture such as sm_90a here");
        return;
    }
    parser->target = atoi(token.text + 3);
    char letter = token.text[token.length - 1];
    parser->target_a = letter == 'a' || letter == 'f';
    const struct emu_settings *settings = parser->settings;
    bool fits = parser->target_a ? parser->target == settings->arch ||
                                       (letter == 'f' && parser->target / 10 == settings->arch / 10 &&
                                        parser->target <= settings->arch)
                                 : parser->target <= settings->arch;
    if (!fits || (parser->target_a && !settings->arch_a)) {
        parser->wrong_arch = true;
        emu_parser_fail(parser, &token, "the module is made for %.*s, and the emulator plays sm_%d%s",
                        (int)token.length, token.text, settings->arch, settings->arch_a ? "a" : "");
    }
    emu_lexer_advance(&parser->lexer);
    while (emu_lexer_take(&parser->lexer, ",")) emu_lexer_advance(&parser->lexer);
}

static void skip_section(struct emu_parser *parser) {
    while (parser->lexer.token.kind != EMU_TOKEN_END && !emu_lexer_is(&parser->lexer, "}"))
        emu_lexer_advance(&parser->lexer);
    emu_lexer_expect(&parser->lexer, "}");
}

static void skip_line(struct emu_parser *parser) {
    int line = parser->lexer.token.line;
    while (parser->lexer.token.kind != EMU_TOKEN_END && parser->lexer.token.line == line)
        emu_lexer_advance(&parser->lexer);
}

static void parse_directive(struct emu_parser *parser) {
    struct emu_lexer *lexer = &parser->lexer;
    if (emu_lexer_take(lexer, ".version")) {
        emu_lexer_advance(lexer);
    } else if (emu_lexer_take(lexer, ".target")) {
        parse_target(parser);
    } else if (emu_lexer_take(lexer, ".address_size")) {
        if (emu_parse_integer(parser) != 64) emu_parser_fail(parser, &lexer->token, "addresses must have 64 bits");
    } else if (emu_lexer_take(lexer, ".entry")) {
        emu_parse_entry(parser);
    } else if (emu_lexer_take(lexer, ".func")) {
        emu_parse_function(parser);
    } else if (emu_lexer_is(lexer, ".file") || emu_lexer_is(lexer, ".loc")) {
        skip_line(parser);
    } else if (emu_lexer_is(lexer, ".section")) {
        skip_section(parser);
    } else if (emu_lexer_take(lexer, ".pragma")) {
        emu_lexer_advance(lexer);
        emu_lexer_expect(lexer, ";");
    } else if (!emu_parse_declaration(parser)) {
        emu_parser_fail(parser, &lexer->token, "the emulator does not know \"%.*s\" outside a kernel",
                        (int)lexer->token.length, lexer->token.text);
    }
}

static void parse_module(struct emu_parser *parser) {
    if (!emu_lexer_is(&parser->lexer, ".version")) {
        emu_parser_fail(parser, &parser->lexer.token, "PTX begins with .version");
    }
    while (!parser->lexer.failed && parser->lexer.token.kind != EMU_TOKEN_END) {
        parser->is_extern = false;
        for (;;) {
            if (emu_lexer_is(&parser->lexer, ".extern")) parser->is_extern = true;
            if (!emu_lexer_take(&parser->lexer, ".extern") && !emu_lexer_take(&parser->lexer, ".visible") &&
                !emu_lexer_take(&parser->lexer, ".weak") && !emu_lexer_take(&parser->lexer, ".common")) {
                break;
            }
        }
        parse_directive(parser);
    }
}

struct emu_module *emu_module_create(const char *ptx, size_t bytes, const struct emu_settings *settings,
                                     struct emu_memory *memory, char *text, size_t text_bytes, bool *wrong_arch) {
    struct emu_module *module = calloc(1, sizeof(*module));
    struct emu_parser *parser = calloc(1, sizeof(*parser));
    if (module != NULL) module->text = malloc(bytes + 1);
    if (module == NULL || parser == NULL || module->text == NULL) {
        if (text_bytes > 0) snprintf(text, text_bytes, "There is no memory to read a module of %zu bytes.", bytes);
        if (wrong_arch != NULL) *wrong_arch = false;
        free(parser);
        emu_module_destroy(module);
        return NULL;
    }
    memcpy(module->text, ptx, bytes);
    module->text[bytes] = '\0';
    module->memory = memory;
    parser->module = module;
    parser->settings = settings;
    emu_lexer_start(&parser->lexer, module->text, strlen(module->text), text, text_bytes);
    emu_scope_open(parser);
    parser->module_scope = parser->scope;
    parse_module(parser);
    if (wrong_arch != NULL) *wrong_arch = parser->wrong_arch;
    bool failed = parser->lexer.failed;
    free(parser);
    if (!failed) return module;
    emu_module_destroy(module);
    return NULL;
}

void emu_module_destroy(struct emu_module *module) {
    if (module == NULL) return;
    for (struct emu_variable *variable = module->variables; variable != NULL; variable = variable->next) {
        if (variable->address != 0) emu_memory_free(module->memory, variable->address);
    }
    emu_arena_destroy(&module->arena);
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
    for (const struct emu_variable *variable = module->variables; variable != NULL; variable = variable->next) {
        if (strcmp(variable->name, name) != 0) continue;
        *address = variable->address;
        *bytes = variable->bytes;
        return true;
    }
    return false;
}

void emu_kernel_describe(const struct emu_kernel *kernel, struct emu_kernel_facts *facts) {
    *facts = kernel->facts;
}

void emu_kernel_parameter(const struct emu_kernel *kernel, int index, size_t *offset, size_t *bytes) {
    *offset = kernel->parameter_offsets[index];
    *bytes = kernel->parameter_sizes[index];
}

void emu_module_line(const struct emu_module *module, int line, char *text, size_t bytes) {
    const char *at = module->text;
    for (int i = 1; i < line && at != NULL; i++) {
        at = strchr(at, '\n');
        if (at != NULL) at++;
    }
    if (at == NULL) at = "";
    at += strspn(at, " \t");
    size_t length = strcspn(at, "\n");
    snprintf(text, bytes, "%.*s", (int)(length < 1000 ? length : 1000), at);
}
