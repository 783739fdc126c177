// Modules and their functions.
#ifndef MOEJIT_EMULATOR_DRIVER_FUNCTION_H
#define MOEJIT_EMULATOR_DRIVER_FUNCTION_H

#include "driver_context.h"

struct emu_image { // a loaded module
    struct emu_object object;
    struct emu_module *module;
    struct emu_function *functions; // those asked for so far
};

struct emu_function {
    struct emu_object object;
    struct emu_image *image;
    const struct emu_kernel *kernel;
    struct emu_kernel_facts facts;
    int max_dynamic_shared_bytes, carveout, non_portable_cluster;
    int cluster[3]; // set as attributes; 0 = none
    struct emu_function *next;
};

// With the driver's lock held.
CUresult emu_image_load(struct emu_context *context, const void *text, unsigned num_options,
                        const CUjit_option *options, void **values, struct emu_image **image);
void emu_image_unload(struct emu_image *image);
CUresult emu_image_function(struct emu_image *image, const char *name, struct emu_function **function);

// How many blocks of the function fit one SM at once.
int emu_function_blocks_per_sm(const struct emu_function *function, int block_threads, size_t dynamic_shared_bytes);

#endif
