// Stream capture: what it makes, and what is illegal inside it.
#include <pthread.h>

#include "driver_test.h"

static CUgraph end_well(CUstream stream) {
    CUgraph graph = NULL;
    assert_ok(cuStreamEndCapture(stream, &graph));
    assert_non_null(graph);
    return graph;
}

// The capture was spoilt: its end says so, and the stream is an ordinary one again.
static void end_spoilt(const struct fixture *fixture, CUstream stream, CUresult expected) {
    CUgraph graph = (CUgraph)&graph;
    CUstreamCaptureStatus status;
    CUdeviceptr words = 0;
    assert_int_equal(cuStreamEndCapture(stream, &graph), expected);
    assert_null(graph);
    assert_ok(cuStreamIsCapturing(stream, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
    assert_ok(cuMemAlloc(&words, 4));
    assert_ok(run_word(fixture->store_word, stream, words, 5));
    assert_ok(cuStreamSynchronize(stream));
    assert_int_equal(read_word(words), 5);
}

static void test_linear(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(2);
    CUstream stream = make_stream();
    CUgraphExec exec = NULL;
    CUgraphNode nodes[4];
    CUgraphNodeType type;
    size_t num_nodes = 4;
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_ok(cuMemsetD32Async(words + 4, 100, 1, stream));
    assert_ok(run_word(fixture->add_word, stream, words, 1));
    assert_ok(run_word(fixture->add_word, stream, words + 4, 1));
    CUgraph graph = end_well(stream);
    assert_int_equal(read_word(words), 0); // nothing has run
    assert_ok(cuGraphGetNodes(graph, nodes, &num_nodes));
    assert_int_equal(num_nodes, 3);
    assert_ok(cuGraphNodeGetType(nodes[0], &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_MEMSET);
    assert_ok(cuGraphNodeGetType(nodes[2], &type));
    assert_int_equal(type, CU_GRAPH_NODE_TYPE_KERNEL);
    assert_ok(cuGraphInstantiate(&exec, graph, 0));
    assert_ok(cuGraphDestroy(graph)); // the executable graph has its own copy
    for (int i = 0; i < 5; i++) assert_ok(cuGraphLaunch(exec, stream));
    assert_ok(cuStreamSynchronize(stream));
    assert_int_equal(read_word(words), 5);
    assert_int_equal(read_word(words + 4), 101);
    assert_ok(cuGraphLaunch(exec, stream));
    assert_ok(cuGraphExecDestroy(exec)); // what is queued runs all the same
    assert_ok(cuStreamSynchronize(stream));
    assert_int_equal(read_word(words), 6);
    assert_int_equal(cuGraphLaunch(exec, stream), CUDA_ERROR_INVALID_VALUE);
}

// origin: store 1 -> fork; side: copy to word 1; origin: copy to word 2; join; origin: add to word 1.
static void capture_fork(const struct fixture *fixture, CUstream origin, CUstream side, CUdeviceptr words, bool join) {
    CUevent forked = make_event(), done = make_event();
    CUstreamCaptureStatus status;
    cuuint64_t id = 0, side_id = 0;
    assert_ok(cuStreamBeginCapture(origin, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    assert_ok(run_word(fixture->store_word, origin, words, 1));
    assert_ok(cuEventRecord(forked, origin));
    assert_ok(cuStreamWaitEvent(side, forked, 0));
    assert_ok(cuStreamGetCaptureInfo_v3(origin, &status, &id, NULL, NULL, NULL, NULL));
    assert_ok(cuStreamGetCaptureInfo_v3(side, &status, &side_id, NULL, NULL, NULL, NULL));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    assert_int_equal(id, side_id);
    assert_ok(run_copy_word(fixture->copy_word, side, words + 4, words));
    assert_ok(run_copy_word(fixture->copy_word, origin, words + 8, words));
    assert_ok(cuEventRecord(done, side));
    if (join) {
        assert_ok(cuStreamWaitEvent(origin, done, 0));
        assert_ok(run_word(fixture->add_word, origin, words + 4, 10));
    }
    assert_ok(cuEventDestroy(forked));
    assert_ok(cuEventDestroy(done));
}

static void test_fork_and_join(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(3);
    CUstream origin = make_stream(), side = make_stream();
    CUstreamCaptureStatus status;
    CUgraphExec exec = NULL;
    size_t num_nodes = 0;
    capture_fork(fixture, origin, side, words, true);
    CUgraph graph = end_well(origin);
    assert_ok(cuStreamIsCapturing(side, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_NONE);
    assert_ok(cuGraphGetNodes(graph, NULL, &num_nodes));
    assert_int_equal(num_nodes, 4);
    assert_ok(cuGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 20; i++) {
        assert_ok(cuMemsetD32Async(words, 0, 3, side)); // in another stream than the launch's: needs the wait
        assert_ok(cuStreamSynchronize(side));
        assert_ok(cuGraphLaunch(exec, origin));
        assert_ok(cuStreamSynchronize(origin));
        assert_int_equal(read_word(words + 4), 11);
        assert_int_equal(read_word(words + 8), 1);
    }
    assert_int_equal(moejit_emulator_findings(NULL, 0), 0);
}

static void test_unjoined(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(3);
    CUstream origin = make_stream(), side = make_stream();
    CUgraph graph = NULL;
    capture_fork(fixture, origin, side, words, false);
    assert_int_equal(cuStreamEndCapture(side, &graph), CUDA_ERROR_STREAM_CAPTURE_UNMATCHED);
    end_spoilt(fixture, origin, CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
    assert_ok(cuStreamSynchronize(side));
}

static void test_waiting_spoils(void **state) {
    const struct fixture *fixture = *state;
    CUstream stream = make_stream(), other = make_stream();
    CUstreamCaptureStatus status;
    CUdeviceptr words = make_words(1);
    uint32_t word = 0;
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_ERROR_ILLEGAL_STATE);
    assert_int_equal(cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_ok(cuStreamIsCapturing(stream, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_INVALIDATED);
    assert_int_equal(run_word(fixture->store_word, stream, words, 1), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    end_spoilt(fixture, stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuStreamQuery(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    end_spoilt(fixture, stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuCtxSynchronize(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    end_spoilt(fixture, stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED)); // relaxed: these are fine
    assert_ok(cuStreamSynchronize(other));
    assert_ok(cuMemcpyDtoH(&word, words, 4));
    assert_ok(cuGraphDestroy(end_well(stream)));
    assert_int_equal(cuStreamEndCapture(stream, &(CUgraph){NULL}), CUDA_ERROR_ILLEGAL_STATE);
    assert_int_equal(cuStreamBeginCapture(NULL, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}

static void test_unsafe_calls_spoil(void **state) {
    const struct fixture *fixture = *state;
    CUstream stream = make_stream(), other = make_stream();
    CUdeviceptr words = make_words(1), more = 0;
    CUmodule module = NULL;
    uint32_t word = 0;
    for (int i = 0; i < 6; i++) {
        CUresult result = CUDA_SUCCESS;
        assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        if (i == 0) result = cuMemAlloc(&more, 16);
        if (i == 1) result = cuMemFree(words);
        if (i == 2) result = cuModuleLoadData(&module, words_ptx);
        if (i == 3) result = cuMemcpyDtoH(&word, words, 4);
        if (i == 4) result = cuMemsetD32(words, 0, 1);
        if (i == 5) result = cuStreamSynchronize(other);
        assert_int_equal(result, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        end_spoilt(fixture, stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    assert_ok(cuThreadExchangeStreamCaptureMode(&mode)); // the thread vouches for itself
    assert_int_equal(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
    assert_ok(cuMemAlloc(&more, 16));
    assert_ok(cuThreadExchangeStreamCaptureMode(&mode));
    assert_ok(cuGraphDestroy(end_well(stream)));
}

static void test_default_stream_spoils(void **state) {
    const struct fixture *fixture = *state;
    CUdeviceptr words = make_words(1);
    CUstream blocking = NULL, stream = make_stream();
    CUstreamCaptureStatus status;
    uint32_t word = 0;
    assert_ok(cuStreamCreate(&blocking, CU_STREAM_DEFAULT));
    assert_ok(cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuStreamIsCapturing(NULL, &status), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT); // asking spoils nothing
    assert_ok(cuStreamIsCapturing(blocking, &status));
    assert_int_equal(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    assert_int_equal(run_word(fixture->store_word, NULL, words, 1), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    end_spoilt(fixture, blocking, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(cuStreamBeginCapture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuMemcpyDtoH(&word, words, 4), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    end_spoilt(fixture, blocking, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(
        cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED)); // does not block: the default stream may go on
    assert_ok(run_word(fixture->store_word, NULL, words, 2));
    assert_ok(cuGraphDestroy(end_well(stream)));
    assert_int_equal(read_word(words), 2);
}

static void test_events(void **state) {
    const struct fixture *fixture = *state;
    CUstream a = make_stream(), b = make_stream();
    CUevent outside = make_event(), inside = make_event();
    CUgraph graph = NULL;
    assert_ok(cuEventRecord(outside, b));
    assert_ok(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuStreamWaitEvent(a, outside, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    end_spoilt(fixture, a, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(cuStreamBeginCapture(a, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_ok(cuEventRecord(inside, a));
    assert_int_equal(cuEventQuery(inside), CUDA_ERROR_CAPTURED_EVENT);
    assert_int_equal(cuEventSynchronize(inside), CUDA_ERROR_CAPTURED_EVENT);
    assert_ok(cuStreamBeginCapture(b, CU_STREAM_CAPTURE_MODE_RELAXED));
    assert_int_equal(cuStreamWaitEvent(b, inside, 0), CUDA_ERROR_STREAM_CAPTURE_MERGE);
    assert_int_equal(cuStreamEndCapture(a, &graph), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    end_spoilt(fixture, b, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_int_equal(cuStreamWaitEvent(b, inside, 0), CUDA_ERROR_CAPTURED_EVENT); // of a capture that is over
    assert_ok(cuEventRecord(inside, a));                                          // in earnest again
    assert_ok(cuEventSynchronize(inside));
}

struct visitor {
    CUcontext context;
    CUstream stream;
    CUresult allocated, ended;
};

static void *visit(void *user) {
    struct visitor *visitor = user;
    CUdeviceptr words = 0;
    CUgraph graph = NULL;
    cuCtxSetCurrent(visitor->context);
    visitor->allocated = cuMemAlloc(&words, 16);
    visitor->ended = cuStreamEndCapture(visitor->stream, &graph);
    cuCtxSetCurrent(NULL);
    return NULL;
}

static void visit_from_another_thread(struct visitor *visitor) {
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, visit, visitor), 0);
    pthread_join(thread, NULL);
}

static void test_modes_between_threads(void **state) {
    const struct fixture *fixture = *state;
    CUstream stream = make_stream();
    struct visitor visitor = {.context = fixture->context, .stream = stream};
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL));
    visit_from_another_thread(&visitor);
    assert_ok(visitor.allocated);
    assert_int_equal(visitor.ended, CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
    assert_ok(cuGraphDestroy(end_well(stream)));
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
    visit_from_another_thread(&visitor);
    assert_int_equal(visitor.allocated, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    end_spoilt(fixture, stream, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    assert_ok(cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
    visit_from_another_thread(&visitor);
    assert_ok(visitor.allocated);
    assert_ok(visitor.ended);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_linear, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fork_and_join, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unjoined, setup, teardown),
        cmocka_unit_test_setup_teardown(test_waiting_spoils, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unsafe_calls_spoil, setup, teardown),
        cmocka_unit_test_setup_teardown(test_default_stream_spoils, setup, teardown),
        cmocka_unit_test_setup_teardown(test_events, setup, teardown),
        cmocka_unit_test_setup_teardown(test_modes_between_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
