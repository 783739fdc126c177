// What the subcommands of `moejit cache` share: opening a database, and reading what a row is.
#ifndef MOEJIT_TOOL_CACHE_FILES_H
#define MOEJIT_TOOL_CACHE_FILES_H

#include "command.h"
#include "database.h"

struct cache_options {
    const char *cache; // NULL: the user's
    const char *images, *keep_toolchain;
    const char *decisions;           // a JSON file
    long long max_bytes, older_than; // -1: not given; older_than in days
    bool json;
    char **files;
    int num_files;
};

int cache_ls(const struct cache_options *options);
int cache_stats(const struct cache_options *options);
int cache_verify(const struct cache_options *options);
int cache_prune(const struct cache_options *options);
int cache_import(const struct cache_options *options);
int cache_export(const struct cache_options *options);
int cache_merge(const struct cache_options *options);

// The database asked for; false, with the sentence printed.
bool cache_open(struct mj_database *database, const struct cache_options *options, enum mj_database_kind kind);
bool cache_open_pack(struct mj_database *database, const char *path);
// The path that `options` means; "" where the environment names none.
void cache_path(const struct cache_options *options, char *path, size_t bytes);
int cache_failed(const char *what, const char *why); // prints; EXIT_UNAVAILABLE

// Of a row's key: the arch and the kernel's symbol, "?" where the key is not of the form that this moejit writes.
struct cache_label {
    char hash[33], arch[16], symbol[96];
};
void cache_label_read(struct cache_label *label, const struct mj_row *row);

#endif
