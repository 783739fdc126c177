// Runs nvdisasm on a cubin: through a file, since it reads no pipe.
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "sass.h"

extern char **environ;

static const char toolkit_path[] = "/usr/local/cuda/bin/nvdisasm";

static const char *choose_program(const char *given) {
    const char *variable = getenv("MOEJIT_NVDISASM");
    if (given != NULL) return given;
    if (variable != NULL && variable[0] != '\0') return variable;
    return access(toolkit_path, X_OK) == 0 ? toolkit_path : "nvdisasm"; // of PATH
}

static bool write_all(int file, const void *data, size_t bytes) {
    const char *at = data;
    while (bytes > 0) {
        ssize_t written = write(file, at, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        at += written;
        bytes -= (size_t)written;
    }
    return true;
}

static bool write_cubin(const void *cubin, size_t bytes, char *path, size_t path_bytes) {
    const char *folder = getenv("TMPDIR");
    snprintf(path, path_bytes, "%s/moejit-cubin-XXXXXX", folder != NULL && folder[0] != '\0' ? folder : "/tmp");
    int file = mkstemp(path);
    if (file < 0) return false;
    bool good = write_all(file, cubin, bytes);
    if (close(file) != 0) good = false;
    if (!good) unlink(path);
    return good;
}

static void read_all(int file, struct mj_text *text) {
    char piece[65536];
    for (;;) {
        ssize_t got = read(file, piece, sizeof(piece));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return;
        mj_text_append_bytes(text, piece, (size_t)got);
    }
}

// Its exit status, or -1 with errno where it did not start.
static int run(const char *program, const char *path, struct mj_text *text) {
    // -ndf: without the analysis that finds where jumps by register go: there are none, and it takes a quarter of the
    // time.
    char *const arguments[] = {(char *)program, (char *)"-c", (char *)"-ndf", (char *)path, NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], status = -1;
    pid_t child;
    if (pipe(ends) != 0) return -1;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    int error = posix_spawnp(&child, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (error == 0) {
        read_all(ends[0], text);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        status = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
    }
    close(ends[0]);
    errno = error;
    return status;
}

char *sass_disassemble(const char *nvdisasm, const void *cubin, size_t cubin_bytes, char *message,
                       size_t message_bytes) {
    char path[512];
    struct mj_text text = {0};
    const char *program = choose_program(nvdisasm);
    if (!write_cubin(cubin, cubin_bytes, path, sizeof(path))) {
        snprintf(message, message_bytes, "writing a cubin to %s: %s", path, strerror(errno));
        return NULL;
    }
    int status = run(program, path, &text);
    if (status < 0) {
        snprintf(message, message_bytes,
                 "no nvdisasm: %s: %s; name it by --nvdisasm or MOEJIT_NVDISASM (it comes with the CUDA toolkit, and "
                 "from the "
                 "package index: pip install nvidia-cuda-nvdisasm)",
                 program, strerror(errno));
    } else if (status > 0 || text.data == NULL || text.failed) {
        snprintf(message, message_bytes, "%s -c of a cubin exited with %d: %.300s", program, status,
                 text.data != NULL ? text.data : "it printed nothing");
    }
    unlink(path);
    if (status == 0 && text.data != NULL && !text.failed) return text.data;
    mj_text_free(&text);
    return NULL;
}
