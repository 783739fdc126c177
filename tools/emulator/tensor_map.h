// What a CUtensorMap holds here. On real parts it is opaque too: made by cuTensorMapEncodeTiled, read by the copies.
#ifndef MOEJIT_EMULATOR_TENSOR_MAP_H
#define MOEJIT_EMULATOR_TENSOR_MAP_H

#include <stdint.h>

#define EMU_TENSOR_MAP_MAGIC 0x6d70746du
#define EMU_TENSOR_MAP_BYTES 128
#define EMU_TENSOR_MAX_RANK 5

struct emu_tensor_map {
    uint32_t magic;
    uint8_t type, element_bytes, rank; // enum emu_type
    uint8_t swizzle_bytes;             // the span: 32, 64, 128; 0: none
    uint64_t address;
    uint64_t dims[EMU_TENSOR_MAX_RANK];        // elements
    uint64_t strides[EMU_TENSOR_MAX_RANK - 1]; // bytes, of dimension 1 on
    uint16_t box[EMU_TENSOR_MAX_RANK];         // elements
};
_Static_assert(sizeof(struct emu_tensor_map) <= EMU_TENSOR_MAP_BYTES, "a map fits a CUtensorMap");

#endif
