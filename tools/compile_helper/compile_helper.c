// moejit-compile: NVRTC in a process of its own, so that a crash, a hang or a leak of the compiler is not the host's.
// The library starts it with a socket as standard input, sends requests and reads replies (jit/compile_message.h). It
// ends when the other end closes the socket, in the middle of a compile too.
#define _GNU_SOURCE // POLLRDHUP
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "jit/compile_message.h"

#define SOCKET STDIN_FILENO

// Ends the process when nobody waits for it any more, whatever the compiler does.
static void *watch(void *unused) {
    struct pollfd socket = {.fd = SOCKET, .events = POLLRDHUP};
    (void)unused;
    while (poll(&socket, 1, -1) <= 0 || (socket.revents & (POLLRDHUP | POLLHUP | POLLERR)) == 0) continue;
    _exit(0);
}

static void write_all(const struct mj_text *text) {
    if (text->failed) _exit(3);
    for (size_t sent = 0; sent < text->bytes;) {
        ssize_t written = send(SOCKET, text->data + sent, text->bytes - sent, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) _exit(0);
        sent += (size_t)written;
    }
}

static void read_all(void *data, size_t bytes) {
    for (size_t got = 0; got < bytes;) {
        ssize_t taken = read(SOCKET, (char *)data + got, bytes - got);
        if (taken < 0 && errno == EINTR) continue;
        if (taken <= 0) _exit(0);
        got += (size_t)taken;
    }
}

// The caller frees it.
static char *read_message(struct mj_message *message) {
    char head[MJ_MESSAGE_HEAD_BYTES];
    read_all(head, sizeof(head));
    size_t bytes = mj_message_bytes(head);
    char *data = bytes > 0 ? malloc(bytes) : NULL;
    if (data == NULL) _exit(3);
    memcpy(data, head, sizeof(head));
    read_all(data + sizeof(head), bytes - sizeof(head));
    if (!mj_message_parse(data, bytes, message)) _exit(3);
    return data;
}

static void say_hello(const struct mj_nvrtc *nvrtc, moejit_status status, const struct mj_error *error) {
    struct mj_text text = {0};
    struct mj_compiler_identity identity = {
        .status = status, .major = nvrtc->major, .minor = nvrtc->minor, .error = *error};
    snprintf(identity.path, sizeof(identity.path), "%s", nvrtc->path);
    snprintf(identity.build, sizeof(identity.build), "%s", nvrtc->build);
    mj_hello_write(&text, &identity);
    write_all(&text);
    mj_text_free(&text);
}

static void serve(const struct mj_nvrtc *nvrtc) {
    struct mj_message message;
    struct mj_compile_request request;
    struct mj_image image = {0};
    struct mj_error error = {0};
    struct mj_text text = {0};
    char *data = read_message(&message);
    if (!mj_request_read(&message, &request)) _exit(3);
    moejit_status status = mj_compiler_compile(nvrtc, &request, &image, &error);
    mj_reply_write(&text, status, &image, &error);
    write_all(&text);
    mj_text_free(&text);
    mj_image_free(&image);
    free(data);
}

int main(int argc, char **argv) {
    const struct rlimit no_core = {0, 0};
    struct mj_nvrtc nvrtc = {0};
    struct mj_error error = {0};
    pthread_t watcher;
    int type;
    socklen_t bytes = sizeof(type);
    if (argc > 2 || getsockopt(SOCKET, SOL_SOCKET, SO_TYPE, &type, &bytes) != 0) {
        fprintf(stderr, "moejit-compile is started by the moejit library, not by hand\n");
        return 2;
    }
#ifdef SYS_close_range
    syscall(SYS_close_range, 3U, ~0U, 0U); // the host's files are none of ours
#endif
    setrlimit(RLIMIT_CORE, &no_core); // a compiler that crashes is told of by the library
    if (pthread_create(&watcher, NULL, watch, NULL) != 0) return 3;
    moejit_status status = mj_nvrtc_open(&nvrtc, argc == 2 ? argv[1] : NULL, &error);
    say_hello(&nvrtc, status, &error);
    for (;;) {
        if (status == MOEJIT_STATUS_OK) {
            serve(&nvrtc);
        } else {
            pause();
        }
    }
}
