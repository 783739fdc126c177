// moejit cache prune, import, export, merge.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cache_decisions.h"
#include "cache_files.h"
#include "pack.h"

static enum mj_outcome prune(struct mj_database *database, const struct cache_options *options, uint64_t *keys,
                             uint64_t *rows) {
    uint64_t max_bytes = options->max_bytes >= 0 ? (uint64_t)options->max_bytes : UINT64_MAX;
    int64_t before = options->older_than >= 0 ? (int64_t)time(NULL) - options->older_than * 86400 : 0;
    enum mj_outcome outcome = mj_database_begin(database);
    if (outcome == MJ_OUTCOME_GOOD && options->keep_toolchain != NULL) {
        outcome = mj_database_keep_toolchain(database, options->keep_toolchain, rows);
    }
    if (outcome == MJ_OUTCOME_GOOD) outcome = mj_database_evict(database, max_bytes, before, NULL, keys);
    if (outcome == MJ_OUTCOME_GOOD) outcome = mj_database_commit(database);
    return outcome;
}

int cache_prune(const struct cache_options *options) {
    struct mj_database database;
    uint64_t keys = 0, rows = 0;
    if (options->max_bytes < 0 && options->older_than < 0 && options->keep_toolchain == NULL) {
        return command_usage("cache", "prune needs --max-bytes, --older-than or --keep-toolchain");
    }
    if (!cache_open(&database, options, MJ_DATABASE_USER)) return EXIT_UNAVAILABLE;
    int code = EXIT_GOOD;
    if (prune(&database, options, &keys, &rows) != MJ_OUTCOME_GOOD) {
        code = cache_failed("pruning", mj_database_error(&database));
        mj_database_rollback(&database);
    } else {
        printf(options->json ? "{\"keys_removed\": %" PRIu64 ", \"rows_of_other_toolchains_removed\": %" PRIu64 "}\n"
                             : "%" PRIu64 " keys removed, %" PRIu64 " rows of other toolchains removed\n",
               keys, rows);
        // The pages stay in the file, to be filled again, where somebody else has it open just now.
        mj_database_shrink(&database);
    }
    mj_database_close(&database);
    return code;
}

struct import {
    struct mj_database *to;
    uint64_t rows, bad;
    enum mj_outcome outcome;
};

static bool import_row(void *user, const struct mj_row *row) {
    struct import *import = user;
    if (row->format != NULL && strcmp(row->format, MJ_FORMAT_FAILURE) == 0) return true; // another machine's affair
    if (!mj_row_good(row)) {
        import->bad++;
        return true;
    }
    struct mj_row dated = *row;
    dated.created = (int64_t)time(NULL);
    import->outcome = mj_database_insert(import->to, &dated);
    import->rows += import->outcome == MJ_OUTCOME_GOOD;
    return import->outcome == MJ_OUTCOME_GOOD;
}

static int import_pack(struct import *import, const char *path) {
    struct mj_database pack;
    if (!cache_open_pack(&pack, path)) return EXIT_UNAVAILABLE;
    enum mj_outcome outcome = mj_database_each(&pack, import_row, import);
    int code = EXIT_GOOD;
    if (outcome != MJ_OUTCOME_NONE && outcome != MJ_OUTCOME_GOOD) code = cache_failed(path, mj_database_error(&pack));
    if (import->outcome != MJ_OUTCOME_GOOD) code = cache_failed("importing", mj_database_error(import->to));
    mj_database_close(&pack);
    return code;
}

int cache_import(const struct cache_options *options) {
    struct mj_database database;
    struct import import = {.to = &database};
    if (options->decisions != NULL && options->num_files == 0) return cache_import_decisions(options);
    if (options->num_files == 0 || options->decisions != NULL)
        return command_usage("cache", "import needs the packs to import, or --decisions FILE alone");
    if (!cache_open(&database, options, MJ_DATABASE_USER)) return EXIT_UNAVAILABLE;
    int code = EXIT_GOOD;
    if (mj_database_begin(&database) != MJ_OUTCOME_GOOD) code = cache_failed("importing", mj_database_error(&database));
    for (int i = 0; code == EXIT_GOOD && i < options->num_files; i++) code = import_pack(&import, options->files[i]);
    if (code == EXIT_GOOD && mj_database_commit(&database) != MJ_OUTCOME_GOOD) {
        code = cache_failed("importing", mj_database_error(&database));
    }
    mj_database_rollback(&database);
    mj_database_close(&database);
    if (code != EXIT_GOOD) return code;
    printf(options->json ? "{\"rows\": %" PRIu64 ", \"bad\": %" PRIu64 "}\n"
                         : "%" PRIu64 " rows imported, %" PRIu64 " bad ones left out\n",
           import.rows, import.bad);
    return import.bad > 0 ? EXIT_WRONG : EXIT_GOOD;
}

