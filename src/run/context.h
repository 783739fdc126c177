// The context: everything that is not a process-wide state.
#ifndef MOEJIT_RUN_CONTEXT_H
#define MOEJIT_RUN_CONTEXT_H

#include "store.h"
#include "cuda/arch.h"
#include "cuda/driver.h"
#include "jit/source_set.h"

struct moejit_context {
    struct mj_error error;
    const struct mj_arch *arch;
    bool attached; // false: an arch alone, no driver
    bool retained; // the primary context is ours to release
    struct mj_driver driver;
    CUdevice device;
    CUcontext cuda;
    int num_sms, sm_shared_bytes,
        reserved_shared_bytes;          // shared memory of a multiprocessor, and what each CTA takes more
    char *nvrtc_option, *helper_option; // NVRTC is opened on the first miss (kernel_batch.h)
    int num_workers;
    int64_t compile_timeout_ms, failures_s; // failures_s negative: failed compiles are not remembered
    char compiler[320];                     // moejit_context_compiler
    bool present_toolchain;                 // no other compiler's images
    bool ptx_only;                          // the driver assembles
    bool sealed;
    moejit_seal_fn seal; // NULL: forbids
    void *seal_user;
    struct mj_source_set sources;
    struct mj_store *store;
    uint64_t compiles, module_loads, refusals, failures, sealed_compiles;
    moejit_log_fn log;
    void *log_user;
};

void mj_context_log(const struct moejit_context *context, moejit_log_level level, const char *text);

// Makes the context's CUcontext current and, with leave, puts back what was. Between the two driver calls may be made.
struct mj_entered {
    bool pushed;
};
moejit_status mj_context_enter(const struct moejit_context *context, struct mj_entered *entered,
                               struct mj_error *error);
void mj_context_leave(const struct moejit_context *context, struct mj_entered *entered);

#endif
