// The contract of forward: refused arguments by their messages, what it may and may not do to the driver, capture and
// replay, ranks that sum up, two layers in flight, and a failure injected at every driver call. Runs on the
// emulator, and all but the last and the counting of calls on a GPU too.
#include "../cmocka_all.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "forward_rig.h"
#include "run/context.h"

#define HIDDEN 64
#define ELEMENTS (RIG_MAX_TOKENS * HIDDEN)

static struct gpu gpu;
static int (*fail_at)(const char *entry, uint64_t n, CUresult result);
static uint64_t (*failures)(void);
static uint64_t (*calls)(const char *entry);
static void (*reset)(void);

static int open_gpu(void **state) {
    (void)state;
    if (!gpu_open(&gpu, NULL)) {
        print_message("%s\n", gpu.error);
        return -1;
    }
    *(void **)(void *)&fail_at = dlsym(gpu.library, "moejit_emulator_fail_at");
    *(void **)(void *)&failures = dlsym(gpu.library, "moejit_emulator_failures");
    *(void **)(void *)&calls = dlsym(gpu.library, "moejit_emulator_calls");
    *(void **)(void *)&reset = dlsym(gpu.library, "moejit_emulator_reset");
    return 0;
}

// Counting and failing driver calls is for the emulator alone; on a GPU the rest of the contract is checked.
static void needs_emulator(void) {
    if (fail_at == NULL || failures == NULL || calls == NULL || reset == NULL) skip();
}

static int close_gpu(void **state) {
    (void)state;
    gpu_close(&gpu);
    return 0;
}

static struct layer_data make_data(const moejit_layer *layer, uint64_t seed) {
    struct mj_problem problem;
    struct mj_error error;
    struct layer_data data;
    assert_int_equal(mj_problem_create(&problem, layer, &error), MOEJIT_STATUS_OK);
    assert_true(layer_data_create(&data, &problem, RIG_MAX_TOKENS, ROUTING_UNIFORM, false, seed));
    return data;
}

static void make_rig(struct rig *rig, uint64_t seed) {
    moejit_layer layer = rig_layer();
    struct layer_data data = make_data(&layer, seed);
    assert_int_equal(rig_create(rig, &gpu, &layer, &data), MOEJIT_STATUS_OK);
}

static moejit_status route_apart(struct rig *rig) {
    moejit_executor_options options;
    moejit_executor_options_init(&options);
    options.separate_route = 1;
    return rig_change_executor(rig, &options);
}

static void assert_refused(struct rig *rig, const moejit_forward_args *args, moejit_status status,
                           const char *message) {
    assert_int_equal(moejit_forward(rig->plan, rig->weights, args, rig->executor, rig->stream), status);
    if (strstr(moejit_executor_error(rig->executor), message) == NULL) {
        fail_msg("\"%s\" does not hold \"%s\"", moejit_executor_error(rig->executor), message);
    }
}