static int write_pack(const struct cache_options *options, const char *path, struct mj_database *sources,
                      int num_sources) {
    static const struct mj_pack_selection everything;
    struct mj_pack_counts counts;
    char why[1536];
    if (!mj_pack_write(path, sources, num_sources, &everything, &counts, why, sizeof(why)))
        return cache_failed(path, why);
    printf(options->json ? "{\"rows\": %" PRIu64 ", \"bad\": %" PRIu64 "}\n"
                         : "%" PRIu64 " rows written, %" PRIu64 " bad ones left out\n",
           counts.rows, counts.bad);
    return counts.bad > 0 ? EXIT_WRONG : EXIT_GOOD;
}

struct image_files {
    const char *folder;
    uint64_t written, bad;
    bool failed;
};

static bool write_image(void *user, const struct mj_row *row) {
    struct image_files *files = user;
    struct cache_label label;
    char path[1400];
    if (row->format != NULL && strcmp(row->format, "cubin") != 0) return true;
    if (!mj_row_good(row)) {
        files->bad++;
        return true;
    }
    cache_label_read(&label, row);
    // Two toolchains may hold one key: the name tells them apart by rank, which is a number.
    snprintf(path, sizeof(path), "%s/%s-%s-%.12s-%d.cubin", files->folder, label.symbol, label.arch, label.hash,
             row->toolchain_rank);
    FILE *file = fopen(path, "wb");
    bool good = file != NULL && fwrite(row->image, 1, row->image_bytes, file) == row->image_bytes;
    if (file != NULL && fclose(file) != 0) good = false;
    if (!good) cache_failed(path, strerror(errno));
    files->failed = !good;
    files->written += good;
    return good;
}

static int export_images(const struct cache_options *options, struct mj_database *database) {
    struct image_files files = {.folder = options->images};
    if (mkdir(options->images, 0777) != 0 && errno != EEXIST) return cache_failed(options->images, strerror(errno));
    enum mj_outcome outcome = mj_database_each(database, write_image, &files);
    if (files.failed) return EXIT_UNAVAILABLE;
    if (outcome != MJ_OUTCOME_NONE) return cache_failed("reading", mj_database_error(database));
    printf(options->json ? "{\"images\": %" PRIu64 ", \"bad\": %" PRIu64 "}\n"
                         : "%" PRIu64 " cubins written, %" PRIu64 " bad ones left out\n",
           files.written, files.bad);
    return files.bad > 0 ? EXIT_WRONG : EXIT_GOOD;
}

int cache_export(const struct cache_options *options) {
    struct mj_database database;
    if ((options->images != NULL) + (options->decisions != NULL) + options->num_files != 1) {
        return command_usage("cache", "export needs either the pack to write, --images FOLDER or --decisions FILE");
    }
    if (options->decisions != NULL) return cache_export_decisions(options);
    if (!cache_open(&database, options, MJ_DATABASE_READ)) return EXIT_UNAVAILABLE;
    int code = options->images != NULL ? export_images(options, &database)
                                       : write_pack(options, options->files[0], &database, 1);
    mj_database_close(&database);
    return code;
}

int cache_merge(const struct cache_options *options) {
    int num = options->num_files - 1, opened = 0;
    if (num < 1) return command_usage("cache", "merge needs the pack to write and the packs to merge");
    struct mj_database *packs = calloc((size_t)num, sizeof(*packs));
    if (packs == NULL) return cache_failed("merging", "out of memory");
    while (opened < num && cache_open_pack(&packs[opened], options->files[opened + 1])) opened++;
    int code = opened == num ? write_pack(options, options->files[0], packs, num) : EXIT_UNAVAILABLE;
    while (opened > 0) mj_database_close(&packs[--opened]);
    free(packs);
    return code;
}
