// Bulk copies that are under way, for the files that issue them.
#ifndef MOEJIT_EMULATOR_EXEC_BULK_H
#define MOEJIT_EMULATOR_EXEC_BULK_H

#include "warp.h"

enum emu_direction { EMU_TO_SHARED, EMU_TO_GLOBAL, EMU_REDUCE };

#define EMU_PIECE_BYTES 16

struct emu_piece {      // of a tensor's box: 16 bytes
    uint8_t *other;     // where they are in global memory, those of them that are inside the tensor
    uint32_t offset;    // in shared memory
    uint8_t first, end; // inside the tensor
};

struct emu_pieces {
    uint32_t count;
    struct emu_piece list[];
};

struct emu_flight {
    struct emu_warp *warp; // and lane and instruction that issued it
    uint32_t lane;
    const struct emu_instruction *instruction;
    enum emu_direction direction;
    enum emu_type type;    // REDUCE: of the elements
    struct emu_cta *owner; // of the bytes in shared memory
    uint32_t offset, bytes, alignment;
    uint8_t *other;            // the bytes elsewhere, if they are neighbours
    struct emu_pieces *pieces; // else; owned
    uint8_t value[16];         // st.async's, if there is neither
    uint32_t mbarrier;         // TO_SHARED: offset in the owner's shared memory
    uint32_t clock;            // TO_SHARED: of the owner's asynchronous writes
    uint32_t group;            // else: of the lane
    uint32_t age;
    bool landed; // but not waited for: it still counts as reading shared memory
};

// The place in shared memory and what is checked there; the mbarrier. False with a finding.
bool emu_flight_find_shared(struct emu_flight *flight, uint64_t address);
bool emu_flight_find_mbarrier(struct emu_flight *flight, uint64_t address);
// Takes the pieces, also when it fails.
bool emu_flight_issue(struct emu_flight *flight);

// The same offset in another block of the cluster.
static inline uint64_t emu_in_block(uint64_t address, uint32_t rank) {
    return (address & ((1u << EMU_CLUSTER_SHIFT) - 1)) | (uint64_t)(rank + 1) << EMU_CLUSTER_SHIFT;
}

#endif
