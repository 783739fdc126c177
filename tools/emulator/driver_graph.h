// Graphs: tasks with the nodes that each comes after. Made by capture, launched as instantiated copies.
#ifndef MOEJIT_EMULATOR_DRIVER_GRAPH_H
#define MOEJIT_EMULATOR_DRIVER_GRAPH_H

#include "driver_context.h"
#include "driver_queue.h"

struct emu_node;

struct emu_nodes { // a list without doubles
    struct emu_node **items;
    size_t count, capacity;
};
bool emu_nodes_add(struct emu_nodes *list, struct emu_node *node);
bool emu_nodes_add_all(struct emu_nodes *list, const struct emu_nodes *more);
void emu_nodes_clear(struct emu_nodes *list);

struct emu_node {
    struct emu_object object;
    struct emu_task task;
    size_t index; // in its graph; what it comes after has smaller ones
    struct emu_nodes after;
    size_t overlapped; // 1 + the index of one of them that it may start before the end of; 0: none
};

struct emu_graph {
    struct emu_object object;
    struct emu_nodes nodes;
};

struct emu_exec {
    struct emu_object object;
    struct emu_graph *graph; // its own copy
    struct emu_point point;  // its last launch: two launches of one executable graph never overlap
};

// With the driver's lock held.
struct emu_graph *emu_graph_create(struct emu_context *context);
void emu_graph_destroy(struct emu_graph *graph);
struct emu_node *emu_graph_add(struct emu_graph *graph, struct emu_task *task, const struct emu_nodes *after);
void emu_exec_destroy(struct emu_exec *exec);

#endif
