#include <stdio.h>
#include <string.h>

#include "command.h"

static const struct {
    const char *name, *what;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"run", "build a layer with random weights, or of a checkpoint, run it, check it against the reference",
     command_run},
    {"bench", "time layers and their steps beside the ceilings of the same run", command_bench},
    {"tune", "measure which tiles serve a layer best, and keep the decisions in the cache", command_tune},
    {"prefill", "compile the kernels of layers for archs into the cache, with no GPU", command_prefill},
    {"inspect", "print the kernels of a layer: what they use, their source, PTX and key; or what a checkpoint holds",
     command_inspect},
    {"cache", "look into the kernel cache, shrink it, make and import packs", command_cache},
    {"doctor", "tell what moejit finds on this machine, and what to do about what is missing", command_doctor},
};
#define NUM_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *file) {
    fprintf(file, "Usage: moejit COMMAND [options]\n\n");
    for (size_t i = 0; i < NUM_COMMANDS; i++) fprintf(file, "  %-8s  %s\n", commands[i].name, commands[i].what);
    fprintf(file, "\n'moejit COMMAND --help' tells a command's options; --version this build's version.\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return EXIT_GOOD;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("moejit %s\n", moejit_version());
        return EXIT_GOOD;
    }
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    }
    fprintf(stderr, "moejit: \"%s\" is no command\n", argv[1]);
    print_help(stderr);
    return EXIT_USAGE;
}
