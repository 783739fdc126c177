#include "cache_files.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_path.h"

int cache_failed(const char *what, const char *why) {
    fprintf(stderr, "moejit cache: %s: %s\n", what, why);
    return EXIT_UNAVAILABLE;
}

void cache_path(const struct cache_options *options, char *path, size_t bytes) {
    if (options->cache != NULL) {
        snprintf(path, bytes, "%s", options->cache);
    } else {
        mj_store_path_find(path, bytes);
    }
}

bool cache_open(struct mj_database *database, const struct cache_options *options, enum mj_database_kind kind) {
    char path[1024], real[1024], why[1536];
    enum mj_outcome outcome;
    cache_path(options, path, sizeof(path));
    if (path[0] == '\0') {
        cache_failed("no database", "give --cache, or set MOEJIT_CACHE_DIR, XDG_CACHE_HOME or HOME");
        return false;
    }
    bool good = kind == MJ_DATABASE_USER ? mj_store_path_prepare(path, real, sizeof(real), why, sizeof(why))
                                         : mj_store_path_check_pack(path, real, sizeof(real), why, sizeof(why));
    good = good && mj_database_open(database, real, kind, &outcome, why, sizeof(why));
    if (!good) cache_failed(path, why);
    return good;
}

bool cache_open_pack(struct mj_database *database, const char *path) {
    char real[1024], why[1536];
    enum mj_outcome outcome;
    if (mj_store_path_check_pack(path, real, sizeof(real), why, sizeof(why)) &&
        mj_database_open(database, real, MJ_DATABASE_PACK, &outcome, why, sizeof(why))) {
        return true;
    }
    cache_failed(path, why);
    return false;
}

// Copies the word at `from`: letters, digits and underscores, which are safe in a file's name.
static void copy_word(char *word, size_t bytes, const char *from, const char *end) {
    size_t length = 0;
    while (from < end && length + 1 < bytes && (isalnum((unsigned char)*from) || *from == '_'))
        word[length++] = *from++;
    if (length == 0) word[length++] = '?';
    word[length] = '\0';
}

static const char *find(const char *text, size_t bytes, const char *what) {
    size_t length = strlen(what);
    for (size_t i = 0; i + length <= bytes; i++) {
        if (memcmp(text + i, what, length) == 0) return text + i + length;
    }
    return text + bytes;
}

void cache_label_read(struct cache_label *label, const struct mj_row *row) {
    const char *text = row->key != NULL ? row->key : "", *end = text + (row->key != NULL ? row->key_bytes : 0);
    unsigned char hash[MJ_HASH_BYTES];
    mj_key_hash(text, (size_t)(end - text), hash);
    for (int i = 0; i < MJ_HASH_BYTES; i++) snprintf(label->hash + 2 * i, 3, "%02x", hash[i]);
    const char *arch = find(text, (size_t)(end - text), "\narch ");
    copy_word(label->arch, sizeof(label->arch), find(arch, (size_t)(end - arch), ":"), end);
    const char *symbol = find(text, (size_t)(end - text), "\nmoejit_");
    if (symbol < end) symbol -= strlen("moejit_");
    copy_word(label->symbol, sizeof(label->symbol), symbol, end);
}
