#include "jit/compiler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void mj_image_free(struct mj_image *image) {
    free(image->cubin);
    free(image->ptx);
    free(image->log);
    *image = (struct mj_image){0};
}

static moejit_status check_version(const struct mj_nvrtc *nvrtc, const struct mj_compile_request *request,
                                   struct mj_error *error) {
    if (nvrtc->major * 100 + nvrtc->minor >= request->nvrtc_major * 100 + request->nvrtc_minor) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED, "%s is NVRTC %d.%d; arch %s needs %d.%d or later",
                        nvrtc->path, nvrtc->major, nvrtc->minor, request->arch, request->nvrtc_major,
                        request->nvrtc_minor);
}

// The number that stands before `what`, summed over the log.
static int sum_before(const char *log, const char *what) {
    int sum = 0;
    for (const char *at = strstr(log, what); at != NULL; at = strstr(at + 1, what)) {
        const char *digit = at;
        while (digit > log && digit[-1] >= '0' && digit[-1] <= '9') digit--;
        sum += atoi(digit);
    }
    return sum;
}

struct mj_resources mj_compiler_resources(const char *log) {
    if (log == NULL) return (struct mj_resources){0};
    return (struct mj_resources){
        .registers = sum_before(log, " registers"),
        .spill_bytes = sum_before(log, " bytes spill stores"),
        .static_shared_bytes = sum_before(log, " bytes smem"),
    };
}

// ptxas tells how long it took: the one thing that differs from compile to compile, and so from pack to pack.
static void drop_times(char *log) {
    for (char *at; (at = strstr(log, "Compile time")) != NULL;) {
        char *start = at, *end = strchr(at, '\n');
        while (start > log && start[-1] != '\n') start--;
        end = end != NULL ? end + 1 : at + strlen(at);
        memmove(start, end, strlen(end) + 1);
    }
}

// NULL where there is none.
static char *fetch_log(const struct mj_nvrtc *nvrtc, nvrtcProgram program) {
    size_t bytes = 0;
    char *log = NULL;
    if (program != NULL && nvrtc->nvrtcGetProgramLogSize(program, &bytes) == NVRTC_SUCCESS && bytes > 1)
        log = malloc(bytes);
    if (log != NULL && nvrtc->nvrtcGetProgramLog(program, log) != NVRTC_SUCCESS) log[0] = '\0';
    if (log != NULL) drop_times(log);
    return log;
}

static moejit_status failed(const struct mj_nvrtc *nvrtc, nvrtcProgram program, nvrtcResult result, const char *symbol,
                            struct mj_error *error) {
    char *log = fetch_log(nvrtc, program);
    moejit_status status =
        result == NVRTC_ERROR_OUT_OF_MEMORY ? MOEJIT_STATUS_OUT_OF_MEMORY : MOEJIT_STATUS_COMPILE_FAILED;
    mj_error_set(error, status, "compiling %s with %s (NVRTC %d.%d): %s%s%s", symbol, nvrtc->path, nvrtc->major,
                 nvrtc->minor, nvrtc->nvrtcGetErrorString(result), log != NULL ? "\n" : "", log != NULL ? log : "");
    free(log);
    return status;
}

static nvrtcResult create_program(const struct mj_nvrtc *nvrtc, const struct mj_compile_request *request,
                                  nvrtcProgram *program) {
    char name[160];
    snprintf(name, sizeof(name), "%s.cu", request->symbol);
    return nvrtc->nvrtcCreateProgram(program, request->unit, name, request->num_headers, request->header_texts,
                                     request->header_names);
}

static nvrtcResult fetch(const struct mj_nvrtc *nvrtc, nvrtcProgram program, struct mj_image *image) {
    nvrtcResult result = nvrtc->nvrtcGetCUBINSize(program, &image->cubin_bytes);
    if (result == NVRTC_SUCCESS) result = nvrtc->nvrtcGetPTXSize(program, &image->ptx_bytes);
    if (result != NVRTC_SUCCESS) return result;
    if (image->cubin_bytes > 0) image->cubin = malloc(image->cubin_bytes); // 0 where the arch was compute_90a
    image->ptx = malloc(image->ptx_bytes);
    if ((image->cubin == NULL && image->cubin_bytes > 0) || image->ptx == NULL) return NVRTC_ERROR_OUT_OF_MEMORY;
    image->log = fetch_log(nvrtc, program);
    if (image->cubin != NULL) result = nvrtc->nvrtcGetCUBIN(program, image->cubin);
    if (result == NVRTC_SUCCESS) result = nvrtc->nvrtcGetPTX(program, image->ptx);
    return result;
}

moejit_status mj_compiler_compile(const struct mj_nvrtc *nvrtc, const struct mj_compile_request *request,
                                  struct mj_image *image, struct mj_error *error) {
    *image = (struct mj_image){0};
    moejit_status status = check_version(nvrtc, request, error);
    if (status != MOEJIT_STATUS_OK) return status;
    char arch_option[48];
    const char *arguments[MJ_MAX_COMPILE_OPTIONS + 1] = {arch_option};
    snprintf(arch_option, sizeof(arch_option), "--gpu-architecture=%s", request->arch);
    for (int i = 0; i < request->num_options; i++) arguments[i + 1] = request->options[i];

    nvrtcProgram program = NULL;
    nvrtcResult result = create_program(nvrtc, request, &program);
    if (result == NVRTC_SUCCESS) result = nvrtc->nvrtcCompileProgram(program, request->num_options + 1, arguments);
    if (result == NVRTC_SUCCESS) result = fetch(nvrtc, program, image);
    if (result != NVRTC_SUCCESS) {
        status = failed(nvrtc, program, result, request->symbol, error);
        mj_image_free(image);
    }
    if (program != NULL) nvrtc->nvrtcDestroyProgram(&program);
    return status;
}
