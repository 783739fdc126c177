// What the tests of the emulator's entry points share: a few kernels, and a context to run them in.
#ifndef MOEJIT_DRIVER_TEST_H
#define MOEJIT_DRIVER_TEST_H

#include "../cmocka_all.h"

#include <cuda.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emulator.h"

#define WORD_KERNEL(name, body)                                                                                        \
    ".visible .entry " name "(.param .u64 " name "_param_0, .param .u32 " name "_param_1)\n"                           \
    "{\n"                                                                                                              \
    "    .reg .b32 %r<4>;\n"                                                                                           \
    "    .reg .b64 %rd<4>;\n"                                                                                          \
    "    ld.param.u64 %rd1, [" name "_param_0];\n"                                                                     \
    "    cvta.to.global.u64 %rd2, %rd1;\n"                                                                             \
    "    ld.param.u32 %r1, [" name "_param_1];\n" body "    ret;\n"                                                    \
    "}\n"

// store_word(p, v): *p = v; add_word(p, v): *p = *p + v, not atomic; copy_word(to, from); narrow: 64 threads at most.
static const char words_ptx[] =
    "// Kernels of one thread.\n"
    "/* A comment before the version, as compilers write. */\n"
    "  .version 7.0\n"
    ".target sm_80\n"
    ".address_size 64\n"
    ".visible .global .align 4 .u32 counter;\n" WORD_KERNEL("store_word", "    st.global.u32 [%rd2], %r1;\n")
        WORD_KERNEL("add_word",
                    "    ld.global.u32 %r2, [%rd2];\n"
                    "    add.u32 %r3, %r2, %r1;\n"
                    "    st.global.u32 [%rd2], %r3;\n") ".visible .entry copy_word(.param .u64 copy_word_param_0, "
                                                        ".param .u64 copy_word_param_1)\n"
                                                        "{\n"
                                                        "    .reg .b32 %r<2>;\n"
                                                        "    .reg .b64 %rd<5>;\n"
                                                        "    ld.param.u64 %rd1, [copy_word_param_0];\n"
                                                        "    ld.param.u64 %rd2, [copy_word_param_1];\n"
                                                        "    cvta.to.global.u64 %rd3, %rd1;\n"
                                                        "    cvta.to.global.u64 %rd4, %rd2;\n"
                                                        "    ld.global.u32 %r1, [%rd4];\n"
                                                        "    st.global.u32 [%rd3], %r1;\n"
                                                        "    ret;\n"
                                                        "}\n"
                                                        ".visible .entry narrow()\n"
                                                        ".maxntid 64, 1, 1\n"
                                                        "{\n"
                                                        "    ret;\n"
                                                        "}\n";

#define assert_ok(call) assert_int_equal((call), CUDA_SUCCESS)

struct fixture {
    CUcontext context;
    CUmodule module;
    CUfunction store_word, add_word, copy_word, narrow;
};

static inline void set_switch(const char *variable, const char *value) {
    if (value == NULL) {
        unsetenv(variable);
    } else {
        setenv(variable, value, 1);
    }
}

static inline void fixture_open(struct fixture *fixture) {
    assert_ok(cuInit(0));
    assert_ok(cuCtxCreate(&fixture->context, NULL, 0, 0));
    assert_ok(cuModuleLoadData(&fixture->module, words_ptx));
    assert_ok(cuModuleGetFunction(&fixture->store_word, fixture->module, "store_word"));
    assert_ok(cuModuleGetFunction(&fixture->add_word, fixture->module, "add_word"));
    assert_ok(cuModuleGetFunction(&fixture->copy_word, fixture->module, "copy_word"));
    assert_ok(cuModuleGetFunction(&fixture->narrow, fixture->module, "narrow"));
    moejit_emulator_reset();
}

static inline void fixture_close(struct fixture *fixture) {
    assert_ok(cuCtxDestroy(fixture->context));
}

static inline int setup(void **state) {
    struct fixture *fixture = malloc(sizeof(*fixture));
    if (fixture == NULL) return -1;
    fixture_open(fixture);
    *state = fixture;
    return 0;
}

static inline int teardown(void **state) {
    fixture_close(*state);
    free(*state);
    return 0;
}

// One thread of store_word or add_word.
static inline CUresult run_word(CUfunction function, CUstream stream, CUdeviceptr address, uint32_t value) {
    void *parameters[] = {&address, &value};
    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
}

static inline CUresult run_copy_word(CUfunction function, CUstream stream, CUdeviceptr to, CUdeviceptr from) {
    void *parameters[] = {&to, &from};
    return cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, parameters, NULL);
}

static inline CUdeviceptr make_words(size_t count) {
    CUdeviceptr words = 0;
    assert_ok(cuMemAlloc(&words, count * sizeof(uint32_t)));
    assert_ok(cuMemsetD32(words, 0, count));
    assert_ok(cuCtxSynchronize());
    return words;
}

static inline uint32_t read_word(CUdeviceptr address) {
    uint32_t word = 0;
    assert_ok(cuMemcpyDtoH(&word, address, sizeof(word)));
    return word;
}

static inline CUstream make_stream(void) {
    CUstream stream = NULL;
    assert_ok(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING));
    return stream;
}

static inline CUevent make_event(void) {
    CUevent event = NULL;
    assert_ok(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
    return event;
}

#endif
