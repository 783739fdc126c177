// The table of instructions that the emulator supports, and whether PTX keeps to it.
//
//     ptx_table              prints docs/emulator_instructions.md
//     ptx_table FILE...      reads each module for the arch that it names; exit status 1 where the emulator refuses one
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"
#include "ptx_table.h"

static const char preface[] =
    "# Instructions that the emulator supports\n\n"
    "Printed by `build/bin/ptx_table` from the tables that the emulator reads, rows of tools/emulator/exec_*.c; a test "
    "compares.\nA line is an instruction's name, the words that follow in that order (`?` where they may be left out, "
    "`|` between\nchoices), its operands, and the first arch that has it. Operands: d a destination, m one "
    "that is read and\nwritten, s a source, i a number, a an address, t that of a tensor map with coordinates,\nl a "
    "label; 0, 1, 2 the type of that place in the "
    "form, w twice as wide, a\nnumber of bits, p a predicate; `+` where the register may be wider, `*` and how many in "
    "braces (v as the form says, n and h a\nhalf and a quarter of the shape's columns), `?` where it may be left "
    "out.\n\n";

static void print_line(void *user, const char *text) {
    (void)user;
    printf("    %s\n", text);
}

static int print_table(void) {
    fputs(preface, stdout);
    emu_rows_print(print_line, NULL);
    return 0;
}

static char *read_file(const char *path) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return perror(path), NULL;
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    char *text = calloc(1, bytes + 1);
    if (text != NULL && fread(text, 1, bytes, file) != bytes) text[0] = '\0';
    fclose(file);
    return text;
}

static struct emu_settings settings_for(const char *text) {
    struct emu_settings settings = {.arch = 80, .threads = 1};
    const char *target = strstr(text, ".target sm_");
    char *end = NULL;
    if (target == NULL) return settings;
    settings.arch = (int)strtol(target + 11, &end, 10);
    settings.arch_a = *end == 'a';
    return settings;
}

static bool check(const char *path) {
    char *text = read_file(path), why[2000] = "";
    bool wrong_arch = false;
    if (text == NULL) return false;
    struct emu_settings settings = settings_for(text);
    struct emu_memory *memory = emu_memory_create((size_t)1 << 30);
    struct emu_module *module = emu_module_create(text, strlen(text), &settings, memory, why, sizeof(why), &wrong_arch);
    bool good = module != NULL;
    if (!good) fprintf(stderr, "%s: %s\n", path, why);
    emu_module_destroy(module);
    emu_memory_destroy(memory);
    free(text);
    return good;
}

int main(int argc, char **argv) {
    int refused = 0;
    if (argc == 1) return print_table();
    for (int i = 1; i < argc; i++) refused += !check(argv[i]);
    printf("%d modules of PTX, %d with instructions that the table has not\n", argc - 1, refused);
    return refused == 0 ? 0 : 1;
}
