// Devices, contexts, memory and copies.
#include "driver_test.h"

static int attribute_of(CUdevice_attribute attribute) {
    int value = -1;
    assert_ok(cuDeviceGetAttribute(&value, attribute, 0));
    return value;
}

static void test_needs_init(void **state) {
    (void)state; // the first test of the process
    int version = 0, count = 0;
    assert_ok(cuDriverGetVersion(&version));
    assert_int_equal(version, 13000);
    assert_int_equal(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
    assert_int_equal(cuInit(1), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuInit(0));
    assert_ok(cuDeviceGetCount(&count));
    assert_int_equal(count, 1);
    assert_true(moejit_emulator_version() > 0);
}

static void test_error_names(void **state) {
    (void)state;
    const char *text = NULL;
    assert_ok(cuGetErrorName(CUDA_ERROR_STREAM_CAPTURE_UNJOINED, &text));
    assert_string_equal(text, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED");
    assert_ok(cuGetErrorString(CUDA_ERROR_ILLEGAL_ADDRESS, &text));
    assert_true(strlen(text) > 10);
    assert_int_equal(cuGetErrorName((CUresult)123456, &text), CUDA_ERROR_INVALID_VALUE);
    assert_null(text);
}

static void test_parts(void **state) {
    (void)state;
    static const struct {
        const char *arch;
        int major, minor, sms, opt_in;
    } rows[] = {
        {"sm_80", 8, 0, 108, 166912},    {"sm_86", 8, 6, 84, 101376},     {"sm_89", 8, 9, 142, 101376},
        {"sm_90a", 9, 0, 132, 232448},   {"sm_100a", 10, 0, 148, 232448}, {"sm_103a", 10, 3, 148, 232448},
        {"sm_120a", 12, 0, 188, 101376}, {"sm_121a", 12, 1, 48, 101376},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        set_switch("MOEJIT_EMULATOR_ARCH", rows[i].arch);
        assert_ok(cuInit(0));
        assert_int_equal(attribute_of(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), rows[i].major);
        assert_int_equal(attribute_of(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR), rows[i].minor);
        assert_int_equal(attribute_of(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), rows[i].sms);
        assert_int_equal(attribute_of(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), rows[i].opt_in);
        assert_int_equal(attribute_of(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH), rows[i].major >= 9);
    }
    set_switch("MOEJIT_EMULATOR_SMS", "4");
    assert_ok(cuInit(0));
    assert_int_equal(attribute_of(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 4);
    set_switch("MOEJIT_EMULATOR_SMS", NULL);
    set_switch("MOEJIT_EMULATOR_ARCH", "sm_75");
    uint64_t before = moejit_emulator_findings(NULL, 0);
    assert_int_equal(cuInit(0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(moejit_emulator_findings(NULL, 0), before + 1);
    set_switch("MOEJIT_EMULATOR_ARCH", NULL);
    assert_ok(cuInit(0));
    assert_int_equal(attribute_of(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), 9);
}

static void test_proc_address(void **state) {
    (void)state;
    void *address = NULL, *older = NULL;
    CUdriverProcAddressQueryResult status;
    assert_ok(cuGetProcAddress("cuMemAlloc", &address, 12080, CU_GET_PROC_ADDRESS_DEFAULT, &status));
    CUresult (*entry)(CUdeviceptr *, size_t) = cuMemAlloc_v2;
    assert_memory_equal(&address, &entry, sizeof(address));
    assert_int_equal(cuGetProcAddress("cuMemAlloc", &address, 2000, 0, &status), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
    // Maps of im2col mode are not played (docs/emulator.md), which a program learns here or when it is linked.
    assert_int_equal(cuGetProcAddress("cuTensorMapEncodeIm2col", &address, 13000, 0, &status), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    assert_int_equal(cuGetProcAddress("cuNothingAtAll", &address, 13000, 0, &status), CUDA_ERROR_NOT_FOUND);
    assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
    assert_int_equal(
        cuGetProcAddress("cuMemAlloc", &address, 13000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM, NULL),
        CUDA_ERROR_NOT_SUPPORTED);
    assert_ok(cuGetProcAddress("cuCtxCreate", &address, 13000, 0, NULL)); // four arguments since CUDA 13
    assert_ok(cuGetProcAddress("cuCtxCreate", &older, 12080, 0, NULL));
    assert_ptr_not_equal(address, older);
}

static void test_contexts(void **state) {
    (void)state;
    CUcontext own = NULL, primary = NULL, seen = NULL;
    unsigned flags = 0;
    int active = -1;
    CUdeviceptr pointer = 0;
    assert_int_equal(cuMemAlloc(&pointer, 16), CUDA_ERROR_INVALID_CONTEXT);
    assert_ok(cuCtxCreate(&own, NULL, 0, 0));
    assert_ok(cuDevicePrimaryCtxRetain(&primary, 0));
    assert_ok(cuDevicePrimaryCtxRetain(&seen, 0));
    assert_ptr_equal(primary, seen);
    assert_ok(cuCtxGetCurrent(&seen));
    assert_ptr_equal(seen, own);
    assert_ok(cuCtxPushCurrent(primary));
    assert_ok(cuCtxPopCurrent(&seen));
    assert_ptr_equal(seen, primary);
    assert_ok(cuCtxGetCurrent(&seen));
    assert_ptr_equal(seen, own);
    assert_ok(cuDevicePrimaryCtxRelease(0));
    assert_ok(cuDevicePrimaryCtxGetState(0, &flags, &active));
    assert_int_equal(active, 1);
    assert_ok(cuCtxSetCurrent(primary));
    assert_ok(cuDevicePrimaryCtxRelease(0));
    assert_int_equal(cuMemAlloc(&pointer, 16), CUDA_ERROR_CONTEXT_IS_DESTROYED);
    assert_int_equal(cuDevicePrimaryCtxRelease(0), CUDA_ERROR_INVALID_CONTEXT);
    assert_ok(cuCtxSetCurrent(NULL));
    assert_ok(cuCtxDestroy(own));
    assert_int_equal(cuCtxDestroy(own), CUDA_ERROR_INVALID_CONTEXT);
    assert_int_equal(cuCtxSetCurrent(own), CUDA_ERROR_INVALID_CONTEXT);
}

static void test_memory(void **state) {
    (void)state;
    CUdeviceptr words = 0, base = 0;
    size_t bytes = 0, free_before = 0, free_after = 0, total = 0;
    void *pinned = NULL;
    unsigned type = 0;
    assert_ok(cuMemGetInfo(&free_before, &total));
    assert_int_equal(cuMemAlloc(&words, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemAlloc(&words, total + 1), CUDA_ERROR_OUT_OF_MEMORY);
    assert_ok(cuMemAlloc(&words, 1000));
    assert_int_equal(words % 256, 0);
    assert_ok(cuMemGetInfo(&free_after, &total));
    assert_true(free_after + 1000 <= free_before);
    assert_ok(cuMemGetAddressRange(&base, &bytes, words + 999));
    assert_int_equal(base, words);
    assert_int_equal(bytes, 1000);
    assert_int_equal(cuMemFree(words + 4), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemFreeHost((void *)(uintptr_t)words), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemAllocHost(&pinned, 64));
    assert_ok(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)pinned));
    assert_int_equal(type, CU_MEMORYTYPE_HOST);
    assert_ok(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, words));
    assert_int_equal(type, CU_MEMORYTYPE_DEVICE);
    assert_int_equal(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (CUdeviceptr)(uintptr_t)&type),
                     CUDA_ERROR_INVALID_VALUE);
    CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_MEMORY_TYPE, CU_POINTER_ATTRIBUTE_CONTEXT};
    CUcontext owner = NULL;
    void *answers[] = {&type, &owner};
    assert_ok(cuPointerGetAttributes(2, attributes, answers, words));
    assert_ptr_equal(owner, ((struct fixture *)*state)->context);
    assert_ok(cuPointerGetAttributes(2, attributes, answers, (CUdeviceptr)(uintptr_t)&type));
    assert_int_equal(type, 0);
    assert_null(owner);
    assert_ok(cuMemFreeHost(pinned));
    assert_ok(cuMemFree(words));
    assert_int_equal(cuMemFree(words), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemFree(0));
}

static void test_copies(void **state) {
    (void)state;
    unsigned char from[64], to[64];
    CUdeviceptr a = 0, b = 0;
    for (size_t i = 0; i < sizeof(from); i++) from[i] = (unsigned char)i;
    assert_ok(cuMemAlloc(&a, sizeof(from)));
    assert_ok(cuMemAlloc(&b, sizeof(from)));
    assert_ok(cuMemcpyHtoD(a, from, sizeof(from)));
    assert_ok(cuMemcpyDtoD(b, a, sizeof(from)));
    assert_ok(cuMemcpyDtoH(to, b, sizeof(to)));
    assert_memory_equal(from, to, sizeof(to));
    assert_int_equal(cuMemcpyHtoD(a + 1, from, sizeof(from)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemcpyDtoH(to, a - 64, 128 + sizeof(to)), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemcpyHtoD(a, NULL, 1), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemcpyHtoD(a, NULL, 0));
    CUDA_MEMCPY2D rectangle = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                               .srcHost = from,
                               .srcPitch = 8,
                               .srcXInBytes = 2,
                               .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                               .dstDevice = b,
                               .dstPitch = 16,
                               .dstY = 1,
                               .WidthInBytes = 4,
                               .Height = 3};
    assert_ok(cuMemcpy2D(&rectangle));
    assert_ok(cuMemcpyDtoH(to, b, sizeof(to)));
    assert_int_equal(to[15], 15);
    assert_int_equal(to[16], 2);
    assert_int_equal(to[19], 5);
    assert_int_equal(to[20], 20);
    assert_int_equal(to[48], 18);
    rectangle.Height = 4; // one row too many
    assert_int_equal(cuMemcpy2D(&rectangle), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemFree(a));
    assert_ok(cuMemFree(b));
}

static void test_pageable_source_is_taken_at_once(void **state) {
    (void)state;
    CUstream stream = make_stream();
    CUdeviceptr words = make_words(1);
    for (uint32_t i = 0; i < 16; i++) { // whatever the seed's coin says
        uint32_t source = 7 + i;
        assert_ok(cuMemcpyHtoDAsync(words, &source, sizeof(source), stream));
        source = 1000;
        assert_ok(cuStreamSynchronize(stream));
        assert_int_equal(read_word(words), 7 + i);
        assert_int_equal(source, 1000);
    }
}

static void test_fills(void **state) {
    (void)state;
    unsigned char bytes[32];
    CUdeviceptr a = 0;
    assert_ok(cuMemAlloc(&a, sizeof(bytes)));
    assert_ok(cuMemsetD8(a, 0xab, sizeof(bytes)));
    assert_ok(cuMemsetD16(a + 2, 0x0102, 2));
    assert_ok(cuMemsetD32(a + 8, 0x03040506, 1));
    assert_ok(cuMemsetD2D8(a + 16, 8, 0x11, 3, 2));
    assert_ok(cuMemcpyDtoH(bytes, a, sizeof(bytes)));
    static const unsigned char expected[32] = {
        0xab, 0xab, 0x02, 0x01, 0x02, 0x01, 0xab, 0xab, 0x06, 0x05, 0x04, 0x03, 0xab, 0xab, 0xab, 0xab,
        0x11, 0x11, 0x11, 0xab, 0xab, 0xab, 0xab, 0xab, 0x11, 0x11, 0x11, 0xab, 0xab, 0xab, 0xab, 0xab,
    };
    assert_memory_equal(bytes, expected, sizeof(bytes));
    assert_int_equal(cuMemsetD32(a + 2, 0, 1), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(cuMemsetD8(a, 0, 33), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuMemFree(a));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_needs_init),
        cmocka_unit_test(test_error_names),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_proc_address),
        cmocka_unit_test(test_contexts),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_copies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pageable_source_is_taken_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fills, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
