#include "key_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache_files.h"

#define MAX_FIELDS 80
#define HASH_DIGITS 32

struct field { // "name length:value" or "name:hash", a line or more
    char name[64];
    const char *value;
    size_t bytes;
};

struct fields {
    struct field fields[MAX_FIELDS];
    int num;
};

// Takes the field at `at`; NULL where there is none.
static const char *take_field(const char *at, const char *end, struct field *field) {
    size_t length = 0;
    while (at + length < end && at[length] != ' ' && at[length] != ':' && at[length] != '\n') length++;
    if (at + length >= end || length >= sizeof(field->name)) return NULL;
    snprintf(field->name, sizeof(field->name), "%.*s", (int)length, at);
    at += length;
    if (*at == ':') { // a header's hash
        const char *line = memchr(at, '\n', (size_t)(end - at));
        if (line == NULL) return NULL;
        field->value = at + 1;
        field->bytes = (size_t)(line - at - 1);
        return line + 1;
    }
    char *colon = NULL;
    unsigned long long bytes = *at == ' ' ? strtoull(at + 1, &colon, 10) : 0;
    if (colon == NULL || *colon != ':' || bytes >= (unsigned long long)(end - colon - 1)) return NULL;
    field->value = colon + 1;
    field->bytes = (size_t)bytes;
    return field->value[bytes] == '\n' ? field->value + bytes + 1 : NULL;
}

static bool parse(const struct mj_text *key, struct fields *fields) {
    static const char head[] = "moejit key ";
    const char *end = key->data + key->bytes, *at = strchr(key->data, '\n');
    fields->num = 0;
    if (strncmp(key->data, head, strlen(head)) != 0 || at == NULL) return false;
    for (at++; at < end && fields->num < MAX_FIELDS; fields->num++) {
        at = take_field(at, end, &fields->fields[fields->num]);
        if (at == NULL) return false;
    }
    return at == end;
}

static const struct field *find(const struct fields *fields, const char *name) {
    for (int i = 0; i < fields->num; i++) {
        if (strcmp(fields->fields[i].name, name) == 0) return &fields->fields[i];
    }
    return NULL;
}

static void print_value(const char *value, size_t bytes, bool there, bool json) {
    if (!there) {
        printf(json ? "null" : "(none)");
    } else if (json) {
        command_json_string(value, bytes);
    } else {
        printf("%.*s", (int)bytes, value);
    }
}

static void print_difference(const char *name, const struct field *a, const struct field *b, bool json) {
    printf(json ? "{\"field\": \"%s\", \"a\": " : "%s: ", name);
    print_value(a != NULL ? a->value : NULL, a != NULL ? a->bytes : 0, a != NULL, json);
    printf(json ? ", \"b\": " : " | ");
    print_value(b != NULL ? b->value : NULL, b != NULL ? b->bytes : 0, b != NULL, json);
    printf(json ? "}\n" : "\n");
}

// The next line of a value; its bytes without the end.
static size_t line_bytes(const struct field *rest) {
    const char *end = memchr(rest->value, '\n', rest->bytes);
    return end != NULL ? (size_t)(end - rest->value) : rest->bytes;
}

static void drop_line(struct field *rest) {
    size_t bytes = line_bytes(rest);
    if (bytes < rest->bytes) bytes++;
    rest->value += bytes;
    rest->bytes -= bytes;
}

// Units have the same lines in the same order, with other numbers: line against line says what differs.
static void print_lines(struct field a, struct field b, bool json) {
    while (a.bytes > 0 || b.bytes > 0) {
        struct field one = a, other = b;
        one.bytes = line_bytes(&a);
        other.bytes = line_bytes(&b);
        if (one.bytes != other.bytes || memcmp(one.value, other.value, one.bytes) != 0) {
            print_difference(a.name, &one, &other, json);
        }
        drop_line(&a);
        drop_line(&b);
    }
}

bool key_text_diff(const struct mj_text *a, const struct mj_text *b, bool json) {
    struct fields one, other;
    bool differ = a->bytes != b->bytes || memcmp(a->data, b->data, a->bytes) != 0;
    if (!differ) {
        if (!json) printf("the same key\n");
        return false;
    }
    if (!parse(a, &one) || !parse(b, &other)) {
        struct field whole = {"key", a->data, a->bytes}, other_whole = {"key", b->data, b->bytes};
        print_lines(whole, other_whole, json);
        return true;
    }
    for (int i = 0; i < one.num; i++) {
        const struct field *field = &one.fields[i], *there = find(&other, field->name);
        if (there != NULL && there->bytes == field->bytes && memcmp(there->value, field->value, field->bytes) == 0)
            continue;
        if (there != NULL && (memchr(field->value, '\n', field->bytes) != NULL)) {
            print_lines(*field, *there, json);
        } else {
            print_difference(field->name, field, there, json);
        }
    }
    for (int i = 0; i < other.num; i++) {
        if (find(&one, other.fields[i].name) == NULL)
            print_difference(other.fields[i].name, NULL, &other.fields[i], json);
    }
    return true;
}

struct search {
    char start[HASH_DIGITS + 1], found[HASH_DIGITS + 1];
    struct mj_text *key;
    int num;
};

static bool match_row(void *user, const struct mj_row *row) {
    struct search *search = user;
    struct cache_label label;
    cache_label_read(&label, row);
    if (row->key == NULL || strncmp(label.hash, search->start, strlen(search->start)) != 0) return true;
    if (strcmp(label.hash, search->found) == 0) return true; // another format
    snprintf(search->found, sizeof(search->found), "%s", label.hash);
    if (search->num++ == 0) mj_text_append_bytes(search->key, row->key, row->key_bytes);
    return true;
}

static bool is_hash(const char *name) {
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++) {
        if (!isxdigit((unsigned char)name[i])) return false;
    }
    return length >= 4 && length <= HASH_DIGITS;
}

static bool read_from_cache(const char *name, const char *cache, struct mj_text *key) {
    struct search search = {.key = key};
    const struct cache_options options = {.cache = cache};
    struct mj_database database;
    if (!cache_open(&database, &options, MJ_DATABASE_READ)) return false;
    for (size_t i = 0; name[i] != '\0'; i++) search.start[i] = (char)tolower((unsigned char)name[i]);
    mj_database_each(&database, match_row, &search);
    mj_database_close(&database);
    if (search.num == 1 && !key->failed) return true;
    fprintf(stderr, "moejit inspect: %d keys of the cache start with %s, needs one\n", search.num, name);
    return false;
}

bool key_text_read(const char *name, const char *cache, struct mj_text *key) {
    char buffer[4096];
    size_t got;
    FILE *file = fopen(name, "rb");
    if (file == NULL && is_hash(name)) return read_from_cache(name, cache, key);
    if (file == NULL) {
        fprintf(stderr, "moejit inspect: \"%s\" is neither a file nor the start of a hash\n", name);
        return false;
    }
    while ((got = fread(buffer, 1, sizeof(buffer), file)) > 0) mj_text_append_bytes(key, buffer, got);
    fclose(file);
    if (key->bytes == 0) fprintf(stderr, "moejit inspect: %s is empty\n", name);
    return key->bytes > 0 && !key->failed;
}
