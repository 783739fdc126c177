// Byte ranges by kind of access. Each list is sorted and merged up to a mark, with newcomers after it that are merged
// in when there are many, or when the list is read.
#include <stdlib.h>
#include <string.h>

#include "machine.h"

struct range {
    uintptr_t first, end;
};

#define NUM_RECENT 128 // a power of two
#define LONG_LIST 256

struct ranges {
    struct range *list;
    size_t count, capacity, sorted;
    struct range *recent; // of a long list, by address: what is in it already, since many warps read the same
};

struct emu_footprint {
    struct ranges kinds[3]; // by enum emu_access_kind
};

struct emu_footprint *emu_footprint_create(void) {
    return calloc(1, sizeof(struct emu_footprint));
}

void emu_footprint_destroy(struct emu_footprint *footprint) {
    if (footprint == NULL) return;
    for (int kind = 0; kind < 3; kind++) {
        free(footprint->kinds[kind].list);
        free(footprint->kinds[kind].recent);
    }
    free(footprint);
}

void emu_footprint_clear(struct emu_footprint *footprint) {
    for (int kind = 0; kind < 3; kind++) {
        struct ranges *ranges = &footprint->kinds[kind];
        if (ranges->recent != NULL) memset(ranges->recent, 0, NUM_RECENT * sizeof(*ranges->recent));
        ranges->count = ranges->sorted = 0;
    }
}

static int compare(const void *a, const void *b) {
    const struct range *x = a, *y = b;
    return (x->first > y->first) - (x->first < y->first);
}

// Ranges that touch become one.
static size_t merge_sorted(struct range *list, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && list[i].first <= list[kept - 1].end) {
            if (list[i].end > list[kept - 1].end) list[kept - 1].end = list[i].end;
        } else {
            list[kept++] = list[i];
        }
    }
    return kept;
}

static void settle(struct ranges *ranges) {
    if (ranges->sorted == ranges->count) return;
    struct range *tail = ranges->list + ranges->sorted;
    size_t tail_count = ranges->count - ranges->sorted;
    qsort(tail, tail_count, sizeof(*tail), compare);
    tail_count = merge_sorted(tail, tail_count);
    struct range *copy = malloc(tail_count * sizeof(*copy));
    if (copy == NULL) { // slower, without memory
        ranges->count = ranges->sorted + tail_count;
        qsort(ranges->list, ranges->count, sizeof(*ranges->list), compare);
    } else { // from the end: what is not yet moved is never overwritten
        memcpy(copy, tail, tail_count * sizeof(*copy));
        size_t a = ranges->sorted, b = tail_count, to = a + b;
        ranges->count = to;
        while (b > 0) {
            bool from_a = a > 0 && ranges->list[a - 1].first > copy[b - 1].first;
            ranges->list[--to] = from_a ? ranges->list[--a] : copy[--b];
        }
        free(copy);
    }
    ranges->count = ranges->sorted = merge_sorted(ranges->list, ranges->count);
}

static void add(struct ranges *ranges, struct range range) {
    if (ranges->recent != NULL) {
        struct range *recent = &ranges->recent[range.first / 64 % NUM_RECENT];
        if (range.first >= recent->first && range.end <= recent->end) return;
        *recent = range;
    }
    // The last few newcomers, since the accesses of one instruction come in a few runs.
    for (size_t i = ranges->count, tried = 0; i > ranges->sorted && tried < 4; i--, tried++) {
        struct range *last = &ranges->list[i - 1];
        if (range.first > last->end || range.end < last->first) continue;
        if (range.first < last->first) last->first = range.first;
        if (range.end > last->end) last->end = range.end;
        return;
    }
    if (ranges->count - ranges->sorted > 512 + ranges->sorted) settle(ranges);
    if (ranges->count == ranges->capacity) {
        size_t capacity = ranges->capacity * 2 + 64;
        struct range *list = realloc(ranges->list, capacity * sizeof(*list));
        if (list == NULL) return; // what is missing conflicts with nothing
        ranges->list = list;
        ranges->capacity = capacity;
        if (capacity > LONG_LIST && ranges->recent == NULL)
            ranges->recent = calloc(NUM_RECENT, sizeof(*ranges->recent)); // or do without
    }
    ranges->list[ranges->count++] = range;
}

void emu_footprint_add(struct emu_footprint *footprint, uintptr_t address, size_t bytes, enum emu_access_kind kind) {
    if (bytes > 0) add(&footprint->kinds[kind], (struct range){address, address + bytes});
}

void emu_footprint_merge(struct emu_footprint *to, struct emu_footprint *from) {
    for (int kind = 0; kind < 3; kind++) {
        settle(&from->kinds[kind]);
        for (size_t i = 0; i < from->kinds[kind].count; i++) add(&to->kinds[kind], from->kinds[kind].list[i]);
    }
}

// The first range of the sorted list that ends after the address.
static size_t find_after(const struct ranges *ranges, uintptr_t address) {
    size_t low = 0, high = ranges->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ranges->list[middle].end > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static bool overlap(const struct ranges *few, const struct ranges *many, uintptr_t *address) {
    for (size_t i = 0; i < few->count; i++) {
        const struct range *x = &few->list[i];
        size_t at = find_after(many, x->first);
        if (at == many->count || many->list[at].first >= x->end) continue;
        *address = x->first > many->list[at].first ? x->first : many->list[at].first;
        return true;
    }
    return false;
}

bool emu_footprint_conflict(const struct emu_footprint *a, const struct emu_footprint *b, uintptr_t *address) {
    // Settling changes no meaning, only the order of the lists.
    for (int kind = 0; kind < 3; kind++) {
        settle((struct ranges *)&a->kinds[kind]);
        settle((struct ranges *)&b->kinds[kind]);
    }
    for (int x = 0; x < 3; x++) {
        for (int y = 0; y < 3; y++) {
            bool both_read = x == EMU_ACCESS_READ && y == EMU_ACCESS_READ;
            bool both_atomic = x == EMU_ACCESS_ATOMIC && y == EMU_ACCESS_ATOMIC;
            const struct ranges *p = &a->kinds[x], *q = &b->kinds[y];
            if (both_read || both_atomic) continue;
            if (p->count <= q->count ? overlap(p, q, address) : overlap(q, p, address)) return true;
        }
    }
    return false;
}
