#include "run/context.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"

#define DEFAULT_TIMEOUT_MS                                                                                             \
    100000 // below the cache's bound for waiting: who waits sees the failure, and compiles not twice
#define DEFAULT_FAILURES_S 86400

void moejit_context_options_init(moejit_context_options *options) {
    if (options == NULL) return;
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
}

void mj_context_log(const struct moejit_context *context, moejit_log_level level, const char *text) {
    if (context->log != NULL) context->log(context->log_user, level, text);
}

static void warn_of_store(void *user, const char *text) {
    mj_context_log(user, MOEJIT_LOG_WARNING, text);
}

static moejit_status driver_check(struct moejit_context *context, CUresult result, const char *tried) {
    return result == CUDA_SUCCESS ? MOEJIT_STATUS_OK
                                  : mj_driver_failed(&context->driver, result, tried, &context->error);
}

static moejit_status attach_current(struct moejit_context *context) {
    const struct mj_driver *driver = &context->driver;
    moejit_status status =
        driver_check(context, driver->cuCtxGetCurrent(&context->cuda), "asking for the current context");
    if (status != MOEJIT_STATUS_OK) return status;
    if (context->cuda == NULL) {
        return mj_error_set(
            &context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
            "attach is CURRENT, but the calling thread has no CUDA context current; make one current or use "
            "MOEJIT_ATTACH_PRIMARY");
    }
    return driver_check(context, driver->cuCtxGetDevice(&context->device), "asking for the context's device");
}

static moejit_status attach_primary(struct moejit_context *context, int ordinal) {
    char tried[96];
    snprintf(tried, sizeof(tried), "retaining the primary context of device %d", ordinal);
    CUresult result = context->driver.cuDeviceGet(&context->device, ordinal);
    if (result == CUDA_SUCCESS) result = context->driver.cuDevicePrimaryCtxRetain(&context->cuda, context->device);
    context->retained = result == CUDA_SUCCESS;
    return driver_check(context, result, tried);
}

static moejit_status read_device(struct moejit_context *context) {
    int major = 0, minor = 0;
    const struct {
        int *value;
        CUdevice_attribute attribute;
    } wanted[] = {
        {&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR},
        {&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR},
        {&context->num_sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT},
        {&context->sm_shared_bytes, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR},
        {&context->reserved_shared_bytes, CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK},
    };
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]) && result == CUDA_SUCCESS; i++) {
        result = context->driver.cuDeviceGetAttribute(wanted[i].value, wanted[i].attribute, context->device);
    }
    if (result != CUDA_SUCCESS) return driver_check(context, result, "asking for the device's attributes");
    context->arch = mj_arch_of_capability(major * 10 + minor);
    if (context->arch != NULL) return MOEJIT_STATUS_OK;
    return mj_error_set(
        &context->error, MOEJIT_STATUS_UNSUPPORTED,
        "the device has compute capability %d.%d; moejit writes kernels for 8.0 and later of the kinds it knows", major,
        minor);
}

static moejit_status attach(struct moejit_context *context, const moejit_context_options *options) {
    if (options->attach == MOEJIT_ATTACH_ARCH) {
        if (options->arch == NULL) {
            return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT, "attach is ARCH, but arch is NULL");
        }
        context->arch = mj_arch_find(options->arch);
        return context->arch != NULL ? MOEJIT_STATUS_OK : mj_arch_unknown(options->arch, &context->error);
    }
    if (options->attach != MOEJIT_ATTACH_CURRENT && options->attach != MOEJIT_ATTACH_PRIMARY) {
        return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT, "attach is %d, needs 0, 1 or 2",
                            (int)options->attach);
    }
    moejit_status status = mj_driver_open(&context->driver, options->cuda_library, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    context->attached = true;
    status = driver_check(context, context->driver.cuInit(0), "initialising the CUDA driver");
    if (status == MOEJIT_STATUS_OK) {
        status = options->attach == MOEJIT_ATTACH_CURRENT ? attach_current(context)
                                                          : attach_primary(context, options->device_ordinal);
    }
    return status == MOEJIT_STATUS_OK ? read_device(context) : status;
}

static bool choose_ptx_only(int option) {
    const char *text = mj_options_string(NULL, "MOEJIT_PTX_ONLY");
    return option > 0 || (option == 0 && text != NULL && atoi(text) != 0);
}

// NULL stays NULL.
static bool copy_string(const char *string, char **copy) {
    *copy = string != NULL ? strdup(string) : NULL;
    return string == NULL || *copy != NULL;
}

