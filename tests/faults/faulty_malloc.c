#include "faulty_malloc.h"

#include <sqlite3.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t num, size_t bytes);
void *__real_realloc(void *data, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t num, size_t bytes);
void *__wrap_realloc(void *data, size_t bytes);

static sqlite3_mem_methods real;
static int countdown;
static bool fail_all, fired;

void faulty_malloc_arm(int n, bool all) {
    countdown = n;
    fail_all = all;
    fired = false;
}

bool faulty_malloc_fired(void) {
    return fired;
}

static bool fails(void) {
    if (countdown == 0) return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    if (!fail_all) countdown = 0;
    fired = true;
    return true;
}

void *__wrap_malloc(size_t bytes) {
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t num, size_t bytes) {
    return fails() ? NULL : __real_calloc(num, bytes);
}

void *__wrap_realloc(void *data, size_t bytes) {
    return fails() ? NULL : __real_realloc(data, bytes);
}

static void *sqlite_malloc(int bytes) {
    return fails() ? NULL : real.xMalloc(bytes);
}

static void *sqlite_realloc(void *data, int bytes) {
    return fails() ? NULL : real.xRealloc(data, bytes);
}

void faulty_malloc_install(void) {
    sqlite3_mem_methods methods;
    // Lookaside would hide allocations.
    if (sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) != SQLITE_OK) abort();
    if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real) != SQLITE_OK) abort();
    methods = real;
    methods.xMalloc = sqlite_malloc;
    methods.xRealloc = sqlite_realloc;
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &methods) != SQLITE_OK) abort();
}
