#include <stdlib.h>
#include <string.h>

#include "machine.h"

// Byte ranges by kind of access. Neighbouring accesses are merged as they come; the rest is sorted and merged when the
// list has doubled.
struct range {
    uintptr_t first, end;
};

struct ranges {
    struct range *list;
    size_t count, capacity, merged; // merged: the count after the last merge
};

struct emu_footprint {
    struct ranges kinds[3]; // by enum emu_access_kind
    bool failed;            // memory ran out: what is missing cannot conflict
};

struct emu_footprint *emu_footprint_create(void) {
    return calloc(1, sizeof(struct emu_footprint));
}

void emu_footprint_destroy(struct emu_footprint *footprint) {
    if (footprint == NULL) return;
    for (int kind = 0; kind < 3; kind++) free(footprint->kinds[kind].list);
    free(footprint);
}

static int compare(const void *a, const void *b) {
    const struct range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

static void merge(struct ranges *ranges) {
    size_t kept = 0;
    if (ranges->count > 1) qsort(ranges->list, ranges->count, sizeof(*ranges->list), compare);
    for (size_t i = 0; i < ranges->count; i++) {
        struct range range = ranges->list[i];
        if (kept > 0 && range.first <= ranges->list[kept - 1].end) {
            if (range.end > ranges->list[kept - 1].end) ranges->list[kept - 1].end = range.end;
        } else {
            ranges->list[kept++] = range;
        }
    }
    ranges->count = ranges->merged = kept;
}

void emu_footprint_add(struct emu_footprint *footprint, uintptr_t address, size_t bytes, enum emu_access_kind kind) {
    struct ranges *ranges = &footprint->kinds[kind];
    struct range range = {address, address + bytes};
    if (bytes == 0) return;
    // The last few, since the accesses of one instruction come in a few runs.
    for (size_t i = 1; i <= 4 && i <= ranges->count; i++) {
        struct range *last = &ranges->list[ranges->count - i];
        if (range.first > last->end || range.end < last->first) continue;
        if (range.first < last->first) last->first = range.first;
        if (range.end > last->end) last->end = range.end;
        return;
    }
    if (ranges->count > 1024 && ranges->count > 2 * ranges->merged) merge(ranges);
    if (ranges->count == ranges->capacity) {
        size_t capacity = ranges->capacity * 2 + 64;
        struct range *list = realloc(ranges->list, capacity * sizeof(*list));
        if (list == NULL) {
            footprint->failed = true;
            return;
        }
        ranges->list = list;
        ranges->capacity = capacity;
    }
    ranges->list[ranges->count++] = range;
}

static bool overlap(const struct ranges *a, const struct ranges *b, uintptr_t *address) {
    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        const struct range *x = &a->list[i], *y = &b->list[j];
        if (x->first < y->end && y->first < x->end) {
            *address = x->first > y->first ? x->first : y->first;
            return true;
        }
        if (x->end <= y->end) {
            i++;
        } else {
            j++;
        }
    }
    return false;
}

bool emu_footprint_conflict(const struct emu_footprint *a, const struct emu_footprint *b, uintptr_t *address) {
    // Merging changes no meaning, only the order of the lists.
    for (int kind = 0; kind < 3; kind++) {
        merge((struct ranges *)&a->kinds[kind]);
        merge((struct ranges *)&b->kinds[kind]);
    }
    for (int x = 0; x < 3; x++) {
        for (int y = 0; y < 3; y++) {
            bool harmless =
                (x == EMU_ACCESS_READ && y == EMU_ACCESS_READ) || (x == EMU_ACCESS_ATOMIC && y == EMU_ACCESS_ATOMIC);
            if (!harmless && overlap(&a->kinds[x], &b->kinds[y], address)) return true;
        }
    }
    return false;
}
