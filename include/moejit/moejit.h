// moejit: the mixture-of-experts layer of a language model whose weights are NVFP4, compiled for exactly its shape.
//
// A layer routes every token to top_k experts, multiplies the token by each chosen expert's gate and up matrices
// (gate_up), applies an activation, multiplies by the expert's down matrix (down), and adds the results into the
// token's row, weighed by the router. moejit writes CUDA source for the layer's shape, the tile and the GPU, compiles
// it with NVRTC, keeps the image in SQLite, and launches it through the CUDA Driver API. The host program owns the GPU
// context, streams and memory.
//
// Five objects, because a model has sixty layers of one description:
//
//     moejit_context    attached to a GPU (or to an arch alone): libraries found at run time, kernel cache, last error
//     moejit_layer      a plain struct: what is computed
//     moejit_weights    one layer's local experts, packed into device memory of yours
//     moejit_plan       a layer description prepared for a GPU: compiled and loaded kernels; serves all its layers
//     moejit_executor   an auxiliary stream and two events; one for each stream that has a layer in flight
//
//     moejit_forward(plan, weights, &args, executor, stream)
//
// Creating a context, packing and creating a plan may compile, allocate, touch the disk and synchronise. moejit_forward
// only launches: no compile, no module load, no allocation, no lock, no file. It is legal inside stream capture.
//
// Output contract: rows [0, num_tokens) of the output are overwritten, whatever was in them; nothing else is touched. A
// larger buffer is fine. Adding to what is there is MOEJIT_OUTPUT_ACCUMULATE. See docs/output.md.
//
// Errors: every function that can fail returns a moejit_status; the whole sentence (what was tried, the value met, the
// rule broken) is in the error record of the object that the call names: the executor's for forward and the step
// operations, the context's for all else. The library prints nothing and never aborts.
//
// Threads: a function may be called from several threads at once if they use different objects; two calls that name the
// same context, plan or weights must not overlap unless the function says so. moejit_forward and the step operations
// only read plan and weights, so they may run at once on one plan with different executors.
//
// ABI policy: structs that cross the boundary start with struct_size, set by their initialiser; fields are only ever
// added at the end, zero meaning what happened before they existed. Enum values and function signatures never change
// inside one major version. The SONAME carries the major version.
//
// Device pointers are void *, streams struct CUstream_st * (a CUstream or cudaStream_t). No CUDA header is needed.
#ifndef MOEJIT_MOEJIT_H
#define MOEJIT_MOEJIT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MOEJIT_VERSION_MAJOR 0
#define MOEJIT_VERSION_MINOR 1
#define MOEJIT_VERSION_PATCH 0

#if defined(__GNUC__)
#define MOEJIT_API __attribute__((visibility("default")))
#else
#define MOEJIT_API
#endif

struct CUstream_st;

// ---- Status
// -------------------------------------------------------------------------------------------------------------

// X(name, value, meaning). Values never change.
#define MOEJIT_STATUS_TABLE(X)                                                                                         \
    X(OK, 0, "success")                                                                                                \
    X(INVALID_ARGUMENT, 1, "an argument breaks a rule")                                                                \
    X(UNSUPPORTED, 2, "this build, GPU or toolkit does not offer it")                                                  \
    X(NOT_PREPARED, 3, "the plan does not hold what this call needs")                                                  \
    X(OUT_OF_MEMORY, 4, "host or device memory ran out")                                                               \
    X(LIBRARY_NOT_FOUND, 5, "libcuda or libnvrtc was not found or lacks a function")                                   \
    X(COMPILE_FAILED, 6, "NVRTC refused a generated unit")                                                             \
    X(CUDA_FAILED, 7, "a CUDA driver call failed")                                                                     \
    X(CANCELLED, 8, "a progress callback asked to stop")                                                               \
    X(INTERNAL, 9, "moejit broke a rule of its own")

typedef enum moejit_status {
#define MOEJIT_STATUS_ENTRY(name, value, meaning) MOEJIT_STATUS_##name = value,
    MOEJIT_STATUS_TABLE(MOEJIT_STATUS_ENTRY)
#undef MOEJIT_STATUS_ENTRY
} moejit_status;

// "MOEJIT_STATUS_OK" and so on; "unknown status" for other values. Any thread.
MOEJIT_API const char *moejit_status_name(moejit_status status);
// The meaning in the table above. Any thread.
MOEJIT_API const char *moejit_status_meaning(moejit_status status);
// "0.1.0". Any thread.
MOEJIT_API const char *moejit_version(void);

