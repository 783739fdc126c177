#include "bench_kernels.h"

#define PTX_HEADER ".version 7.0\n.target sm_80\n.address_size 64\n"

// A grid of 8 CTAs a multiprocessor, four 16-byte loads in flight a thread; the sum is stored where it is a value that
// random data hardly ever has, so that the loads are needed.
static const char read_ptx[] = PTX_HEADER
    ".visible .entry bench_read(.param .u64 memory, .param .u64 chunks, .param .u64 sink)\n{\n"
    "    .reg .pred %p<4>;\n    .reg .b32 %r<24>;\n    .reg .b64 %rd<16>;\n"
    "    ld.param.u64 %rd1, [memory];\n    cvta.to.global.u64 %rd1, %rd1;\n    ld.param.u64 %rd2, [chunks];\n"
    "    ld.param.u64 %rd3, [sink];\n    cvta.to.global.u64 %rd3, %rd3;\n"
    "    mov.u32 %r1, %ctaid.x;\n    mov.u32 %r2, %tid.x;\n    mov.u32 %r3, %nctaid.x;\n"
    "    mad.lo.s32 %r4, %r1, 256, %r2;\n    mul.lo.s32 %r5, %r3, 256;\n"
    "    cvt.u64.u32 %rd4, %r4;\n    cvt.u64.u32 %rd5, %r5;\n    mov.u32 %r6, 0;\n"
    "    shl.b64 %rd6, %rd5, 4;\n    shl.b64 %rd7, %rd4, 4;\n    add.s64 %rd7, %rd1, %rd7;\n    mul.lo.s64 %rd8, %rd5, "
    "3;\n"
    "four:\n    add.s64 %rd9, %rd4, %rd8;\n    setp.ge.s64 %p1, %rd9, %rd2;\n    @%p1 bra one;\n"
    "    add.s64 %rd10, %rd7, %rd6;\n    add.s64 %rd11, %rd10, %rd6;\n    add.s64 %rd12, %rd11, %rd6;\n"
    "    ld.global.nc.v4.u32 {%r8, %r9, %r10, %r11}, [%rd7];\n    ld.global.nc.v4.u32 {%r12, %r13, %r14, %r15}, "
    "[%rd10];\n"
    "    ld.global.nc.v4.u32 {%r16, %r17, %r18, %r19}, [%rd11];\n    ld.global.nc.v4.u32 {%r20, %r21, %r22, %r23}, "
    "[%rd12];\n"
    "    xor.b32 %r6, %r6, %r8;\n    xor.b32 %r6, %r6, %r13;\n    xor.b32 %r6, %r6, %r18;\n    xor.b32 %r6, %r6, "
    "%r23;\n"
    "    add.s64 %rd7, %rd12, %rd6;\n    add.s64 %rd4, %rd9, %rd5;\n    bra four;\n"
    "one:\n    setp.ge.s64 %p1, %rd4, %rd2;\n    @%p1 bra done;\n"
    "    ld.global.nc.v4.u32 {%r8, %r9, %r10, %r11}, [%rd7];\n    xor.b32 %r6, %r6, %r8;\n"
    "    add.s64 %rd7, %rd7, %rd6;\n    add.s64 %rd4, %rd4, %rd5;\n    bra one;\n"
    "done:\n    setp.ne.s32 %p2, %r6, 0x5eed1234;\n    @%p2 bra end;\n    st.global.u32 [%rd3], %r6;\nend:\n    "
    "ret;\n}\n";

// Thread by thread 16 bytes: a multiplicative hash of the word's index and the seed (the finaliser of MurmurHash3 by
// Austin Appleby, public domain), masked.
#define PTX_HASH(word)                                                                                                 \
    "    add.u32 %r9, %r8, " #word ";\n    mul.lo.u32 %r9, %r9, 0x9e3779b1;\n    shr.u32 %r14, %r9, 16;\n"             \
    "    xor.b32 %r9, %r9, %r14;\n    mul.lo.u32 %r9, %r9, 0x85ebca6b;\n    shr.u32 %r14, %r9, 13;\n"                  \
    "    xor.b32 %r9, %r9, %r14;\n    mul.lo.u32 %r9, %r9, 0xc2b2ae35;\n    shr.u32 %r14, %r9, 16;\n"                  \
    "    xor.b32 %r9, %r9, %r14;\n    and.b32 %r9, %r9, %r6;\n    or.b32 %r1" #word ", %r9, %r7;\n"
