// The keys that a pack is to hold, gathered from plans.
#ifndef MOEJIT_TOOL_PACK_LIST_H
#define MOEJIT_TOOL_PACK_LIST_H

#include "command.h"
#include "key.h"

struct pack_list {
    unsigned char (*hashes)[MJ_HASH_BYTES];
    size_t num, capacity;
    char cache[1024]; // the database in which they are; "" until a plan is added
};

// False where memory has run out.
bool pack_list_add(struct pack_list *list, const moejit_context *context, const moejit_plan *plan);
// Writes the pack out of the database and the packs under it; false, with the sentence printed.
bool pack_list_write(struct pack_list *list, const char *path, bool json);
void pack_list_free(struct pack_list *list);

#endif
