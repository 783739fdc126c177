// Copies, before they are queued: which side is where, and what the driver refuses at once.
#ifndef MOEJIT_EMULATOR_DRIVER_COPY_H
#define MOEJIT_EMULATOR_DRIVER_COPY_H

#include "driver_stream.h"

enum emu_side { EMU_SIDE_HOST, EMU_SIDE_DEVICE, EMU_SIDE_UNIFIED };

struct emu_copy {
    uintptr_t destination, source;
    size_t destination_pitch, source_pitch;
    enum emu_side destination_side, source_side;
    size_t width, height; // bytes, rows
    CUstream stream;
    bool synchronous;
};

// With the driver's lock held.
CUresult emu_copy_issue(struct emu_context *context, const struct emu_copy *copy);

// Is every byte of the rectangle inside one live allocation of the context?
bool emu_copy_in_bounds(struct emu_context *context, const struct emu_rectangle *rectangle, size_t width,
                        size_t height);

#endif
