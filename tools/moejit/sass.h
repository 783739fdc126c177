// The loops of a kernel in machine code, as nvdisasm prints it: which instructions they have, by pipe. It is text that
// is read, and the opcodes' pipes are a table (sass_pipes.c).
#ifndef MOEJIT_TOOL_SASS_H
#define MOEJIT_TOOL_SASS_H

#include "moe/loop_cost.h"

// A kernel's loops that matter. A Hopper kernel has a loop for each width of an expert's last tile, and one or
// two of the warps that copy; a portable kernel has one that does both.
struct sass_loops {
    struct mj_loop multiplying[MJ_LOOP_COST_MAX_WIDTHS]; // the narrowest first
    int num_multiplying;
    struct mj_copying_loops copying;
    char unknown[256]; // opcodes that the table lacks, counted as control; "" if none
};

// False, with a sentence, where the text holds no loop with products.
bool sass_read(const char *text, struct sass_loops *loops, char *message, size_t message_bytes);

// The pipe of an opcode ("IMAD.MOV.U32"); false where the table lacks it.
bool sass_pipe(const char *opcode, enum mj_pipe *pipe);

// The text of a cubin, by nvdisasm (path; NULL: MOEJIT_NVDISASM, PATH, the toolkit's folder). NULL with a sentence on
// failure; else to be freed.
char *sass_disassemble(const char *nvdisasm, const void *cubin, size_t cubin_bytes, char *message,
                       size_t message_bytes);

#endif
