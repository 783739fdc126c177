// The lines of nvdisasm's text as a list of instructions.
#ifndef MOEJIT_TOOL_SASS_TEXT_H
#define MOEJIT_TOOL_SASS_TEXT_H

#include <stdbool.h>

struct sass_instruction {
    char opcode[56];
    bool off;         // predicated by !PT: takes an issue slot and does nothing
    bool guarded;     // has a predicate: what follows may be reached past it
    int registers[2]; // of its first two operands, or -1
    int target;       // index of the instruction that it may jump to, or -1
};

struct sass_text {
    struct sass_instruction *list;
    int count;
};

// False where memory ran out.
bool sass_text_read(const char *text, struct sass_text *code);
void sass_text_free(struct sass_text *code);

#endif