// ---- The layer
// ----------------------------------------------------------------------------------------------------------

typedef enum moejit_activation {
    MOEJIT_ACTIVATION_SWIGLU = 0,     // h = v sigmoid(v) u, v the gate, u the up projection
    MOEJIT_ACTIVATION_SWIGLU_OAI = 1, // v = min(v, limit), u = clamp(u, limit), h = v sigmoid(alpha v) (u + beta)
    MOEJIT_ACTIVATION_GEGLU = 2,      // h = gelu(v) u, tanh form
    MOEJIT_ACTIVATION_RELU2 = 3,      // h = max(v, 0)^2, not gated: gate_up has intermediate rows
} moejit_activation;

typedef enum moejit_format { MOEJIT_FORMAT_BF16 = 0, MOEJIT_FORMAT_NVFP4 = 1 } moejit_format;

typedef enum moejit_dtype {
    MOEJIT_DTYPE_NONE = 0,
    MOEJIT_DTYPE_BF16 = 1,
    MOEJIT_DTYPE_F16 = 2,
    MOEJIT_DTYPE_F32 = 3,
    MOEJIT_DTYPE_NVFP4 = 4, // two e2m1 elements a byte; only for x
} moejit_dtype;

// How the checkpoint orders the 2 * intermediate rows of gate_up.
typedef enum moejit_row_order {
    MOEJIT_ROWS_GATE_UP = 0,             // all gate rows, then all up rows
    MOEJIT_ROWS_UP_GATE = 1,             // all up rows, then all gate rows
    MOEJIT_ROWS_GATE_UP_ALTERNATING = 2, // gate on even, up on odd rows (GPT-OSS)
    MOEJIT_ROWS_INTERLEAVED_64 = 3,      // 64 up rows, 64 gate rows, and so on (FlashInfer); intermediate % 64 = 0
} moejit_row_order;

typedef enum moejit_scale_layout {
    MOEJIT_SCALES_LINEAR = 0, // [rows, columns / 16]
    MOEJIT_SCALES_128X4 = 1,  // each expert padded to 128 rows by 4 columns and tiled (docs/numerics.md)
} moejit_scale_layout;

typedef enum moejit_sum {
    MOEJIT_SUM_DEFAULT = 0,         // resolved when the plan is made, see moejit_plan_sum; atomic for now
    MOEJIT_SUM_ATOMIC = 1,          // adds into the output in arrival order
    MOEJIT_SUM_DETERMINISTIC = 2,   // same plan, same call: same bits; f32 partial sums, rounded once
    MOEJIT_SUM_BATCH_INVARIANT = 3, // the same, and a row's bits do not depend on the other rows or on their number
} moejit_sum;

// How packed weights lie in device memory (docs/kernels.md). A layer's weights and plans must agree on it: weights
// serve plans of both activation formats with FRAGMENTS on every arch, with AUTO on all but sm_120a and sm_121a.
typedef enum moejit_packed_layout {
    MOEJIT_PACKED_LAYOUT_AUTO = 0,         // what the best family reads for this layer on the context's arch
    MOEJIT_PACKED_LAYOUT_FRAGMENTS = 1,    // of the portable and hopper families
    MOEJIT_PACKED_LAYOUT_BLOCK_SCALED = 2, // of the fp4 family
} moejit_packed_layout;

// What is computed. Formulas and formats: docs/numerics.md.
typedef struct moejit_layer {
    size_t struct_size;
    int32_t hidden;              // H: columns of x and of the output; a multiple of 16
    int32_t intermediate;        // I: columns of the down matrix; a multiple of 16 (tensor parallelism: a rank's share)
    int32_t num_experts;         // of the whole layer, 1 .. 1024
    int32_t num_local_experts;   // of this rank
    int32_t local_expert_offset; // the first local expert's global id
    int32_t top_k;               // 1 .. 32
    moejit_activation activation;
    float activation_alpha, activation_beta, activation_limit; // SWIGLU_OAI only, taken literally; else zero
    moejit_format activation_format;    // BF16: x and h are multiplied as bf16; NVFP4: both are rounded to NVFP4 first
    moejit_format input_format;         // NVFP4: x comes packed with linear scales (asks for NVFP4 activations)
    moejit_dtype output_dtype;          // BF16, F16 or F32
    moejit_dtype gate_up_bias_dtype;    // NONE, BF16 or F32
    moejit_dtype down_bias_dtype;       // NONE, BF16 or F32
    moejit_row_order gate_up_row_order; // ignored where the activation is not gated
    moejit_scale_layout scale_layout;   // of both weight tensors
    int32_t split_gate_up_alpha;        // 0: gate_up_alpha is [E]; 1: [E, 2], gate then up
    int32_t per_expert_intermediate_scale; // 0: intermediate_scale is [1]; 1: [E]
    int32_t router_weight_on_input;        // multiply gate and up by the router's weight, not the result (Llama 4)
    moejit_sum sum;
    moejit_packed_layout packed_layout; // AUTO, unless a family is to be forced that reads the other one
} moejit_layer;

