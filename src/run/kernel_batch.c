#include "run/kernel_batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flight.h"
#include "jit/compile_pool.h"
#include "run/image_source.h"

#define BLOCKED_MS 10 // between two looks whether another process is done
#define TICK_MS 100   // between two calls of progress

enum job_state {
    JOB_MISSED,    // not in the cache; nobody is at it as far as we know
    JOB_COMPILING, // in our pool, under our lock
    JOB_DONE,      // loaded, or failed
};

struct job {
    struct mj_loaded_kernel *kernel;
    enum job_state state;
    int num_refused; // images of the cache that the driver has refused
    struct mj_flight_wait wait;
};

struct batch {
    struct moejit_context *context;
    struct mj_compile_pool pool;
    const struct mj_compiler_identity *compiler; // once known
    struct job *jobs;
    int num_jobs, num_done;
    moejit_status status; // of the first kernel that failed
    struct mj_error error;
    moejit_progress_fn progress;
    void *user;
};

static void warn_of_pool(void *user, const char *text) {
    mj_context_log(user, MOEJIT_LOG_WARNING, text);
}

// True: no use to go on with the other kernels.
static bool is_final(moejit_status status) {
    return status != MOEJIT_STATUS_OK && status != MOEJIT_STATUS_COMPILE_FAILED;
}

static void finish(struct batch *batch, struct job *job, moejit_status status) {
    job->state = JOB_DONE;
    batch->num_done++;
    if (batch->status != MOEJIT_STATUS_OK || status == MOEJIT_STATUS_OK) return;
    batch->status = status;
    batch->error = batch->context->error;
}

// Takes the image. One of the cache's that the driver refuses is a miss: the next one, and in the end one compiled
// here, which takes the place of the refused one of the same toolchain.
static void load(struct batch *batch, struct job *job, struct mj_image *image, bool cached) {
    bool refused;
    moejit_status status = mj_loaded_kernel_load(batch->context, job->kernel, image, &refused);
    job->kernel->cached = cached;
    mj_image_free(image);
    if (refused && cached) {
        batch->context->refusals++;
        job->num_refused++;
        return;
    }
    mj_store_count(batch->context->store, cached);
    finish(batch, job, status);
}

// False: a miss.
static bool look_up(struct batch *batch, struct job *job) {
    struct mj_image image;
    const struct mj_compiler_identity *only = batch->context->present_toolchain ? batch->compiler : NULL;
    while (mj_image_source_lookup(batch->context, &job->kernel->key, only, job->num_refused, &image)) {
        load(batch, job, &image, true);
        if (job->state == JOB_DONE) return true;
    }
    return false;
}

static int count(const struct batch *batch, enum job_state state) {
    int num = 0;
    for (int i = 0; i < batch->num_jobs; i++) num += batch->jobs[i].state == state;
    return num;
}

// A sealed context's host hears of each compile, and may forbid it.
static moejit_status ask_host(struct moejit_context *context, const char *symbol) {
    if (!context->sealed) return MOEJIT_STATUS_OK;
    context->sealed_compiles++;
    if (context->seal != NULL && context->seal(context->seal_user, symbol) == 0) return MOEJIT_STATUS_OK;
    return mj_error_set(&context->error, MOEJIT_STATUS_NOT_PREPARED,
                        "%s for %s is not in the cache, and the context is sealed: it may not be compiled", symbol,
                        context->arch->name);
}

static moejit_status open_compiler(struct batch *batch) {
    struct moejit_context *context = batch->context;
    if (batch->compiler != NULL) return MOEJIT_STATUS_OK;
    batch->compiler = mj_compile_pool_identify(&batch->pool, count(batch, JOB_MISSED), &context->error);
    if (batch->compiler == NULL) return context->error.status;
    snprintf(context->compiler, sizeof(context->compiler), "%s (NVRTC %d.%d)", batch->compiler->path,
             batch->compiler->major, batch->compiler->minor);
    return MOEJIT_STATUS_OK;
}

// Whether the compiler is there and has not failed on the kernel a short time ago.
static moejit_status ask_compiler(struct batch *batch, const struct job *job) {
    struct moejit_context *context = batch->context;
    moejit_status status = open_compiler(batch);
    if (status != MOEJIT_STATUS_OK) return status;
    if (!mj_image_source_lookup_failure(context, &job->kernel->key, batch->compiler, &context->error)) {
        return MOEJIT_STATUS_OK;
    }
    context->failures++;
    return context->error.status;
}

// Somebody else may have compiled it by the time that the lock is ours.
static void start(struct batch *batch, struct job *job) {
    struct moejit_context *context = batch->context;
    const struct mj_loaded_kernel *kernel = job->kernel;
    struct mj_compile_request request;
    if (!mj_store_claim(context->store, &kernel->key, &job->wait)) return; // its owner's image is there when it leaves
    if (look_up(batch, job)) {
        mj_store_leave(context->store, &kernel->key);
        return;
    }
    moejit_status status = ask_host(context, kernel->symbol);
    if (status == MOEJIT_STATUS_OK) status = ask_compiler(batch, job);
    if (status != MOEJIT_STATUS_OK) {
        mj_store_count(context->store, false);
        mj_store_leave(context->store, &kernel->key);
        finish(batch, job, status);
        return;
    }
    mj_compiler_request(&context->sources, kernel->unit.data, kernel->symbol, context->arch, context->ptx_only,
                        &request);
    mj_compile_pool_submit(&batch->pool, (int)(job - batch->jobs), &request);
    job->state = JOB_COMPILING;
    context->compiles++;
}

