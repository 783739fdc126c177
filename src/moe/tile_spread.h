// How many CTAs of a tile's kernel one multiprocessor holds at a time, and how much shared memory each of them asks
// for.
#ifndef MOEJIT_MOE_TILE_SPREAD_H
#define MOEJIT_MOE_TILE_SPREAD_H

#include "moe/tile.h"

struct mj_tile_demand {
    const struct mj_tile *tile;
    int num_local_experts;
    int least_stages, most_stages; // of a ring: the tile's own, or of the Hopper family's mma.sync tiles others
    long long num_ctas;            // at most, with one tile each or a part of one
    long long lost;                // places for CTAs that are too few, here and there, for a cluster
    double tiles;                  // that are expected
    int steps;                     // stages that a CTA multiplies of a tile
};

struct mj_tile_room {                          // of a GPU
    int num_sms, shared_bytes, reserved_bytes; // shared memory of a multiprocessor, and what each CTA takes more
    int most_ctas;                             // that its registers and threads have room for
};

struct mj_tile_spread {
    int ctas_per_sm, ring_stages, shared_bytes;
};

// Whether more CTAs are asked for than run at a time, so that each walks over tiles.
bool mj_tile_comes_in_waves(const struct mj_tile_demand *demand, const struct mj_tile_room *room);

// How many CTAs at a time are best for kernels that come in waves and follow each other: one number for all. A CTA of
// one takes the place of another's; where they asked for different amounts of shared memory, gaps would be left that
// are too small for any. That of the least time, if a wave takes as long as its bytes take from memory.
int mj_tile_ctas_in_waves(const struct mj_tile_demand *demands, int num_demands, const struct mj_tile_room *room);

// CTAs that do not come in waves are spread evenly over the multiprocessors: they ask for so much shared memory that no
// more fit one. (CTAs of an overlapping launch start wherever the kernel before has left room, as many as fit; a few
// would fill the first multiprocessors, and leave the others without work.) Rings are as deep as there is room
// for.
struct mj_tile_spread mj_tile_spread(const struct mj_tile_demand *demand, const struct mj_tile_room *room,
                                     int ctas_in_waves);

#endif
