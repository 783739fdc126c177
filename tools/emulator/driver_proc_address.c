// cuGetProcAddress: the table of entry points, read a second time for its addresses.
#include <cuda.h>
#include <string.h>

#include "driver_aliases.h"
#include "driver_entry.h"
#include "driver_findings.h"

struct symbol_row {
    const char *name, *symbol;
    int since;
    void (*address)(void);
};

static const struct symbol_row rows[] = {
#define ENTRY(name, symbol, since) {#name, #symbol, since, (void (*)(void))symbol},
#include "driver_entries.def"
#undef ENTRY
};

// The newest variant that a program of that version knows; *known tells a name that is only too new apart.
static const struct symbol_row *find(const char *name, int version, bool *known) {
    const struct symbol_row *best = NULL;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        *known = true;
        if (rows[i].since <= version && (best == NULL || rows[i].since > best->since)) best = &rows[i];
    }
    return best;
}

// A program of CUDA 13 means cuCtxCreate_v4 by cuCtxCreate, an older one the second: the table's versions say so, but
// the driver of 12.5 to 12.9 still hands out v2 for the plain name.
static int effective_version(const char *name, int version) {
    return strcmp(name, "cuCtxCreate") == 0 && version < 13000 ? 12040 : version;
}

static CUresult get_proc_address(const char *name, void **address, int version, cuuint64_t flags,
                                 CUdriverProcAddressQueryResult *status) {
    const cuuint64_t known_flags = CU_GET_PROC_ADDRESS_LEGACY_STREAM | CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM;
    if (name == NULL || address == NULL || (flags & ~known_flags) != 0) return CUDA_ERROR_INVALID_VALUE;
    if ((flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0) {
        emu_findings_reportf("cuGetProcAddress: %s was asked for with per-thread default streams, which is not played.",
                             name);
        return CUDA_ERROR_NOT_SUPPORTED;
    }
    bool known = false;
    const struct symbol_row *row = find(name, effective_version(name, version), &known);
    *address = NULL;
    if (status != NULL) {
        *status = row != NULL ? CU_GET_PROC_ADDRESS_SUCCESS
                  : known     ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                              : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    }
    if (row == NULL) return CUDA_ERROR_NOT_FOUND;
    memcpy(address, &row->address, sizeof(*address)); // ISO C has no cast from a function pointer to an object's
    return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetProcAddress_v2(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
                                     CUdriverProcAddressQueryResult *symbolStatus) {
    EMU_BEGIN_BARE(cuGetProcAddress_v2);
    return emu_leave(get_proc_address(symbol, pfn, cudaVersion, flags, symbolStatus));
}
