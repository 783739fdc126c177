// Instruction forms: tiny kernels that a GPU and the emulator both run, and that must leave the same bits.
#ifndef MOEJIT_EMULATOR_FORMS_H
#define MOEJIT_EMULATOR_FORMS_H

#include <cuda.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORM_THREADS 128 // of a block
#define FORM_INPUTS 12   // words of a thread
#define FORM_OUTPUTS 8

// What the input words are; numbers are as forms.c spells them.
enum form_input {
    FORM_BITS,
    FORM_F32,
    FORM_NEAR,
    FORM_POSITIVE,
    FORM_SMALL,
    FORM_HALF,
    FORM_NEARHALF,
    FORM_WIDEHALF,
    FORM_EVERY16
};

struct form {
    char name[64];
    int arch; // the first that has it
    bool arch_a;
    enum form_input input;
    char output;  // 'r' %r16 to %r23 as they are, 'h' %h16, 'd' %rd16 and %rd17, 'p' %p2 and %p3
    unsigned ulp; // of 32-bit floats in %r16; 0: the same bits
    char body[4096];
};

// Calls take for each form of the file, expanded. False, with a sentence on stderr, where the file is wrong or take
// says so.
bool forms_read(const char *path, bool (*take)(void *user, const struct form *form), void *user);

// Whether it copies boxes, by maps that its kernel has as a third parameter.
bool form_has_maps(const struct form *form);

// The whole module: kernel k(in, out) or k(in, out, maps). False where it does not fit.
bool form_ptx(const struct form *form, const char *target, char *text, size_t bytes);

// Of the input and the output, by swizzle: none, 32, 64, 128 bytes.
struct form_maps {
    CUtensorMap in[4], out[4];
};

// library: of the driver, opened.
CUresult forms_maps_create(void *library, void *in, void *out, struct form_maps *maps);

unsigned form_blocks(const struct form *form);
void form_fill(const struct form *form, uint32_t *words); // form_blocks * FORM_THREADS * FORM_INPUTS

#endif
