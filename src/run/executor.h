#ifndef MOEJIT_RUN_EXECUTOR_H
#define MOEJIT_RUN_EXECUTOR_H

#include "run/context.h"

struct moejit_executor {
    struct moejit_context *context;
    struct mj_error error;
    bool single_stream, owns_stream;
    bool overlaps_launches; // a kernel may start while the one before it ends (kernel_sources/ptx_dependency.cuh)
    bool routes_apart;      // by a kernel of its own, however few pairs
    int max_tile_ctas;      // that share a tile; 0: as many as are good
    CUstream auxiliary;
    CUevent forked, zeroed; // the main stream has reached forward; the output's rows are zero
    uint64_t forwards, launches, bytes_zeroed;
};

#endif
