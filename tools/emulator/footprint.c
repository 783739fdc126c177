// Which bytes were touched, by kind of access: pages of a bit a byte, found by their number. A page that is touched
// whole, as most are that a copy or many CTAs read, keeps no bits of its own.
#include <stdlib.h>
#include <string.h>

#include "machine.h"

#define PAGE_SHIFT 12
#define PAGE_BYTES ((uintptr_t)1 << PAGE_SHIFT)
#define PAGE_WORDS (PAGE_BYTES / 64)
#define NUM_KINDS 3 // of enum emu_access_kind

struct page {
    uintptr_t number;          // address >> PAGE_SHIFT
    uint64_t *bits[NUM_KINDS]; // NULL: nothing; `whole`: all of it
};

struct emu_footprint {
    struct page *pages; // in the order of their first access
    size_t num_pages, capacity, last;
    uint32_t *places; // by a page's number: its index plus one, or 0; 2 * capacity, a power of two
};

static uint64_t whole[PAGE_WORDS]; // its address alone counts

struct emu_footprint *emu_footprint_create(void) {
    return calloc(1, sizeof(struct emu_footprint));
}

static void drop(struct page *page, int kind) {
    if (page->bits[kind] != whole) free(page->bits[kind]);
}

void emu_footprint_clear(struct emu_footprint *footprint) {
    for (size_t i = 0; i < footprint->num_pages; i++) {
        for (int kind = 0; kind < NUM_KINDS; kind++) drop(&footprint->pages[i], kind);
    }
    if (footprint->num_pages > 0) memset(footprint->places, 0, 2 * footprint->capacity * sizeof(uint32_t));
    footprint->num_pages = footprint->last = 0;
}

void emu_footprint_destroy(struct emu_footprint *footprint) {
    if (footprint == NULL) return;
    emu_footprint_clear(footprint);
    free(footprint->pages);
    free(footprint->places);
    free(footprint);
}

// ---- Pages

// Where the page's index is, or a free place for it.
static uint32_t *place_of(const struct emu_footprint *footprint, uintptr_t number) {
    size_t mask = 2 * footprint->capacity - 1, at = (size_t)(number * 0x9e3779b97f4a7c15u >> 20) & mask;
    while (footprint->places[at] != 0 && footprint->pages[footprint->places[at] - 1].number != number) {
        at = (at + 1) & mask;
    }
    return &footprint->places[at];
}

static const struct page *find(const struct emu_footprint *footprint, uintptr_t number) {
    if (footprint->num_pages == 0) return NULL;
    uint32_t place = *place_of(footprint, number);
    return place != 0 ? &footprint->pages[place - 1] : NULL;
}

static bool grow(struct emu_footprint *footprint) {
    size_t capacity = footprint->capacity > 0 ? 2 * footprint->capacity : 64;
    struct page *pages = realloc(footprint->pages, capacity * sizeof(*pages));
    if (pages == NULL) return false;
    footprint->pages = pages;
    uint32_t *places = calloc(2 * capacity, sizeof(*places));
    if (places == NULL) return false;
    free(footprint->places);
    footprint->places = places;
    footprint->capacity = capacity;
    for (size_t i = 0; i < footprint->num_pages; i++) *place_of(footprint, pages[i].number) = (uint32_t)i + 1;
    return true;
}

// NULL without memory: what is missing conflicts with nothing.
static struct page *find_or_add(struct emu_footprint *footprint, uintptr_t number) {
    size_t last = footprint->last; // neighbours come one after the other
    if (last < footprint->num_pages && footprint->pages[last].number == number) return &footprint->pages[last];
    const struct page *found = find(footprint, number);
    if (found != NULL) {
        footprint->last = (size_t)(found - footprint->pages);
    } else {
        if (footprint->num_pages == footprint->capacity && !grow(footprint)) return NULL;
        footprint->last = footprint->num_pages;
        footprint->pages[footprint->num_pages++] = (struct page){.number = number};
        *place_of(footprint, number) = (uint32_t)footprint->num_pages;
    }
    return &footprint->pages[footprint->last];
}

static void take_whole(struct page *page, int kind) {
    drop(page, kind);
    page->bits[kind] = whole;
}

