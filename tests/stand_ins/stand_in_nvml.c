// A libnvidia-ml.so.1 of one GPU at 0000:1b:00.0 that runs at 1755 MHz and draws 612.5 W.
#include <stddef.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device);
int nvmlDeviceGetClockInfo(void *device, int kind, unsigned *mhz);
int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts);
int nvmlDeviceGetFieldValues(void *device, int count, void *values);

static int gpu;

int nvmlInit_v2(void) {
    return 0;
}

int nvmlShutdown(void) {
    return 0;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *address, void **device) {
    *device = &gpu;
    return strcmp(address, "0000:1b:00.0") == 0 ? 0 : 6; // not found
}

int nvmlDeviceGetClockInfo(void *device, int kind, unsigned *mhz) {
    *mhz = kind == 1 ? 1755 : 0; // the SM's
    return device == &gpu ? 0 : 2;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned *milliwatts) {
    *milliwatts = 400000;
    return device == &gpu ? 0 : 2;
}

// The bytes of nvmlFieldValue_t: id 0, scope 4, timestamp 8, latency 16, value type 24, status 28, value 32.
int nvmlDeviceGetFieldValues(void *device, int count, void *values) {
    unsigned id = 0, milliwatts = 612500;
    int type = 1, status = 0; // unsigned int, success
    memcpy(&id, values, 4);
    if (device != &gpu || count != 1 || id != 186) return 2;
    memcpy((char *)values + 24, &type, 4);
    memcpy((char *)values + 28, &status, 4);
    memcpy((char *)values + 32, &milliwatts, 4);
    return 0;
}