// All zero but struct_size, output BF16, and for SWIGLU_OAI (alpha 1.702, beta 1, limit 7). Any thread.
MOEJIT_API void moejit_layer_init(moejit_layer *layer, moejit_activation activation);

// Whether the layer can run on an arch ("sm_90a"); NULL asks about the description alone. Otherwise the reason, a
// sentence with value and rule, is copied to `reason` (cut to reason_bytes). Needs no GPU. Any thread.
MOEJIT_API moejit_status moejit_layer_supported(const moejit_layer *layer, const char *arch, char *reason,
                                                size_t reason_bytes);

// ---- The context
// --------------------------------------------------------------------------------------------------------

typedef struct moejit_context moejit_context;

typedef enum moejit_attach {
    MOEJIT_ATTACH_CURRENT = 0, // the CUcontext that the calling thread has current
    MOEJIT_ATTACH_PRIMARY = 1, // the primary context of device_ordinal, retained until destroy
    MOEJIT_ATTACH_ARCH = 2,    // no GPU: compile for `arch`, inspect; nothing can be launched
} moejit_attach;

typedef enum moejit_log_level { MOEJIT_LOG_WARNING = 1, MOEJIT_LOG_INFO = 2, MOEJIT_LOG_DEBUG = 3 } moejit_log_level;
typedef void (*moejit_log_fn)(void *user, moejit_log_level level, const char *text);

typedef struct moejit_context_options {
    size_t struct_size;
    moejit_attach attach;
    int32_t device_ordinal;    // PRIMARY
    const char *arch;          // ARCH: "sm_80" .. "sm_121a"
    const char *cuda_library;  // NULL: MOEJIT_CUDA_LIBRARY, else libcuda.so.1
    const char *nvrtc_library; // NULL: MOEJIT_NVRTC_LIBRARY, else libnvrtc.so.13, .12 and the toolkit's folder
    const char *cache_path;    // the database; NULL: MOEJIT_CACHE_DIR, XDG_CACHE_HOME, HOME/.cache; "": memory only
    const char *kernel_sources_dir; // developers: read kernel sources from here, not from the library
    moejit_log_fn log;              // called on the thread that calls moejit; may be NULL
    void *log_user;
    // The kernel cache (docs/cache.md). Packs are read-only files that `moejit prefill --pack` writes, searched in
    // order after the database, colon separated; NULL: MOEJIT_CACHE_PACKS.
    const char *cache_packs;
    uint64_t cache_max_bytes; // of images, the least recently used leave first; 0: MOEJIT_CACHE_MAX_BYTES, else 4 GiB
    int64_t cache_wait_ms;    // for somebody else's compile of one kernel, then it is compiled here; 0: two minutes
    int64_t cache_failures_s; // how long a failed compile is remembered; 0: a day; negative: not at all
    // Compiles run in processes of moejit's own, which end with the call that needed them: a compiler that crashes or
    // hangs is a failed kernel with what it said. compile_workers: at most so many; 0: MOEJIT_COMPILE_WORKERS, else by
    // the cores and the free memory of machine or container; negative: NVRTC in this process, one at a time (as where
    // the helper is not found).
    int32_t compile_workers;
    int64_t compile_timeout_ms; // of one kernel in such a process; 0: 100 s
    // The compiler's program. NULL: MOEJIT_COMPILE_HELPER, else moejit-compile beside the library or in
    // ../libexec/moejit.
    const char *compile_helper;
    // 1: images of the NVRTC that is here alone, by its version; it is asked, and must be there. 0: of any that the
    // driver loads, the newest first.
    int32_t cache_present_toolchain;
    // 1: NVRTC stops at PTX and the driver assembles it, as it does where it refuses a cubin; images without a cubin
    // are hits then. Compiling takes half as long, loading longer; there are no figures of registers. For the emulator,
    // which runs PTX, and to try a newer driver's assembler. 0: as MOEJIT_PTX_ONLY says, else no; negative: no.
    int32_t ptx_only;
} moejit_context_options;

