// Runs instruction forms on a GPU or on the emulator, prints what they left, and compares with what a GPU left:
//
//     ptx_forms [--library PATH] [--golden FILE] [--only NAME] [--check] [--words] [--ptx FOLDER] FORMS...
//
//     --library PATH   the driver (else MOEJIT_CUDA_LIBRARY, else libcuda.so.1)
//     --golden FILE    compare with the lines of an earlier run; exit status 1 where one differs beyond its ulp
//     --only NAME      this form alone
//     --check          print nothing but what is refused; exit status 1 where anything is
//     --words          print the words themselves, a line a thread
//     --ptx FOLDER     only write each form's PTX there, as NAME.ptx
//
// A line is NAME and the digest of all outputs, or NAME, "ulp N" and 64 words where the ISA leaves freedom, or NAME and
// "refused" with the driver's error. Forms that the device's arch has not are left out.
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "forms.h"
#include "gpu.h"

#define SAMPLE 64
#define MAX_TEXT 16384

struct options {
    const char *library, *golden, *only, *ptx;
    bool words, check;
};

struct golden_line {
    struct golden_line *next;
    char *text;
};

struct runner {
    struct options options;
    struct gpu gpu;
    char target[16];
    struct golden_line *golden;
    int run, refused, same, close, different, absent;
    unsigned farthest;
};

static char *read_line(FILE *file) {
    char *line = NULL;
    size_t capacity = 0;
    if (getline(&line, &capacity, file) < 0) return free(line), NULL;
    line[strcspn(line, "\n")] = '\0';
    return line;
}

static bool read_golden(struct runner *runner) {
    FILE *file = fopen(runner->options.golden, "r");
    char *line;
    if (file == NULL) return perror(runner->options.golden), false;
    while ((line = read_line(file)) != NULL) {
        struct golden_line *golden = malloc(sizeof(*golden));
        if (golden == NULL) return fclose(file), free(line), false;
        *golden = (struct golden_line){runner->golden, line};
        runner->golden = golden;
    }
    fclose(file);
    return true;
}

static void free_golden(struct runner *runner) {
    while (runner->golden != NULL) {
        struct golden_line *next = runner->golden->next;
        free(runner->golden->text);
        free(runner->golden);
        runner->golden = next;
    }
}

static const char *find_golden(const struct runner *runner, const char *name) {
    size_t length = strlen(name);
    for (const struct golden_line *line = runner->golden; line != NULL; line = line->next) {
        if (strncmp(line->text, name, length) == 0 && line->text[length] == ' ') return line->text;
    }
    return NULL;
}

static uint64_t digest(const uint32_t *words, size_t count) { // FNV-1a, a word at a time
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < count; i++) hash = (hash ^ words[i]) * 0x100000001b3u;
    return hash;
}

static void describe(const struct form *form, const uint32_t *words, char *line, size_t bytes) {
    size_t count = (size_t)form_blocks(form) * FORM_THREADS * FORM_OUTPUTS;
    if (form->ulp == 0) {
        snprintf(line, bytes, "%s %016llx", form->name, (unsigned long long)digest(words, count));
        return;
    }
    size_t used = (size_t)snprintf(line, bytes, "%s ulp %u", form->name, form->ulp);
    for (size_t i = 0; i < SAMPLE && used < bytes; i++)
        used += (size_t)snprintf(line + used, bytes - used, " %08x", words[i * FORM_OUTPUTS]);
}

static int64_t ordered(uint32_t bits) { // floats in order; both zeros are 0
    return (bits & 0x80000000u) != 0 ? -(int64_t)(bits & 0x7fffffffu) : (int64_t)bits;
}

// The farthest two words of the sample are from each other; UINT_MAX where they are no such lines.
static unsigned distance(const char *line, const char *golden) {
    unsigned farthest = 0;
    const char *a = strstr(line, " ulp "), *b = strstr(golden, " ulp ");
    if (a == NULL || b == NULL || strlen(a) != strlen(b)) return (unsigned)-1;
    a = strchr(a + 5, ' '), b = strchr(b + 5, ' ');
    for (; a != NULL && b != NULL; a = strchr(a + 1, ' '), b = strchr(b + 1, ' ')) {
        int64_t apart = ordered((uint32_t)strtoul(a, NULL, 16)) - ordered((uint32_t)strtoul(b, NULL, 16));
        apart = apart < 0 ? -apart : apart;
        if (apart > farthest) farthest = apart > (unsigned)-1 ? (unsigned)-1 : (unsigned)apart;
    }
    return farthest;
}

