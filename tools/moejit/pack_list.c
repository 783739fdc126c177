#include "pack_list.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack.h"
#include "store_path.h"

#define MAX_SOURCES 32 // the database and the packs under it

static int compare(const void *one, const void *other) {
    return memcmp(one, other, MJ_HASH_BYTES);
}

bool pack_list_add(struct pack_list *list, const moejit_context *context, const moejit_plan *plan) {
    size_t num = (size_t)moejit_plan_num_kernels(plan);
    snprintf(list->cache, sizeof(list->cache), "%s", moejit_context_cache_path(context));
    if (list->num + num > list->capacity) {
        size_t capacity = (list->num + num) * 2;
        void *hashes = realloc(list->hashes, capacity * MJ_HASH_BYTES);
        if (hashes == NULL) return false;
        list->hashes = hashes;
        list->capacity = capacity;
    }
    for (size_t i = 0; i < num; i++) {
        moejit_kernel_info info = {.struct_size = sizeof(info)};
        moejit_plan_kernel(plan, (int32_t)i, &info);
        mj_key_hash(info.key_text, strlen(info.key_text), list->hashes[list->num++]);
    }
    return true;
}

// Layers share kernels.
static void sort(struct pack_list *list) {
    size_t kept = 0;
    if (list->num > 0) qsort(list->hashes, list->num, MJ_HASH_BYTES, compare);
    for (size_t i = 0; i < list->num; i++) {
        if (kept > 0 && compare(list->hashes[kept - 1], list->hashes[i]) == 0) continue;
        memmove(list->hashes[kept++], list->hashes[i], MJ_HASH_BYTES);
    }
    list->num = kept;
}

static bool open_source(struct mj_database *database, const char *path, enum mj_database_kind kind) {
    char real[1024], why[1536];
    enum mj_outcome outcome;
    return mj_store_path_check_pack(path, real, sizeof(real), why, sizeof(why)) &&
           mj_database_open(database, real, kind, &outcome, why, sizeof(why));
}

// What the context searched. A pack that it has left out is left out here too.
static int open_sources(const struct pack_list *list, struct mj_database *sources) {
    const char *packs = getenv("MOEJIT_CACHE_PACKS");
    int num = open_source(&sources[0], list->cache, MJ_DATABASE_READ) ? 1 : 0;
    while (packs != NULL && packs[0] != '\0' && num < MAX_SOURCES) {
        char path[1024];
        size_t length = strcspn(packs, ":");
        snprintf(path, sizeof(path), "%.*s", (int)length, packs);
        if (length > 0 && length < sizeof(path) && open_source(&sources[num], path, MJ_DATABASE_PACK)) num++;
        packs += length + (packs[length] == ':');
    }
    return num;
}

bool pack_list_write(struct pack_list *list, const char *path, bool json) {
    struct mj_database sources[MAX_SOURCES];
    char why[1536] = "there is no database to take the images from; give --cache";
    sort(list);
    const struct mj_pack_selection selection = {(const unsigned char(*)[MJ_HASH_BYTES])list->hashes, list->num};
    struct mj_pack_counts counts = {0};
    int num = list->cache[0] != '\0' ? open_sources(list, sources) : 0;
    bool good = num > 0 && mj_pack_write(path, sources, num, &selection, &counts, why, sizeof(why));
    while (num > 0) mj_database_close(&sources[--num]);
    if (!good) {
        fprintf(stderr, "moejit prefill: %s: %s\n", path, why);
        return false;
    }
    printf(json ? "{\"event\": \"pack\", \"kernels\": %zu, \"rows\": %" PRIu64 "}\n"
                : "pack: %zu kernels, %" PRIu64 " rows\n",
           list->num, counts.rows);
    return true;
}

void pack_list_free(struct pack_list *list) {
    free(list->hashes);
    *list = (struct pack_list){0};
}
