#include "cache_decisions.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tuning_store.h"

#define FORMAT "moejit decisions 1"
#define KEY_START "moejit tuning 1\n"
#define MAX_ROWS 64 // of a key

static void warn(void *user, const char *text) {
    *(bool *)user = true;
    fprintf(stderr, "moejit cache: %s\n", text);
}

static struct mj_tuning_store *open_store(const struct cache_options *options, bool read_only, bool *warned) {
    char path[1024];
    cache_path(options, path, sizeof(path));
    if (path[0] == '\0') {
        cache_failed("no database", "give --cache, or set MOEJIT_CACHE_DIR, XDG_CACHE_HOME or HOME");
        return NULL;
    }
    struct mj_tuning_store *store = mj_tuning_store_open(path, read_only, warn, warned);
    if (store == NULL) cache_failed(path, "out of memory");
    if (*warned) { // memory would serve nobody here
        mj_tuning_store_close(store);
        return NULL;
    }
    return store;
}

struct export {
    json_t *keys;
    json_t *rows; // of the last key
    char *last;   // borrowed from the document
    long long num_keys, num_rows;
    bool failed;
};

static bool export_row(void *user, const struct mj_tuning_row *row) {
    struct export *export = user;
    if (export->last == NULL || strcmp(export->last, row->key) != 0) {
        json_t *key = json_pack("{s:s, s:[]}", "key", row->key, "rows");
        export->failed = key == NULL || json_array_append_new(export->keys, key) != 0;
        if (export->failed) return false;
        export->last = (char *)json_string_value(json_object_get(key, "key"));
        export->rows = json_object_get(key, "rows");
        export->num_keys++;
    }
    json_t *object = json_pack("{s:s, s:s, s:f, s:f, s:f, s:i, s:s, s:I}", "candidate", row->candidate, "state",
                               row->state, "us", row->us, "noise_us", row->noise_us, "untuned_us", row->untuned_us,
                               "samples", row->num_samples, "reason", row->reason, "created", (json_int_t)row->created);
    export->failed = object == NULL || json_array_append_new(export->rows, object) != 0;
    export->num_rows++;
    return !export->failed;
}

int cache_export_decisions(const struct cache_options *options) {
    bool warned = false;
    struct mj_tuning_store *store = open_store(options, true, &warned);
    if (store == NULL) return EXIT_UNAVAILABLE;
    struct export export = {.keys = json_array()};
    json_t *document = json_pack("{s:s, s:O}", "format", FORMAT, "decisions", export.keys);
    bool read = document != NULL && mj_tuning_store_each(store, NULL, export_row, &export);
    mj_tuning_store_close(store);
    int code = EXIT_GOOD;
    if (!read || export.failed) {
        code = cache_failed(options->decisions, warned ? "the database could not be read" : "out of memory");
    } else if (json_dump_file(document, options->decisions, JSON_INDENT(1)) != 0) {
        code = cache_failed(options->decisions, "cannot be written");
    } else {
        printf(options->json ? "{\"keys\": %lld, \"rows\": %lld}\n"
                             : "decisions for %lld keys written, with %lld rows\n",
               export.num_keys, export.num_rows);
    }
    json_decref(document);
    json_decref(export.keys);
    return code;
}

static bool is_state(const char *state) {
    static const char *const states[] = {MJ_TUNING_CHOSEN, MJ_TUNING_TIMED, MJ_TUNING_REFUSED, MJ_TUNING_PRUNED};
    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        if (strcmp(states[i], state) == 0) return true;
    }
    return false;
}

static bool is_time(double us) {
    return isfinite(us) && us >= 0;
}

// False where a value is missing, of another kind, or none that tuning writes.
static bool read_row(json_t *object, struct mj_tuning_row *row) {
    json_int_t created = 0;
    memset(row, 0, sizeof(*row));
    return json_unpack(object, "{s:s, s:s, s:F, s:F, s:F, s:i, s:s, s:I}", "candidate", &row->candidate, "state",
                       &row->state, "us", &row->us, "noise_us", &row->noise_us, "untuned_us", &row->untuned_us,
                       "samples", &row->num_samples, "reason", &row->reason, "created", &created) == 0 &&
           is_state(row->state) && is_time(row->us) && is_time(row->noise_us) && is_time(row->untuned_us) &&
           row->num_samples >= 0 && (row->created = created, true);
}

// All rows of a key or none: exactly one is chosen.
static int read_rows(json_t *entry, const char **key, struct mj_tuning_row rows[MAX_ROWS]) {
    json_t *array = NULL, *object;
    size_t i;
    int num_chosen = 0;
    if (json_unpack(entry, "{s:s, s:o}", "key", key, "rows", &array) != 0 || !json_is_array(array)) return 0;
    if (strncmp(*key, KEY_START, strlen(KEY_START)) != 0 || json_array_size(array) > MAX_ROWS) return 0;
    json_array_foreach(array, i, object) {
        if (!read_row(object, &rows[i])) return 0;
        num_chosen += strcmp(rows[i].state, MJ_TUNING_CHOSEN) == 0;
    }
    return num_chosen == 1 ? (int)json_array_size(array) : 0;
}

static int import_entries(const struct cache_options *options, struct mj_tuning_store *store, json_t *entries) {
    struct mj_tuning_row rows[MAX_ROWS];
    long long imported = 0, bad = 0;
    json_t *entry;
    size_t i;
    json_array_foreach(entries, i, entry) {
        const char *key = NULL;
        int num = read_rows(entry, &key, rows);
        if (num == 0) {
            bad++;
        } else if (mj_tuning_store_insert(store, key, rows, num, true)) {
            imported++;
        } else {
            return cache_failed("importing", "a decision could not be written");
        }
    }
    printf(options->json ? "{\"keys\": %lld, \"bad\": %lld}\n"
                         : "decisions for %lld keys imported, %lld bad ones left out\n",
           imported, bad);
    return bad > 0 ? EXIT_WRONG : EXIT_GOOD;
}

int cache_import_decisions(const struct cache_options *options) {
    json_error_t error;
    const char *format = NULL;
    json_t *entries = NULL;
    bool warned = false;
    char why[JSON_ERROR_TEXT_LENGTH + 64];
    json_t *document = json_load_file(options->decisions, JSON_REJECT_DUPLICATES, &error);
    if (document == NULL) {
        snprintf(why, sizeof(why), "line %d: %s", error.line, error.text);
        return cache_failed(options->decisions, why);
    }
    int code = EXIT_UNAVAILABLE;
    if (json_unpack(document, "{s:s, s:o}", "format", &format, "decisions", &entries) != 0 ||
        strcmp(format, FORMAT) != 0 || !json_is_array(entries)) {
        cache_failed(options->decisions, "is no file of decisions, needs \"format\": \"" FORMAT "\" and a list");
    } else {
        struct mj_tuning_store *store = open_store(options, false, &warned);
        if (store != NULL) code = import_entries(options, store, entries);
        mj_tuning_store_close(store);
    }
    json_decref(document);
    return code;
}
