#include "cuda/driver.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/options.h"

#define EXPANDED_NAME(name) #name

static const char *const symbols[] = {
#define SYMBOL(name) EXPANDED_NAME(name),
    MJ_DRIVER_FUNCTIONS(SYMBOL)
#undef SYMBOL
};

// In the order of the table, as the address of each field.
static void list_fields(struct mj_driver *driver, void ***fields) {
    size_t i = 0;
#define FIELD(name) fields[i++] = (void **)(void *)&driver->name;
    MJ_DRIVER_FUNCTIONS(FIELD)
#undef FIELD
}

moejit_status mj_driver_open(struct mj_driver *driver, const char *option, struct mj_error *error) {
    memset(driver, 0, sizeof(*driver));
    const char *path = mj_options_string(option, "MOEJIT_CUDA_LIBRARY");
    snprintf(driver->path, sizeof(driver->path), "%s", path != NULL ? path : "libcuda.so.1");
    driver->library = dlopen(driver->path, RTLD_NOW | RTLD_LOCAL);
    if (driver->library == NULL) {
        return mj_error_set(
            error, MOEJIT_STATUS_LIBRARY_NOT_FOUND,
            "no CUDA driver: %s. It comes with the NVIDIA driver; the option cuda_library or the variable "
            "MOEJIT_CUDA_LIBRARY names another",
            dlerror());
    }
    void **fields[sizeof(symbols) / sizeof(symbols[0])];
    list_fields(driver, fields);
    for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
        void *symbol = dlsym(driver->library, symbols[i]);
        if (symbol == NULL) {
            mj_error_set(error, MOEJIT_STATUS_LIBRARY_NOT_FOUND,
                         "%s has no function %s; moejit needs the driver of CUDA 12.8 or later", driver->path,
                         symbols[i]);
            mj_driver_close(driver);
            return MOEJIT_STATUS_LIBRARY_NOT_FOUND;
        }
        *fields[i] = symbol;
    }
    return MOEJIT_STATUS_OK;
}

void mj_driver_close(struct mj_driver *driver) {
    if (driver->library != NULL) dlclose(driver->library);
    driver->library = NULL;
}

moejit_status mj_driver_failed(const struct mj_driver *driver, CUresult result, const char *tried,
                               struct mj_error *error) {
    const char *name = NULL, *meaning = NULL;
    if (driver->cuGetErrorName(result, &name) != CUDA_SUCCESS || name == NULL) name = "an unknown error";
    if (driver->cuGetErrorString(result, &meaning) != CUDA_SUCCESS || meaning == NULL) meaning = "no description";
    moejit_status status = result == CUDA_ERROR_OUT_OF_MEMORY ? MOEJIT_STATUS_OUT_OF_MEMORY : MOEJIT_STATUS_CUDA_FAILED;
    return mj_error_set(error, status, "%s: %s (%d): %s", tried, name, (int)result, meaning);
}
