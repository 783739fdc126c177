// Loading modules. The emulator plays PTX text alone; for a cubin or fatbin it says what a driver says of one that was
// made for another GPU, and a program that has the PTX too will offer that.
#include <stdlib.h>
#include <string.h>

#include "driver_edit.h"
#include "driver_entry.h"
#include "driver_findings.h"
#include "driver_function.h"

#define DIAGNOSTIC_BYTES 4096
#define FATBIN_WRAPPER_MAGIC 0x466243b1u // fatBinaryCtl.h of the toolkit
#define FATBIN_MAGIC 0xba55ed50u

static bool is_binary(const void *image) {
    uint32_t magic;
    if (memcmp(image, "\177ELF", 4) == 0) return true;
    memcpy(&magic, image, sizeof(magic));
    return magic == FATBIN_WRAPPER_MAGIC || magic == FATBIN_MAGIC;
}

// Past white space and comments.
static const char *first_word(const char *text) {
    for (;;) {
        text += strspn(text, " \t\r\n\f\v");
        if (strncmp(text, "//", 2) == 0) {
            text += strcspn(text, "\n");
        } else if (strncmp(text, "/*", 2) == 0) {
            const char *end = strstr(text + 2, "*/");
            text = end == NULL ? text + strlen(text) : end + 2;
        } else {
            return text;
        }
    }
}

struct jit_log {
    char *buffer;
    size_t bytes;
    void **bytes_value; // where the driver answers how much it wrote
};

static struct jit_log find_log(unsigned num_options, const CUjit_option *options, void **values, CUjit_option buffer,
                               CUjit_option bytes) {
    struct jit_log log = {0};
    for (unsigned i = 0; i < num_options; i++) {
        if (options[i] == buffer) log.buffer = values[i];
        if (options[i] == bytes) log.bytes_value = &values[i];
    }
    if (log.bytes_value != NULL) log.bytes = (size_t)(uintptr_t)*log.bytes_value;
    return log;
}

static void write_log(const struct jit_log *log, const char *text) {
    size_t length = strlen(text);
    if (log->buffer == NULL || log->bytes == 0) length = 0;
    if (length > 0 && length >= log->bytes) length = log->bytes - 1;
    if (log->buffer != NULL && log->bytes > 0) {
        memcpy(log->buffer, text, length);
        log->buffer[length] = '\0';
    }
    if (log->bytes_value != NULL) *log->bytes_value = (void *)(uintptr_t)length;
}

static CUresult parse(struct emu_context *context, const char *text, char *diagnostic, struct emu_module **module) {
    bool wrong_arch = false;
    diagnostic[0] = '\0';
    emu_unlock(); // the text may be long; the context stays alive because this thread uses it
    char *edited = emu_edit_apply(text);
    if (edited != NULL) text = edited;
    *module = emu_module_create(text, strlen(text), &context->settings, context->memory, diagnostic, DIAGNOSTIC_BYTES,
                                &wrong_arch);
    free(edited);
    emu_lock();
    if (*module != NULL) return CUDA_SUCCESS;
    if (wrong_arch) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    emu_findings_report(diagnostic);
    return CUDA_ERROR_INVALID_PTX;
}

static CUresult wrap(struct emu_context *context, struct emu_module *module, struct emu_image **image) {
    *image = calloc(1, sizeof(**image));
    if (*image == NULL || !emu_handles_add(&(*image)->object, EMU_KIND_MODULE, context)) {
        free(*image);
        emu_module_destroy(module);
        return CUDA_ERROR_OUT_OF_MEMORY;
    }
    (*image)->module = module;
    return CUDA_SUCCESS;
}

CUresult emu_image_load(struct emu_context *context, const void *text, unsigned num_options,
                        const CUjit_option *options, void **values, struct emu_image **image) {
    if (text == NULL || (num_options > 0 && (options == NULL || values == NULL))) return CUDA_ERROR_INVALID_VALUE;
    struct jit_log errors =
        find_log(num_options, options, values, CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
    struct jit_log infos =
        find_log(num_options, options, values, CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES);
    write_log(&infos, "");
    if (((const char *)text)[0] != '\0' && is_binary(text)) {
        write_log(&errors, "The emulator runs PTX text; this image is a cubin or fatbin.");
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    }
    if (strncmp(first_word(text), ".version", 8) != 0) {
        write_log(&errors, "The image is neither PTX text, which begins with .version, nor a cubin or fatbin.");
        return CUDA_ERROR_INVALID_IMAGE;
    }
    char diagnostic[DIAGNOSTIC_BYTES];
    struct emu_module *module = NULL;
    CUresult result = parse(context, text, diagnostic, &module);
    write_log(&errors, diagnostic);
    return result == CUDA_SUCCESS ? wrap(context, module, image) : result;
}

void emu_image_unload(struct emu_image *image) {
    while (image->functions != NULL) {
        struct emu_function *function = image->functions;
        image->functions = function->next;
        emu_handles_remove(&function->object);
        free(function);
    }
    emu_module_destroy(image->module);
    emu_handles_remove(&image->object);
    free(image);
}
