// How the families of models name their experts: one row each.
#ifndef MOEJIT_CHECKPOINT_FAMILY_TABLE_H
#define MOEJIT_CHECKPOINT_FAMILY_TABLE_H

#include <stddef.h>

struct mj_family {
    const char *title;
    const char *model_types[4]; // of config.json; NULL ends
    const char *block;          // "layers.3.BLOCK.experts"
    const char *gate, *up, *down;
    int router_weight_on_input;
};

extern const struct mj_family mj_families[];
extern const size_t mj_num_families;

// What may come before "layers.3.": the models' own, and that of models with eyes.
extern const char *const mj_layer_prefixes[]; // NULL ends

const struct mj_family *mj_family_find(const char *model_type); // or NULL

#endif
