#include "tensor_table.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

#define INDEX_NAME "model.safetensors.index.json"

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct mj_tensor *)a)->name, ((const struct mj_tensor *)b)->name);
}

const struct mj_tensor *mj_tensor_table_lookup(const struct mj_tensor_table *table, const char *name) {
    const struct mj_tensor key = {.name = (char *)(uintptr_t)name};
    if (table->num_tensors == 0) return NULL;
    return bsearch(&key, table->tensors, table->num_tensors, sizeof(key), compare_names);
}

static moejit_status no_memory(struct mj_error *error) {
    return mj_error_set(error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for a table of tensors");
}

// Appends the file's tensors, unsorted.
static moejit_status add_tensors(struct mj_tensor_table *table, struct mj_safetensors *parsed,
                                 const struct mj_mapped_file *file, struct mj_error *error) {
    struct mj_tensor *tensors =
        realloc(table->tensors, (table->num_tensors + parsed->num_tensors + 1) * sizeof(*tensors));
    if (tensors == NULL) return no_memory(error);
    table->tensors = tensors;
    for (size_t i = 0; i < parsed->num_tensors; i++) {
        tensors[table->num_tensors] = parsed->tensors[i];
        tensors[table->num_tensors++].file = file;
    }
    parsed->num_tensors = 0; // the names are the table's now
    return MOEJIT_STATUS_OK;
}

// table->files has room: tensors point to their files.
static moejit_status add_file(struct mj_tensor_table *table, const char *folder, const char *name,
                              struct mj_error *error) {
    struct mj_safetensors parsed;
    struct mj_mapped_file *file = &table->files[table->num_files];
    moejit_status status = mj_mapped_file_open(folder, name, SIZE_MAX / 2, file, error);
    if (status != MOEJIT_STATUS_OK) return status;
    table->num_files++;
    status = mj_safetensors_parse(file->data, file->bytes, file->path, &parsed, error);
    if (status != MOEJIT_STATUS_OK) return status;
    mj_mapped_file_scatter(file);
    status = add_tensors(table, &parsed, file, error);
    mj_safetensors_free(&parsed);
    return status;
}

static moejit_status sort(struct mj_tensor_table *table, struct mj_error *error) {
    if (table->num_tensors > 0) qsort(table->tensors, table->num_tensors, sizeof(*table->tensors), compare_names);
    for (size_t i = 1; i < table->num_tensors; i++) {
        const struct mj_tensor *a = &table->tensors[i - 1], *b = &table->tensors[i];
        if (strcmp(a->name, b->name) != 0) continue;
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "tensor %.300s is in two files: %s and %s", a->name,
                            a->file->path, b->file->path);
    }
    return MOEJIT_STATUS_OK;
}

// The different file names of an index's weight_map, as the values of a JSON object's names.
static moejit_status list_files(const json_t *map, json_t *names, struct mj_error *error) {
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)map, tensor, file) {
        const char *name = json_string_value(file);
        if (!mj_json_printable(tensor) || name == NULL || !mj_json_printable(name)) {
            return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                                INDEX_NAME
                                " has a weight_map with a name that is not printable, or a file that is no name");
        }
        if (json_object_set_new(names, name, json_true()) != 0) return no_memory(error);
    }
    return MOEJIT_STATUS_OK;
}

// Each tensor of the index is there, and in the file that the index says.
static moejit_status check_index(const struct mj_tensor_table *table, const json_t *map, struct mj_error *error) {
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)map, name, file) {
        const struct mj_tensor *tensor = mj_tensor_table_lookup(table, name);
        if (tensor != NULL && strcmp(tensor->file->name, json_string_value(file)) == 0) continue;
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            INDEX_NAME " says that %.300s is in %.200s, which has no such tensor", name,
                            json_string_value(file));
    }
    return MOEJIT_STATUS_OK;
}

static moejit_status open_listed(struct mj_tensor_table *table, const char *folder, const json_t *map, json_t *names,
                                 struct mj_error *error) {
    const char *name;
    json_t *ignored;
    moejit_status status = list_files(map, names, error);
    if (status != MOEJIT_STATUS_OK) return status;
    table->files = calloc(json_object_size(names) + 1, sizeof(*table->files));
    if (table->files == NULL) return no_memory(error);
    json_object_foreach(names, name, ignored) {
        status = add_file(table, folder, name, error);
        if (status != MOEJIT_STATUS_OK) return status;
    }
    status = sort(table, error);
    return status == MOEJIT_STATUS_OK ? check_index(table, map, error) : status;
}

static moejit_status open_index(struct mj_tensor_table *table, const char *folder, struct mj_error *error) {
    json_t *index, *names = json_object();
    moejit_status status = mj_json_read(folder, INDEX_NAME, &index, error);
    if (status == MOEJIT_STATUS_OK) {
        const json_t *map = json_object_get(index, "weight_map");
        if (!json_is_object(map)) {
            status = mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                                  "%s/" INDEX_NAME " has no object \"weight_map\"", folder);
        } else {
            status = names != NULL ? open_listed(table, folder, map, names, error) : no_memory(error);
        }
    }
    json_decref(names);
    json_decref(index);
    return status;
}

static bool is_safetensors(const char *name) {
    static const char suffix[] = ".safetensors";
    size_t length = strlen(name), tail = sizeof(suffix) - 1;
    return length > tail && strcmp(name + length - tail, suffix) == 0;
}

// The folder's only *.safetensors.
static moejit_status find_single(const char *folder, char name[256], struct mj_error *error) {
    size_t found = 0;
    DIR *directory = opendir(folder);
    if (directory == NULL) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s: %s", folder, strerror(errno));
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (!is_safetensors(entry->d_name)) continue;
        memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
        found++;
    }
    closedir(directory);
    if (found == 1) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                        "%s has no " INDEX_NAME " and %zu files *.safetensors, needs the index or exactly one file",
                        folder, found);
}

static moejit_status open_single(struct mj_tensor_table *table, const char *folder, struct mj_error *error) {
    char name[256] = "model.safetensors"; // d_name has at most 255 bytes
    moejit_status status = MOEJIT_STATUS_OK;
    if (!mj_file_exists(folder, name)) status = find_single(folder, name, error);
    if (status != MOEJIT_STATUS_OK) return status;
    table->files = calloc(1, sizeof(*table->files));
    if (table->files == NULL) return no_memory(error);
    status = add_file(table, folder, name, error);
    return status == MOEJIT_STATUS_OK ? sort(table, error) : status;
}

moejit_status mj_tensor_table_open(const char *folder, struct mj_tensor_table *table, struct mj_error *error) {
    *table = (struct mj_tensor_table){0};
    moejit_status status =
        mj_file_exists(folder, INDEX_NAME) ? open_index(table, folder, error) : open_single(table, folder, error);
    if (status != MOEJIT_STATUS_OK) mj_tensor_table_close(table);
    return status;
}

void mj_tensor_table_close(struct mj_tensor_table *table) {
    for (size_t i = 0; i < table->num_tensors; i++) free(table->tensors[i].name);
    for (size_t i = 0; i < table->num_files; i++) mj_mapped_file_close(&table->files[i]);
    free(table->tensors);
    free(table->files);
    *table = (struct mj_tensor_table){0};
}
