// What host and kernels agree on: the arguments of every kernel, the enumerations that a Config names, and the packed weight
// layout. Plain C, so that any host layer and NVRTC compile the same bytes.
//
// Every pointer in an argument struct is a device pointer. T tokens, H hidden, I intermediate, E local experts, K top_k,
// P = T * K pairs; pair t * K + k is the k-th choice of token t. A pair whose id is outside the local range, or whose token
// is not live, is absent from the sorted list.
#ifndef MOEJIT_KERNEL_ABI_H
#define MOEJIT_KERNEL_ABI_H

#ifdef __CUDACC_RTC__ // NVRTC has no standard headers
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#else
#include <stdint.h>
#endif

// Counted up when an argument struct, the packed layout or the meaning of a Config field changes; part of every unit.
#define MJ_ABI_VERSION 4

enum mj_activation { MJ_ACTIVATION_SWIGLU, MJ_ACTIVATION_SWIGLU_OAI, MJ_ACTIVATION_GEGLU, MJ_ACTIVATION_RELU2 };
enum mj_format { MJ_FORMAT_BF16, MJ_FORMAT_NVFP4 };
enum mj_dtype { MJ_DTYPE_NONE, MJ_DTYPE_BF16, MJ_DTYPE_F16, MJ_DTYPE_F32 };
enum mj_row_order { MJ_ROWS_GATE_UP, MJ_ROWS_UP_GATE, MJ_ROWS_GATE_UP_ALTERNATING, MJ_ROWS_INTERLEAVED_64, MJ_ROWS_PLAIN };
enum mj_scale_layout { MJ_SCALES_LINEAR, MJ_SCALES_128X4 };
enum mj_sum { MJ_SUM_ATOMIC, MJ_SUM_ORDERED };
enum mj_packed_layout { MJ_LAYOUT_FRAGMENTS = 2, MJ_LAYOUT_BLOCK_SCALED = 3 }; // a changed one gets a new number

// ---- Packed weights, MJ_LAYOUT_FRAGMENTS: mma.sync m16n8k16 A fragments -------------------------------------------------
//
// One expert's matrix of R rows by C columns (C is the reduced dimension) is cut into blocks of 64 rows by 64 columns. Row
// blocks follow each other, and inside one its column blocks, so that a tile of 64 rows is one contiguous stream over the
// reduction. Rows and columns beyond the matrix are packed as zeros.
//
//     expert[e] -> row_block[ceil(R / 64)] -> column_block[ceil(C / 64)] -> 2304 bytes:
//         codes  [4 m16 tiles][32 lanes][4 k16 steps] 32-bit words            2048 bytes
//         scales [4 m16 tiles][8 row pairs][2 pairs of k16 steps] 32-bit words 256 bytes
//
// Lane l of m16 tile m holds in its word s the eight A values of step s that mma.sync wants from it (PTX ISA, "Matrix
// Fragments for mma.m16n8k16"): registers 0..3 are (row r, columns c and c + 1), (r + 8, c..), (r, c + 8..), (r + 8, c + 8..)
// with r = l / 4 and c = 2 * (l % 4). A register's two codes, sign and three bits of magnitude, stand at bits 15 and 8..6 of
// either half, where they are bf16 bits of value * 2^-126, once the word is turned left by a number of bits:
//     register 0: 0      1: 10      2: 6      3: 4, except the lowest bit of magnitude: 28
// No four turns fill the word (16 bits, four times the bits 15, 8, 7, 6, do not tile); these need the fewest instructions.
//
// A scale byte b is a float with five exponent and three mantissa bits: bf16 bits 0x7000 | b << 4 are sf * 2^119 exactly,
// for every e4m3 value but zero (packed as codes of zero, b of sf 1) and NaN (b = 0xff). A word of scales has, of rows r and
// r + 8 (in the high half), the b << 4 of the even step, and those of the odd step turned right by 8 bits.
// bf16(value * 2^-126) * bf16(sf * 2^119) is value * sf * 2^-7, exact: kernels multiply their f32 sums by MJ_WEIGHT_UNIT.
//
// Row order: in gated gate_up matrices rows r of m16 tile m is gate channel 8 * m + r, and row r + 8 up channel 8 * m + r;
// gate and up of a channel meet in one thread. Elsewhere row i of tile m is row 16 * m + i.
#define MJ_BLOCK_ROWS 64
#define MJ_BLOCK_COLUMNS 64
#define MJ_BLOCK_CODE_BYTES 2048
#define MJ_BLOCK_SCALE_BYTES 256
#define MJ_BLOCK_BYTES (MJ_BLOCK_CODE_BYTES + MJ_BLOCK_SCALE_BYTES)
#define MJ_WEIGHT_UNIT 128.0f

