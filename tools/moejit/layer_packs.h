// Weights as earlier runs of the same checkpoint packed them, for tests that run one layer many times: on an emulator
// packing all experts takes longer than a forward that needs few.
#ifndef MOEJIT_TOOL_LAYER_PACKS_H
#define MOEJIT_TOOL_LAYER_PACKS_H

#include "layer_data.h"

#define LAYER_PACKS_KEPT 8

struct layer_packs { // zeros: empty
    struct layer_pack {
        uint64_t key;
        size_t bytes;
        void *memory;
    } kept[LAYER_PACKS_KEPT];
    unsigned next; // the next one's place
};

// Of all that packing reads.
uint64_t layer_packs_key(const struct layer_data *data);
// NULL: none was kept. The memory is that of the packs.
const void *layer_packs_find(const struct layer_packs *packs, uint64_t key, size_t bytes);
// In place of the oldest. Takes the memory, which free() frees.
void layer_packs_keep(struct layer_packs *packs, uint64_t key, void *memory, size_t bytes);
void layer_packs_clear(struct layer_packs *packs);

#endif
