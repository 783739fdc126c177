#include "store_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME "moejit.db"

void mj_store_path_find(char *path, size_t bytes) {
    static const struct {
        const char *variable, *folder;
    } places[] = {{"MOEJIT_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "/moejit"}, {"HOME", "/.cache/moejit"}};
    path[0] = '\0';
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        const char *value = getenv(places[i].variable);
        if (value == NULL || value[0] == '\0') continue;
        int length = snprintf(path, bytes, "%s%s/%s", value, places[i].folder, FILE_NAME);
        if (length < 0 || (size_t)length >= bytes) path[0] = '\0';
        return;
    }
}

static bool refuse(char *why, size_t why_bytes, const char *path, const char *reason) {
    snprintf(why, why_bytes, "%s %s", path, reason);
    return false;
}

static bool check(const char *path, mode_t kind, bool or_root, char *why, size_t why_bytes) {
    struct stat status;
    if (lstat(path, &status) != 0) return refuse(why, why_bytes, path, strerror(errno));
    if ((status.st_mode & S_IFMT) != kind) {
        return refuse(why, why_bytes, path, kind == S_IFDIR ? "is not a folder" : "is not an ordinary file");
    }
    if (status.st_uid != geteuid() && !(or_root && status.st_uid == 0))
        return refuse(why, why_bytes, path, "belongs to another user");
    if ((status.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        return refuse(why, why_bytes, path, "may be written by other users");
    return true;
}

// mkdir -p of everything before the last slash; `folder` is changed and put back on the way.
static bool make_folders(char *folder, char *why, size_t why_bytes) {
    for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(folder, 0700) == 0 || errno == EEXIST;
        if (!made) snprintf(why, why_bytes, "cannot make the folder %s: %s", folder, strerror(errno));
        *slash = '/';
        if (!made) return false;
    }
    return true;
}

// The folder of a path, "." where it names none.
static bool folder_of(const char *path, char *folder, size_t bytes, char *why, size_t why_bytes) {
    if (strlen(path) >= bytes) return refuse(why, why_bytes, path, "is too long a path");
    snprintf(folder, bytes, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) {
        snprintf(folder, bytes, ".");
    } else {
        slash[slash == folder ? 1 : 0] = '\0';
    }
    return true;
}

// Links above the folder are the user's own affair (a HOME that is one); SQLite is given the place behind them.
static bool resolve(const char *path, const char *folder, char *real, size_t real_bytes, char *why, size_t why_bytes) {
    const char *slash = strrchr(path, '/');
    char *resolved = realpath(folder, NULL);
    if (resolved == NULL) return refuse(why, why_bytes, folder, strerror(errno));
    int length = snprintf(real, real_bytes, "%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved,
                          slash != NULL ? slash + 1 : path);
    free(resolved);
    return length >= 0 && (size_t)length < real_bytes ? true : refuse(why, why_bytes, path, "is too long a path");
}

bool mj_store_path_prepare(const char *path, char *real, size_t real_bytes, char *why, size_t why_bytes) {
    char folder[1024];
    if (strlen(path) >= sizeof(folder)) return refuse(why, why_bytes, path, "is too long a path");
    snprintf(folder, sizeof(folder), "%s", path);
    if (!make_folders(folder, why, why_bytes) || !folder_of(path, folder, sizeof(folder), why, why_bytes)) return false;
    if (!check(folder, S_IFDIR, false, why, why_bytes)) return false;
    // Only a file that did not exist is opened here: closing one that SQLite holds would drop its POSIX locks.
    int descriptor = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor >= 0) close(descriptor);
    if (descriptor < 0 && errno != EEXIST) return refuse(why, why_bytes, path, strerror(errno));
    return check(path, S_IFREG, false, why, why_bytes) && resolve(path, folder, real, real_bytes, why, why_bytes);
}

bool mj_store_path_check_pack(const char *path, char *real, size_t real_bytes, char *why, size_t why_bytes) {
    char folder[1024];
    return folder_of(path, folder, sizeof(folder), why, why_bytes) && check(path, S_IFREG, true, why, why_bytes) &&
           resolve(path, folder, real, real_bytes, why, why_bytes);
}