static moejit_status create(struct moejit_context *context, const moejit_context_options *given) {
    moejit_context_options options = {0};
    moejit_status status = mj_options_read("context options", &options, sizeof(options), given, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    context->log = options.log;
    context->log_user = options.log_user;
    status = attach(context, &options);
    if (status != MOEJIT_STATUS_OK) return status;
    const char *directory = mj_options_string(options.kernel_sources_dir, "MOEJIT_KERNEL_SOURCES_DIR");
    status = mj_source_set_create(&context->sources, directory, &context->error);
    if (status != MOEJIT_STATUS_OK) return status;
    const struct mj_store_options store = {.path = options.cache_path,
                                           .packs = options.cache_packs,
                                           .max_bytes = options.cache_max_bytes,
                                           .wait_ms = options.cache_wait_ms,
                                           .warn = warn_of_store,
                                           .user = context};
    context->store = mj_store_open(&store);
    context->present_toolchain = options.cache_present_toolchain != 0;
    context->ptx_only = choose_ptx_only(options.ptx_only);
    context->num_workers = options.compile_workers;
    context->compile_timeout_ms = options.compile_timeout_ms > 0 ? options.compile_timeout_ms : DEFAULT_TIMEOUT_MS;
    context->failures_s = options.cache_failures_s != 0 ? options.cache_failures_s : DEFAULT_FAILURES_S;
    if (context->store == NULL || !copy_string(options.nvrtc_library, &context->nvrtc_option) ||
        !copy_string(options.compile_helper, &context->helper_option)) {
        return mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the context");
    }
    return MOEJIT_STATUS_OK;
}

moejit_status moejit_context_create(const moejit_context_options *options, moejit_context **context, char *message,
                                    size_t message_bytes) {
    struct mj_error error = {0};
    moejit_status status = MOEJIT_STATUS_OK;
    struct moejit_context *made = NULL;
    if (context == NULL) {
        status = mj_error_set(&error, MOEJIT_STATUS_INVALID_ARGUMENT, "context is NULL");
    } else if ((made = calloc(1, sizeof(*made))) == NULL) {
        status = mj_error_set(&error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the context");
    } else if ((status = create(made, options)) != MOEJIT_STATUS_OK) {
        error = made->error;
        moejit_context_destroy(made);
        made = NULL;
    }
    mj_error_copy(&error, message, message_bytes);
    if (context != NULL) *context = made;
    return status;
}

void moejit_context_destroy(moejit_context *context) {
    if (context == NULL) return;
    mj_store_close(context->store);
    mj_source_set_destroy(&context->sources);
    if (context->retained) context->driver.cuDevicePrimaryCtxRelease(context->device);
    if (context->attached) mj_driver_close(&context->driver);
    free(context->nvrtc_option);
    free(context->helper_option);
    free(context);
}

void moejit_context_seal(moejit_context *context, moejit_seal_fn seal, void *user) {
    if (context == NULL) return;
    context->sealed = true;
    context->seal = seal;
    context->seal_user = user;
}

const char *moejit_context_error(const moejit_context *context) {
    return context != NULL ? context->error.message : "context is NULL";
}

const char *moejit_context_arch(const moejit_context *context) {
    return context != NULL ? context->arch->name : "";
}

const char *moejit_context_cache_path(const moejit_context *context) {
    return context != NULL ? mj_store_path(context->store) : "";
}

const char *moejit_context_compiler(const moejit_context *context) {
    return context != NULL ? context->compiler : "";
}

void moejit_context_counters_read(const moejit_context *context, moejit_context_counters *counters) {
    if (context == NULL || counters == NULL) return;
    struct mj_store_counters store = mj_store_counters_read(context->store);
    moejit_context_counters ours = {
        .struct_size = counters->struct_size,
        .cache_hits = store.hits,
        .cache_misses = store.misses,
        .compiles = context->compiles,
        .heals = store.heals,
        .module_loads = context->module_loads,
        .evictions = store.evictions,
        .waits = store.waits,
        .refusals = context->refusals,
        .failures = context->failures,
        .sealed_compiles = context->sealed_compiles,
    };
    memcpy(counters, &ours, counters->struct_size < sizeof(ours) ? counters->struct_size : sizeof(ours));
}

moejit_status mj_context_enter(const struct moejit_context *context, struct mj_entered *entered,
                               struct mj_error *error) {
    entered->pushed = false;
    if (!context->attached) {
        return mj_error_set(
            error, MOEJIT_STATUS_UNSUPPORTED,
            "the context is attached to the arch %s alone; what needs a GPU needs a context attached to one",
            context->arch->name);
    }
    CUcontext current = NULL;
    CUresult result = context->driver.cuCtxGetCurrent(&current);
    if (result == CUDA_SUCCESS && current != context->cuda) {
        result = context->driver.cuCtxPushCurrent(context->cuda);
        entered->pushed = result == CUDA_SUCCESS;
    }
    if (result == CUDA_SUCCESS) return MOEJIT_STATUS_OK;
    return mj_driver_failed(&context->driver, result, "making the CUDA context current", error);
}

void mj_context_leave(const struct moejit_context *context, struct mj_entered *entered) {
    CUcontext popped = NULL;
    if (entered->pushed) context->driver.cuCtxPopCurrent(&popped);
    entered->pushed = false;
}