// Any thread.
MOEJIT_API void moejit_context_options_init(moejit_context_options *options);

// On failure *context is NULL and the sentence is copied to `message` (may be NULL), cut to message_bytes. The caller's
// current CUDA context is left as found. Strings are copied. Any thread.
MOEJIT_API moejit_status moejit_context_create(const moejit_context_options *options, moejit_context **context,
                                               char *message, size_t message_bytes);
// Plans, weights and executors of the context must be destroyed before. NULL is fine.
MOEJIT_API void moejit_context_destroy(moejit_context *context);

// From here on every compile is an event: seal(user, symbol) is called before it, on the calling thread, and a non-zero
// return forbids it (the call fails with NOT_PREPARED). seal NULL: every compile is forbidden. A serving host seals
// when it is warm: what is not in the cache then is its deployment's mistake.
typedef int (*moejit_seal_fn)(void *user, const char *symbol);
MOEJIT_API void moejit_context_seal(moejit_context *context, moejit_seal_fn seal, void *user);

// The sentence of the context's last failed call; "" when none failed. Valid until the next call that names the
// context.
MOEJIT_API const char *moejit_context_error(const moejit_context *context);
// "sm_90a". Valid as long as the context.
MOEJIT_API const char *moejit_context_arch(const moejit_context *context);
// The database in use; "" for memory only. Valid as long as the context.
MOEJIT_API const char *moejit_context_cache_path(const moejit_context *context);
// The NVRTC in use with its version, or "" as long as nothing had to be compiled. Valid as long as the context.
MOEJIT_API const char *moejit_context_compiler(const moejit_context *context);

typedef struct moejit_context_counters {
    size_t struct_size;                // set by the caller: sizeof
    uint64_t cache_hits, cache_misses; // images asked of the cache
    uint64_t compiles;                 // units given to NVRTC
    uint64_t heals;                    // bad rows deleted
    uint64_t module_loads;
    uint64_t evictions;       // keys that left the cache for its size
    uint64_t waits;           // images that somebody else was compiling
    uint64_t refusals;        // images of the cache that the driver refused
    uint64_t failures;        // kernels that could not be compiled, now or, by the cache, lately
    uint64_t sealed_compiles; // that the context asked for after moejit_context_seal, forbidden ones included
} moejit_context_counters;

MOEJIT_API void moejit_context_counters_read(const moejit_context *context, moejit_context_counters *counters);

// ---- Weights
// ------------------------------------------------------------------------------------------------------------

typedef struct moejit_weights moejit_weights;

typedef struct moejit_checkpoint { // device pointers to experts [first, first + count) of the pack call
    size_t struct_size;
    const void *gate_up, *gate_up_scale; // e2m1 [count, 2 I or I, H / 2]; e4m3 scales
    const void *down, *down_scale;       // e2m1 [count, H, I / 2]; e4m3 scales
} moejit_checkpoint;

// Device memory that one layer's local experts need, in bytes.
MOEJIT_API moejit_status moejit_weights_bytes(moejit_context *context, const moejit_layer *layer, size_t *bytes);

// `memory`: device memory of at least moejit_weights_bytes, aligned to 256 bytes, the caller's until destroy. Compiles
// the pack kernel on first use.
MOEJIT_API moejit_status moejit_weights_create(moejit_context *context, const moejit_layer *layer, void *memory,
                                               size_t memory_bytes, moejit_weights **weights);
MOEJIT_API void moejit_weights_destroy(moejit_weights *weights);

// Packs local experts [first, first + count) from checkpoint layout, out of place, and waits for the stream. Experts
// not packed yet must not be chosen. A NaN or negative scale is an error (the message counts them); what was packed
// stays.
MOEJIT_API moejit_status moejit_weights_pack(moejit_weights *weights, const moejit_checkpoint *checkpoint,
                                             int32_t first, int32_t count, struct CUstream_st *stream);

// ---- Plan
// ---------------------------------------------------------------------------------------------------------------

typedef struct moejit_plan moejit_plan;

