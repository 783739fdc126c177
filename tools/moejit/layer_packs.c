#include "layer_packs.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t layer_packs_key(const struct layer_data *data) {
    const moejit_layer *layer = &data->problem.layer;
    const int what[] = {layer->hidden,
                        layer->intermediate,
                        layer->num_local_experts,
                        (int)layer->activation,
                        (int)layer->gate_up_row_order,
                        (int)layer->scale_layout,
                        (int)layer->packed_layout};
    uint64_t key = XXH64(what, sizeof(what), 0);
    key = XXH64(data->gate_up, data->gate_up_bytes, key);
    key = XXH64(data->gate_up_scale, data->gate_up_scale_bytes, key);
    key = XXH64(data->down, data->down_bytes, key);
    return XXH64(data->down_scale, data->down_scale_bytes, key);
}

const void *layer_packs_find(const struct layer_packs *packs, uint64_t key, size_t bytes) {
    for (int i = 0; i < LAYER_PACKS_KEPT; i++) {
        const struct layer_pack *pack = &packs->kept[i];
        if (pack->memory != NULL && pack->key == key && pack->bytes == bytes) return pack->memory;
    }
    return NULL;
}

void layer_packs_keep(struct layer_packs *packs, uint64_t key, void *memory, size_t bytes) {
    struct layer_pack *pack = &packs->kept[packs->next++ % LAYER_PACKS_KEPT];
    free(pack->memory);
    *pack = (struct layer_pack){key, bytes, memory};
}

void layer_packs_clear(struct layer_packs *packs) {
    for (int i = 0; i < LAYER_PACKS_KEPT; i++) free(packs->kept[i].memory);
    memset(packs, 0, sizeof(*packs));
}
