#include "jit/compile_pool.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/options.h"
#include "jit/compile_limits.h"
#include "jit/compile_process.h"

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int choose_workers(int option) {
    const char *text = mj_options_string(NULL, "MOEJIT_COMPILE_WORKERS");
    if (option == 0 && text != NULL) option = atoi(text);
    if (option == 0) option = mj_compile_limits_workers();
    return option < MJ_MAX_COMPILE_WORKERS ? option : MJ_MAX_COMPILE_WORKERS;
}

void mj_compile_pool_open(struct mj_compile_pool *pool, const struct mj_compile_pool_options *options) {
    memset(pool, 0, sizeof(*pool));
    pool->options = *options;
    pool->num_workers = choose_workers(options->num_workers);
    if (pool->num_workers < 1 || !mj_compile_process_find(options->helper, pool->helper, sizeof(pool->helper))) {
        pool->num_workers = 1;
        pool->helper[0] = '\0';
    }
    for (int i = 0; i < MJ_MAX_COMPILE_WORKERS; i++) pool->workers[i].job = -1;
}

void mj_compile_pool_close(struct mj_compile_pool *pool) {
    for (int i = 0; i < pool->num_workers; i++) {
        mj_compile_process_end(&pool->workers[i], NULL, NULL);
        mj_text_free(&pool->workers[i].in);
        mj_text_free(&pool->workers[i].out);
    }
    if (pool->nvrtc_open) mj_nvrtc_close(&pool->nvrtc);
    memset(pool, 0, sizeof(*pool));
}

int mj_compile_pool_room(const struct mj_compile_pool *pool) {
    int room = 0;
    for (int i = 0; i < pool->num_workers; i++) room += pool->workers[i].job < 0;
    return pool->helper[0] != '\0' ? room : (room == pool->num_workers); // here one after the other
}

// From here on in this process; jobs of processes that never said a word come too.
static void stay_here(struct mj_compile_pool *pool, const char *why) {
    char text[1536];
    if (pool->helper[0] == '\0') return;
    snprintf(text, sizeof(text), "NVRTC is used in this process: the helper does not start: %s", why);
    pool->helper[0] = '\0';
    if (pool->options.warn != NULL) pool->options.warn(pool->options.user, text);
}

static bool start(struct mj_compile_pool *pool, struct mj_compile_worker *worker) {
    char why[1200];
    if (pool->helper[0] == '\0') return false;
    if (worker->running) return true;
    worker->out.bytes = worker->sent = 0;
    if (mj_compile_process_start(worker, pool->helper, pool->options.nvrtc, why, sizeof(why))) return true;
    stay_here(pool, why);
    return false;
}

static struct mj_compile_worker *find_idle(struct mj_compile_pool *pool) {
    struct mj_compile_worker *idle = NULL;
    for (int i = 0; i < pool->num_workers; i++) {
        struct mj_compile_worker *worker = &pool->workers[i];
        if (worker->job < 0 && (idle == NULL || (worker->running && !idle->running))) idle = worker;
    }
    return idle;
}

void mj_compile_pool_submit(struct mj_compile_pool *pool, int job, const struct mj_compile_request *request) {
    struct mj_compile_worker *worker = find_idle(pool);
    worker->job = job;
    worker->request = *request;
    worker->deadline_ms = now_ms() + pool->options.timeout_ms;
    worker->local = !start(pool, worker);
    if (worker->local) return;
    worker->sent = 0;
    mj_request_write(&worker->out, request);
    if (worker->out.failed) {
        mj_text_free(&worker->out);
        worker->local = true;
    }
    mj_compile_process_send(worker); // where the other end is closed, receiving tells
}

static void identify_here(struct mj_compile_pool *pool) {
    struct mj_compiler_identity *identity = &pool->identity;
    if (pool->nvrtc_open) return;
    identity->status = mj_nvrtc_open(&pool->nvrtc, pool->options.nvrtc, &identity->error);
    pool->nvrtc_open = identity->status == MOEJIT_STATUS_OK;
    identity->major = pool->nvrtc.major;
    identity->minor = pool->nvrtc.minor;
    snprintf(identity->path, sizeof(identity->path), "%s", pool->nvrtc.path);
    snprintf(identity->build, sizeof(identity->build), "%s", pool->nvrtc.build);
    pool->identified = true;
}

static void give(struct mj_compile_worker *worker, struct mj_compile_result *result, moejit_status status) {
    result->job = worker->job;
    result->status = status;
    worker->job = -1;
    worker->local = false;
}

static void compile_here(struct mj_compile_pool *pool, struct mj_compile_worker *worker,
                         struct mj_compile_result *result) {
    identify_here(pool);
    moejit_status status = pool->identity.status;
    result->error = pool->identity.error;
    if (status == MOEJIT_STATUS_OK) {
        status = mj_compiler_compile(&pool->nvrtc, &worker->request, &result->image, &result->error);
    }
    give(worker, result, status);
}

static void fail(struct mj_compile_worker *worker, struct mj_compile_result *result, moejit_status status,
                 const char *what) {
    mj_error_set(&result->error, status, "compiling %s for %s: the compiler's process %s", worker->request.symbol,
                 worker->request.arch, what);
    give(worker, result, status);
}