// done of total kernels are ready; `current` names those at work, comma-separated. Called when that changes and about
// ten times a second while something is compiled. Non-zero cancels.
typedef int (*moejit_progress_fn)(void *user, int32_t done, int32_t total, const char *current);

// Whether a plan's decisions (tiles and the like, for each bucket of token counts) come from measurement.
typedef enum moejit_tune {
    MOEJIT_TUNE_NEVER = 0,   // by a rule, from the tokens of an average expert
    MOEJIT_TUNE_STORED = 1,  // those that the cache holds for this layer, routing and GPU; the rest by the rule
    MOEJIT_TUNE_MISSING = 2, // the same, and what the cache lacks is measured now and kept
} moejit_tune;

// Which experts the tokens of a measurement choose.
typedef enum moejit_routing {
    MOEJIT_ROUTING_UNIFORM = 0,   // each as likely
    MOEJIT_ROUTING_ZIPF = 1,      // the n-th busiest with a share of 1 / n^zipf_exponent
    MOEJIT_ROUTING_HISTOGRAM = 2, // by the caller's shares
} moejit_routing;

typedef struct moejit_tune_options {
    size_t struct_size;
    moejit_routing routing;
    float zipf_exponent;         // ZIPF; 0: 1
    const float *histogram;      // HISTOGRAM: host [num_experts] of the whole layer, each >= 0; counts or shares
    int32_t redo;                // 1: measure what is stored too, and replace it
    int64_t budget_ms;           // the longest that measuring may take, kept to within one sample; 0: a minute
    moejit_progress_fn progress; // asked before each sample: done of total buckets; non-zero cancels
    void *progress_user;
    void *scratch; // device memory of at least moejit_plan_tune_bytes, aligned to 256 bytes; NULL: it is allocated
    size_t scratch_bytes; // for the time of the call
} moejit_tune_options;

MOEJIT_API void moejit_tune_options_init(moejit_tune_options *options);

// How gate_up and down are written.
typedef enum moejit_family {
    MOEJIT_FAMILY_AUTO = 0,     // hopper on sm_90a, fp4 for NVFP4 activations on sm_120a and sm_121a, else portable
    MOEJIT_FAMILY_PORTABLE = 1, // mma.sync, any arch
    MOEJIT_FAMILY_HOPPER = 2,   // wgmma and bulk copies, sm_90a alone
    MOEJIT_FAMILY_FP4 = 3,      // block-scaled mma.sync of NVFP4 by NVFP4, sm_120a and sm_121a alone
} moejit_family;

typedef struct moejit_plan_options {
    size_t struct_size;
    int32_t max_num_tokens;    // 1 .. 65536
    int32_t tile;              // 0: choose by tokens per expert; else 1 + the index of moejit_tile_name's list
    size_t partials_cap_bytes; // deterministic and batch-invariant sum: cap of its workspace; 0: 256 MiB
    moejit_progress_fn progress;
    void *progress_user;
    moejit_family family;  // of gate_up and down; a forced tile must belong to it
    int32_t describe_only; // 1: kernels are generated and looked up in the cache, none is compiled or loaded; what they
                           // are can be asked for, and forward is NOT_PREPARED
    moejit_tune tune; // docs/tuning.md. A measurement that fails or runs out of time is a warning, and the rule decides
    const moejit_tune_options *tune_options; // NULL: the defaults; without a progress of its own it has the plan's
} moejit_plan_options;

MOEJIT_API void moejit_plan_options_init(moejit_plan_options *options);

// The name of a tile ("64x16x64": weight rows, tokens, reduction depth), or NULL past the end of the list. Any thread.
MOEJIT_API const char *moejit_tile_name(int32_t tile_idx);
// 1 where the tile's family runs on that arch ("sm_90a"), else 0. Any thread.
MOEJIT_API int32_t moejit_tile_runs_on(int32_t tile_idx, const char *arch);

// Compiles or looks up, and loads, every kernel that any token count up to the limit needs. With a context of an arch
// alone the kernels are only compiled into the cache.
MOEJIT_API moejit_status moejit_plan_create(moejit_context *context, const moejit_layer *layer,
                                            const moejit_plan_options *options, moejit_plan **plan);
MOEJIT_API void moejit_plan_destroy(moejit_plan *plan);
// Device memory that forward needs beside weights and tensors, in bytes.
MOEJIT_API size_t moejit_plan_workspace_bytes(const moejit_plan *plan);
// The sum that DEFAULT was resolved to.
MOEJIT_API moejit_sum moejit_plan_sum(const moejit_plan *plan);