static void compare(struct runner *runner, const struct form *form, const char *line) {
    const char *golden = find_golden(runner, form->name);
    if (golden == NULL) {
        runner->absent++;
        printf("absent    %s\n", form->name);
    } else if (strcmp(golden, line) == 0) {
        runner->same++;
    } else if (form->ulp > 0 && distance(line, golden) <= form->ulp) {
        runner->close++;
        printf("close     %s: %u units in the last place at most\n", form->name, distance(line, golden));
    } else {
        runner->different++;
        printf("different %s\n", form->name);
        if (form->ulp > 0) printf("          %u units in the last place\n", distance(line, golden));
    }
}

static void print_words(const struct form *form, const uint32_t *in, const uint32_t *out) {
    for (size_t thread = 0; thread < (size_t)form_blocks(form) * FORM_THREADS; thread++) {
        printf("%s %zu:", form->name, thread);
        for (size_t i = 0; i < FORM_INPUTS; i++) printf(" %08x", in[thread * FORM_INPUTS + i]);
        printf(" ->");
        for (size_t i = 0; i < FORM_OUTPUTS; i++) printf(" %08x", out[thread * FORM_OUTPUTS + i]);
        printf("\n");
    }
}

// The kernel over the device's copies of in and out.
static CUresult launch(struct runner *runner, const struct form *form, const char *ptx, void *in, void *out) {
    struct gpu *gpu = &runner->gpu;
    CUmodule module = NULL;
    CUfunction function = NULL;
    struct form_maps maps;
    void *parameters[] = {&in, &out, &maps};
    CUresult result = CUDA_SUCCESS;
    if (form_has_maps(form)) result = forms_maps_create(gpu->library, in, out, &maps);
    if (result == CUDA_SUCCESS) result = gpu->cuModuleLoadData(&module, ptx);
    if (result != CUDA_SUCCESS) return result;
    result = gpu->cuModuleGetFunction(&function, module, "k");
    if (result == CUDA_SUCCESS) {
        result = gpu->cuLaunchKernel(function, form_blocks(form), 1, 1, FORM_THREADS, 1, 1, 0, NULL, parameters, NULL);
    }
    if (result == CUDA_SUCCESS) result = gpu->cuCtxSynchronize();
    gpu->cuModuleUnload(module);
    return result;
}

static bool execute(struct runner *runner, const struct form *form, const char *ptx, uint32_t *in, uint32_t *out) {
    struct gpu *gpu = &runner->gpu;
    size_t threads = (size_t)form_blocks(form) * FORM_THREADS;
    char line[MAX_TEXT];
    form_fill(form, in);
    void *device_in = gpu_upload(gpu, in, threads * FORM_INPUTS * 4);
    void *device_out = gpu_upload(gpu, NULL, threads * FORM_OUTPUTS * 4);
    if (device_in == NULL || device_out == NULL) return fprintf(stderr, "%s\n", gpu->error), false;
    CUresult result = launch(runner, form, ptx, device_in, device_out);
    bool good = result == CUDA_SUCCESS && gpu_download(gpu, out, device_out, threads * FORM_OUTPUTS * 4);
    gpu_free(gpu, device_in);
    gpu_free(gpu, device_out);
    runner->run++;
    if (!good) {
        runner->refused++;
        printf("%s refused %d\n", form->name, (int)result);
        gpu_close(gpu); // the context may be broken
        return gpu_open(gpu, runner->options.library) || (fprintf(stderr, "%s\n", gpu->error), false);
    }
    if (runner->options.words) return print_words(form, in, out), true;
    describe(form, out, line, sizeof(line));
    if (runner->options.golden == NULL) {
        if (!runner->options.check) printf("%s\n", line);
    } else {
        compare(runner, form, line);
    }
    return true;
}

