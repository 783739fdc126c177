#define _GNU_SOURCE // dladdr, memfd_create
#include "jit/compile_process.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/options.h"

extern char **environ;

// Beside what holds this code: in a build tree, in a prefix, in a prefix with lib/<machine>/.
static bool find_near(const char *file, char *path, size_t bytes) {
    static const char *const places[] = {"moejit-compile", "bin/moejit-compile", "../libexec/moejit/moejit-compile",
                                         "../../libexec/moejit/moejit-compile"};
    const char *slash = strrchr(file, '/');
    if (slash == NULL) return false;
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        int length = snprintf(path, bytes, "%.*s/%s", (int)(slash - file), file, places[i]);
        if (length > 0 && (size_t)length < bytes && access(path, X_OK) == 0) return true;
    }
    return false;
}

bool mj_compile_process_find(const char *option, char *path, size_t bytes) {
    Dl_info info;
    char program[1024];
    const char *named = mj_options_string(option, "MOEJIT_COMPILE_HELPER");
    if (named != NULL) return (size_t)snprintf(path, bytes, "%s", named) < bytes;
    if (dladdr((void *)mj_compile_process_find, &info) != 0 && info.dli_fname != NULL &&
        find_near(info.dli_fname, path, bytes)) {
        return true;
    }
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1); // linked into a program
    if (length > 0) {
        program[length] = '\0';
        if (find_near(program, path, bytes)) return true;
    }
    return (size_t)snprintf(path, bytes, "%s", MOEJIT_INSTALLED_HELPER) < bytes && access(path, X_OK) == 0;
}

// Its own process group: Ctrl-C at a terminal is the host's to handle. Nothing of the host's signal settings.
static int set_attributes(posix_spawnattr_t *attributes) {
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &all);
    posix_spawnattr_setpgroup(attributes, 0);
    return posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

static int spawn(const char *helper, const char *nvrtc, int socket, int output, int *pid) {
    char *argv[] = {(char *)"moejit-compile", (char *)nvrtc, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int result = posix_spawn_file_actions_init(&actions);
    if (result != 0) return result;
    result = posix_spawnattr_init(&attributes);
    if (result == 0) {
        result = set_attributes(&attributes);
        if (result == 0) result = posix_spawn_file_actions_adddup2(&actions, socket, STDIN_FILENO);
        for (int i = STDOUT_FILENO; i <= STDERR_FILENO && result == 0; i++) {
            result = output >= 0 ? posix_spawn_file_actions_adddup2(&actions, output, i)
                                 : posix_spawn_file_actions_addopen(&actions, i, "/dev/null", O_WRONLY, 0);
        }
        pid_t started = -1;
        if (result == 0) result = posix_spawn(&started, helper, &actions, &attributes, argv, environ);
        *pid = (int)started;
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return result;
}

// A descriptor above those that the child gets: dup2 onto itself would keep it closed on exec.
static int raise_descriptor(int descriptor) {
    if (descriptor < 0 || descriptor > STDERR_FILENO) return descriptor;
    int raised = fcntl(descriptor, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(descriptor);
    return raised;
}

bool mj_compile_process_start(struct mj_compile_worker *worker, const char *helper, const char *nvrtc, char *why,
                              size_t why_bytes) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        snprintf(why, why_bytes, "no socket: %s", strerror(errno));
        return false;
    }
    ends[0] = raise_descriptor(ends[0]);
    ends[1] = raise_descriptor(ends[1]);
    int output = raise_descriptor(memfd_create("moejit-compile", MFD_CLOEXEC));
    int result = ends[0] >= 0 && ends[1] >= 0 ? spawn(helper, nvrtc, ends[1], output, &worker->pid) : EMFILE;
    if (ends[1] >= 0) close(ends[1]);
    if (result != 0) {
        if (ends[0] >= 0) close(ends[0]);
        if (output >= 0) close(output);
        snprintf(why, why_bytes, "%s: %s", helper, strerror(result));
        return false;
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    worker->socket = ends[0];
    worker->output = output;
    worker->process = -1;
#ifdef SYS_pidfd_open
    worker->process = (int)syscall(SYS_pidfd_open, worker->pid, 0U);
#endif
    worker->running = true;
    worker->greeted = false;
    worker->in.bytes = 0;
    return true;
}

// The last lines that the process printed: a compiler that aborts says why there.
static void append_output(int output, struct mj_text *ending) {
    char tail[768];
    off_t bytes = output >= 0 ? lseek(output, 0, SEEK_END) : 0;
    if (bytes <= 0) return;
    off_t from = bytes > (off_t)sizeof(tail) ? bytes - (off_t)sizeof(tail) : 0;
    ssize_t got = pread(output, tail, sizeof(tail), from);
    if (got > 0) mj_text_append(ending, "; it printed:\n%.*s", (int)got, tail);
}

static void append_ending(struct mj_text *ending, bool known, int status) {
    if (!known) {
        mj_text_append(ending, "ended");
    } else if (WIFSIGNALED(status)) {
        mj_text_append(ending, "was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    } else {
        mj_text_append(ending, "ended with exit status %d", WEXITSTATUS(status));
    }
}

// Kills by the descriptor alone: the number may be another's process by now, where the host reaps all children. A
// helper whose socket is closed ends by itself.
static void end_process(struct mj_compile_worker *worker) {
#ifdef SYS_pidfd_send_signal
    if (worker->process >= 0) syscall(SYS_pidfd_send_signal, worker->process, SIGKILL, NULL, 0U);
#endif
}

static bool reap(struct mj_compile_worker *worker, int *status) {
    pid_t got;
    do {
        got = waitpid(worker->pid, status, 0);
    } while (got < 0 && errno == EINTR);
    return got == worker->pid;
}

// Exit statuses of the helper's own: 0, nobody listened any more; 3, it had no memory.
static bool is_blameless(int status) {
    if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGKILL;
    return WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 3;
}

void mj_compile_process_end(struct mj_compile_worker *worker, struct mj_text *ending, bool *blameless) {
    int status = 0;
    if (!worker->running) return;
    close(worker->socket);
    end_process(worker); // how a process ended that is at its end already stays as it is
    bool known = reap(worker, &status);
    if (ending != NULL) {
        append_ending(ending, known, status);
        append_output(worker->output, ending);
        *blameless = known && is_blameless(status);
    }
    if (worker->process >= 0) close(worker->process);
    if (worker->output >= 0) close(worker->output);
    worker->running = false;
}

bool mj_compile_process_send(struct mj_compile_worker *worker) {
    while (worker->sent < worker->out.bytes) {
        ssize_t sent = send(worker->socket, worker->out.data + worker->sent, worker->out.bytes - worker->sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
        worker->sent += (size_t)sent;
    }
    return true;
}

bool mj_compile_process_receive(struct mj_compile_worker *worker) {
    char buffer[16384];
    for (;;) {
        ssize_t got = recv(worker->socket, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
        if (got == 0) return false;
        mj_text_append_bytes(&worker->in, buffer, (size_t)got);
        if (worker->in.failed) return false;
    }
}