static void take_result(struct batch *batch, struct mj_compile_result *result) {
    struct moejit_context *context = batch->context;
    struct job *job = &batch->jobs[result->job];
    const struct mj_text *key = &job->kernel->key;
    if (result->status == MOEJIT_STATUS_OK) {
        mj_image_source_insert(context, key, batch->compiler, &result->image);
        mj_store_leave(context->store, key);
        load(batch, job, &result->image, false);
        return;
    }
    context->error = result->error;
    context->failures++;
    if (result->status == MOEJIT_STATUS_COMPILE_FAILED) {
        mj_image_source_insert_failure(context, key, batch->compiler, result->error.message);
    }
    mj_store_leave(context->store, key);
    mj_store_count(context->store, false);
    finish(batch, job, result->status);
}

// The names of the kernels at work.
static void name_current(const struct batch *batch, char *names, size_t bytes) {
    size_t used = 0;
    names[0] = '\0';
    for (int i = 0; i < batch->num_jobs && used < bytes; i++) {
        if (batch->jobs[i].state != JOB_COMPILING) continue;
        int length = snprintf(names + used, bytes - used, "%s%s", used > 0 ? ", " : "", batch->jobs[i].kernel->symbol);
        used += length > 0 ? (size_t)length : 0;
    }
}

static bool report(struct batch *batch) {
    char names[512];
    if (batch->progress == NULL) return true;
    name_current(batch, names, sizeof(names));
    if (batch->progress(batch->user, batch->num_done, batch->num_jobs, names) == 0) return true;
    batch->status = mj_error_set(&batch->error, MOEJIT_STATUS_CANCELLED, "cancelled with %d of %d kernels prepared",
                                 batch->num_done, batch->num_jobs);
    return false;
}

// The last first: a plan's widest tiles take the longest, and what is begun last should be short.
static void start_all(struct batch *batch) {
    for (int i = batch->num_jobs - 1; i >= 0 && !is_final(batch->status); i--) {
        if (batch->jobs[i].state != JOB_MISSED) continue;
        if (mj_compile_pool_room(&batch->pool) == 0) return;
        start(batch, &batch->jobs[i]);
    }
}

static void run(struct batch *batch) {
    struct mj_compile_result result;
    if (batch->context->present_toolchain) {
        batch->status = open_compiler(batch);
        batch->error = batch->context->error;
    }
    for (int i = 0; i < batch->num_jobs && !is_final(batch->status); i++) {
        if (report(batch)) look_up(batch, &batch->jobs[i]);
    }
    while (!is_final(batch->status) && batch->num_done < batch->num_jobs) {
        start_all(batch);
        if (is_final(batch->status) || !report(batch)) return;
        if (batch->num_done == batch->num_jobs) return;
        bool blocked = count(batch, JOB_MISSED) > 0 && mj_compile_pool_room(&batch->pool) > 0;
        if (mj_compile_pool_wait(&batch->pool, blocked ? BLOCKED_MS : TICK_MS, &result)) take_result(batch, &result);
    }
}

static void close_batch(struct batch *batch) {
    mj_compile_pool_close(&batch->pool);
    for (int i = 0; i < batch->num_jobs; i++) {
        if (batch->jobs[i].state == JOB_COMPILING) mj_store_leave(batch->context->store, &batch->jobs[i].kernel->key);
    }
    free(batch->jobs);
}

moejit_status mj_kernel_batch_prepare(struct moejit_context *context, struct mj_loaded_kernel *kernels, int num_kernels,
                                      moejit_progress_fn progress, void *user) {
    struct batch batch = {.context = context, .num_jobs = num_kernels, .progress = progress, .user = user};
    const struct mj_compile_pool_options options = {.helper = context->helper_option,
                                                    .nvrtc = context->nvrtc_option,
                                                    .num_workers = context->num_workers,
                                                    .timeout_ms = context->compile_timeout_ms,
                                                    .warn = warn_of_pool,
                                                    .user = context};
    batch.jobs = calloc((size_t)num_kernels, sizeof(*batch.jobs));
    if (batch.jobs == NULL) {
        return mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for %d kernels", num_kernels);
    }
    for (int i = 0; i < num_kernels; i++) batch.jobs[i].kernel = &kernels[i];
    mj_compile_pool_open(&batch.pool, &options);
    run(&batch);
    if (batch.status == MOEJIT_STATUS_OK) report(&batch);
    if (batch.status != MOEJIT_STATUS_OK) context->error = batch.error;
    moejit_status status = batch.status;
    close_batch(&batch);
    return status;
}

void mj_kernel_batch_look_up(struct moejit_context *context, struct mj_loaded_kernel *kernels, int num_kernels) {
    for (int i = 0; i < num_kernels; i++) {
        struct mj_image image;
        kernels[i].cached = mj_image_source_lookup(context, &kernels[i].key, NULL, 0, &image);
        mj_store_count(context->store, kernels[i].cached);
        kernels[i].resources = mj_compiler_resources(image.log);
        mj_image_free(&image);
    }
}
