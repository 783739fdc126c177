// Compiles in processes of our own (tools/compile_helper), several at once; or in this process, one at a time, where
// that is asked for or no helper can be started. The host keeps its environment, limits and signal handlers. A pool
// belongs to one thread; nothing of it is left when it is closed.
#ifndef MOEJIT_JIT_COMPILE_POOL_H
#define MOEJIT_JIT_COMPILE_POOL_H

#include "jit/compile_message.h"

#define MJ_MAX_COMPILE_WORKERS 32

typedef void (*mj_compile_warn_fn)(void *user, const char *text);

struct mj_compile_pool_options {
    const char *helper; // NULL: MOEJIT_COMPILE_HELPER, else moejit-compile near the library
    const char *nvrtc;  // as for mj_nvrtc_open
    int num_workers;    // 0: MOEJIT_COMPILE_WORKERS, else by cores and free memory; negative: in this process
    int64_t timeout_ms; // of one compile, the start of its process included
    mj_compile_warn_fn warn;
    void *user;
};

struct mj_compile_worker {
    int pid, process, socket,
        output;                   // process: a descriptor of it, -1 where the kernel has none; output: what it prints
    int job;                      // -1: idle
    bool running, greeted, local; // local: its job is to be compiled here
    int64_t deadline_ms;
    struct mj_compile_request request;
    struct mj_text out, in;
    size_t sent;
};

struct mj_compile_pool {
    struct mj_compile_pool_options options;
    struct mj_compile_worker workers[MJ_MAX_COMPILE_WORKERS];
    int num_workers;
    char helper[1024]; // "": in this process
    struct mj_nvrtc nvrtc;
    bool nvrtc_open;
    bool identified;
    struct mj_compiler_identity identity;
};

struct mj_compile_result {
    int job;
    moejit_status status;
    struct mj_image image; // the receiver's
    struct mj_error error;
};

// Starts nothing yet.
void mj_compile_pool_open(struct mj_compile_pool *pool, const struct mj_compile_pool_options *options);
void mj_compile_pool_close(struct mj_compile_pool *pool); // ends what runs
// How many more jobs it takes now.
int mj_compile_pool_room(const struct mj_compile_pool *pool);
// Which compiler it is; starts it, for as many jobs as are to come, where none runs. To be called before the first job
// is given. NULL, with the error, where there is none.
const struct mj_compiler_identity *mj_compile_pool_identify(struct mj_compile_pool *pool, int num_jobs,
                                                            struct mj_error *error);
// job: a number of the caller's. What the request points to must live until its result is there.
void mj_compile_pool_submit(struct mj_compile_pool *pool, int job, const struct mj_compile_request *request);
// Waits for at most timeout_ms; false: nothing is done yet.
bool mj_compile_pool_wait(struct mj_compile_pool *pool, int64_t timeout_ms, struct mj_compile_result *result);

#endif
