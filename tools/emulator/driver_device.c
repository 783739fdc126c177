#include "driver_device.h"

#include <stdio.h>
#include <string.h>

#include "driver_aliases.h"
#include "driver_entry.h"
#include "driver_findings.h"
#include "settings.h"

static struct {
    struct emu_settings settings;
    struct emu_part part;
} device;

CUresult emu_device_read(void) {
    char why[512];
    int sms = 0;
    struct emu_settings settings;
    if (!emu_settings_read(&settings, why, sizeof(why)) || !emu_settings_read_sms(&sms, why, sizeof(why))) {
        emu_findings_report(why);
        return CUDA_ERROR_INVALID_VALUE;
    }
    device.settings = settings;
    device.part = emu_part_of(settings.arch, sms);
    return CUDA_SUCCESS;
}

const struct emu_part *emu_device_part(void) {
    return &device.part;
}

const struct emu_settings *emu_device_settings(void) {
    return &device.settings;
}

CUresult CUDAAPI cuDeviceGet(CUdevice *dev, int ordinal) {
    EMU_BEGIN_DRIVER(cuDeviceGet);
    if (dev == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    if (ordinal != 0) return emu_leave(CUDA_ERROR_INVALID_DEVICE);
    *dev = 0;
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceGetCount(int *count) {
    EMU_BEGIN_DRIVER(cuDeviceGetCount);
    if (count == NULL) return emu_leave(CUDA_ERROR_INVALID_VALUE);
    *count = 1;
    return emu_leave(CUDA_SUCCESS);
}

static CUresult check(const void *answer, CUdevice dev) {
    return answer == NULL ? CUDA_ERROR_INVALID_VALUE : dev != 0 ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetName(char *name, int len, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuDeviceGetName);
    CUresult result = len <= 0 ? CUDA_ERROR_INVALID_VALUE : check(name, dev);
    if (result == CUDA_SUCCESS) snprintf(name, (size_t)len, "%s (emulated)", device.part.name);
    return emu_leave(result);
}

CUresult CUDAAPI cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuDeviceGetAttribute);
    CUresult result = check(pi, dev);
    if (result != CUDA_SUCCESS) return emu_leave(result);
    result = emu_part_attribute(&device.part, attrib, pi);
    if (result != CUDA_SUCCESS) emu_findings_reportf("cuDeviceGetAttribute: attribute %d is not played.", (int)attrib);
    return emu_leave(result);
}

CUresult CUDAAPI cuDeviceTotalMem_v2(size_t *bytes, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuDeviceTotalMem_v2);
    CUresult result = check(bytes, dev);
    if (result == CUDA_SUCCESS) *bytes = device.part.memory_bytes;
    return emu_leave(result);
}

CUresult CUDAAPI cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuDeviceGetUuid_v2);
    CUresult result = check(uuid, dev);
    if (result != CUDA_SUCCESS) return emu_leave(result);
    char text[sizeof(uuid->bytes) + 1];
    snprintf(text, sizeof(text), "moejit-emu-%05d", device.part.arch); // one identity for each part
    memcpy(uuid->bytes, text, sizeof(uuid->bytes));
    return emu_leave(CUDA_SUCCESS);
}

CUresult CUDAAPI cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev) {
    EMU_BEGIN_DRIVER(cuDeviceGetPCIBusId);
    CUresult result = len <= 0 ? CUDA_ERROR_INVALID_VALUE : check(pciBusId, dev);
    if (result == CUDA_SUCCESS) snprintf(pciBusId, (size_t)len, "0000:01:00.0");
    return emu_leave(result);
}
