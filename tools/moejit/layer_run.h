// One layer on the GPU (or emulator), as a host program would run it, and its check against the reference.
#ifndef MOEJIT_TOOL_LAYER_RUN_H
#define MOEJIT_TOOL_LAYER_RUN_H

#include "gpu.h"
#include "layer_data.h"
#include "layer_packs.h"
#include "moe/accuracy.h"

#define LAYER_ALL_LIVE (-1)

struct layer_case {
    moejit_layer layer;
    int num_tokens;
    int max_num_tokens; // of the plan; 0: num_tokens (at least 1)
    int tile;           // as in moejit_plan_options
    moejit_family family;
    enum layer_routing routing;
    bool exact; // data whose sums are exact: an f32 output must match to the bit
    uint64_t seed;
    moejit_output_mode output_mode;
    int extra_rows;   // rows of the output past num_tokens, which must stay as they are
    int extra_stride; // elements past hidden in each row of x and output, likewise
    int live_tokens;  // LAYER_ALL_LIVE: none is given
    bool single_stream, serial_launches, separate_route, graph;
    int max_tile_ctas; // as in moejit_executor_options
    size_t partials_cap_bytes;
    int max_checked_rows; // against the reference; 0: all
    // Packs the weights from where they are; NULL: the data's are uploaded whole. False, with a sentence in `why`.
    bool (*pack)(void *user, struct gpu *gpu, moejit_weights *weights, CUstream stream, char *why, size_t why_bytes);
    void *pack_user;
    struct layer_packs *packs; // where packed weights are looked for and kept; NULL: nowhere
    int repeats;               // further forwards whose bits are compared with the first where the sum is deterministic
};

struct layer_result {
    bool good;
    char message[1024];                 // why not
    struct mj_accuracy expected;        // against layer_data.expected
    struct mj_accuracy end_to_end, own; // own: given the kernel's own h'
    int checked_rows;
    int h_differing; // elements of h' that differ from the reference's, of h_checked
    long long h_checked;
    double forward_us; // median of a few, by events
    uint64_t bytes_zeroed;
    int launches;           // of the first forward
    uint64_t output_digest; // FNV-1a of the output's bytes
    int num_kernels;
    uint64_t compiles, cache_hits;
};

// Sane values: everything but the layer and num_tokens.
void layer_case_init(struct layer_case *what);
void layer_run(struct gpu *gpu, moejit_context *context, const struct layer_case *what, struct layer_result *result);
// The same with tensors that come from elsewhere.
void layer_run_data(struct gpu *gpu, moejit_context *context, const struct layer_case *what,
                    const struct layer_data *data, struct layer_result *result);

#endif
