#include "driver_graph.h"

#include <stdlib.h>

bool emu_nodes_add(struct emu_nodes *list, struct emu_node *node) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i] == node) return true;
    }
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 8 : list->capacity * 2;
        struct emu_node **grown = realloc(list->items, capacity * sizeof(struct emu_node *));
        if (grown == NULL) return false;
        list->items = grown;
        list->capacity = capacity;
    }
    list->items[list->count++] = node;
    return true;
}

bool emu_nodes_add_all(struct emu_nodes *list, const struct emu_nodes *more) {
    for (size_t i = 0; i < more->count; i++) {
        if (!emu_nodes_add(list, more->items[i])) return false;
    }
    return true;
}

void emu_nodes_clear(struct emu_nodes *list) {
    free(list->items);
    *list = (struct emu_nodes){0};
}

struct emu_graph *emu_graph_create(struct emu_context *context) {
    struct emu_graph *graph = calloc(1, sizeof(*graph));
    if (graph == NULL || emu_handles_add(&graph->object, EMU_KIND_GRAPH, context)) return graph;
    free(graph);
    return NULL;
}

static void destroy_node(struct emu_node *node) {
    emu_task_clear(&node->task);
    emu_nodes_clear(&node->after);
    emu_handles_remove(&node->object);
    free(node);
}

void emu_graph_destroy(struct emu_graph *graph) {
    if (graph == NULL) return;
    for (size_t i = 0; i < graph->nodes.count; i++) destroy_node(graph->nodes.items[i]);
    emu_nodes_clear(&graph->nodes);
    emu_handles_remove(&graph->object);
    free(graph);
}

// Takes the task, also when it fails.
struct emu_node *emu_graph_add(struct emu_graph *graph, struct emu_task *task, const struct emu_nodes *after) {
    struct emu_node *node = calloc(1, sizeof(*node));
    if (node == NULL || !emu_handles_add(&node->object, EMU_KIND_NODE, graph->object.context)) {
        free(node);
        emu_task_clear(task);
        return NULL;
    }
    node->task = *task;
    task->kind = EMU_TASK_EMPTY;
    node->index = graph->nodes.count;
    if (emu_nodes_add_all(&node->after, after) && emu_nodes_add(&graph->nodes, node)) return node;
    destroy_node(node);
    return NULL;
}

void emu_exec_destroy(struct emu_exec *exec) {
    emu_graph_destroy(exec->graph);
    emu_point_forget(&exec->point);
    emu_handles_remove(&exec->object);
    free(exec);
}
