// Where registers lie: compiled PTX has thousands, each written once, of which a few hundred are needed at a time.
// Those that are never needed together share a place, so that a warp's registers stay in the host's caches (linear
// scan; Poletto and Sarkar, "Linear Scan Register Allocation", 1999). Lanes do not disturb each other: each has its own
// part of a place.
#include <stdlib.h>
#include <string.h>

#include "ptx_registers.h"
#include "ptx_table.h"

#define PREDICATE_BYTES 4
#define PLACE_BYTES 128 // 32 lanes of 32 bits
#define NUM_CLASSES 4   // predicates; 32, 64 and 128 bits

struct places {
    struct emu_kernel *kernel;
    struct emu_span *spans; // by operand / 4, as all below
    uint32_t *moved;        // the new operand; 0: not yet
    uint8_t *classes;       // class + 1 of those that the kernel declares
    bool *alone;            // shares with nobody
    uint32_t *begin_list, *begins, *end_list,
        *ends; // by instruction the first, and the next of each: operand / 4, plus 1
    uint32_t *free_list[NUM_CLASSES], num_free[NUM_CLASSES];
    uint32_t top, predicate; // the next of each; a multiple of PLACE_BYTES: no predicate is left
};

static uint32_t class_bytes(uint32_t class) {
    return class == 0 ? PREDICATE_BYTES : (uint32_t)PLACE_BYTES << (class - 1);
}

static uint32_t class_of(unsigned bits) {
    return bits == 1 ? 0 : bits <= 32 ? 1 : bits == 64 ? 2 : 3;
}

// Scopes that follow each other name the same bytes with different widths: the widest counts.
static void find_classes(const struct places *places) {
    for (size_t i = 0; i < places->kernel->num_names; i++) {
        const struct emu_register_name *name = &places->kernel->names[i];
        uint32_t class = class_of(name->bits), count = name->count > 0 ? name->count : 1;
        for (uint32_t k = 0; k < count; k++) {
            uint8_t *known = &places->classes[(name->offset + k * class_bytes(class)) / 4];
            if (*known < class + 1) *known = (uint8_t)(class + 1);
        }
    }
}

static bool is_register(const struct emu_kernel *kernel, uint32_t operand) {
    return (operand & EMU_OPERAND_CONSTANT) == 0 && operand >= kernel->first_register;
}

// What wgmma adds to and takes is followed by its place until it is waited for, and through moves (exec_wgmma_order.c).
static bool keep_alone(const struct places *places, const struct emu_instruction *instruction) {
    const struct emu_kernel *kernel = places->kernel;
    bool more = false;
    if (strcmp(instruction->row->name, "wgmma") == 0) {
        for (uint32_t i = 0; i < instruction->num_operands; i++) {
            uint32_t operand = instruction->operands[i];
            if (is_register(kernel, operand) && !places->alone[operand / 4]) more = places->alone[operand / 4] = true;
        }
    } else if (instruction->copies && instruction->num_operands == 2 && is_register(kernel, instruction->operands[1]) &&
               places->alone[instruction->operands[1] / 4] && !places->alone[instruction->operands[0] / 4]) {
        more = places->alone[instruction->operands[0] / 4] = true;
    }
    return more;
}

static void find_alone(const struct places *places) {
    const struct emu_kernel *kernel = places->kernel;
    for (uint32_t i = 0; i <= kernel->register_bytes / 4; i++) places->alone[i] = kernel->doubts[i] != 0;
    for (bool more = true; more;) {
        more = false;
        for (uint32_t i = 0; i < kernel->num_instructions; i++) more = keep_alone(places, &kernel->code[i]) || more;
    }
}

static void list_spans(const struct places *places) {
    const struct emu_kernel *kernel = places->kernel;
    for (uint32_t at = kernel->first_register / 4; at <= kernel->register_bytes / 4; at++) {
        const struct emu_span *span = &places->spans[at];
        if (span->first == UINT32_MAX) continue;
        places->begins[at] = places->begin_list[span->first];
        places->begin_list[span->first] = at + 1;
        places->ends[at] = places->end_list[span->end - 1];
        places->end_list[span->end - 1] = at + 1;
    }
}