static void refused_arguments_say_value_and_rule(void **state) {
    (void)state;
    struct rig rig;
    make_rig(&rig, 0);
#define REFUSED(change, message)                                                                                       \
    do {                                                                                                               \
        moejit_forward_args args = rig.args;                                                                           \
        change;                                                                                                        \
        assert_refused(&rig, &args, MOEJIT_STATUS_INVALID_ARGUMENT, message);                                          \
    } while (0)
    REFUSED(args.struct_size = 5, "forward args has struct_size 5");
    REFUSED(args.num_tokens = -1, "forward has num_tokens = -1, needs at least 0");
    REFUSED(args.output.rows = 7, "output has rows = 7, needs at least num_tokens = 8");
    REFUSED(args.x.rows = 7, "x has rows = 7, needs at least num_tokens = 8");
    REFUSED(args.output.columns = 48, "output has columns = 48, needs hidden = 64");
    REFUSED(args.output.dtype = MOEJIT_DTYPE_BF16, "output has dtype bf16, needs f32");
    REFUSED(args.x.dtype = MOEJIT_DTYPE_F32, "x has dtype f32, needs bf16");
    REFUSED(args.output.row_stride = 63, "output has row_stride = 63, needs at least columns = 64");
    REFUSED(args.output.row_stride = 65, "output has row_stride in bytes = 260, needs a multiple of 16");
    REFUSED(args.output.data = NULL, "output has data = (nil), needs device memory aligned to 16 bytes");
    REFUSED(args.x.data = (char *)args.x.data + 8, "needs device memory aligned to 16 bytes");
    REFUSED(args.expert_ids = NULL, "expert_ids is NULL, the layer needs it (64 bytes)");
    REFUSED(args.router_weights = NULL, "router_weights is NULL");
    REFUSED(args.gate_up_alpha = NULL, "gate_up_alpha is NULL");
    REFUSED(args.down_alpha = NULL, "down_alpha is NULL, the layer needs it (16 bytes)");
    REFUSED(args.down_bias = args.x.data, "but the layer takes none; needs NULL");
    REFUSED(args.input_scale = args.down_alpha, "input_scale is");
    REFUSED(args.workspace = NULL, "workspace is NULL");
    REFUSED(args.workspace = (char *)args.workspace + 16, "needs an address aligned to 256 bytes");
    REFUSED(args.workspace_bytes -= 1, "workspace has bytes = ");
    REFUSED(args.output_mode = (moejit_output_mode)3, "forward has output_mode = 3, needs 0 to 2");
    REFUSED((args.check_pointers = 1, args.expert_ids = (const int32_t *)&gpu), "which is no memory that CUDA knows");
    REFUSED((args.check_pointers = 1, args.x.data = (char *)args.x.data + 128),
            "x has bytes left in its allocation = 896, needs 1024");
    assert_int_equal(moejit_forward(NULL, rig.weights, &rig.args, rig.executor, rig.stream),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_string_equal(moejit_executor_error(rig.executor), "plan is NULL");
    assert_int_equal(moejit_forward(rig.plan, NULL, &rig.args, rig.executor, rig.stream),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_string_equal(moejit_executor_error(rig.executor), "weights is NULL");
    assert_int_equal(moejit_forward(rig.plan, rig.weights, &rig.args, NULL, rig.stream),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK); // nothing was lost
    rig_destroy(&rig);
}

static void forward_only_launches(void **state) {
    static const char *const forbidden[] = {"cuModuleLoadDataEx", "cuModuleGetFunction", "cuMemAlloc_v2",
                                            "cuMemFree_v2",       "cuStreamSynchronize", "cuCtxSynchronize",
                                            "cuStreamCreate",     "cuEventCreate"};
    (void)state;
    needs_emulator();
    struct rig rig;
    make_rig(&rig, 0);
    moejit_context_counters before = {.struct_size = sizeof(before)}, after = before;
    moejit_context_counters_read(rig.context, &before);
    reset();
    assert_int_equal(moejit_forward(rig.plan, rig.weights, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(calls(NULL), 3); // current context, gate_up, down: few pairs
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) assert_int_equal(calls(forbidden[i]), 0);
    moejit_context_counters_read(rig.context, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(route_apart(&rig), MOEJIT_STATUS_OK);
    reset();
    assert_int_equal(moejit_forward(rig.plan, rig.weights, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    // current context, fork (2), memset, join (2), three kernels
    assert_int_equal(calls(NULL), 9);
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++) assert_int_equal(calls(forbidden[i]), 0);
    reset();
    rig.args.num_tokens = 0;
    assert_int_equal(moejit_forward(rig.plan, rig.weights, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(calls(NULL), 0);
    rig_destroy(&rig);
}

static CUresult(CUDAAPI *launch_kernel)(const CUlaunchConfig *, CUfunction, void **, void **);
static const struct moejit_context *launching;
static int launches_with_shared_memory;

// Of a launch with dynamic shared memory: as many CTAs fit a multiprocessor as an even spread puts there, and no more.
static CUresult CUDAAPI check_spread(const CUlaunchConfig *config, CUfunction function, void **parameters,
                                     void **extra) {
    int per_sm = ((int)config->gridDimX + launching->num_sms - 1) / launching->num_sms;
    int taken = (int)config->sharedMemBytes + launching->reserved_shared_bytes;
    if (config->sharedMemBytes > 0) {
        launches_with_shared_memory++;
        assert_true(per_sm * taken <= launching->sm_shared_bytes);
        assert_true((per_sm + 1) * taken > launching->sm_shared_bytes);
    }
    return launch_kernel(config, function, parameters, extra);
}

static void few_ctas_spread_over_the_multiprocessors(void **state) {
    (void)state;
    needs_emulator();
    struct rig rig;
    make_rig(&rig, 0);
    launching = rig.context;
    launch_kernel = rig.context->driver.cuLaunchKernelEx;
    rig.context->driver.cuLaunchKernelEx = check_spread;
    launches_with_shared_memory = 0;
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_int_equal(launches_with_shared_memory, 2); // gate_up and down, of 8 CTAs at most
    rig_destroy(&rig);
}

static void what_is_not_prepared_leaves_a_capture_whole(void **state) {
    (void)state;
    struct rig rig;
    CUgraph graph = NULL;
    make_rig(&rig, 0);
    assert_int_equal(gpu.cuStreamBeginCapture(rig.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), CUDA_SUCCESS);
    moejit_forward_args more = rig.args;
    more.num_tokens = 9;
    assert_refused(&rig, &more, MOEJIT_STATUS_NOT_PREPARED,
                   "forward has num_tokens = 9, the plan was made for at most max_num_tokens = 8");
    assert_int_equal(moejit_forward(rig.plan, rig.weights, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(gpu.cuStreamEndCapture(rig.stream, &graph), CUDA_SUCCESS);
    gpu.cuGraphDestroy(graph);
    rig_destroy(&rig);
}

// Captured once, replayed with other contents in the same buffers, then with fewer live tokens.
static void a_graph_replays_with_new_contents(void **state) {
    (void)state;
    struct rig rig, fresh;
    CUgraph graph = NULL;
    CUgraphExec exec = NULL;
    float first[ELEMENTS], replayed[ELEMENTS], wanted[ELEMENTS];
    int32_t live = RIG_MAX_TOKENS;
    make_rig(&rig, 0);
    make_rig(&fresh, 1);
    rig.args.live_tokens = rig.memory[rig.num_memory++] = gpu_upload(&gpu, &live, sizeof(live));
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, first));
    assert_int_equal(gpu.cuStreamBeginCapture(rig.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), CUDA_SUCCESS);
    assert_int_equal(moejit_forward(rig.plan, rig.weights, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(gpu.cuStreamEndCapture(rig.stream, &graph), CUDA_SUCCESS);
    assert_int_equal(gpu.cuGraphInstantiate(&exec, graph, 0), CUDA_SUCCESS);
    // The other rig's x and ids, with this rig's weights, run eagerly: what the replay must give.
    size_t ids = RIG_MAX_TOKENS * 2 * sizeof(int32_t);
    assert_int_equal(gpu.cuMemcpyHtoD((CUdeviceptr)rig.args.x.data, fresh.data.x, fresh.data.x_bytes), CUDA_SUCCESS);
    assert_int_equal(gpu.cuMemcpyHtoD((CUdeviceptr)rig.args.expert_ids, fresh.data.expert_ids, ids), CUDA_SUCCESS);
    assert_int_equal(gpu.cuCtxSynchronize(), CUDA_SUCCESS);
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, wanted) && rig_fill_output(&rig, NAN));
    assert_int_equal(gpu.cuGraphLaunch(exec, rig.stream), CUDA_SUCCESS);
    assert_int_equal(gpu.cuStreamSynchronize(rig.stream), CUDA_SUCCESS);
    assert_true(rig_output(&rig, replayed));
    for (int i = 0; i < ELEMENTS; i++) assert_true(fabsf(replayed[i] - wanted[i]) <= 1e-6f * (1 + fabsf(wanted[i])));
    assert_memory_not_equal(first, replayed, sizeof(first));
    live = 3;
    assert_int_equal(gpu.cuMemcpyHtoD((CUdeviceptr)rig.args.live_tokens, &live, sizeof(live)), CUDA_SUCCESS);
    assert_true(rig_fill_output(&rig, 7));
    assert_int_equal(gpu.cuGraphLaunch(exec, rig.stream), CUDA_SUCCESS);
    assert_int_equal(gpu.cuStreamSynchronize(rig.stream), CUDA_SUCCESS);
    assert_true(rig_output(&rig, replayed));
    for (int i = 0; i < ELEMENTS; i++) {
        float want = i < 3 * HIDDEN ? wanted[i] : 7;
        assert_true(fabsf(replayed[i] - want) <= 1e-6f * (1 + fabsf(want)));
    }
    gpu.cuGraphExecDestroy(exec);
    gpu.cuGraphDestroy(graph);
    rig_destroy(&rig);
    rig_destroy(&fresh);
}

static void two_layers_on_two_streams_do_not_disturb_each_other(void **state) {
    (void)state;
    struct rig a, b;
    float alone_a[ELEMENTS], alone_b[ELEMENTS], got[ELEMENTS];
    make_rig(&a, 0);
    make_rig(&b, 1);
    assert_int_equal(rig_forward(&a), MOEJIT_STATUS_OK);
    assert_int_equal(rig_forward(&b), MOEJIT_STATUS_OK);
    assert_true(rig_output(&a, alone_a) && rig_output(&b, alone_b) && rig_fill_output(&a, NAN) &&
                rig_fill_output(&b, NAN));
    assert_int_equal(moejit_forward(a.plan, a.weights, &a.args, a.executor, a.stream), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_forward(b.plan, b.weights, &b.args, b.executor, b.stream), MOEJIT_STATUS_OK);
    assert_int_equal(gpu.cuStreamSynchronize(b.stream), CUDA_SUCCESS);
    assert_int_equal(gpu.cuStreamSynchronize(a.stream), CUDA_SUCCESS);
    assert_true(rig_output(&a, got));
    for (int i = 0; i < ELEMENTS; i++) assert_true(fabsf(got[i] - alone_a[i]) <= 1e-6f * (1 + fabsf(alone_a[i])));
    assert_true(rig_output(&b, got));
    for (int i = 0; i < ELEMENTS; i++) assert_true(fabsf(got[i] - alone_b[i]) <= 1e-6f * (1 + fabsf(alone_b[i])));
    rig_destroy(&a);
    rig_destroy(&b);
}

// A rank's share of the whole layer's tensors.
static void run_rank(const struct layer_data *whole, moejit_layer layer, const struct layer_data *rank_data,
                     float *sum) {
    struct rig rig;
    float output[ELEMENTS];
    (void)whole;
    assert_int_equal(rig_create(&rig, &gpu, &layer, rank_data), MOEJIT_STATUS_OK);
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, output));
    for (int i = 0; i < ELEMENTS; i++) sum[i] += output[i];
    rig_destroy(&rig);
}

static void assert_same_layer(const float *sum) {
    struct rig rig;
    float output[ELEMENTS];
    make_rig(&rig, 0);
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, output));
    for (int i = 0; i < ELEMENTS; i++) assert_true(fabsf(sum[i] - output[i]) <= 1e-5f * (1 + fabsf(output[i])));
    rig_destroy(&rig);
}

static void ranks_of_expert_parallelism_sum_up(void **state) {
    (void)state;
    moejit_layer layer = rig_layer();
    struct layer_data whole = make_data(&layer, 0);
    float sum[ELEMENTS] = {0};
    static const int firsts[] = {0, 1, 3}, counts[] = {1, 2, 1};
    for (int r = 0; r < 3; r++) {
        moejit_layer share = layer;
        share.local_expert_offset = firsts[r];
        share.num_local_experts = counts[r];
        struct layer_data data = make_data(&share, 0);
        size_t first = (size_t)firsts[r];
        memcpy(data.gate_up, whole.gate_up + first * (whole.gate_up_bytes / 4), data.gate_up_bytes);
        memcpy(data.gate_up_scale, whole.gate_up_scale + first * (whole.gate_up_scale_bytes / 4),
               data.gate_up_scale_bytes);
        memcpy(data.down, whole.down + first * (whole.down_bytes / 4), data.down_bytes);
        memcpy(data.down_scale, whole.down_scale + first * (whole.down_scale_bytes / 4), data.down_scale_bytes);
        memcpy(data.x, whole.x, whole.x_bytes);
        memcpy(data.expert_ids, whole.expert_ids, sizeof(int32_t) * 2 * RIG_MAX_TOKENS);
        memcpy(data.router_weights, whole.router_weights, sizeof(float) * 2 * RIG_MAX_TOKENS);
        memcpy(data.gate_up_alpha, whole.gate_up_alpha + first, (size_t)counts[r] * sizeof(float));
        memcpy(data.down_alpha, whole.down_alpha + first, (size_t)counts[r] * sizeof(float));
        run_rank(&whole, share, &data, sum);
    }
    layer_data_destroy(&whole);
    assert_same_layer(sum);
}

// Rows [first, first + 16) of the gate and of the up half, columns [first, first + 16) of down.
static void slice_rank(const struct layer_data *whole, struct layer_data *data, size_t first) {
    const size_t row = HIDDEN / 2, scale_row = HIDDEN / 16;
    for (size_t e = 0; e < 4; e++) {
        for (size_t r = 0; r < 32; r++) {
            size_t from = e * 64 + (r < 16 ? first + r : 32 + first + r - 16), to = e * 32 + r;
            memcpy(data->gate_up + to * row, whole->gate_up + from * row, row);
            memcpy(data->gate_up_scale + to * scale_row, whole->gate_up_scale + from * scale_row, scale_row);
        }
        for (size_t r = 0; r < HIDDEN; r++) {
            size_t at = e * HIDDEN + r;
            memcpy(data->down + at * 8, whole->down + at * 16 + first / 2, 8);
            data->down_scale[at] = whole->down_scale[at * 2 + first / 16];
        }
    }
    memcpy(data->x, whole->x, whole->x_bytes);
    memcpy(data->expert_ids, whole->expert_ids, sizeof(int32_t) * 2 * RIG_MAX_TOKENS);
    memcpy(data->router_weights, whole->router_weights, sizeof(float) * 2 * RIG_MAX_TOKENS);
    memcpy(data->gate_up_alpha, whole->gate_up_alpha, 4 * sizeof(float));
    memcpy(data->down_alpha, whole->down_alpha, 4 * sizeof(float));
}

static void ranks_of_tensor_parallelism_sum_up(void **state) {
    (void)state;
    moejit_layer layer = rig_layer(), share = layer;
    struct layer_data whole = make_data(&layer, 0);
    float sum[ELEMENTS] = {0};
    share.intermediate = 16;
    for (size_t rank = 0; rank < 2; rank++) {
        struct layer_data data = make_data(&share, 0);
        slice_rank(&whole, &data, rank * 16);
        run_rank(&whole, share, &data, sum);
    }
    layer_data_destroy(&whole);
    assert_same_layer(sum);
}

static void invalid_scales_are_counted_by_pack(void **state) {
    (void)state;
    struct rig rig;
    make_rig(&rig, 0);
    uint8_t bad[2] = {0x7f, 0xb8};
    assert_int_equal(gpu.cuMemcpyHtoD((CUdeviceptr)rig.checkpoint.down_scale + 5, bad, 2), CUDA_SUCCESS);
    assert_int_equal(gpu.cuCtxSynchronize(), CUDA_SUCCESS);
    assert_int_equal(moejit_weights_pack(rig.weights, &rig.checkpoint, 0, 1, rig.stream),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_string_equal(moejit_context_error(rig.context),
                        "experts 0 to 0 hold 2 NaN or negative block scales; e4m3 scales must be 0 to 448");
    assert_int_equal(moejit_weights_pack(rig.weights, &rig.checkpoint, 3, 2, rig.stream),
                     MOEJIT_STATUS_INVALID_ARGUMENT);
    assert_string_equal(moejit_context_error(rig.context),
                        "pack is asked for experts 3 to 4; the layer has local experts 0 to 3");
    rig_destroy(&rig);
}

// A copy of a tensor that starts `offset` bytes into its memory, which is the caller's to free.
static const void *upload_at(size_t offset, const void *tensor, size_t bytes, void **memory) {
    unsigned char *padded = calloc(1, bytes + offset);
    assert_non_null(padded);
    memcpy(padded + offset, tensor, bytes);
    *memory = gpu_upload(&gpu, padded, bytes + offset);
    assert_non_null(*memory);
    free(padded);
    return (unsigned char *)*memory + offset;
}

// A file of a checkpoint puts a tensor where it likes.
static void tensors_to_pack_may_start_anywhere(void **state) {
    (void)state;
    struct rig rig;
    make_rig(&rig, 0);
    const struct layer_data *data = &rig.data;
    unsigned char *wanted = malloc(rig.packed_bytes), *got = malloc(rig.packed_bytes);
    assert_true(wanted != NULL && got != NULL && gpu_download(&gpu, wanted, rig.packed, rig.packed_bytes));
    for (size_t offset = 1; offset <= 4; offset++) {
        void *memory[4];
        moejit_checkpoint checkpoint = {sizeof(checkpoint),
                                        upload_at(offset, data->gate_up, data->gate_up_bytes, &memory[0]),
                                        upload_at(offset, data->gate_up_scale, data->gate_up_scale_bytes, &memory[1]),
                                        upload_at(offset + 2, data->down, data->down_bytes, &memory[2]),
                                        upload_at(offset + 2, data->down_scale, data->down_scale_bytes, &memory[3])};
        assert_int_equal(gpu.cuMemsetD8((CUdeviceptr)rig.packed, 0xff, rig.packed_bytes), CUDA_SUCCESS);
        assert_int_equal(gpu.cuCtxSynchronize(), CUDA_SUCCESS);
        assert_int_equal(moejit_weights_pack(rig.weights, &checkpoint, 0, 4, rig.stream), MOEJIT_STATUS_OK);
        assert_true(gpu_download(&gpu, got, rig.packed, rig.packed_bytes));
        assert_memory_equal(got, wanted, rig.packed_bytes);
        for (int i = 0; i < 4; i++) gpu_free(&gpu, memory[i]);
    }
    free(wanted);
    free(got);
    rig_destroy(&rig);
}

// The steps one by one give what forward gives.
static void steps_make_up_forward(void **state) {
    (void)state;
    struct rig rig;
    float whole[ELEMENTS], stepped[ELEMENTS];
    make_rig(&rig, 0);
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    assert_true(rig_output(&rig, whole) && rig_fill_output(&rig, NAN));
    assert_int_equal(moejit_route(rig.plan, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_quantize(rig.plan, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_gate_up(rig.plan, rig.weights, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(moejit_down(rig.plan, rig.weights, &rig.args, rig.executor, rig.stream), MOEJIT_STATUS_OK);
    assert_int_equal(gpu.cuStreamSynchronize(rig.stream), CUDA_SUCCESS);
    assert_true(rig_output(&rig, stepped));
    for (int i = 0; i < ELEMENTS; i++) assert_true(fabsf(stepped[i] - whole[i]) <= 1e-6f * (1 + fabsf(whole[i])));
    rig_destroy(&rig);
}

static moejit_status live(struct rig *rig, const moejit_layer *layer, bool apart) {
    struct layer_data data = make_data(layer, 0);
    moejit_status status = rig_create(rig, &gpu, layer, &data);
    if (status == MOEJIT_STATUS_OK && apart) status = route_apart(rig);
    if (status != MOEJIT_STATUS_OK) return status;
    status = rig_forward(rig);
    if (status != MOEJIT_STATUS_OK && status != MOEJIT_STATUS_INTERNAL) {
        assert_true(strlen(moejit_executor_error(rig->executor)) > 0);
    }
    return status;
}

// The n-th driver call of a whole life fails, for every n, until a life runs in which nothing was injected.
static void fail_every_driver_call(bool apart) {
    needs_emulator();
    moejit_layer layer = rig_layer();
    uint64_t n = 1;
    for (;; n++) {
        struct rig rig;
        reset();
        assert_int_equal(fail_at(NULL, n, CUDA_ERROR_OPERATING_SYSTEM), 1);
        moejit_status status = live(&rig, &layer, apart);
        uint64_t injected = failures();
        if (injected > 0) fail_at(NULL, 0, CUDA_SUCCESS);
        rig_destroy(&rig);
        if (injected == 0 && failures() == 0) {
            assert_int_equal(status, MOEJIT_STATUS_OK);
            break;
        }
        fail_at(NULL, 0, CUDA_SUCCESS);
        gpu.cuCtxSynchronize();
    }
    fail_at(NULL, 0, CUDA_SUCCESS);
    print_message("%llu driver calls made to fail, one in each life\n", (unsigned long long)(n - 1));
    assert_true(n > 100);
    struct rig rig;
    make_rig(&rig, 0); // and the next one works
    assert_int_equal(rig_forward(&rig), MOEJIT_STATUS_OK);
    rig_destroy(&rig);
}

static void every_driver_call_may_fail(void **state) {
    (void)state;
    fail_every_driver_call(false);
}

static void every_driver_call_may_fail_with_a_launch_for_each_step(void **state) {
    (void)state;
    fail_every_driver_call(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_arguments_say_value_and_rule),
        cmocka_unit_test(forward_only_launches),
        cmocka_unit_test(few_ctas_spread_over_the_multiprocessors),
        cmocka_unit_test(what_is_not_prepared_leaves_a_capture_whole),
        cmocka_unit_test(a_graph_replays_with_new_contents),
        cmocka_unit_test(two_layers_on_two_streams_do_not_disturb_each_other),
        cmocka_unit_test(ranks_of_expert_parallelism_sum_up),
        cmocka_unit_test(ranks_of_tensor_parallelism_sum_up),
        cmocka_unit_test(invalid_scales_are_counted_by_pack),
        cmocka_unit_test(tensors_to_pack_may_start_anywhere),
        cmocka_unit_test(steps_make_up_forward),
        cmocka_unit_test(every_driver_call_may_fail),
        cmocka_unit_test(every_driver_call_may_fail_with_a_launch_for_each_step),
    };
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
