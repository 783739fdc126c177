// Modules, functions, and what a launch is checked for.
#include "driver_test.h"

static CUresult load_with_log(const char *image, char *log, size_t log_bytes, size_t *written) {
    CUmodule module = NULL;
    CUjit_option options[] = {CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
    void *values[] = {log, (void *)(uintptr_t)log_bytes};
    CUresult result = cuModuleLoadDataEx(&module, image, 2, options, values);
    *written = (size_t)(uintptr_t)values[1];
    return result;
}

static void test_images(void **state) {
    (void)state;
    static const char elf[64] = "\177ELF\002\001\001";
    static const unsigned char fatbin[64] = {0x50, 0xed, 0x55, 0xba};
    static const char bad[] = ".version 7.0\n.target sm_80\n.address_size 64\n"
                              ".visible .entry bad()\n{\n    bogus.instruction;\n    ret;\n}\n";
    static const char newer[] = ".version 8.6\n.target sm_121\n.address_size 64\n.visible .entry f()\n{\n    ret;\n}\n";
    char log[512];
    size_t written = 0;
    assert_int_equal(load_with_log(elf, log, sizeof(log), &written), CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_int_equal(load_with_log((const char *)fatbin, log, sizeof(log), &written), CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_int_equal(load_with_log("no code", log, sizeof(log), &written), CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(load_with_log("", log, sizeof(log), &written), CUDA_ERROR_INVALID_IMAGE);
    assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
    assert_int_equal(load_with_log(newer, log, sizeof(log), &written), CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_int_equal(load_with_log(bad, log, sizeof(log), &written), CUDA_ERROR_INVALID_PTX);
    assert_non_null(strstr(log, "bogus"));
    assert_int_equal(written, strlen(log));
    assert_int_equal(moejit_emulator_findings(log, sizeof(log)), 1);
    assert_non_null(strstr(log, "bogus"));
    assert_int_equal(load_with_log(bad, log, 5, &written), CUDA_ERROR_INVALID_PTX); // cut, and terminated
    assert_int_equal(strlen(log), 4);
    assert_ok(cuCtxSynchronize()); // none of this sticks
}

static void test_functions(void **state) {
    const struct fixture *fixture = *state;
    CUfunction function = NULL;
    CUmodule module = NULL;
    size_t offset = 0, bytes = 0;
    const char *name = NULL;
    int value = 0;
    assert_int_equal(cuModuleGetFunction(&function, fixture->module, "nobody"), CUDA_ERROR_NOT_FOUND);
    assert_ok(cuModuleGetFunction(&function, fixture->module, "store_word"));
    assert_ptr_equal(function, fixture->store_word);
    assert_ok(cuFuncGetName(&name, function));
    assert_string_equal(name, "store_word");
    assert_ok(cuFuncGetModule(&module, function));
    assert_ptr_equal(module, fixture->module);
    assert_ok(cuFuncGetParamInfo(function, 1, &offset, &bytes));
    assert_int_equal(offset, 8);
    assert_int_equal(bytes, 4);
    assert_int_equal(cuFuncGetParamInfo(function, 2, &offset, &bytes), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, function));
    assert_int_equal(value, 49152);
    assert_ok(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, fixture->narrow));
    assert_int_equal(value, 64);
    assert_int_equal(cuFuncGetAttribute(&value, CU_FUNC_ATTRIBUTE_NUM_REGS, (CUfunction)fixture->module),
                     CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, function, 1024, 0));
    assert_int_equal(value, 2); // 2048 threads on the SM of an H100
    assert_ok(cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 232448));
    assert_ok(cuOccupancyMaxActiveBlocksPerMultiprocessor(&value, function, 32, 100000));
    assert_int_equal(value, 2);
    assert_int_equal(cuFuncSetAttribute(function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 232449),
                     CUDA_ERROR_INVALID_VALUE);
}

static void test_globals(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr counter = 0;
    size_t bytes = 0;
    assert_ok(cuModuleGetGlobal(&counter, &bytes, fixture->module, "counter"));
    assert_int_equal(bytes, 4);
    assert_int_equal(read_word(counter), 0);
    assert_ok(run_word(fixture->add_word, NULL, counter, 5));
    assert_int_equal(read_word(counter), 5);
    assert_int_equal(cuModuleGetGlobal(&counter, &bytes, fixture->module, "nobody"), CUDA_ERROR_NOT_FOUND);
}

static CUresult launch_shaped(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_z,
                              unsigned shared) {
    return cuLaunchKernel(function, grid_x, grid_y, 1, block_x, 1, block_z, shared, NULL, NULL, NULL);
}

static void test_launch_limits(void **state) {
    const struct fixture *fixture = *state;
    CUfunction f = fixture->narrow;
    assert_ok(launch_shaped(f, 1, 1, 64, 1, 49152));
    assert_int_equal(launch_shaped(f, 0, 1, 64, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shaped(f, 1, 65536, 64, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shaped(f, 0x80000000u, 1, 64, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shaped(f, 1, 1, 0, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shaped(f, 1, 1, 65, 1, 0), CUDA_ERROR_INVALID_VALUE); // .maxntid
    assert_int_equal(launch_shaped(f, 1, 1, 1, 65, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shaped(f, 1, 1, 64, 1, 49153), CUDA_ERROR_INVALID_VALUE);
    assert_ok(cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, 60000));
    assert_ok(launch_shaped(f, 1, 1, 64, 1, 60000));
    assert_int_equal(launch_shaped(fixture->store_word, 1, 1, 1025, 1, 0), CUDA_ERROR_INVALID_VALUE);
    assert_int_equal(launch_shaped(fixture->store_word, 1, 1, 1, 1, 0), CUDA_ERROR_INVALID_VALUE); // no parameters
    assert_int_equal(launch_shaped(NULL, 1, 1, 1, 1, 0), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(cuCtxSynchronize());
}

static void test_launch_ex(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(1);
    uint32_t value = 9;
    size_t bytes = 12;
    struct {
        CUdeviceptr address;
        uint32_t value;
    } packed = {words, 11};
    void *parameters[] = {&words, &value};
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, &packed, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes, CU_LAUNCH_PARAM_END};
    CUlaunchAttribute attribute = {.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION};
    attribute.value.programmaticStreamSerializationAllowed = 1;
    CUlaunchConfig config = {.gridDimX = 1,
                             .gridDimY = 1,
                             .gridDimZ = 1,
                             .blockDimX = 1,
                             .blockDimY = 1,
                             .blockDimZ = 1,
                             .attrs = &attribute,
                             .numAttrs = 1};
    assert_ok(cuLaunchKernelEx(&config, fixture->store_word, parameters, NULL));
    assert_int_equal(read_word(words), 9);
    assert_ok(cuLaunchKernelEx(&config, fixture->store_word, NULL, extra));
    assert_int_equal(read_word(words), 11);
    assert_int_equal(cuLaunchKernelEx(&config, fixture->store_word, parameters, extra), CUDA_ERROR_INVALID_VALUE);
    attribute.id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attribute.value.cooperative = 1;
    assert_int_equal(cuLaunchKernelEx(&config, fixture->store_word, parameters, NULL), CUDA_ERROR_NOT_SUPPORTED);
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim.x = 2;
    attribute.value.clusterDim.y = attribute.value.clusterDim.z = 1;
    assert_int_equal(cuLaunchKernelEx(&config, fixture->store_word, parameters, NULL), CUDA_ERROR_INVALID_VALUE);
    config.gridDimX = 16;
    attribute.value.clusterDim.x = 16; // more than is portable
    assert_int_equal(cuLaunchKernelEx(&config, fixture->store_word, parameters, NULL), CUDA_ERROR_INVALID_CLUSTER_SIZE);
    assert_ok(cuCtxSynchronize());
}

static void test_unload_runs_what_is_queued(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(1);
    CUfunction function = NULL;
    CUmodule module = NULL;
    CUstream stream = make_stream();
    assert_ok(cuModuleLoadData(&module, words_ptx));
    assert_ok(cuModuleGetFunction(&function, module, "store_word"));
    assert_ok(run_word(function, stream, words, 3));
    assert_ok(cuModuleUnload(module));
    assert_int_equal(read_word(words), 3);
    assert_int_equal(run_word(function, stream, words, 4), CUDA_ERROR_INVALID_HANDLE);
    assert_int_equal(cuModuleUnload(module), CUDA_ERROR_INVALID_HANDLE);
    assert_ok(run_word(fixture->store_word, stream, words, 5)); // the other module's is unharmed
    assert_ok(cuStreamSynchronize(stream));
    assert_int_equal(read_word(words), 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_images, setup, teardown),
        cmocka_unit_test_setup_teardown(test_functions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_globals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_launch_limits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_launch_ex, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unload_runs_what_is_queued, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