static bool write_ptx(const struct options *options, const struct form *form, const char *ptx) {
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s.ptx", options->ptx, form->name);
    FILE *file = fopen(path, "w");
    if (file == NULL) return perror(path), false;
    fputs(ptx, file);
    return fclose(file) == 0;
}

// sm_90a for a form that any sm_90 has too: one target a device. Later archs lack the "a" forms of earlier ones.
static bool has(const struct runner *runner, const struct form *form) {
    int arch = runner->gpu.capability;
    return form->arch_a ? arch == form->arch || (form->arch == 100 && arch > 100) : arch >= form->arch;
}

static bool take(void *user, const struct form *form) {
    struct runner *runner = user;
    char ptx[MAX_TEXT], target[16];
    if (runner->options.only != NULL && strcmp(runner->options.only, form->name) != 0) return true;
    if (runner->options.ptx != NULL) {
        snprintf(target, sizeof(target), "sm_%d%s", form->arch > 90 ? form->arch : 90, "a");
        return form_ptx(form, target, ptx, sizeof(ptx)) && write_ptx(&runner->options, form, ptx);
    }
    if (!has(runner, form)) return true;
    if (!form_ptx(form, runner->target, ptx, sizeof(ptx)))
        return fprintf(stderr, "%s is too long\n", form->name), false;
    uint32_t *in = malloc((size_t)65536 * FORM_INPUTS * 4), *out = malloc((size_t)65536 * FORM_OUTPUTS * 4);
    bool good = in != NULL && out != NULL && execute(runner, form, ptx, in, out);
    free(in);
    free(out);
    return good;
}

static int usage(int status) {
    fputs(
        "usage: ptx_forms [--library PATH] [--golden FILE] [--only NAME] [--check] [--words] [--ptx FOLDER] FORMS...\n",
        status == 0 ? stdout : stderr);
    return status;
}

static bool open_device(struct runner *runner) {
    if (runner->options.ptx != NULL) return true;
    if (!gpu_open(&runner->gpu, runner->options.library)) return fprintf(stderr, "%s\n", runner->gpu.error), false;
    int arch = runner->gpu.capability;
    snprintf(runner->target, sizeof(runner->target), "sm_%d%s", arch, arch >= 90 ? "a" : "");
    if (runner->options.golden != NULL) return read_golden(runner);
    if (runner->options.check) return true;
    printf("# %s, sm_%d, driver %d%s\n", runner->gpu.name, arch, runner->gpu.driver_version,
           runner->gpu.emulated ? ", emulated" : "");
    return true;
}

int main(int argc, char **argv) {
    static const struct option known[] = {{"library", 1, NULL, 'l'}, {"golden", 1, NULL, 'g'}, {"only", 1, NULL, 'o'},
                                          {"words", 0, NULL, 'w'},   {"check", 0, NULL, 'c'},  {"ptx", 1, NULL, 'p'},
                                          {"help", 0, NULL, 'h'},    {NULL, 0, NULL, 0}};
    struct runner runner = {.run = 0};
    for (int letter; (letter = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        switch (letter) {
        case 'l': runner.options.library = optarg; break;
        case 'g': runner.options.golden = optarg; break;
        case 'o': runner.options.only = optarg; break;
        case 'w': runner.options.words = true; break;
        case 'c': runner.options.check = true; break;
        case 'p': runner.options.ptx = optarg; break;
        case 'h': return usage(0);
        default: return usage(2);
        }
    }
    if (optind == argc) return usage(2);
    bool good = open_device(&runner);
    for (int i = optind; good && i < argc; i++) good = forms_read(argv[i], take, &runner);
    if (runner.options.golden != NULL) {
        printf("%d forms run: %d with the same bits, %d within their bounds, %d different, %d refused, %d not in %s\n",
               runner.run, runner.same, runner.close, runner.different, runner.refused, runner.absent,
               runner.options.golden);
    }
    bool strict = runner.options.golden != NULL || runner.options.check;
    good = good && runner.different == 0 && (runner.refused == 0 || !strict);
    free_golden(&runner);
    if (runner.options.ptx == NULL) gpu_close(&runner.gpu);
    return good ? 0 : 1;
}
