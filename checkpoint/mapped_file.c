#include "mapped_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

// Whether `path` lies below `folder`, both without links.
static bool below(const char *path, const char *folder) {
    size_t length = strlen(folder);
    while (length > 0 && folder[length - 1] == '/') length--;
    return strncmp(path, folder, length) == 0 && path[length] == '/';
}

// The blobs of a Hugging Face cache: REPOSITORY/blobs, where the folder is REPOSITORY/snapshots/REVISION. Its snapshots
// are links into them.
static bool blobs_of(const char *folder, char blobs[PATH_MAX]) {
    const char *revision = strrchr(folder, '/');
    static const char snapshots[] = "/snapshots";
    size_t length = revision != NULL ? (size_t)(revision - folder) : 0, tail = sizeof(snapshots) - 1;
    if (length <= tail || strncmp(folder + length - tail, snapshots, tail) != 0) return false;
    return snprintf(blobs, PATH_MAX, "%.*s/blobs", (int)(length - tail), folder) < PATH_MAX;
}

static moejit_status resolve(const char *folder, const char *name, char resolved[PATH_MAX], struct mj_error *error) {
    char path[PATH_MAX], real_folder[PATH_MAX], blobs[PATH_MAX];
    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "%s names the file \"%.200s\", needs a plain file name", folder, name);
    }
    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path)) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "the path of \"%.200s\" has more than %d bytes",
                            name, PATH_MAX - 1);
    }
    if (realpath(folder, real_folder) == NULL || realpath(path, resolved) == NULL) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s: %s", path, strerror(errno));
    }
    if (below(resolved, real_folder)) return MOEJIT_STATUS_OK;
    if (blobs_of(real_folder, blobs) && below(resolved, blobs)) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                        "%s is a link to %s, out of its folder; only links within it, or into the blobs of a Hugging "
                        "Face cache, are followed",
                        path, resolved);
}

static moejit_status map(struct mj_mapped_file *file, size_t max_bytes, struct mj_error *error) {
    struct stat status;
    // Not blocking: opening a pipe would wait for its writer.
    file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file->descriptor < 0 || fstat(file->descriptor, &status) != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s: %s", file->path, strerror(errno));
    }
    if (!S_ISREG(status.st_mode)) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is no regular file", file->path);
    }
    if ((uintmax_t)status.st_size > max_bytes) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s has %ju bytes, at most %zu are taken",
                            file->path, (uintmax_t)status.st_size, max_bytes);
    }
    file->bytes = (size_t)status.st_size;
    if (file->bytes == 0) return MOEJIT_STATUS_OK;
    void *data = mmap(NULL, file->bytes, PROT_READ, MAP_PRIVATE, file->descriptor, 0);
    if (data == MAP_FAILED) {
        file->bytes = 0;
        return mj_error_set(error, MOEJIT_STATUS_OUT_OF_MEMORY, "%s: mapping %ju bytes: %s", file->path,
                            (uintmax_t)status.st_size, strerror(errno));
    }
    file->data = data;
    return MOEJIT_STATUS_OK;
}

moejit_status mj_mapped_file_open(const char *folder, const char *name, size_t max_bytes, struct mj_mapped_file *file,
                                  struct mj_error *error) {
    char resolved[PATH_MAX];
    *file = (struct mj_mapped_file){.descriptor = -1};
    moejit_status status = resolve(folder, name, resolved, error);
    if (status != MOEJIT_STATUS_OK) return status;
    file->path = strdup(resolved);
    file->name = strdup(name);
    status = file->path != NULL && file->name != NULL
                 ? map(file, max_bytes, error)
                 : mj_error_set(error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for a path");
    if (status != MOEJIT_STATUS_OK) mj_mapped_file_close(file);
    return status;
}

void mj_mapped_file_close(struct mj_mapped_file *file) {
    if (file->data != NULL) munmap((void *)(uintptr_t)file->data, file->bytes);
    if (file->path != NULL && file->descriptor >= 0) close(file->descriptor);
    free(file->path);
    free(file->name);
    *file = (struct mj_mapped_file){.descriptor = -1};
}

// Both are hints: a kernel that does not take them reads the same bytes.
void mj_mapped_file_scatter(const struct mj_mapped_file *file) {
    if (file->bytes > 0) madvise((void *)(uintptr_t)file->data, file->bytes, MADV_RANDOM);
}

void mj_mapped_file_prefetch(const struct mj_mapped_file *file, const uint8_t *data, size_t bytes) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), before = (size_t)(data - file->data) % page;
    if (bytes > 0) madvise((void *)(uintptr_t)(data - before), bytes + before, MADV_WILLNEED);
}

bool mj_file_exists(const char *folder, const char *name) {
    char path[PATH_MAX];
    struct stat status;
    return snprintf(path, sizeof(path), "%s/%s", folder, name) < (int)sizeof(path) && lstat(path, &status) == 0;
}

moejit_status mj_mapped_file_check(const struct mj_mapped_file *file, struct mj_error *error) {
    struct stat status;
    if (fstat(file->descriptor, &status) != 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s: %s", file->path, strerror(errno));
    }
    if ((uintmax_t)status.st_size >= file->bytes) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s was cut from %zu to %ju bytes while it was in use",
                        file->path, file->bytes, (uintmax_t)status.st_size);
}
