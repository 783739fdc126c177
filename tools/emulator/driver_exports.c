// The symbols of emulator.h.
#include "emulator.h"

#include "driver_edit.h"
#include "driver_entry.h"
#include "driver_findings.h"
#include "driver_tally.h"

#define EMULATOR_VERSION 1

int moejit_emulator_version(void) {
    return EMULATOR_VERSION;
}

void moejit_emulator_reset(void) {
    emu_entry_reset();
    emu_findings_reset();
    emu_tally_reset();
    emu_edit_drop(NULL, NULL, 0);
}

int moejit_emulator_fail_at(const char *entry, uint64_t n, CUresult result) {
    return emu_entry_fail_at(entry, n, result);
}

int moejit_emulator_skip_at(const char *entry, uint64_t n) {
    return emu_entry_fail_at(entry, n, EMU_SKIPPED);
}

void moejit_emulator_drop_line(const char *kernel, const char *words, uint64_t n) {
    emu_edit_drop(kernel, words, n);
}

uint64_t moejit_emulator_dropped(void) {
    return emu_edit_dropped();
}

uint64_t moejit_emulator_failures(void) {
    return emu_entry_failures();
}

uint64_t moejit_emulator_calls(const char *entry) {
    return emu_entry_calls(entry);
}

uint64_t moejit_emulator_counters(struct emu_counters *counters) {
    return emu_tally_sums(counters);
}

void moejit_emulator_last_launch(struct emu_counters *counters, char *name, size_t name_bytes) {
    emu_tally_last(counters, name, name_bytes);
}

uint64_t moejit_emulator_findings(char *text, size_t text_bytes) {
    return emu_findings_count(text, text_bytes);
}

uint64_t moejit_emulator_trace_hash(void) {
    return emu_tally_trace_hash();
}