// ---- Packed weights, MJ_LAYOUT_BLOCK_SCALED: for tensor cores that multiply e2m1 and scale by themselves ----------------
//
// Blocks of 128 rows by 64 columns, in the order of the other's; rows and columns beyond the matrix are zeros. Codes and
// scale bytes are a checkpoint's (codes two a byte, even column low; negative zero as scale is zero), only their order is not:
//
//     expert[e] -> row_block[ceil(R / 128)] -> column_block[ceil(C / 64)] -> 4608 bytes:
//         codes  [16 groups of 8 rows][2 times 32 columns][8 rows][16 bytes]                          4096 bytes
//         scales [32 rows i][4: rows i, i + 32, i + 64, i + 96][4: columns 0.., 16.., 32.., 48..] bytes  512 bytes
//
// 8 rows of 16 bytes are one 8x8 matrix of ldmatrix, without bank conflicts, and one core matrix of a tcgen05 matrix descriptor
// without swizzle (PTX ISA, "Canonical layouts": K-major; leading offset 128 bytes, stride offset 256). The scales are what
// tcgen05.cp 32x128b.warpx4 wants of its source, and tcgen05.mma scale_vec::4X then of tensor memory: the 128x4 tile of
// docs/numerics.md. Sums need no unit. Row order: as in the other, by m16 tiles.
#define MJ_SCALED_BLOCK_ROWS 128
#define MJ_SCALED_BLOCK_COLUMNS 64
#define MJ_SCALED_BLOCK_CODE_BYTES 4096
#define MJ_SCALED_BLOCK_SCALE_BYTES 512
#define MJ_SCALED_BLOCK_BYTES (MJ_SCALED_BLOCK_CODE_BYTES + MJ_SCALED_BLOCK_SCALE_BYTES)

// Rows of activations in NVFP4, beside that layout: codes [rows][MJ_ROW_CODE_BYTES], scales [rows][MJ_ROW_SCALE_BYTES], of C
// columns, natural order. The pitches are for copies of 16 bytes; what lies past C / 2 and C / 16 bytes of a row is neither
// written nor read. A word of scales serves 64 columns: what mma.sync takes of a row, and a 128x4 tile has in one place.
#define MJ_ROW_CODE_BYTES(columns) (((columns) + 31) / 32 * 16)
#define MJ_ROW_SCALE_BYTES(columns) (((columns) + 255) / 256 * 16)

// ---- Kernel arguments ---------------------------------------------------------------------------------------------------

// Checkpoint weights of experts [0, num_experts) of the given pointers to packed blocks at `packed`. Launched over
// (row blocks x column blocks of the layout, 1, experts), one CTA of 128 threads a block.
struct mj_pack_args {
    const uint8_t *codes;  // [num_experts, rows, columns / 2]
    const uint8_t *scales; // [num_experts, rows, columns / 16] e4m3, linear or 128x4 (each expert padded separately)
    uint8_t *packed;
    uint32_t *invalid_scales; // [1]: += the number of NaN or negative scales met
    int32_t num_experts, rows, columns;
    int32_t row_order;    // enum mj_row_order
    int32_t scale_layout; // enum mj_scale_layout
};

// Groups pairs by local expert, in ascending pair order inside an expert.
struct mj_route_args {
    const int32_t *expert_ids;  // [T, K]
    const int32_t *live_tokens; // [1] or null
    int32_t *expert_offsets;    // out [E + 1]: expert e's pairs are sorted_pairs[offsets[e] .. offsets[e + 1])
    int32_t *sorted_pairs;      // out [P]; only the first offsets[E] are written
    int32_t num_tokens, top_k, num_local_experts, local_expert_offset;
};

