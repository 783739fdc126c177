// A stand-in for NVRTC that compiles nothing, quickly, and fails as it is told, so that what is around a compiler can
// be tested. An image is a function of the unit and the options. The environment tells what goes wrong; a value is a
// part of "SYMBOL ARCH" of the kernels meant:
//
//     FAKE_NVRTC_REFUSE   the unit has an error          FAKE_NVRTC_KILL   the process ends by SIGKILL
//     FAKE_NVRTC_ABORT    the compiler aborts, and says so on stderr
//     FAKE_NVRTC_HANG     it never comes back            FAKE_NVRTC_MS     every compile takes that long
//     FAKE_NVRTC_VERSION  "13.0"                         FAKE_NVRTC_COUNT  a file that grows by a byte a compile
#include <nvrtc.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CUBIN_BYTES 20000

struct _nvrtcProgram {
    char name[256], log[256];
    int ptx_only; // a virtual arch
    unsigned long long hash;
};

static unsigned long long hash_text(unsigned long long hash, const char *text) {
    for (; *text != '\0'; text++) hash = (hash ^ (unsigned char)*text) * 1099511628211U;
    return hash;
}

nvrtcResult nvrtcVersion(int *major, int *minor) {
    const char *text = getenv("FAKE_NVRTC_VERSION");
    *major = 13;
    *minor = 0;
    if (text != NULL) sscanf(text, "%d.%d", major, minor);
    return NVRTC_SUCCESS;
}

const char *nvrtcGetErrorString(nvrtcResult result) {
    return result == NVRTC_SUCCESS ? "NVRTC_SUCCESS" : "NVRTC_ERROR_COMPILATION";
}

nvrtcResult nvrtcCreateProgram(nvrtcProgram *program, const char *source, const char *name, int num_headers,
                               const char *const *headers, const char *const *include_names) {
    *program = calloc(1, sizeof(**program));
    if (*program == NULL) return NVRTC_ERROR_OUT_OF_MEMORY;
    snprintf((*program)->name, sizeof((*program)->name), "%s", name);
    (*program)->hash = hash_text(14695981039346656037U, source);
    for (int i = 0; i < num_headers; i++) {
        (*program)->hash = hash_text(hash_text((*program)->hash, include_names[i]), headers[i]);
    }
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcDestroyProgram(nvrtcProgram *program) {
    free(*program);
    *program = NULL;
    return NVRTC_SUCCESS;
}

static int is_meant(const char *variable, const char *kernel) {
    const char *part = getenv(variable);
    return part != NULL && part[0] != '\0' && strstr(kernel, part) != NULL;
}

static void count_compile(void) {
    const char *path = getenv("FAKE_NVRTC_COUNT");
    int file = path != NULL ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (file < 0) return;
    if (write(file, "x", 1) != 1) abort();
    close(file);
}

nvrtcResult nvrtcCompileProgram(nvrtcProgram program, int num_options, const char *const *options) {
    const char *ms = getenv("FAKE_NVRTC_MS");
    char kernel[512];
    if (strcmp(program->name, "probe.cu") == 0) return NVRTC_SUCCESS;
    for (int i = 0; i < num_options; i++) program->hash = hash_text(program->hash, options[i]);
    snprintf(kernel, sizeof(kernel), "%s %s", program->name, num_options > 0 ? options[0] : "");
    program->ptx_only = strstr(kernel, "=compute_") != NULL;
    count_compile();
    if (ms != NULL) {
        struct timespec time = {.tv_nsec = atol(ms) * 1000000};
        nanosleep(&time, NULL);
    }
    if (is_meant("FAKE_NVRTC_ABORT", kernel)) {
        fprintf(stderr, "fake compiler: lost its mind over %s\n", kernel);
        abort();
    }
    if (is_meant("FAKE_NVRTC_KILL", kernel)) raise(SIGKILL);
    while (is_meant("FAKE_NVRTC_HANG", kernel)) usleep(1000);
    snprintf(program->log, sizeof(program->log), "ptxas info : Used 32 registers\nptxas info : Compile time = 5 ms\n");
    if (!is_meant("FAKE_NVRTC_REFUSE", kernel)) return NVRTC_SUCCESS;
    snprintf(program->log, sizeof(program->log), "%.200s(7): error: the fake was told so\n", program->name);
    return NVRTC_ERROR_COMPILATION;
}

nvrtcResult nvrtcGetCUBINSize(nvrtcProgram program, size_t *bytes) {
    *bytes = program->ptx_only ? 0 : CUBIN_BYTES;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetCUBIN(nvrtcProgram program, char *cubin) {
    unsigned long long state = program->hash;
    for (int i = 0; i < CUBIN_BYTES; i++) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        cubin[i] = (char)(state >> 56);
    }
    memcpy(cubin, "\177ELF", 4);
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetPTXSize(nvrtcProgram program, size_t *bytes) {
    *bytes = (size_t)snprintf(NULL, 0, "// fake %llx\n", program->hash) + 1;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetPTX(nvrtcProgram program, char *ptx) {
    sprintf(ptx, "// fake %llx\n", program->hash);
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram program, size_t *bytes) {
    *bytes = strlen(program->log) + 1;
    return NVRTC_SUCCESS;
}

nvrtcResult nvrtcGetProgramLog(nvrtcProgram program, char *log) {
    strcpy(log, program->log);
    return NVRTC_SUCCESS;
}
