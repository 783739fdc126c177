// Tensor maps and the copies of boxes: every rank, swizzle and edge, stores and reductions, multicast; and st.async.
#include "driver_test.h"

#define MAX_BOX_BYTES 8192

#define HEAD                                                                                                           \
    ".version 8.0\n.target sm_90a\n.address_size 64\n"                                                                 \
    ".visible .entry k(.param .align 64 .b8 map[128], .param .u64 out, .param .u32 x, .param .u32 y, .param .u32 z, "  \
    ".param .u32 bytes)\n{\n"                                                                                          \
    ".reg .pred %p<4>;\n.reg .b32 %r<20>;\n.reg .b64 %rd<8>;\n.reg .b16 %h<2>;\n"                                      \
    ".shared .align 1024 .b8 box[8192];\n.shared .align 8 .b8 bar[8];\n"                                               \
    "mov.b64 %rd1, map;\ncvta.param.u64 %rd1, %rd1;\nld.param.u64 %rd2, [out];\ncvta.to.global.u64 %rd2, %rd2;\n"      \
    "ld.param.u32 %r1, [x];\nld.param.u32 %r2, [y];\nld.param.u32 %r3, [z];\nld.param.u32 %r4, [bytes];\n"             \
    "mov.u32 %r5, %tid.x;\nmov.u32 %r6, box;\nmov.u32 %r7, bar;\nsetp.ne.u32 %p1, %r5, 0;\n"
// Thread 0 does what is given; then all copy the box out of shared memory, word by word.
#define LOAD(copy)                                                                                                     \
    HEAD "@%p1 bra READY;\nmbarrier.init.shared.b64 [%r7], 1;\nfence.mbarrier_init.release.cluster;\nREADY:\n"         \
         "barrier.cluster.arrive;\nbarrier.cluster.wait;\n@%p1 bra WAIT;\n"                                            \
         "mbarrier.arrive.expect_tx.shared.b64 %rd3, [%r7], %r4;\n" copy "WAIT:\n"                                     \
         "mbarrier.try_wait.parity.shared.b64 %p2, [%r7], 0;\n@!%p2 bra WAIT;\nmov.u32 %r13, %cluster_ctarank;\n"      \
         "mad.lo.u32 %r14, %r13, %r4, 0;\ncvt.u64.u32 %rd6, %r14;\nadd.s64 %rd2, %rd2, %rd6;\n"                        \
         "shl.b32 %r8, %r5, 2;\nNEXT:\nsetp.ge.u32 %p3, %r8, %r4;\n@%p3 bra DONE;\n"                                   \
         "add.u32 %r9, %r6, %r8;\nld.shared.u32 %r10, [%r9];\ncvt.u64.u32 %rd4, %r8;\nadd.s64 %rd5, %rd2, %rd4;\n"     \
         "st.global.u32 [%rd5], %r10;\nadd.u32 %r8, %r8, 128;\nbra NEXT;\nDONE:\n"                                     \
         "barrier.cluster.arrive;\nbarrier.cluster.wait;\nret;\n}\n"
#define COMPLETE ".mbarrier::complete_tx::bytes"
#define LOAD_OF(rank, coordinates)                                                                                     \
    LOAD("cp.async.bulk.tensor." rank ".shared::cluster.global.tile" COMPLETE " [%r6], [%rd1, {" coordinates           \
         "}], [%r7];\n")
#define MULTICAST                                                                                                      \
    LOAD("mov.u32 %r15, %cluster_ctarank;\nsetp.ne.u32 %p2, %r15, 0;\n@%p2 bra WAIT;\nmov.u16 %h1, 3;\n"               \
         "cp.async.bulk.tensor.2d.shared::cluster.global" COMPLETE ".multicast::cluster [%r6], [%rd1, {%r1, %r2}], "   \
         "[%r7], %h1;\n")
// The box's words are filled with their number plus one, then stored or added.
#define STORE(copy)                                                                                                    \
    HEAD "shl.b32 %r8, %r5, 2;\nNEXT:\nsetp.ge.u32 %p3, %r8, %r4;\n@%p3 bra FULL;\nshr.u32 %r10, %r8, 2;\n"            \
         "add.u32 %r10, %r10, 1;\nadd.u32 %r9, %r6, %r8;\nst.shared.u32 [%r9], %r10;\nadd.u32 %r8, %r8, 128;\n"        \
         "bra NEXT;\nFULL:\nfence.proxy.async;\nbar.sync 0;\n@%p1 ret;\n" copy                                         \
         "cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;\nret;\n}\n"