// Bytes first .. end - 1 of the page.
static void add_to_page(struct page *page, uintptr_t first, uintptr_t end, int kind) {
    if (page->bits[kind] == whole) return;
    if (end - first == PAGE_BYTES) {
        take_whole(page, kind);
        return;
    }
    if (page->bits[kind] == NULL) page->bits[kind] = calloc(PAGE_WORDS, sizeof(uint64_t));
    uint64_t *bits = page->bits[kind];
    for (uintptr_t at = first; bits != NULL && at < end;) {
        uintptr_t next = (at / 64 + 1) * 64, count = (next < end ? next : end) - at;
        bits[at / 64] |= ~(uint64_t)0 >> (64 - count) << at % 64;
        at += count;
    }
}

void emu_footprint_add(struct emu_footprint *footprint, uintptr_t address, size_t bytes, enum emu_access_kind kind) {
    for (uintptr_t at = address, end = address + bytes; at < end;) {
        uintptr_t first = at % PAGE_BYTES, count = PAGE_BYTES - first < end - at ? PAGE_BYTES - first : end - at;
        struct page *page = find_or_add(footprint, at >> PAGE_SHIFT);
        if (page != NULL) add_to_page(page, first, first + count, (int)kind);
        at += count;
    }
}

// ---- Of two footprints

static void merge_page(struct page *to, const struct page *from, int kind) {
    if (from->bits[kind] == NULL || to->bits[kind] == whole) return;
    if (from->bits[kind] == whole) {
        take_whole(to, kind);
        return;
    }
    if (to->bits[kind] == NULL) to->bits[kind] = calloc(PAGE_WORDS, sizeof(uint64_t));
    uint64_t *bits = to->bits[kind], common = ~(uint64_t)0;
    for (size_t i = 0; bits != NULL && i < PAGE_WORDS; i++) common &= bits[i] |= from->bits[kind][i];
    if (bits != NULL && common == ~(uint64_t)0) take_whole(to, kind);
}

void emu_footprint_merge(struct emu_footprint *to, const struct emu_footprint *from) {
    for (size_t i = 0; i < from->num_pages; i++) {
        struct page *page = find_or_add(to, from->pages[i].number);
        for (int kind = 0; page != NULL && kind < NUM_KINDS; kind++) merge_page(page, &from->pages[i], kind);
    }
}

static uint64_t bits_at(const uint64_t *bits, size_t i) {
    return bits == whole ? ~(uint64_t)0 : bits[i];
}

// The first byte of the page that both lists have.
static bool overlap(const uint64_t *a, const uint64_t *b, uintptr_t *byte) {
    for (size_t i = 0; a != NULL && b != NULL && i < PAGE_WORDS; i++) {
        uint64_t both = bits_at(a, i) & bits_at(b, i);
        if (both == 0) continue;
        *byte = 64 * i + (uintptr_t)__builtin_ctzll(both);
        return true;
    }
    return false;
}

// Two reads do not conflict, nor two atomics.
static bool pages_conflict(const struct page *a, const struct page *b, uintptr_t *address) {
    bool found = false;
    for (int x = 0; x < NUM_KINDS; x++) {
        for (int y = 0; y < NUM_KINDS; y++) {
            uintptr_t byte = 0;
            if (x == y && x != EMU_ACCESS_WRITE) continue;
            if (!overlap(a->bits[x], b->bits[y], &byte)) continue;
            byte += a->number << PAGE_SHIFT;
            if (!found || byte < *address) *address = byte;
            found = true;
        }
    }
    return found;
}

bool emu_footprint_conflict(const struct emu_footprint *a, const struct emu_footprint *b, uintptr_t *address) {
    const struct emu_footprint *few = a->num_pages <= b->num_pages ? a : b, *many = few == a ? b : a;
    bool found = false;
    for (size_t i = 0; i < few->num_pages; i++) {
        const struct page *page = &few->pages[i], *other = find(many, page->number);
        uintptr_t at = 0;
        if (other == NULL || !pages_conflict(page, other, &at)) continue;
        if (!found || at < *address) *address = at;
        found = true;
    }
    return found;
}