// Device memory that moejit_plan_tune needs: packed weights of its own (of several layers where one's fit the L2
// cache), tensors for max_num_tokens, and a workspace. options may be NULL.
MOEJIT_API moejit_status moejit_plan_tune_bytes(const moejit_plan *plan, const moejit_tune_options *options,
                                                size_t *bytes);

// Measures the buckets of token counts up to max_num_tokens that the cache has no decision for (with redo all), keeps
// what it finds in the cache, and makes the plan follow it: each legal tile of gate_up, of down, and so on, as they
// will run (captured graphs, weights that come from memory), and only candidates whose numbers are the portable
// kernels'. The caller's tensors, weights and streams are not touched, and the sum stays as it is. Processes that share
// a cache take turns: the second finds what the first has measured. OK too where the budget ended first:
// moejit_plan_decision tells which buckets are left to the rule. CANCELLED keeps what was measured by then. Must not
// overlap with forward on the same plan, nor run while a stream is captured. options may be NULL.
MOEJIT_API moejit_status moejit_plan_tune(moejit_plan *plan, const moejit_tune_options *options);

typedef enum moejit_decided {
    MOEJIT_DECIDED_BY_RULE = 0,
    MOEJIT_DECIDED_BY_STORE = 1, // measured earlier, or elsewhere
    MOEJIT_DECIDED_BY_TUNING = 2,
} moejit_decided;

typedef struct moejit_decision {
    size_t struct_size;                        // set by the caller: sizeof
    int32_t first_num_tokens, last_num_tokens; // the bucket; it is measured at its last
    moejit_decided decided;
    char text[256];      // "gate_up=TILE down=TILE zeroing=auxiliary"; BY_RULE: what the rule says for last_num_tokens
    double us, noise_us; // a layer, median and its standard error; 0: BY_RULE
    double untuned_us;   // what the rule's choice took in the same run; 0: not known, or it was refused
    int32_t num_samples;
    int32_t num_refused; // candidates with wrong numbers, or that could not be prepared
} moejit_decision;

MOEJIT_API int32_t moejit_plan_num_decisions(const moejit_plan *plan);
MOEJIT_API moejit_status moejit_plan_decision(const moejit_plan *plan, int32_t decision_idx, moejit_decision *decision);

// 32 hex digits and a terminator over all that makes two ranks compute alike: sum, decisions, and the source of every
// kernel that they use. Not in it: which experts are local, and how the decisions came to be.
MOEJIT_API moejit_status moejit_plan_digest(const moejit_plan *plan, char digest[33]);

typedef struct moejit_kernel_info { // strings live as long as the plan
    size_t struct_size;             // set by the caller: sizeof
    const char *symbol, *source, *key_text, *ptx;
    int32_t registers, spill_bytes, static_shared_bytes, dynamic_shared_bytes, num_threads;
    int32_t cached;    // 1: the cache had it when the plan was made
    const void *cubin; // cubin, ptx and log only with a context of an arch alone, else NULL
    size_t cubin_bytes;
    const char *log; // what NVRTC and ptxas said
} moejit_kernel_info;

MOEJIT_API int32_t moejit_plan_num_kernels(const moejit_plan *plan);
MOEJIT_API moejit_status moejit_plan_kernel(const moejit_plan *plan, int32_t kernel_idx, moejit_kernel_info *info);

// ---- Executor and forward
// -----------------------------------------------------------------------------------------------

typedef struct moejit_executor moejit_executor;

typedef struct moejit_executor_options {
    size_t struct_size;
    struct CUstream_st *auxiliary_stream; // NULL: the executor makes its own
    int32_t single_stream;                // zero the output on the main stream: no auxiliary stream, no events
    int32_t serial_launches;              // no programmatic dependent launch, which sm_90 and later have
    int32_t separate_route;               // route and zero by launches of their own even where pairs are few
    int32_t max_tile_ctas; // CTAs that share a tile where tiles are few (sm_90a): 0 the default, 1 none, up to 8
} moejit_executor_options;

MOEJIT_API void moejit_executor_options_init(moejit_executor_options *options);
MOEJIT_API moejit_status moejit_executor_create(moejit_context *context, const moejit_executor_options *options,
                                                moejit_executor **executor);