static const char fill_ptx[] = PTX_HEADER
    ".visible .entry bench_fill(.param .u64 memory, .param .u64 chunks, .param .u32 mask, .param .u32 fixed, "
    ".param .u32 seed)\n{\n"
    "    .reg .pred %p<2>;\n    .reg .b32 %r<16>;\n    .reg .b64 %rd<8>;\n"
    "    ld.param.u64 %rd1, [memory];\n    cvta.to.global.u64 %rd1, %rd1;\n    ld.param.u64 %rd2, [chunks];\n"
    "    ld.param.u32 %r6, [mask];\n    ld.param.u32 %r7, [fixed];\n    ld.param.u32 %r5, [seed];\n"
    "    mov.u32 %r1, %ctaid.x;\n    mov.u32 %r2, %tid.x;\n    mov.u32 %r3, %nctaid.x;\n"
    "    mad.lo.s32 %r4, %r1, 256, %r2;\n    mul.lo.s32 %r3, %r3, 256;\n"
    "    cvt.u64.u32 %rd3, %r4;\n    cvt.u64.u32 %rd4, %r3;\n"
    "next:\n    setp.ge.s64 %p1, %rd3, %rd2;\n    @%p1 bra end;\n"
    "    cvt.u32.u64 %r8, %rd3;\n    mad.lo.u32 %r8, %r8, 4, %r5;\n" PTX_HASH(0) PTX_HASH(1) PTX_HASH(2) PTX_HASH(
        3) "    shl.b64 %rd5, %rd3, 4;\n    add.s64 %rd5, %rd1, %rd5;\n"
           "    st.global.v4.u32 [%rd5], {%r10, %r11, %r12, %r13};\n    add.s64 %rd3, %rd3, %rd4;\n    bra next;\n"
           "end:\n    ret;\n}\n";

static const char empty_ptx[] = PTX_HEADER ".visible .entry bench_empty()\n{\n    ret;\n}\n";

const struct bench_pattern bench_random_codes = {0xffffffff, 0};
const struct bench_pattern bench_random_scales = {0x0f0f0f0f, 0x30303030};
const struct bench_pattern bench_random_bf16 = {0x81ff81ff, 0x3e003e00};

static bool load(struct gpu *gpu, const char *ptx, const char *name, CUmodule *module, CUfunction *function) {
    CUresult result = gpu->cuModuleLoadData(module, ptx);
    if (result == CUDA_SUCCESS) result = gpu->cuModuleGetFunction(function, *module, name);
    return gpu_ok(gpu, result, name);
}

bool bench_kernels_create(struct bench_kernels *kernels, struct gpu *gpu) {
    if (!load(gpu, read_ptx, "bench_read", &kernels->modules[0], &kernels->read) ||
        !load(gpu, fill_ptx, "bench_fill", &kernels->modules[1], &kernels->fill) ||
        !load(gpu, empty_ptx, "bench_empty", &kernels->modules[2], &kernels->empty)) {
        return false;
    }
    kernels->sink = gpu_upload(gpu, NULL, 256);
    return kernels->sink != NULL;
}

void bench_kernels_destroy(struct bench_kernels *kernels, struct gpu *gpu) {
    gpu_free(gpu, kernels->sink);
    for (int i = 0; i < 3; i++) {
        if (kernels->modules[i] != NULL) gpu->cuModuleUnload(kernels->modules[i]);
    }
}

bool bench_read_enqueue(struct bench_kernels *kernels, struct gpu *gpu, const void *memory, size_t bytes,
                        CUstream stream) {
    uint64_t chunks = bytes / 16;
    void *parameters[] = {(void *)&memory, &chunks, &kernels->sink};
    unsigned blocks = (unsigned)gpu->num_sms * 8;
    return gpu_ok(gpu, gpu->cuLaunchKernel(kernels->read, blocks, 1, 1, 256, 1, 1, 0, stream, parameters, NULL),
                  "launching the read kernel");
}

bool bench_fill_enqueue(struct bench_kernels *kernels, struct gpu *gpu, void *memory, size_t bytes,
                        struct bench_pattern pattern, uint32_t seed, CUstream stream) {
    uint64_t chunks = bytes / 16;
    uint32_t start = seed * 0x9e3779b1u;
    void *parameters[] = {&memory, &chunks, &pattern.mask, &pattern.fixed, &start};
    unsigned blocks =
        chunks / 256 + 1 < (uint64_t)gpu->num_sms * 8 ? (unsigned)(chunks / 256) + 1 : (unsigned)gpu->num_sms * 8;
    return gpu_ok(gpu, gpu->cuLaunchKernel(kernels->fill, blocks, 1, 1, 256, 1, 1, 0, stream, parameters, NULL),
                  "launching the fill kernel");
}

bool bench_empty_enqueue(struct bench_kernels *kernels, struct gpu *gpu, CUstream stream) {
    return gpu_ok(gpu, gpu->cuLaunchKernel(kernels->empty, 1, 1, 1, 1, 1, 1, 0, stream, NULL, NULL),
                  "launching the empty kernel");
}
