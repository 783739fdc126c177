// The entry points of graphs.
#include <stdlib.h>

#include "driver_capture.h"
#include "driver_entry.h"
#include "driver_findings.h"
#include "driver_function.h"
#include "driver_stream.h"

static struct emu_graph *clone(const struct emu_graph *graph, struct emu_context *context) {
    struct emu_graph *copy = emu_graph_create(context);
    for (size_t i = 0; copy != NULL && i < graph->nodes.count; i++) {
        const struct emu_node *node = graph->nodes.items[i];
        struct emu_task task;
        struct emu_nodes after = {0};
        bool made = emu_task_copy(&task, &node->task);
        for (size_t j = 0; made && j < node->after.count; j++) {
            made = emu_nodes_add(&after, copy->nodes.items[node->after.items[j]->index]);
        }
        if (!made) emu_task_clear(&task);
        struct emu_node *added = made ? emu_graph_add(copy, &task, &after) : NULL;
        made = added != NULL;
        if (made) added->overlapped = node->overlapped;
        emu_nodes_clear(&after);
        if (made) continue;
        emu_graph_destroy(copy);
        return NULL;
    }
    return copy;
}

static CUresult instantiate(struct emu_context *context, const struct emu_graph *graph, CUgraphExec *handle) {
    struct emu_exec *exec = calloc(1, sizeof(*exec));
    struct emu_graph *copy = exec == NULL ? NULL : clone(graph, context);
    if (copy == NULL || !emu_handles_add(&exec->object, EMU_KIND_EXEC, context)) {
        emu_graph_destroy(copy);
        free(exec);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    exec->graph = copy;
    emu_point_register(&exec->point);
    *handle = exec->object.handle;
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGraphInstantiateWithFlags(CUgraphExec *phGraphExec, CUgraph hGraph, unsigned long long flags) {
    EMU_BEGIN(cuGraphInstantiateWithFlags);
    struct emu_graph *graph = emu_handles_find(hGraph, EMU_KIND_GRAPH);
    if (phGraphExec == NULL || graph == NULL || emu_capture_owns(graph)) EMU_END(CUDA_ERROR_INVALID_VALUE);
    const unsigned long long known =
        CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH | CUDA_GRAPH_INSTANTIATE_FLAG_USE_NODE_PRIORITY;
    if ((flags & ~known) != 0) EMU_END(CUDA_ERROR_NOT_SUPPORTED);
    EMU_END(instantiate(context, graph, phGraphExec));
}

// A launch after the module is gone would run freed code on a GPU.
static CUresult check_functions(const struct emu_graph *graph) {
    for (size_t i = 0; i < graph->nodes.count; i++) {
        const struct emu_task *task = &graph->nodes.items[i]->task;
        if (task->kind != EMU_TASK_KERNEL) continue;
        if (emu_handles_find(task->kernel.function_handle, EMU_KIND_FUNCTION) != NULL) continue;
        emu_findings_reportf("Graph launch: node %zu is a kernel whose module was unloaded.", i);
        return CUDA_ERROR_INVALID_HANDLE;
    }
    return CUDA_SUCCESS;
}

// What one node of a launch comes to: what has happened when it has run, and what its start comes after.
struct queued {
    struct emu_set end, awaited, reach; // awaited, reach: as of a stream's kernel (driver_stream.c)
    struct emu_start start;
    uint64_t age;
};

static void come_after(struct queued *queued, size_t at, const struct emu_node *node, const struct emu_node *other) {
    const struct queued *before = &queued[other->index];
    bool overlaps = node->overlapped == other->index + 1;
    emu_set_unite(&queued[at].end, &before->end);
    emu_set_unite(&queued[at].start.set, overlaps ? &before->start.set : &before->end);
    emu_set_unite(&queued[at].awaited, overlaps ? &before->reach : &before->end);
    if (overlaps) queued[at].start.prerequisite = before->age;
}

// Of a node that has been added; earlier: its end before that.
static void settle_reach(struct queued *queued, const struct emu_node *node, const struct emu_set *earlier) {
    const struct emu_kernel_facts *facts =
        node->task.kind == EMU_TASK_KERNEL ? &node->task.kernel.function->facts : NULL;
    bool waits = node->overlapped == 0 || (facts != NULL && facts->waits);
    queued->reach = queued->end;
    emu_set_subtract(&queued->reach, earlier);
    emu_set_unite(&queued->reach, waits ? &queued->awaited : &queued->start.set);
    if (facts != NULL && facts->waits_first) queued->start.set = queued->awaited;
}

// Each node comes after what the stream held, after the graph's last launch and after its own predecessors.
static CUresult enqueue_nodes(struct emu_stream *stream, struct emu_exec *exec, struct queued *queued) {
    const struct emu_nodes *nodes = &exec->graph->nodes;
    struct emu_set start, end;
    emu_stream_before(stream, &start);
    emu_set_unite(&start, &exec->point.set);
    end = start;
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < nodes->count && result == CUDA_SUCCESS; i++) {
        const struct emu_node *node = nodes->items[i];
        struct emu_task task;
        queued[i] = (struct queued){.end = start, .awaited = start, .start = {.set = start}};
        for (size_t j = 0; j < node->after.count; j++) come_after(queued, i, node, node->after.items[j]);
        struct emu_set earlier = queued[i].end;
        emu_set_unite(&queued[i].awaited, &queued[i].start.set);
        if (emu_task_copy(&task, &node->task)) {
            const struct emu_start *early = node->overlapped != 0 ? &queued[i].start : NULL;
            queued[i].age = emu_queue_add(stream->object.context, &task, stream->number, &queued[i].end, early);
        }
        settle_reach(&queued[i], node, &earlier);
        if (queued[i].age == 0) {
            result = CUDA_ERROR_OUT_OF_MEMORY;
            break;
        }
        emu_set_unite(&end, &queued[i].end);
    }
    exec->point.set = end; // what was enqueued stays enqueued
    stream->point.set = end;
    stream->overlappable = 0;
    return result;
}

static CUresult launch(struct emu_context *context, CUgraphExec exec_handle, CUstream stream_handle) {
    struct emu_exec *exec = emu_handles_find(exec_handle, EMU_KIND_EXEC);
    if (exec == NULL) return CUDA_ERROR_INVALID_VALUE;
    size_t count = exec->graph->nodes.count;
    CUresult result = emu_queue_reserve(context, count);
    if (result != CUDA_SUCCESS) return result;
    exec = emu_handles_find(exec_handle, EMU_KIND_EXEC); // reserving may let go of the lock
    struct emu_stream *stream = emu_stream_find(context, stream_handle);
    if (exec == NULL || stream == NULL || exec->object.context != context) return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture != NULL) return CUDA_ERROR_NOT_SUPPORTED; // would be a child graph
    result = emu_capture_check_implicit(stream);
    if (result == CUDA_SUCCESS) result = check_functions(exec->graph);
    if (result != CUDA_SUCCESS) return result;
    struct queued *queued = malloc((count + 1) * sizeof(*queued));
    if (queued == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
    result = enqueue_nodes(stream, exec, queued);
    free(queued);
    if (result == CUDA_SUCCESS) emu_queue_maybe(context);
    return result;
}

CUresult CUDAAPI cuGraphLaunch(CUgraphExec hGraphExec, CUstream hStream) {
    EMU_BEGIN(cuGraphLaunch);
    EMU_END(launch(context, hGraphExec, hStream));
}

CUresult CUDAAPI cuGraphUpload(CUgraphExec hGraphExec, CUstream hStream) {
    EMU_BEGIN(cuGraphUpload);
    bool known = emu_handles_find(hGraphExec, EMU_KIND_EXEC) != NULL && emu_stream_find(context, hStream) != NULL;
    EMU_END(known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE);
}

CUresult CUDAAPI cuGraphExecDestroy(CUgraphExec hGraphExec) {
    EMU_BEGIN(cuGraphExecDestroy);
    struct emu_exec *exec = emu_handles_find(hGraphExec, EMU_KIND_EXEC);
    if (exec == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    emu_exec_destroy(exec); // launches that still wait have their own copies
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuGraphDestroy(CUgraph hGraph) {
    EMU_BEGIN(cuGraphDestroy);
    struct emu_graph *graph = emu_handles_find(hGraph, EMU_KIND_GRAPH);
    if (graph == NULL || emu_capture_owns(graph)) EMU_END(CUDA_ERROR_INVALID_VALUE);
    emu_graph_destroy(graph);
    EMU_END(CUDA_SUCCESS);
}

// Fills up to *numNodes of nodes, and says how many there are; room that is left over is cleared.
CUresult CUDAAPI cuGraphGetNodes(CUgraph hGraph, CUgraphNode *nodes, size_t *numNodes) {
    EMU_BEGIN(cuGraphGetNodes);
    struct emu_graph *graph = emu_handles_find(hGraph, EMU_KIND_GRAPH);
    if (graph == NULL || numNodes == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    for (size_t i = 0; nodes != NULL && i < *numNodes; i++) {
        nodes[i] = i < graph->nodes.count ? graph->nodes.items[i]->object.handle : NULL;
    }
    if (nodes == NULL || *numNodes > graph->nodes.count) *numNodes = graph->nodes.count;
    EMU_END(CUDA_SUCCESS);
}

CUresult CUDAAPI cuGraphNodeGetType(CUgraphNode hNode, CUgraphNodeType *type) {
    static const CUgraphNodeType types[] = {
        [EMU_TASK_EMPTY] = CU_GRAPH_NODE_TYPE_EMPTY,   [EMU_TASK_EVENT] = CU_GRAPH_NODE_TYPE_EVENT_RECORD,
        [EMU_TASK_KERNEL] = CU_GRAPH_NODE_TYPE_KERNEL, [EMU_TASK_COPY] = CU_GRAPH_NODE_TYPE_MEMCPY,
        [EMU_TASK_FILL] = CU_GRAPH_NODE_TYPE_MEMSET,   [EMU_TASK_HOST] = CU_GRAPH_NODE_TYPE_HOST,
        [EMU_TASK_FREE] = CU_GRAPH_NODE_TYPE_MEM_FREE,
    };
    EMU_BEGIN(cuGraphNodeGetType);
    const struct emu_node *node = emu_handles_find(hNode, EMU_KIND_NODE);
    if (node == NULL || type == NULL) EMU_END(CUDA_ERROR_INVALID_VALUE);
    *type = types[node->task.kind];
    EMU_END(CUDA_SUCCESS);
}
