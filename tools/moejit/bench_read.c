#include "bench_read.h"

#include <stdint.h>

// A grid of 8 CTAs a multiprocessor, four 16-byte loads in flight a thread; the sum is stored where it is a value that
// random data hardly ever has, so that the loads are needed.
static const char ptx[] =
    ".version 7.0\n.target sm_80\n.address_size 64\n"
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

bool bench_read_create(struct bench_read *read, struct gpu *gpu) {
    CUresult result = gpu->cuModuleLoadData(&read->module, ptx);
    if (result == CUDA_SUCCESS) result = gpu->cuModuleGetFunction(&read->function, read->module, "bench_read");
    if (!gpu_ok(gpu, result, "loading the read kernel")) return false;
    read->sink = gpu_upload(gpu, NULL, 256);
    return read->sink != NULL;
}

void bench_read_destroy(struct bench_read *read, struct gpu *gpu) {
    gpu_free(gpu, read->sink);
    if (read->module != NULL) gpu->cuModuleUnload(read->module);
}

bool bench_read_enqueue(struct bench_read *read, struct gpu *gpu, const void *memory, size_t bytes, CUstream stream) {
    uint64_t chunks = bytes / 16;
    void *parameters[] = {(void *)&memory, &chunks, &read->sink};
    unsigned blocks = (unsigned)gpu->num_sms * 8;
    return gpu_ok(gpu, gpu->cuLaunchKernel(read->function, blocks, 1, 1, 256, 1, 1, 0, stream, parameters, NULL),
                  "launching the read kernel");
}
