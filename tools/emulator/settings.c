#include "settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The arch that stands in the name is the arch that is played: kernels of an "a" target run on that part alone.
struct arch_row {
    const char *name;
    int arch;
    bool arch_a;
};

static const struct arch_row arch_table[] = {
    {"sm_80", 80, false},   {"sm_86", 86, false},   {"sm_89", 89, false},   {"sm_90", 90, false},
    {"sm_90a", 90, true},   {"sm_100", 100, false}, {"sm_100a", 100, true}, {"sm_103", 103, false},
    {"sm_103a", 103, true}, {"sm_120", 120, false}, {"sm_120a", 120, true}, {"sm_121", 121, false},
    {"sm_121a", 121, true},
};

#define MAX_SMS 1024    // more than any GPU has
#define MAX_THREADS 256 // more host threads than any machine of ours has cores

static bool read_arch(struct emu_settings *settings, const char *value, char *why, size_t why_bytes) {
    for (size_t i = 0; i < sizeof(arch_table) / sizeof(arch_table[0]); i++) {
        if (strcmp(value, arch_table[i].name) == 0) {
            settings->arch = arch_table[i].arch;
            settings->arch_a = arch_table[i].arch_a;
            return true;
        }
    }
    snprintf(
        why, why_bytes,
        "MOEJIT_EMULATOR_ARCH is \"%s\"; it must be sm_80, sm_86, sm_89, sm_90[a], sm_100[a], sm_103[a], sm_120[a] or "
        "sm_121[a].",
        value);
    return false;
}

// A decimal number of at most `limit`, with nothing after it.
static bool read_number(const char *variable, uint64_t limit, const char *value, uint64_t *number, char *why,
                        size_t why_bytes) {
    char *end = NULL;
    errno = 0;
    unsigned long long parsed = strtoull(value, &end, 10);
    if (value[0] >= '0' && value[0] <= '9' && *end == '\0' && errno == 0 && parsed <= limit) {
        *number = parsed;
        return true;
    }
    snprintf(why, why_bytes, "%s is \"%s\"; it must be a decimal number of at most %llu.", variable, value,
             (unsigned long long)limit);
    return false;
}

// The place of value in a list of two words.
static bool read_choice(const char *variable, const char *const words[2], const char *value, int *choice, char *why,
                        size_t why_bytes) {
    for (int i = 0; i < 2; i++) {
        if (strcmp(value, words[i]) == 0) {
            *choice = i;
            return true;
        }
    }
    snprintf(why, why_bytes, "%s is \"%s\"; it must be %s or %s.", variable, value, words[0], words[1]);
    return false;
}

static const char *value_of(const char *variable) {
    const char *value = getenv(variable);
    return value != NULL && value[0] != '\0' ? value : NULL; // an empty variable counts as unset
}

static bool read_choices(struct emu_settings *settings, char *why, size_t why_bytes) {
    static const char *const off_on[2] = {"0", "1"};
    static const char *const sums[2] = {"hardware", "nearest"};
    static const char *const schedules[2] = {"seeded", "adversarial"};
    const char *value;
    int choice;
    if ((value = value_of("MOEJIT_EMULATOR_CHECKS")) != NULL) {
        if (!read_choice("MOEJIT_EMULATOR_CHECKS", off_on, value, &choice, why, why_bytes)) return false;
        settings->checks = choice == 1;
    }
    if ((value = value_of("MOEJIT_EMULATOR_SUMS")) != NULL) {
        if (!read_choice("MOEJIT_EMULATOR_SUMS", sums, value, &choice, why, why_bytes)) return false;
        settings->sums = choice == 1 ? EMU_SUMS_NEAREST : EMU_SUMS_HARDWARE;
    }
    if ((value = value_of("MOEJIT_EMULATOR_SCHEDULE")) != NULL) {
        if (!read_choice("MOEJIT_EMULATOR_SCHEDULE", schedules, value, &choice, why, why_bytes)) return false;
        settings->schedule = choice == 1 ? EMU_SCHEDULE_ADVERSARIAL : EMU_SCHEDULE_SEEDED;
    }
    return true;
}

static bool read_numbers(struct emu_settings *settings, char *why, size_t why_bytes) {
    const char *value;
    uint64_t number;
    if ((value = value_of("MOEJIT_EMULATOR_SEED")) != NULL) {
        if (!read_number("MOEJIT_EMULATOR_SEED", UINT64_MAX, value, &number, why, why_bytes)) return false;
        settings->seed = number;
    }
    if ((value = value_of("MOEJIT_EMULATOR_THREADS")) != NULL) {
        if (!read_number("MOEJIT_EMULATOR_THREADS", MAX_THREADS, value, &number, why, why_bytes)) return false;
        settings->threads = number == 0 ? 1 : (int)number;
    }
    return true;
}

bool emu_settings_read(struct emu_settings *settings, char *why, size_t why_bytes) {
    *settings = (struct emu_settings){
        .arch = 90,
        .arch_a = true,
        .checks = true,
        .sums = EMU_SUMS_HARDWARE,
        .schedule = EMU_SCHEDULE_SEEDED,
        .threads = 1,
    };
    if (why_bytes > 0) why[0] = '\0';
    const char *arch = value_of("MOEJIT_EMULATOR_ARCH");
    if (arch != NULL && !read_arch(settings, arch, why, why_bytes)) return false;
    return read_choices(settings, why, why_bytes) && read_numbers(settings, why, why_bytes);
}

bool emu_settings_read_sms(int *sms, char *why, size_t why_bytes) {
    uint64_t number = 0;
    const char *value = value_of("MOEJIT_EMULATOR_SMS");
    if (value != NULL && !read_number("MOEJIT_EMULATOR_SMS", MAX_SMS, value, &number, why, why_bytes)) return false;
    *sms = (int)number;
    return true;
}

void emu_settings_arch_name(const struct emu_settings *settings, char *text, size_t bytes) {
    snprintf(text, bytes, "sm_%d%s", settings->arch, settings->arch_a ? "a" : "");
}