static uint32_t take(struct places *places, uint32_t class) {
    if (places->num_free[class] > 0) return places->free_list[class][--places->num_free[class]];
    uint32_t *next = class == 0 && places->predicate % PLACE_BYTES != 0 ? &places->predicate : &places->top;
    uint32_t place = *next;
    if (class == 0 && next == &places->top) { // the first of another block of predicates
        places->predicate = place + PREDICATE_BYTES;
        places->top += PLACE_BYTES;
    } else {
        *next += class_bytes(class);
    }
    return place;
}

static void give(struct places *places, uint32_t at) {
    uint32_t class = places->classes[at] - 1u;
    if (!places->alone[at]) places->free_list[class][places->num_free[class]++] = places->moved[at];
}

// A place is free again after the instruction that needs it last: none is read and written by one instruction for two
// registers.
static bool scan(struct places *places) {
    for (uint32_t i = 0; i < places->kernel->num_instructions; i++) {
        for (uint32_t next = places->begin_list[i]; next != 0; next = places->begins[next - 1]) {
            if (places->classes[next - 1] == 0) return false; // of no declaration: leave all as it is
            places->moved[next - 1] = take(places, places->classes[next - 1] - 1u);
        }
        for (uint32_t next = places->end_list[i]; next != 0; next = places->ends[next - 1]) give(places, next - 1);
    }
    return true;
}

static uint32_t moved(const struct places *places, uint32_t operand) {
    return is_register(places->kernel, operand) ? places->moved[operand / 4] : operand;
}

static bool rewrite(const struct places *places, struct emu_arena *arena) {
    struct emu_kernel *kernel = places->kernel;
    for (uint32_t i = 0; i < kernel->num_instructions; i++) {
        struct emu_instruction *instruction = &kernel->code[i];
        uint32_t *operands = emu_arena_allocate(arena, (instruction->num_operands + 1u) * sizeof(*operands));
        if (operands == NULL) return false;
        for (uint32_t k = 0; k < instruction->num_operands; k++) operands[k] = moved(places, instruction->operands[k]);
        instruction->operands = operands;
        instruction->guard = moved(places, instruction->guard);
    }
    uint32_t *doubts = emu_arena_allocate(arena, (places->top / 4 + 1) * sizeof(*doubts));
    if (doubts == NULL) return false;
    for (uint32_t i = 1; i <= kernel->num_doubts; i++) doubts[moved(places, kernel->doubt_operands[i]) / 4] = i;
    kernel->doubts = doubts;
    kernel->register_bytes = places->top;
    return true;
}

// A register is 128 bytes wide, so of each 32 entries most are of none: what is written before it is read is not
// cleared.
static bool allocate(struct places *places) {
    size_t count = places->kernel->register_bytes / 4 + 1, instructions = places->kernel->num_instructions;
    bool good = (places->spans = calloc(count, sizeof(*places->spans))) != NULL;
    good = (places->moved = calloc(count, sizeof(*places->moved))) != NULL && good;
    good = (places->classes = calloc(count, sizeof(*places->classes))) != NULL && good;
    good = (places->alone = calloc(count, sizeof(*places->alone))) != NULL && good;
    good = (places->begins = malloc(count * sizeof(*places->begins))) != NULL && good;
    good = (places->ends = malloc(count * sizeof(*places->ends))) != NULL && good;
    good = (places->begin_list = calloc(instructions, sizeof(*places->begin_list))) != NULL && good;
    good = (places->end_list = calloc(instructions, sizeof(*places->end_list))) != NULL && good;
    for (int i = 0; i < NUM_CLASSES; i++) {
        good = (places->free_list[i] = malloc(count * sizeof(**places->free_list))) != NULL && good;
    }
    return good;
}

static void release(struct places *places) {
    free(places->spans);
    free(places->moved);
    free(places->classes);
    free(places->alone);
    free(places->begins);
    free(places->ends);
    free(places->begin_list);
    free(places->end_list);
    for (int i = 0; i < NUM_CLASSES; i++) free(places->free_list[i]);
}

bool emu_places_share(struct emu_kernel *kernel, const struct emu_liveness *liveness, struct emu_arena *arena) {
    struct places places = {.kernel = kernel,
                            .top = (kernel->first_register + PLACE_BYTES - 1) / PLACE_BYTES * PLACE_BYTES};
    bool good = allocate(&places);
    if (good) {
        find_classes(&places);
        find_alone(&places);
        emu_liveness_spans(liveness, places.spans);
        list_spans(&places);
        good = !scan(&places) || rewrite(&places, arena);
    }
    release(&places);
    return good;
}
