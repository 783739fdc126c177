// Shared memory of a CTA: bounds, alignment, bytes that nobody wrote, and accesses of two warps that no barrier orders.
#include <string.h>

#include "warp.h"

#define SEVERAL (-2)

// The warps that touched a 32-bit word since the last barrier of the whole CTA are remembered: one writer, one reader
// or "several". Lanes of one warp are taken as ordered.
static bool races(struct emu_cta *cta, uint32_t word, int16_t warp, enum emu_access_kind kind) {
    struct emu_shadow *shadow = &cta->shadow[word];
    bool written = shadow->write_epoch == cta->epoch + 1, read = shadow->read_epoch == cta->epoch + 1;
    bool race = written && shadow->writer != warp;
    if (kind == EMU_ACCESS_READ) {
        if (!race) {
            shadow->reader = !read || shadow->reader == warp ? warp : SEVERAL;
            shadow->read_epoch = cta->epoch + 1;
        }
        return race;
    }
    race = race || (read && shadow->reader != warp);
    if (!race) {
        shadow->writer = warp;
        shadow->write_epoch = cta->epoch + 1;
    }
    return race;
}

static bool all_written(const struct emu_cta *cta, uint32_t offset, uint32_t bytes) {
    for (uint32_t i = offset; i < offset + bytes; i++) {
        if (cta->shared_written[i] == 0) return false;
    }
    return true;
}

bool emu_shared_check(struct emu_warp *warp, int lane, uint64_t address, uint32_t bytes, enum emu_access_kind kind) {
    struct emu_cta *cta = warp->cta;
    const char *verb = kind == EMU_ACCESS_READ ? "read" : "write";
    uint64_t offset = address - EMU_SHARED_BASE;
    if (address < EMU_SHARED_BASE || offset + bytes > cta->shared_bytes) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_ILLEGAL_ADDRESS,
                         "%s of %u bytes at shared address 0x%llx; the CTA has 0x%x to 0x%x", verb, bytes,
                         (unsigned long long)address, EMU_SHARED_BASE, EMU_SHARED_BASE + cta->shared_bytes);
        return false;
    }
    if (address % bytes != 0) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_MISALIGNED,
                         "%s of %u bytes at shared address 0x%llx, which is not aligned to them", verb, bytes,
                         (unsigned long long)address);
        return false;
    }
    if (!cta->launch->settings->checks) return true;
    if (kind == EMU_ACCESS_READ && !all_written(cta, (uint32_t)offset, bytes)) {
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "read of %u bytes at shared address 0x%llx, of which nobody has written all", bytes,
                         (unsigned long long)address);
        return false;
    }
    for (uint32_t word = (uint32_t)offset / 4; word <= ((uint32_t)offset + bytes - 1) / 4; word++) {
        if (!races(cta, word, (int16_t)warp->index, kind)) continue;
        emu_warp_finding(warp, lane, EMU_OUTCOME_LAUNCH_FAILED,
                         "race: %s at shared address 0x%llx, which another warp has used since the last barrier", verb,
                         (unsigned long long)address);
        return false;
    }
    return true;
}

void emu_shared_read(struct emu_warp *warp, uint64_t address, void *data, uint32_t bytes) {
    memcpy(data, warp->cta->shared + (address - EMU_SHARED_BASE), bytes);
}

void emu_shared_write(struct emu_warp *warp, uint64_t address, const void *data, uint32_t bytes) {
    uint64_t offset = address - EMU_SHARED_BASE;
    memcpy(warp->cta->shared + offset, data, bytes);
    memset(warp->cta->shared_written + offset, 1, bytes);
}
