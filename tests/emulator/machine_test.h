// What tests of the machine share: a module from a file or a text, buffers in device memory, launches.
#ifndef MOEJIT_EMULATOR_MACHINE_TEST_H
#define MOEJIT_EMULATOR_MACHINE_TEST_H

#include "../cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

struct machine {
    struct emu_memory *memory;
    struct emu_settings settings;
    struct emu_module *module;
    char finding[6000]; // the last one
    struct emu_counters counters;
    uint64_t seed;
};

static inline struct machine machine_create(int arch) {
    struct machine machine = {.settings = {.arch = arch, .arch_a = arch >= 90, .checks = true, .threads = 1}};
    machine.memory = emu_memory_create((size_t)1 << 30);
    assert_non_null(machine.memory);
    return machine;
}

static inline void machine_destroy(struct machine *machine) {
    emu_module_destroy(machine->module);
    emu_memory_destroy(machine->memory);
}

static inline void machine_load(struct machine *machine, const char *text) {
    char why[2000];
    bool wrong_arch;
    emu_module_destroy(machine->module);
    machine->module =
        emu_module_create(text, strlen(text), &machine->settings, machine->memory, why, sizeof(why), &wrong_arch);
    if (machine->module == NULL) print_error("%s\n", why);
    assert_non_null(machine->module);
}

static inline void machine_load_file(struct machine *machine, const char *name) {
    char path[4096];
    const char *here = __FILE__, *slash = strrchr(here, '/');
    snprintf(path, sizeof(path), "%.*s/ptx/%s", slash != NULL ? (int)(slash - here) : 1, slash != NULL ? here : ".",
             name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size_t bytes = (size_t)ftell(file);
    char *text = calloc(1, bytes + 1);
    rewind(file);
    assert_int_equal(fread(text, 1, bytes, file), bytes);
    fclose(file);
    machine_load(machine, text);
    free(text);
}

// Device memory with the host's bytes in it; NULL leaves it unwritten.
static inline uintptr_t machine_buffer(struct machine *machine, const void *data, size_t bytes) {
    uintptr_t address = emu_memory_allocate(machine->memory, bytes);
    assert_true(address != 0);
    if (data != NULL) {
        memcpy((void *)address, data, bytes);
        emu_memory_mark_written(machine->memory, address, bytes);
    }
    return address;
}

static inline void machine_report(void *user, const char *text) {
    struct machine *machine = user;
    snprintf(machine->finding, sizeof(machine->finding), "%s", text);
}

struct shape {
    unsigned grid[3], block[3], shared, cluster[3];
};

static inline enum emu_outcome machine_launch(struct machine *machine, const char *name, struct shape shape,
                                              const void *parameters) {
    struct emu_launch launch = {.kernel = emu_module_find_kernel(machine->module, name),
                                .dynamic_shared_bytes = shape.shared,
                                .parameters = parameters,
                                .memory = machine->memory,
                                .settings = &machine->settings,
                                .schedule_seed = machine->seed,
                                .counters = &machine->counters};
    assert_non_null(launch.kernel);
    memcpy(launch.grid, shape.grid, sizeof(launch.grid));
    memcpy(launch.block, shape.block, sizeof(launch.block));
    memcpy(launch.cluster, shape.cluster, sizeof(launch.cluster));
    machine->finding[0] = '\0';
    return emu_machine_run(&launch, machine_report, machine);
}

static inline void machine_run(struct machine *machine, const char *name, struct shape shape, const void *parameters) {
    enum emu_outcome outcome = machine_launch(machine, name, shape, parameters);
    if (outcome != EMU_OUTCOME_OK) print_error("%s\n", machine->finding);
    assert_int_equal(outcome, EMU_OUTCOME_OK);
}

static inline uint64_t test_random(uint64_t *state) { // SplitMix64
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline float test_float(uint64_t *state) { // in [-4, 4)
    return (float)(int64_t)(test_random(state) >> 40) / 2097152.0f - 4.0f;
}

#endif
