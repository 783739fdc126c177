#define _GNU_SOURCE // dladdr
#include "cuda/nvrtc.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "base/options.h"
#include "base/text.h"

#define OLDEST_MAJOR 12
#define OLDEST_MINOR 8

static const char *const symbols[] = {
#define SYMBOL(name) #name,
    MJ_NVRTC_FUNCTIONS(SYMBOL)
#undef SYMBOL
};

// Where a toolkit or its pip package puts the library, newest first.
static const char *const places[] = {
    "libnvrtc.so.13",
    "libnvrtc.so.12",
    "/usr/local/cuda/lib64/libnvrtc.so.13",
    "/usr/local/cuda/lib64/libnvrtc.so.12",
};

static void list_fields(struct mj_nvrtc *nvrtc, void ***fields) {
    size_t i = 0;
#define FIELD(name) fields[i++] = (void **)(void *)&nvrtc->name;
    MJ_NVRTC_FUNCTIONS(FIELD)
#undef FIELD
}

static bool try_place(struct mj_nvrtc *nvrtc, const char *place, struct mj_text *why) {
    nvrtc->library = dlopen(place, RTLD_NOW | RTLD_LOCAL);
    if (nvrtc->library == NULL) {
        mj_text_append(why, "%s%s", why->bytes > 0 ? "; " : "", dlerror());
        return false;
    }
    snprintf(nvrtc->path, sizeof(nvrtc->path), "%s", place);
    return true;
}

static moejit_status open_library(struct mj_nvrtc *nvrtc, const char *option, struct mj_error *error) {
    struct mj_text why = {0};
    const char *named = mj_options_string(option, "MOEJIT_NVRTC_LIBRARY");
    bool found = named != NULL && try_place(nvrtc, named, &why);
    for (size_t i = 0; named == NULL && !found && i < sizeof(places) / sizeof(places[0]); i++) {
        found = try_place(nvrtc, places[i], &why);
    }
    if (!found) {
        mj_error_set(
            error, MOEJIT_STATUS_LIBRARY_NOT_FOUND,
            "no NVRTC, which compiles kernels that the cache lacks: %s. It comes with the CUDA toolkit (or the pip "
            "package nvidia-cuda-nvrtc); the option nvrtc_library or the variable MOEJIT_NVRTC_LIBRARY names another",
            why.data != NULL ? why.data : "out of memory");
    }
    mj_text_free(&why);
    return found ? MOEJIT_STATUS_OK : MOEJIT_STATUS_LIBRARY_NOT_FOUND;
}

static moejit_status resolve(struct mj_nvrtc *nvrtc, struct mj_error *error) {
    void **fields[sizeof(symbols) / sizeof(symbols[0])];
    list_fields(nvrtc, fields);
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        *fields[i] = dlsym(nvrtc->library, symbols[i]);
        if (*fields[i] == NULL) {
            return mj_error_set(error, MOEJIT_STATUS_LIBRARY_NOT_FOUND, "%s has no function %s; it is no NVRTC",
                                nvrtc->path, symbols[i]);
        }
    }
    return MOEJIT_STATUS_OK;
}

// NVRTC looks for its builtins library by name alone, which finds a toolkit's but not one that lies beside it elsewhere
// (a pip package): one that is already loaded is found.
static void load_builtins(const struct mj_nvrtc *nvrtc) {
    char path[384];
    const char *slash = strrchr(nvrtc->path, '/');
    if (slash == NULL) return;
    snprintf(path, sizeof(path), "%.*s/libnvrtc-builtins.so.%d.%d", (int)(slash - nvrtc->path), nvrtc->path,
             nvrtc->major, nvrtc->minor);
    dlopen(path, RTLD_NOW | RTLD_LOCAL); // what is missing shows in the proof
}

static void name_build(struct mj_nvrtc *nvrtc) {
    Dl_info info;
    struct stat status = {.st_size = 0};
    if (dladdr((void *)nvrtc->nvrtcVersion, &info) != 0 && info.dli_fname != NULL) stat(info.dli_fname, &status);
    snprintf(nvrtc->build, sizeof(nvrtc->build), "nvrtc %d.%d %lld", nvrtc->major, nvrtc->minor,
             (long long)status.st_size);
}

// NVRTC loads a second library (builtins) on its first compile: find out now, with a clear message.
static moejit_status prove(struct mj_nvrtc *nvrtc, struct mj_error *error) {
    const char *const options[] = {"--gpu-architecture=compute_80", "--minimal"};
    nvrtcProgram program = NULL;
    nvrtcResult result =
        nvrtc->nvrtcCreateProgram(&program, "__global__ void probe(int *p) { *p = 1; }\n", "probe.cu", 0, NULL, NULL);
    if (result == NVRTC_SUCCESS) result = nvrtc->nvrtcCompileProgram(program, 2, options);
    if (program != NULL) nvrtc->nvrtcDestroyProgram(&program);
    if (result == NVRTC_SUCCESS) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_LIBRARY_NOT_FOUND,
                        "%s opens but does not compile a one-line kernel: %s. Its builtins library must lie beside it",
                        nvrtc->path, nvrtc->nvrtcGetErrorString(result));
}

moejit_status mj_nvrtc_open(struct mj_nvrtc *nvrtc, const char *path, struct mj_error *error) {
    memset(nvrtc, 0, sizeof(*nvrtc));
    moejit_status status = open_library(nvrtc, path, error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = resolve(nvrtc, error);
    if (status == MOEJIT_STATUS_OK && nvrtc->nvrtcVersion(&nvrtc->major, &nvrtc->minor) != NVRTC_SUCCESS) {
        status = mj_error_set(error, MOEJIT_STATUS_LIBRARY_NOT_FOUND, "%s does not tell its version", nvrtc->path);
    }
    if (status == MOEJIT_STATUS_OK && nvrtc->major * 100 + nvrtc->minor < OLDEST_MAJOR * 100 + OLDEST_MINOR) {
        status = mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED, "%s is NVRTC %d.%d; moejit needs %d.%d or later",
                              nvrtc->path, nvrtc->major, nvrtc->minor, OLDEST_MAJOR, OLDEST_MINOR);
    }
    if (status == MOEJIT_STATUS_OK) {
        name_build(nvrtc);
        load_builtins(nvrtc);
        status = prove(nvrtc, error);
    }
    if (status != MOEJIT_STATUS_OK) mj_nvrtc_close(nvrtc);
    return status;
}

// The library stays loaded: NVRTC leaks what it set up at load time when it goes (seen with 13.0), and a host that
// compiles once may compile again.
void mj_nvrtc_close(struct mj_nvrtc *nvrtc) {
    nvrtc->library = NULL;
}