// Rounds x to NVFP4 (input bf16) or expands it (input NVFP4); either way writes q * sf as bf16, which is exact, or for the fp4
// family codes and scales.
struct mj_quantize_args {
    const void *x;              // bf16 [T, H], or packed e2m1 [T, H / 2]
    const uint8_t *x_scales;    // e4m3 [T, H / 16] linear, where the input is NVFP4
    const float *input_scale;   // [1], where the input is bf16
    const int32_t *live_tokens; // [1] or null
    void *x_values;             // out bf16 [T, H], or codes of T rows
    uint8_t *x_value_scales;    // out, with codes
    int64_t x_row_stride;       // of x, in elements
    int32_t num_tokens;
};

// Zeroes the live rows: a kernel of its own where live_tokens is given (a memset cannot read it), or a part of gate_up.
struct mj_zero_args {
    void *output; // null in gate_up where nothing is to be zeroed
    const int32_t *live_tokens;
    int64_t row_stride_bytes;
    int32_t row_bytes; // a multiple of 16
    int32_t num_tokens;
};

// What gate_up and down route by themselves from, where pairs are few, instead of reading route's lists.
#define MJ_FOLDED_PAIRS 160 // at most; num_tokens * top_k
struct mj_fold_args {
    const int32_t *expert_ids;  // [T, K], or null: the lists are read
    const int32_t *live_tokens; // [1] or null
    int32_t num_tokens, local_expert_offset;
};

// The CTAs of a cluster that share a tile, and how many stages each multiplies, the last one what is left (mma.sync tiles of the
// Hopper family).
struct mj_split_args {
    int32_t num_ctas, steps;
};

#define MJ_MAX_RING_STAGES 4 // of an mma.sync tile of the Hopper family: deeper rings are slower (docs/benchmarks.md)

struct mj_gate_up_args {
    const void *x;                   // bf16 [T, H], or codes of T rows (fp4 family)
    const uint8_t *x_value_scales;   // with codes
    const uint8_t *weights;
    const float *alpha;              // [E] or [E, 2]
    const void *bias;                // [E, rows] in the checkpoint's row order, or null
    const float *router_weights;     // [T, K] when the router's weight is on the input, else null
    const float *intermediate_scale; // [1] or [E], NVFP4 activations only
    int32_t *expert_offsets, *sorted_pairs; // route's lists; written where `fold` is given
    void *intermediate;           // out bf16 [P, I], rows in sorted order; or codes of P rows
    uint8_t *intermediate_scales; // out, with codes
    struct mj_fold_args fold;
    struct mj_split_args split;
    struct mj_zero_args zero;    // of the Hopper family alone
    int32_t ring_stages;         // of mma.sync tiles of the Hopper family; other rings are as deep as Config says
    int64_t x_row_stride;        // in elements; of codes none is taken
    int64_t expert_stride_bytes; // between experts of weights
    int32_t num_local_experts;
    int32_t alpha_stride;              // 1 or 2
    int32_t intermediate_scale_stride; // 0 or 1
    float activation_alpha, activation_beta, activation_limit;
};

struct mj_down_args {
    const void *intermediate;           // bf16 [P, I], rows in sorted order; or codes of P rows
    const uint8_t *intermediate_scales; // with codes
    const uint8_t *weights;
    const float *alpha;          // [E]
    const void *bias;            // [E, H] or null
    const float *router_weights; // [T, K], null when the router's weight is on the input
    const int32_t *expert_offsets, *sorted_pairs;
    struct mj_fold_args fold;
    struct mj_split_args split;
    int32_t ring_stages;
    void *output;              // atomic: [T, H] of Config::output_dtype, zeroed or to be added to
    float *partials;           // ordered: out f32 [P, partial_columns], row = pair (not sorted order)
    int64_t output_row_stride; // in elements
    int64_t expert_stride_bytes;
    int32_t num_local_experts;
    int32_t first_row_block, num_row_blocks; // the 64-row blocks (columns of the output) this launch covers
    int32_t partial_columns;                 // ordered: row stride of partials, = 64 * num_row_blocks
};

// Adds each token's partial rows in the order of k, then rounds once.
struct mj_combine_args {
    const float *partials;      // [P, partial_columns]
    const int32_t *expert_ids;  // [T, K]
    const int32_t *live_tokens; // [1] or null
    void *output;               // [T, H] of Config::output_dtype
    int64_t output_row_stride;
    int32_t num_tokens, top_k, num_local_experts, local_expert_offset;
    int32_t first_column, num_columns, partial_columns; // columns of the output this launch writes
    int32_t accumulate;                                 // add the sum to what the output holds
};

#endif
