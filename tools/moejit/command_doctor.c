// moejit doctor: what moejit finds on this machine, and what to do about what it does not find.
#define _GNU_SOURCE // dladdr
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"
#include "cuda/arch.h"
#include "gpu.h"

extern char **environ;

static const char help[] =
    "Usage: moejit doctor [options]\n"
    "Tells what moejit finds here: driver, GPU, NVRTC (which has to compile a small layer), cache and environment; "
    "and\n"
    "what to do about each that is missing. The cache's file is made where there is none, as by every use of "
    "moejit.\n\n"
    "  --cuda-library PATH      the driver, or the emulator (default: MOEJIT_CUDA_LIBRARY, libcuda.so.1)\n"
    "  --nvrtc-library PATH     NVRTC (default: MOEJIT_NVRTC_LIBRARY, libnvrtc.so.13, .12 and the toolkit's folder)\n"
    "  --cache PATH             the database (default: the user's)\n"
    "  --json                   one JSON object\n"
    "Exit status: 0 everything is here, 2 bad command line, 3 something is missing.\n";

#define ARCH_WITHOUT_GPU "sm_90a" // what NVRTC is tried on where no GPU asks for another

enum { OPTION_CUDA = 256, OPTION_NVRTC, OPTION_CACHE, OPTION_JSON, OPTION_HELP };