// Its end of the socket is closed. True: a result.
static bool bury(struct mj_compile_pool *pool, struct mj_compile_worker *worker, struct mj_compile_result *result) {
    struct mj_text ending = {0};
    bool greeted = worker->greeted, blameless = false;
    mj_compile_process_end(worker, &ending, &blameless);
    const char *what = ending.data != NULL ? ending.data : "ended";
    if (!greeted) {
        stay_here(pool, what);
        worker->local = worker->job >= 0;
    } else if (worker->job >= 0) {
        // Another try may do where it was not the kernel's fault.
        fail(worker, result, blameless ? MOEJIT_STATUS_OUT_OF_MEMORY : MOEJIT_STATUS_COMPILE_FAILED, what);
        mj_text_free(&ending);
        return true;
    }
    mj_text_free(&ending);
    return false;
}

static bool read_reply(struct mj_compile_pool *pool, struct mj_compile_worker *worker, const struct mj_message *message,
                       struct mj_compile_result *result) {
    moejit_status status;
    if (!worker->greeted) {
        struct mj_compiler_identity identity = {0};
        worker->greeted = mj_hello_read(message, &identity);
        if (!worker->greeted) return bury(pool, worker, result);
        if (!pool->identified) pool->identity = identity;
        pool->identified = true;
        if (identity.status == MOEJIT_STATUS_OK || worker->job < 0) return false;
        result->error = identity.error;
        give(worker, result, identity.status);
        return true;
    }
    if (worker->job < 0) return false;
    if (!mj_reply_read(message, &status, &result->image, &result->error)) {
        status = mj_error_set(&result->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the image of %s",
                              worker->request.symbol);
    }
    give(worker, result, status);
    return true;
}

// What has come in; true: a result.
static bool read_message(struct mj_compile_pool *pool, struct mj_compile_worker *worker,
                         struct mj_compile_result *result) {
    struct mj_message message;
    struct mj_text *in = &worker->in;
    if (in->bytes < MJ_MESSAGE_HEAD_BYTES) return false;
    size_t bytes = mj_message_bytes(in->data);
    if (bytes > in->bytes) return false;
    bool done = bytes > 0 && mj_message_parse(in->data, bytes, &message) && read_reply(pool, worker, &message, result);
    if (bytes > 0 && worker->running) {
        memmove(in->data, in->data + bytes, in->bytes - bytes);
        in->bytes -= bytes;
    }
    return done;
}

static bool attend(struct mj_compile_pool *pool, struct mj_compile_worker *worker, struct mj_compile_result *result) {
    bool open = mj_compile_process_send(worker);
    open = mj_compile_process_receive(worker) && open;
    if (read_message(pool, worker, result) || read_message(pool, worker, result)) return true;
    return open || !worker->running ? false : bury(pool, worker, result);
}

static bool is_late(struct mj_compile_pool *pool, struct mj_compile_worker *worker, struct mj_compile_result *result) {
    char what[96];
    if (!worker->running || worker->job < 0 || now_ms() < worker->deadline_ms) return false;
    mj_compile_process_end(worker, NULL, NULL);
    if (!worker->greeted) {
        stay_here(pool, "it does not say hello");
        worker->local = true;
        return false;
    }
    snprintf(what, sizeof(what), "was ended: it took longer than %lld ms", (long long)pool->options.timeout_ms);
    fail(worker, result, MOEJIT_STATUS_COMPILE_FAILED, what);
    return true;
}

// Waits until a process says something, or the time or the first deadline has come. True: a result.
static bool poll_workers(struct mj_compile_pool *pool, int64_t until_ms, struct mj_compile_result *result) {
    struct pollfd polled[MJ_MAX_COMPILE_WORKERS];
    struct mj_compile_worker *workers[MJ_MAX_COMPILE_WORKERS];
    int num = 0;
    for (int i = 0; i < pool->num_workers; i++) {
        struct mj_compile_worker *worker = &pool->workers[i];
        if (!worker->running) continue;
        if (worker->job >= 0 && worker->deadline_ms < until_ms) until_ms = worker->deadline_ms;
        short events = worker->sent < worker->out.bytes ? POLLIN | POLLOUT : POLLIN;
        polled[num] = (struct pollfd){.fd = worker->socket, .events = events};
        workers[num++] = worker;
    }
    int64_t left = until_ms - now_ms();
    if (poll(polled, (nfds_t)num, left > 0 ? (int)left : 0) < 0) return false;
    for (int i = 0; i < num; i++) {
        if (polled[i].revents != 0 && attend(pool, workers[i], result)) return true;
        if (is_late(pool, workers[i], result)) return true;
    }
    return false;
}

bool mj_compile_pool_wait(struct mj_compile_pool *pool, int64_t timeout_ms, struct mj_compile_result *result) {
    int64_t until_ms = now_ms() + timeout_ms;
    *result = (struct mj_compile_result){.job = -1};
    do {
        for (int i = 0; i < pool->num_workers; i++) {
            if (!pool->workers[i].local || pool->workers[i].job < 0) continue;
            compile_here(pool, &pool->workers[i], result);
            return true;
        }
        if (poll_workers(pool, until_ms, result)) return true;
    } while (now_ms() < until_ms);
    return false;
}

const struct mj_compiler_identity *mj_compile_pool_identify(struct mj_compile_pool *pool, int num_jobs,
                                                            struct mj_error *error) {
    struct mj_compile_result result = {.job = -1};
    int64_t until_ms = now_ms() + pool->options.timeout_ms;
    for (int i = 0; !pool->identified && i < pool->num_workers && i < num_jobs; i++) start(pool, &pool->workers[i]);
    while (!pool->identified && pool->helper[0] != '\0') {
        poll_workers(pool, until_ms, &result);
        if (now_ms() >= until_ms) stay_here(pool, "it does not say hello");
    }
    if (!pool->identified) identify_here(pool);
    if (pool->identity.status == MOEJIT_STATUS_OK) return &pool->identity;
    *error = pool->identity.error;
    return NULL;
}