#define STORE_TO "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd1, {%r1, %r2}], [%r6];\n"
#define ADD_TO "cp.reduce.async.bulk.tensor.2d.global.shared::cta.add.bulk_group [%rd1, {%r1, %r2}], [%r6];\n"

struct tensor {
    unsigned rank;
    CUtensorMapDataType type;
    unsigned element_bytes;
    cuuint64_t dims[3];
    cuuint32_t box[3];
    CUtensorMapSwizzle swizzle;
};

static cuuint64_t pitch(const struct tensor *tensor, unsigned dimension) { // bytes between neighbours of it
    cuuint64_t bytes = tensor->element_bytes;
    for (unsigned i = 0; i < dimension; i++) {
        bytes *= tensor->dims[i];
        if (i == 0) bytes = (bytes + 31) / 16 * 16; // rows do not touch
    }
    return bytes;
}

static CUresult make_map(CUtensorMap *map, const struct tensor *tensor, CUdeviceptr address) {
    cuuint64_t strides[2] = {pitch(tensor, 1), pitch(tensor, 2)};
    cuuint32_t ones[3] = {1, 1, 1};
    return cuTensorMapEncodeTiled(map, tensor->type, tensor->rank, (void *)address, tensor->dims, strides, tensor->box,
                                  ones, CU_TENSOR_MAP_INTERLEAVE_NONE, tensor->swizzle, CU_TENSOR_MAP_L2_PROMOTION_NONE,
                                  CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

static unsigned box_bytes(const struct tensor *tensor) {
    unsigned bytes = tensor->element_bytes;
    for (unsigned i = 0; i < tensor->rank; i++) bytes *= tensor->box[i];
    return bytes;
}

// Where byte `at` of the box, counted densely, lies in shared memory.
static unsigned place(const struct tensor *tensor, unsigned at) {
    static const unsigned masks[] = {0, 1, 3, 7};
    return at ^ ((at >> 7 & masks[tensor->swizzle]) << 4);
}

// The offset in the tensor of byte `at` of the box; false outside.
static bool inside(const struct tensor *tensor, const int *corner, unsigned at, size_t *offset) {
    unsigned element = at / tensor->element_bytes;
    *offset = at % tensor->element_bytes;
    for (unsigned i = 0; i < tensor->rank; i++) {
        long long where = corner[i] + (long long)(element % tensor->box[i]);
        element /= tensor->box[i];
        if (where < 0 || where >= (long long)tensor->dims[i]) return false;
        *offset += (size_t)where * pitch(tensor, i);
    }
    return true;
}

static CUresult launch(const char *ptx, CUtensorMap *map, CUdeviceptr out, const int *corner, unsigned bytes,
                       unsigned blocks) {
    CUmodule module = NULL;
    CUfunction function = NULL;
    void *parameters[] = {map, &out, (void *)&corner[0], (void *)&corner[1], (void *)&corner[2], &bytes};
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, .value.clusterDim = {blocks, 1, 1}};
    CUlaunchConfig config = {.gridDimX = blocks,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 32,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &attribute,
                             .numAttrs = 1};
    assert_ok(cuModuleLoadData(&module, ptx));
    assert_ok(cuModuleGetFunction(&function, module, "k"));
    assert_ok(cuLaunchKernelEx(&config, function, parameters, NULL));
    return cuCtxSynchronize();
}

static void expect_load(const char *ptx, const struct tensor *tensor, const int *corner, unsigned blocks) {
    unsigned bytes = box_bytes(tensor);
    size_t total = pitch(tensor, tensor->rank);
    static unsigned char host[1 << 16], seen[2 * MAX_BOX_BYTES];
    CUdeviceptr memory = 0, out = 0;
    CUtensorMap map __attribute__((aligned(64)));
    assert_true(total <= sizeof(host) && bytes <= MAX_BOX_BYTES);
    for (size_t i = 0; i < total; i++) host[i] = (unsigned char)(i * 7 + i / 251 + 1);
    assert_ok(cuMemAlloc(&memory, total));
    assert_ok(cuMemAlloc(&out, 2 * MAX_BOX_BYTES));
    assert_ok(cuMemcpyHtoD(memory, host, total));
    assert_ok(make_map(&map, tensor, memory));
    assert_ok(launch(ptx, &map, out, corner, bytes, blocks));
    assert_ok(cuMemcpyDtoH(seen, out, (size_t)bytes * blocks));
    for (unsigned at = 0; at < bytes * blocks; at++) {
        size_t offset = 0;
        bool within = inside(tensor, corner, at % bytes, &offset);
        assert_int_equal(seen[at / bytes * bytes + place(tensor, at % bytes)], within ? host[offset] : 0);
    }
    assert_ok(cuMemFree(memory));
    assert_ok(cuMemFree(out));
}

static void test_loads(void **state) {
    (void)state;
    const struct tensor line = {1, CU_TENSOR_MAP_DATA_TYPE_UINT8, 1, {1000}, {256}, CU_TENSOR_MAP_SWIZZLE_NONE};
    const struct tensor room = {3,         CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, {20, 9, 6},
                                {8, 4, 3}, CU_TENSOR_MAP_SWIZZLE_NONE};
    // The first coordinate in units of 16 bytes.
    const int corners[][3] = {{0, 0, 0}, {1, 2, 1}, {-1, -1, -1}, {4, 6, 4}, {8, 20, 1}, {60, 5, 0}, {900, 900, 900}};
    for (int i = 0; i < 7; i++) {
        const int *at = corners[i];
        expect_load(LOAD_OF("1d", "%r1"), &line, (const int[]){at[0] * 16, 0, 0}, 1);
        expect_load(LOAD_OF("3d", "%r1, %r2, %r3"), &room, (const int[]){at[0] * 4, at[1], at[2]}, 1);
        for (unsigned swizzle = 0; swizzle < 4; swizzle++) {
            const struct tensor page = {
                2, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, {100, 40}, {8u << swizzle, 32}, (CUtensorMapSwizzle)swizzle};
            expect_load(LOAD_OF("2d", "%r1, %r2"), &page, (const int[]){at[0] * 8, at[1], 0}, 1);
            expect_load(MULTICAST, &page, (const int[]){at[0] * 8, at[1], 0}, 2);
        }
    }
}

static void expect_stored(const char *ptx, unsigned swizzle, const int *corner, unsigned added) {
    const struct tensor page = {
        2, CU_TENSOR_MAP_DATA_TYPE_UINT32, 4, {50, 20}, {4u << swizzle, 16}, (CUtensorMapSwizzle)swizzle};
    struct tensor written = page;
    written.dims[0] = 52; // whole 16 bytes
    size_t total = pitch(&page, 2);
    unsigned bytes = box_bytes(&page);
    static unsigned words[4096], wanted[4096];
    CUdeviceptr memory = 0;
    CUtensorMap map __attribute__((aligned(64)));
    for (size_t i = 0; i < total / 4; i++) words[i] = wanted[i] = (unsigned)i * 3;
    for (unsigned at = 0; at < bytes; at += 4) {
        size_t offset = 0;
        if (!inside(&written, corner, at, &offset)) continue;
        wanted[offset / 4] = wanted[offset / 4] * added + place(&page, at) / 4 + 1;
    }
    assert_ok(cuMemAlloc(&memory, total));
    assert_ok(cuMemcpyHtoD(memory, words, total));
    assert_ok(make_map(&map, &page, memory));
    assert_ok(launch(ptx, &map, memory, corner, bytes, 1));
    assert_ok(cuMemcpyDtoH(words, memory, total));
    assert_memory_equal(words, wanted, total);
    assert_ok(cuMemFree(memory));
}

static void test_stores_and_reductions(void **state) {
    (void)state;
    const int corners[][3] = {{0, 0, 0}, {8, 3, 0}, {40, 0, 0}, {44, 12, 0}, {48, 19, 0}, {52, 20, 0}};
    for (int i = 0; i < 6; i++) {
        for (unsigned swizzle = 0; swizzle < 4; swizzle++) {
            expect_stored(STORE(STORE_TO), swizzle, corners[i], 0);
            expect_stored(STORE(ADD_TO), swizzle, corners[i], 1);
        }
    }
}

static void test_refused_maps(void **state) {
    (void)state;
    const struct tensor good = {2,        CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, {100, 40},
                                {64, 32}, CU_TENSOR_MAP_SWIZZLE_128B};
    CUtensorMap map __attribute__((aligned(64)));
    CUdeviceptr memory = make_words(4096);
    assert_ok(make_map(&map, &good, memory));
    assert_ok(cuTensorMapReplaceAddress(&map, (void *)(memory + 16)));
    assert_int_equal(cuTensorMapReplaceAddress(&map, (void *)(memory + 8)), CUDA_ERROR_INVALID_VALUE);
#define REFUSED(change, result)                                                                                        \
    do {                                                                                                               \
        struct tensor tensor = good;                                                                                   \
        change;                                                                                                        \
        assert_int_equal(make_map(&map, &tensor, memory), result);                                                     \
    } while (0)
    REFUSED(tensor.rank = 0, CUDA_ERROR_INVALID_VALUE);
    REFUSED(tensor.box[0] = 128, CUDA_ERROR_INVALID_VALUE); // longer than the swizzle's span
    REFUSED(tensor.box[0] = 7, CUDA_ERROR_INVALID_VALUE);   // no multiple of 16 bytes
    REFUSED(tensor.box[1] = 257, CUDA_ERROR_INVALID_VALUE);
    REFUSED(tensor.dims[1] = 0, CUDA_ERROR_INVALID_VALUE);
    REFUSED(tensor.box[0] = 32, CUDA_ERROR_NOT_SUPPORTED); // shorter than it
    REFUSED(tensor.type = CU_TENSOR_MAP_DATA_TYPE_TFLOAT32, CUDA_ERROR_NOT_SUPPORTED);
    char text[256] = "";
    moejit_emulator_findings(text, sizeof(text));
    if (strstr(text, "cuTensorMapEncodeTiled: a packed, flushing or tf32 data type is not played.") == NULL)
        fail_msg("%s", text);
    assert_int_equal(make_map(&map, &good, memory + 8), CUDA_ERROR_INVALID_VALUE);
}

// Each breaks one thing; the finding names it.
static void expect_broken(const char *ptx, const struct tensor *tensor, size_t bytes, const char *finding) {
    struct fixture fixture;
    char text[2048] = "";
    const int corner[3] = {0, 0, 0};
    CUdeviceptr memory = 0, out = 0;
    CUtensorMap map __attribute__((aligned(64)));
    fixture_open(&fixture);
    assert_ok(cuMemAlloc(&memory, bytes));
    assert_ok(cuMemsetD8(memory, 1, bytes));
    assert_ok(cuMemAlloc(&out, MAX_BOX_BYTES));
    assert_ok(make_map(&map, tensor, memory));
    if (strstr(finding, "holds no tensor map") != NULL) memset(&map, 0, sizeof(map));
    assert_int_not_equal(launch(ptx, &map, out, corner, box_bytes(tensor), 1), CUDA_SUCCESS);
    moejit_emulator_findings(text, sizeof(text));
    if (strstr(text, finding) == NULL) fail_msg("\"%s\" lacks \"%s\"", text, finding);
    fixture_close(&fixture);
}

static void test_misuse(void **state) {
    (void)state;
    const struct tensor page = {2, CU_TENSOR_MAP_DATA_TYPE_UINT32, 4, {32, 16}, {32, 8}, CU_TENSOR_MAP_SWIZZLE_128B};
    size_t bytes = pitch(&page, 2);
    expect_broken(LOAD_OF("2d", "%r1, %r2"), &page, bytes, "holds no tensor map");
    expect_broken(LOAD_OF("3d", "%r1, %r2, %r3"), &page, bytes, "another rank");
    expect_broken(LOAD_OF("2d", "%r1, %r2"), &page, 600, "which has 600 bytes");
    expect_broken(LOAD("add.u32 %r6, %r6, 16;\ncp.async.bulk.tensor.2d.shared::cluster.global" COMPLETE
                       " [%r6], [%rd1, {%r1, %r2}], [%r7];\n"),
                  &page, bytes, "not aligned to 128");
    expect_broken(STORE("st.shared.u32 [%r6], %r5;\n" STORE_TO), &page, bytes, "no fence.proxy.async");
    expect_broken(LOAD("mov.u32 %r1, 2;\ncp.async.bulk.tensor.2d.shared::cluster.global" COMPLETE
                       " [%r6], [%rd1, {%r1, %r2}], [%r7];\n"),
                  &page, bytes, "the first coordinate 2 of elements of 4 bytes is no multiple of 16 bytes");
    expect_broken(STORE("mov.s32 %r1, -4;\n" STORE_TO), &page, bytes, "coordinate 0 of a box that is written is -4");
    expect_broken(STORE("mov.s32 %r2, -1;\n" ADD_TO), &page, bytes, "coordinate 1 of a box that is written is -1");
    expect_broken(
        LOAD("mov.u32 %r11, %r6;\nadd.u32 %r12, %r7, 8;\ncp.async.bulk.tensor.2d.shared::cluster.global" COMPLETE
             " [%r6], [%rd1, {%r1, %r2}], [%r12];\n"),
        &page, bytes, "no initialised mbarrier");
}

// Each thread of block 0 puts two words into block 1, which waits for all of them.
#define PUT(wait)                                                                                                      \
    HEAD "@%p1 bra READY;\nmbarrier.init.shared.b64 [%r7], 1;\nmbarrier.arrive.expect_tx.shared.b64 %rd3, [%r7], "     \
         "256;\n"                                                                                                      \
         "fence.mbarrier_init.release.cluster;\nREADY:\nbarrier.cluster.arrive;\nbarrier.cluster.wait;\n"              \
         "mov.u32 %r15, %cluster_ctarank;\nsetp.ne.u32 %p2, %r15, 0;\n@%p2 bra TAKE;\n"                                \
         "mapa.shared::cluster.u32 %r8, %r6, 1;\nmapa.shared::cluster.u32 %r9, %r7, 1;\nshl.b32 %r10, %r5, 3;\n"       \
         "add.u32 %r8, %r8, %r10;\nadd.u32 %r11, %r5, 100;\n"                                                          \
         "st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.u32 [%r8], {%r5, %r11}, [%r9];\nbra "               \
         "DONE;\nTAKE:\n" wait                                                                                         \
         "shl.b32 %r10, %r5, 3;\nadd.u32 %r8, %r6, %r10;\nld.shared.v2.u32 {%r11, %r12}, [%r8];\n"                     \
         "cvt.u64.u32 %rd4, %r10;\nadd.s64 %rd5, %rd2, %rd4;\nst.global.v2.u32 [%rd5], {%r11, %r12};\nDONE:\n"         \
         "barrier.cluster.arrive;\nbarrier.cluster.wait;\nret;\n}\n"
#define WAIT_FOR_PUT "mbarrier.try_wait.parity.acquire.cluster.shared.b64 %p3, [%r7], 0;\n@!%p3 bra TAKE;\n"

static void test_async_stores(void **state) {
    (void)state;
    for (unsigned seed = 0; seed < 16; seed++) {
        struct fixture fixture;
        char number[16];
        CUtensorMap map = {{0}};
        const int corner[3] = {0, 0, 0};
        uint32_t words[64];
        snprintf(number, sizeof(number), "%u", seed);
        set_switch("MOEJIT_EMULATOR_SEED", number);
        set_switch("MOEJIT_EMULATOR_SCHEDULE", seed % 2 == 0 ? "seeded" : "adversarial");
        fixture_open(&fixture);
        CUdeviceptr out = make_words(64);
        assert_ok(launch(PUT(WAIT_FOR_PUT), &map, out, corner, 256, 2));
        assert_ok(cuMemcpyDtoH(words, out, sizeof(words)));
        for (unsigned i = 0; i < 64; i++) assert_int_equal(words[i], i / 2 + i % 2 * 100);
        assert_int_not_equal(launch(PUT(""), &map, out, corner, 256, 2), CUDA_SUCCESS); // nobody waits
        fixture_close(&fixture);
    }
    set_switch("MOEJIT_EMULATOR_SEED", NULL);
    set_switch("MOEJIT_EMULATOR_SCHEDULE", NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_loads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stores_and_reductions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused_maps, setup, teardown),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_async_stores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