static const struct option long_options[] = {
    {"cuda-library", required_argument, NULL, OPTION_CUDA},
    {"nvrtc-library", required_argument, NULL, OPTION_NVRTC},
    {"cache", required_argument, NULL, OPTION_CACHE},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

struct doctor_options {
    const char *cuda_library, *nvrtc_library, *cache;
    bool json;
};

enum { FOUND_DRIVER, FOUND_GPU, FOUND_SOURCES, FOUND_NVRTC, FOUND_CACHE, NUM_FOUND };
static const char *const names[NUM_FOUND] = {"driver", "GPU", "kernel sources", "NVRTC", "cache"};

struct finding {
    bool missing;
    char text[4096], to_do[512]; // to_do: only of what is missing
};

struct doctor {
    const struct doctor_options *options;
    struct finding found[NUM_FOUND];
    char arch[16]; // of the GPU; "" without one
    bool emulated;
};

__attribute__((format(printf, 3, 4))) static void good(struct doctor *doctor, int which, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    doctor->found[which].missing = false;
    vsnprintf(doctor->found[which].text, sizeof(doctor->found[which].text), format, arguments);
    va_end(arguments);
}

__attribute__((format(printf, 4, 5))) static void missing(struct doctor *doctor, int which, const char *to_do,
                                                          const char *format, ...) {
    struct finding *finding = &doctor->found[which];
    va_list arguments;
    va_start(arguments, format);
    finding->missing = true;
    vsnprintf(finding->text, sizeof(finding->text), format, arguments);
    snprintf(finding->to_do, sizeof(finding->to_do), "%s", to_do);
    va_end(arguments);
}

// The first warning of a context.
static void keep_warning(void *user, moejit_log_level level, const char *text) {
    char *warning = user;
    if (level == MOEJIT_LOG_WARNING && warning[0] == '\0')
        snprintf(warning, sizeof(((struct finding *)0)->text), "%s", text);
}

static bool driver_is_whole(const struct gpu *gpu) {
#define IS_THERE(function) &&gpu->function != NULL
    return gpu->library != NULL GPU_FUNCTIONS(IS_THERE);
#undef IS_THERE
}

static void find_driver(struct doctor *doctor, struct gpu *gpu) {
    const char *variable = getenv("MOEJIT_CUDA_LIBRARY");
    bool named = doctor->options->cuda_library != NULL || (variable != NULL && variable[0] != '\0');
    if (!driver_is_whole(gpu)) {
        missing(doctor, FOUND_DRIVER,
                named ? "name the driver's libcuda.so.1, or moejit's emulator, in --cuda-library or "
                        "MOEJIT_CUDA_LIBRARY; or name none"
                      : "install the NVIDIA driver, which brings libcuda.so.1; or name moejit's emulator in "
                        "MOEJIT_CUDA_LIBRARY",
                "%s", gpu->error);
        return;
    }
    Dl_info where = {0};
    int version = 0;
    bool resolved = dladdr(*(void **)(void *)&gpu->cuInit, &where) != 0 && where.dli_fname != NULL;
    gpu->cuDriverGetVersion(&version);
    good(doctor, FOUND_DRIVER, "%s, CUDA %d.%d%s", resolved ? where.dli_fname : gpu->path, version / 1000,
         version % 1000 / 10, gpu->emulated ? ", the emulator: it runs kernels on this machine's CPU" : "");
}

static const char gpu_to_do[] =
    "make a GPU of compute capability 8.0 or later visible (nvidia-smi, CUDA_VISIBLE_DEVICES, "
    "a container's --gpus); prefill and inspect need none";

static bool find_gpu(struct doctor *doctor, const struct gpu *gpu, bool open) {
    const struct mj_arch *arch = mj_arch_of_capability(gpu->capability);
    if (doctor->found[FOUND_DRIVER].missing) {
        missing(doctor, FOUND_GPU, "first the driver; prefill and inspect need no GPU",
                "cannot be asked for without a driver");
    } else if (!open) {
        missing(doctor, FOUND_GPU, gpu_to_do, "%s", gpu->error);
    } else if (arch == NULL) {
        missing(doctor, FOUND_GPU, gpu_to_do, "%s has compute capability %d.%d, for which moejit writes no kernels",
                gpu->name, gpu->capability / 10, gpu->capability % 10);
    } else {
        snprintf(doctor->arch, sizeof(doctor->arch), "%s", arch->name);
        good(doctor, FOUND_GPU, "%s, compute capability %d.%d, %s, %d multiprocessors, %.1f GiB", gpu->name,
             gpu->capability / 10, gpu->capability % 10, arch->name, gpu->num_sms,
             (double)gpu->memory_bytes / (1024.0 * 1024 * 1024));
    }
    return !doctor->found[FOUND_GPU].missing;
}

// A context on the GPU, which is current, or NULL.
static moejit_context *attach(struct doctor *doctor, const struct gpu *gpu) {
    char message[2048];
    moejit_context_options options;
    moejit_context *context = NULL;
    moejit_context_options_init(&options);
    options.cuda_library = gpu->path;
    options.nvrtc_library = doctor->options->nvrtc_library;
    options.cache_path = "";
    if (moejit_context_create(&options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK) {
        missing(doctor, FOUND_GPU, gpu_to_do, "%s, which moejit cannot use: %s", gpu->name, message);
    }
    return context;
}

// A context of an arch alone that is made with the cache in question; its warning is why the cache is not used.
static moejit_context *find_sources(struct doctor *doctor, char *warning) {
    const char *folder = getenv("MOEJIT_KERNEL_SOURCES_DIR");
    char message[2048];
    moejit_context_options options;
    moejit_context *context = NULL;
    moejit_context_options_init(&options);
    options.attach = MOEJIT_ATTACH_ARCH;
    options.arch = ARCH_WITHOUT_GPU;
    options.cache_path = doctor->options->cache;
    options.log = keep_warning;
    options.log_user = warning;
    if (moejit_context_create(&options, &context, message, sizeof(message)) != MOEJIT_STATUS_OK) {
        missing(doctor, FOUND_SOURCES,
                "unset MOEJIT_KERNEL_SOURCES_DIR, or name the folder kernel_sources of moejit's sources", "%s",
                message);
    } else if (folder != NULL && folder[0] != '\0') {
        good(doctor, FOUND_SOURCES, "read from %s", folder);
    } else {
        good(doctor, FOUND_SOURCES, "inside the library");
    }
    return context;
}

static void find_cache(struct doctor *doctor, const moejit_context *context, const char *warning) {
    const char *path = context != NULL ? moejit_context_cache_path(context) : "";
    struct stat status;
    if (context == NULL) {
        missing(doctor, FOUND_CACHE, "first the kernel sources", "cannot be asked for without kernel sources");
    } else if (path[0] == '\0' && warning[0] == '\0') {
        good(doctor, FOUND_CACHE, "memory only, as asked for");
    } else if (path[0] == '\0') {
        missing(doctor, FOUND_CACHE,
                "name a folder of your own, that only you may write, in MOEJIT_CACHE_DIR; until then every process "
                "compiles anew",
                "%s", warning);
    } else if (stat(path, &status) != 0) {
        missing(doctor, FOUND_CACHE, "see why the file was removed just now", "%s is gone", path);
    } else {
        good(doctor, FOUND_CACHE, "%s, %s, %lld bytes, permissions %04o", path,
             access(path, W_OK) == 0 ? "writable" : "not writable", (long long)status.st_size,
             (unsigned)status.st_mode & 07777);
    }
}

static moejit_status make_small_plan(moejit_context *context) {
    moejit_layer layer;
    moejit_plan_options options;
    moejit_plan *plan = NULL;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 256;
    layer.intermediate = 128;
    layer.num_experts = layer.num_local_experts = 4;
    layer.top_k = 2;
    moejit_plan_options_init(&options);
    options.max_num_tokens = 1;
    options.tile = 1;
    moejit_status status = moejit_plan_create(context, &layer, &options, &plan);
    moejit_plan_destroy(plan);
    return status;
}

// Compiles with nothing cached, and where there is a GPU loads what came out.
static void find_nvrtc(struct doctor *doctor, moejit_context *context) {
    moejit_status status = make_small_plan(context);
    const char *compiler = moejit_context_compiler(context);
    if (status == MOEJIT_STATUS_OK) {
        good(doctor, FOUND_NVRTC, "%s, compiles for %s", compiler, moejit_context_arch(context));
    } else if (status == MOEJIT_STATUS_CUDA_FAILED) {
        char gpu[sizeof(doctor->found[0].text)];
        snprintf(gpu, sizeof(gpu), "%s", doctor->found[FOUND_GPU].text);
        good(doctor, FOUND_NVRTC, "%s, compiles for %s", compiler, moejit_context_arch(context));
        missing(doctor, FOUND_GPU, "update the driver to one that is no older than NVRTC",
                "%s; but it refuses what NVRTC compiles: %s", gpu, moejit_context_error(context));
    } else {
        missing(doctor, FOUND_NVRTC,
                "install the CUDA toolkit, 12.8 or later (13 for every arch), or the pip package nvidia-cuda-nvrtc, "
                "and name its libnvrtc.so in MOEJIT_NVRTC_LIBRARY where it is not found",
                "%s", moejit_context_error(context));
    }
}

static void try_nvrtc(struct doctor *doctor, moejit_context *on_gpu) {
    moejit_context_options options;
    moejit_context *made = NULL;
    moejit_context_options_init(&options);
    options.attach = MOEJIT_ATTACH_ARCH;
    options.arch = ARCH_WITHOUT_GPU;
    options.nvrtc_library = doctor->options->nvrtc_library;
    options.cache_path = "";
    if (on_gpu == NULL && moejit_context_create(&options, &made, NULL, 0) != MOEJIT_STATUS_OK) {
        missing(doctor, FOUND_NVRTC, "first the kernel sources", "cannot be tried without kernel sources");
        return;
    }
    find_nvrtc(doctor, on_gpu != NULL ? on_gpu : made);
    moejit_context_destroy(made);
}

static void examine(struct doctor *doctor) {
    struct gpu gpu;
    char warning[sizeof(doctor->found[0].text)] = "";
    bool open = gpu_open(&gpu, doctor->options->cuda_library);
    doctor->emulated = gpu.emulated;
    find_driver(doctor, &gpu);
    moejit_context *with_cache = find_sources(doctor, warning);
    bool usable = find_gpu(doctor, &gpu, open) && with_cache != NULL;
    moejit_context *on_gpu = usable ? attach(doctor, &gpu) : NULL;
    find_cache(doctor, with_cache, warning);
    try_nvrtc(doctor, on_gpu);
    moejit_context_destroy(on_gpu);
    moejit_context_destroy(with_cache);
    gpu_close(&gpu);
}

// ---- The environment

static const struct {
    const char *name;
    bool always; // shown even if not set
    const char *reader;
} variables[] = {
    {"MOEJIT_CUDA_LIBRARY", true, ""},
    {"MOEJIT_NVRTC_LIBRARY", true, ""},
    {"MOEJIT_CACHE_DIR", true, ""},
    {"MOEJIT_KERNEL_SOURCES_DIR", true, ""},
    {"MOEJIT_CACHE_PACKS", false, ""},
    {"MOEJIT_CACHE_MAX_BYTES", false, ""},
    {"MOEJIT_COMPILE_WORKERS", false, ""},
    {"MOEJIT_COMPILE_HELPER", false, ""},
    {"MOEJIT_PTX_ONLY", false, ""},
    {"XDG_CACHE_HOME", true, ""},
    {"HOME", true, ""},
    {"MOEJIT_NVDISASM", false, " (read by moejit inspect cost)"},
    {"LD_LIBRARY_PATH", false, " (read by the loader)"},
    {"CUDA_VISIBLE_DEVICES", false, " (read by the driver)"},
};
#define NUM_VARIABLES (sizeof(variables) / sizeof(variables[0]))

static bool starts_with(const char *text, const char *start) {
    return strncmp(text, start, strlen(start)) == 0;
}

// What is said of "NAME=value", a variable of ours that is not in the table; NULL of all others.
static const char *note_on(const char *entry) {
    if (!starts_with(entry, "MOEJIT_")) return NULL;
    if (starts_with(entry, "MOEJIT_EMULATOR_")) return " (read by the emulator)";
    size_t length = strcspn(entry, "=");
    for (size_t i = 0; i < NUM_VARIABLES; i++) {
        if (strlen(variables[i].name) == length && strncmp(entry, variables[i].name, length) == 0) return NULL;
    }
    return " (moejit reads no such variable)";
}

static void print_environment(void) {
    printf("\nenvironment\n");
    for (size_t i = 0; i < NUM_VARIABLES; i++) {
        const char *value = getenv(variables[i].name);
        if (value == NULL && !variables[i].always) continue;
        printf("  %s%s%s%s\n", variables[i].name, value == NULL ? " is not set" : "=", value == NULL ? "" : value,
               value != NULL && value[0] == '\0' ? " (empty: as if not set)" : variables[i].reader);
    }
    for (char **entry = environ; *entry != NULL; entry++) {
        if (note_on(*entry) != NULL) printf("  %s%s\n", *entry, note_on(*entry));
    }
}

// ---- Output

static void print_json_variable(const char *separator, const char *entry) {
    size_t length = strcspn(entry, "=");
    printf("%s", separator);
    command_json_string(entry, length);
    printf(": ");
    command_json_string(entry + length + 1, strlen(entry + length + 1));
}

static void print_json_environment(void) {
    const char *separator = "";
    for (char **entry = environ; *entry != NULL; entry++) {
        bool shown = note_on(*entry) != NULL;
        for (size_t i = 0; i < NUM_VARIABLES && !shown; i++) {
            size_t length = strlen(variables[i].name);
            shown = starts_with(*entry, variables[i].name) && (*entry)[length] == '=';
        }
        if (!shown || strchr(*entry, '=') == NULL) continue;
        print_json_variable(separator, *entry);
        separator = ", ";
    }
}

static void print_json(const struct doctor *doctor, bool all_here) {
    static const char *const keys[NUM_FOUND] = {"driver", "gpu", "kernel_sources", "nvrtc", "cache"};
    printf("{\"moejit\": \"%s\", \"good\": %s, \"emulated\": %s, \"arch\": \"%s\"", moejit_version(),
           all_here ? "true" : "false", doctor->emulated ? "true" : "false", doctor->arch);
    for (int i = 0; i < NUM_FOUND; i++) {
        const struct finding *finding = &doctor->found[i];
        printf(", \"%s\": {\"found\": %s, \"text\": ", keys[i], finding->missing ? "false" : "true");
        command_json_string(finding->text, strlen(finding->text));
        printf(", \"to_do\": ");
        command_json_string(finding->to_do, strlen(finding->to_do));
        printf("}");
    }
    printf(", \"environment\": {");
    print_json_environment();
    printf("}}\n");
}

static void print_table(const struct doctor *doctor, bool all_here) {
    const char *separator = "missing: ";
    printf("moejit %s\n\n", moejit_version());
    for (int i = 0; i < NUM_FOUND; i++) {
        const struct finding *finding = &doctor->found[i];
        printf("%-15s %s%s\n", names[i], finding->missing ? "MISSING: " : "", finding->text);
        if (finding->missing) printf("%-15s to do: %s\n", "", finding->to_do);
    }
    print_environment();
    printf("\n");
    if (all_here) printf("everything moejit needs is here");
    for (int i = 0; i < NUM_FOUND; i++) {
        if (!doctor->found[i].missing) continue;
        printf("%s%s", separator, names[i]);
        separator = ", ";
    }
    printf("\n");
}

static bool take(struct doctor_options *options, int option, const char *value) {
    switch (option) {
    case OPTION_CUDA: options->cuda_library = value; return true;
    case OPTION_NVRTC: options->nvrtc_library = value; return true;
    case OPTION_CACHE: options->cache = value; return true;
    case OPTION_JSON: options->json = true; return true;
    default: return false; // getopt has told why
    }
}

int command_doctor(int argc, char **argv) {
    struct doctor_options options = {0};
    struct doctor doctor = {.options = &options};
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        if (option == OPTION_HELP) {
            printf("%s", help);
            return EXIT_GOOD;
        }
        if (!take(&options, option, optarg)) return EXIT_USAGE;
    }
    if (optind < argc) return command_usage("doctor", "\"%s\" is no option", argv[optind]);
    examine(&doctor);
    bool all_here = true;
    for (int i = 0; i < NUM_FOUND; i++) all_here = all_here && !doctor.found[i].missing;
    if (options.json) {
        print_json(&doctor, all_here);
    } else {
        print_table(&doctor, all_here);
    }
    return all_here ? EXIT_GOOD : EXIT_UNAVAILABLE;
}
