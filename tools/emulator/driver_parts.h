// The parts that the emulator plays: one GPU product for each architecture, with its published figures.
#ifndef MOEJIT_EMULATOR_DRIVER_PARTS_H
#define MOEJIT_EMULATOR_DRIVER_PARTS_H

#include <cuda.h>
#include <stddef.h>

struct emu_part {
    int arch; // 80, 90, ...
    const char *name;
    size_t memory_bytes;
    int sms, threads_per_sm, blocks_per_sm;
    int shared_bytes_per_sm, shared_bytes_opt_in; // CUDA C++ Programming Guide, technical specifications
    int l2_bytes;
    int clock_khz, memory_clock_khz, bus_bits;
};

// The part for an arch; sms > 0 replaces its number of SMs.
struct emu_part emu_part_of(int arch, int sms);
CUresult emu_part_attribute(const struct emu_part *part, CUdevice_attribute attribute, int *value);

#endif