MOEJIT_API void moejit_executor_destroy(moejit_executor *executor);
// The sentence of the executor's last failed call; "" when none failed. Valid until its next call.
MOEJIT_API const char *moejit_executor_error(const moejit_executor *executor);

typedef struct moejit_executor_counters {
    size_t struct_size; // set by the caller: sizeof
    uint64_t forwards;
    uint64_t launches;     // kernels and memsets
    uint64_t bytes_zeroed; // with live_tokens an upper bound
} moejit_executor_counters;

MOEJIT_API void moejit_executor_counters_read(const moejit_executor *executor, moejit_executor_counters *counters);

typedef struct moejit_tensor {
    void *data; // device pointer, 16-byte aligned
    moejit_dtype dtype;
    int64_t rows, columns;
    int64_t row_stride; // in elements; 0: columns. Rows start 16-byte aligned
} moejit_tensor;

typedef enum moejit_output_mode {
    MOEJIT_OUTPUT_OVERWRITE = 0,   // rows [0, num_tokens) become the result
    MOEJIT_OUTPUT_ACCUMULATE = 1,  // the result is added to them
    MOEJIT_OUTPUT_ASSUME_ZERO = 2, // the caller has zeroed them
} moejit_output_mode;

typedef struct moejit_forward_args {
    size_t struct_size;
    int32_t num_tokens;              // T, 0 .. max_num_tokens of the plan
    moejit_tensor x;                 // BF16 [>= T, H], or NVFP4 [>= T, H]
    const void *x_scale;             // NVFP4 x: e4m3 [T, H / 16], linear
    const int32_t *expert_ids;       // device [T, K], global ids; -1 or not local: contributes nothing here
    const float *router_weights;     // device [T, K]
    const int32_t *live_tokens;      // device [1] or NULL: rows at and past it are not read and not written
    const float *gate_up_alpha;      // device [E] or [E, 2]
    const float *down_alpha;         // device [E]
    const void *gate_up_bias;        // device [E, 2 I or I], in the checkpoint's row order
    const void *down_bias;           // device [E, H]
    const float *input_scale;        // device [1]: quantisation scale of a bf16 x (NVFP4 activations)
    const float *intermediate_scale; // device [1] or [E]: quantisation scale of h (NVFP4 activations)
    moejit_tensor output;            // [>= T, H] of the layer's output dtype
    moejit_output_mode output_mode;
    void *workspace; // device memory, 256-byte aligned
    size_t workspace_bytes;
    int32_t check_pointers; // 1: ask the driver whether pointers belong to this device and are long enough
} moejit_forward_args;

MOEJIT_API void moejit_forward_args_init(moejit_forward_args *args);

// Runs the layer on `stream`. Only launches; legal in stream capture. A failed check changes nothing, the capture
// included.
MOEJIT_API moejit_status moejit_forward(const moejit_plan *plan, const moejit_weights *weights,
                                        const moejit_forward_args *args, moejit_executor *executor,
                                        struct CUstream_st *stream);

// The steps of forward, with the same arguments and contracts, communicating through the workspace: route, then
// quantize (a no-op with bf16 activations), gate_up, down (which zeroes and combines as the output mode and the sum
// ask).
MOEJIT_API moejit_status moejit_route(const moejit_plan *plan, const moejit_forward_args *args,
                                      moejit_executor *executor, struct CUstream_st *stream);
MOEJIT_API moejit_status moejit_quantize(const moejit_plan *plan, const moejit_forward_args *args,
                                         moejit_executor *executor, struct CUstream_st *stream);
MOEJIT_API moejit_status moejit_gate_up(const moejit_plan *plan, const moejit_weights *weights,
                                        const moejit_forward_args *args, moejit_executor *executor,
                                        struct CUstream_st *stream);
MOEJIT_API moejit_status moejit_down(const moejit_plan *plan, const moejit_weights *weights,
                                     const moejit_forward_args *args, moejit_executor *executor,
                                     struct CUstream_st *stream);

// For debugging: copies h' of the last forward out of the workspace and waits. out: host bf16 [T, K, I], the row of a
// pair that is not local left as it was. In the NVFP4-activation mode the values are q * sf.
MOEJIT_API moejit_status moejit_read_intermediate(const moejit_plan *plan, const moejit_forward_args *args,
                                                  moejit_executor *executor, struct CUstream_st *stream, uint16_t *out,
                                                  size_t out_bytes);

#ifdef __cplusplus
}
#endif

#endif
