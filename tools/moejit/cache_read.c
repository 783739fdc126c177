// moejit cache ls, stats, verify: what a database or a pack holds.
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cache_files.h"

static void write_time(char text[32], int64_t seconds) {
    time_t time = (time_t)seconds;
    struct tm parts;
    snprintf(text, 32, "-");
    if (seconds > 0 && gmtime_r(&time, &parts) != NULL) strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &parts);
}

// A value of the database's as part of a line: it may hold anything.
static const char *plain(const char *text, char copy[64]) {
    size_t i = 0;
    for (; text != NULL && text[i] != '\0' && i < 63; i++) {
        copy[i] = text[i] >= ' ' && text[i] <= '~' && text[i] != '"' && text[i] != '\\' ? text[i] : '?';
    }
    copy[i] = '\0';
    return copy;
}

static bool print_row(void *user, const struct mj_row *row) {
    const struct cache_options *options = user;
    struct cache_label label;
    char used[32], format[64], toolchain[64];
    cache_label_read(&label, row);
    write_time(used, row->used);
    const char *form = options->json ? "{\"key\": \"%s\", \"arch\": \"%s\", \"symbol\": \"%s\", \"format\": \"%s\", "
                                       "\"toolchain\": \"%s\", \"bytes\": %zu, \"used\": \"%s\"}\n"
                                     : "%.12s  %-8s %-44s %-6s %-12s %9zu  %s\n";
    printf(form, label.hash, label.arch, label.symbol, plain(row->format, format), plain(row->toolchain, toolchain),
           row->image_bytes, used);
    return true;
}

static int read_all(const struct cache_options *options, mj_each_row_fn each, void *user) {
    struct mj_database database;
    if (!cache_open(&database, options, MJ_DATABASE_READ)) return EXIT_UNAVAILABLE;
    enum mj_outcome outcome = mj_database_each(&database, each, user);
    int code = outcome == MJ_OUTCOME_NONE ? EXIT_GOOD : cache_failed("reading", mj_database_error(&database));
    mj_database_close(&database);
    // A file that contradicts itself is a check that failed, not one that could not be made.
    return outcome == MJ_OUTCOME_DAMAGED ? EXIT_WRONG : code;
}

int cache_ls(const struct cache_options *options) {
    if (!options->json) {
        printf("%-12s  %-8s %-44s %-6s %-12s %9s  %s\n", "key", "arch", "symbol", "format", "toolchain", "bytes",
               "used");
    }
    return read_all(options, print_row, (void *)options);
}

struct stats {
    uint64_t rows, keys, bytes, cubin_bytes, oldest, newest, bad;
    char last[33];
    bool print_bad, json;
};

static bool count_row(void *user, const struct mj_row *row) {
    struct stats *stats = user;
    struct cache_label label;
    cache_label_read(&label, row);
    if (strcmp(label.hash, stats->last) != 0) stats->keys++;
    memcpy(stats->last, label.hash, sizeof(stats->last));
    stats->rows++;
    stats->bytes += row->image_bytes;
    if (row->format != NULL && strcmp(row->format, "cubin") == 0) stats->cubin_bytes += row->image_bytes;
    return true;
}

int cache_stats(const struct cache_options *options) {
    struct stats stats = {0};
    int code = read_all(options, count_row, &stats);
    if (code != EXIT_GOOD) return code;
    const char *form = options->json ? "{\"keys\": %" PRIu64 ", \"rows\": %" PRIu64 ", \"bytes\": %" PRIu64
                                       ", \"cubin_bytes\": %" PRIu64 "}\n"
                                     : "%" PRIu64 " keys, %" PRIu64 " rows, %" PRIu64 " bytes, of which %" PRIu64
                                       " are cubins\n";
    printf(form, stats.keys, stats.rows, stats.bytes, stats.cubin_bytes);
    return EXIT_GOOD;
}

static bool verify_row(void *user, const struct mj_row *row) {
    struct stats *stats = user;
    struct cache_label label;
    char format[64];
    stats->rows++;
    if (mj_row_good(row)) return true;
    stats->bad++;
    cache_label_read(&label, row);
    fprintf(stderr, "moejit cache: bad: %.12s %s %s %s\n", label.hash, label.arch, label.symbol,
            plain(row->format, format));
    return true;
}

int cache_verify(const struct cache_options *options) {
    struct stats stats = {0};
    int code = read_all(options, verify_row, &stats);
    if (code == EXIT_UNAVAILABLE) return code;
    printf(options->json ? "{\"rows\": %" PRIu64 ", \"bad\": %" PRIu64 ", \"readable\": %s}\n"
                         : "%" PRIu64 " rows, %" PRIu64 " bad, readable to the end: %s\n",
           stats.rows, stats.bad, code == EXIT_GOOD ? "true" : "false");
    return stats.bad > 0 ? EXIT_WRONG : code;
}
