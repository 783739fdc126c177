#include "cuda/arch.h"

#include <string.h>

#include "base/text.h"

const struct mj_arch mj_archs[] = {
    {"sm_80", 80, 11, 0, 166912},    {"sm_86", 86, 11, 1, 101376},    {"sm_89", 89, 11, 8, 101376},
    {"sm_90a", 90, 12, 0, 232448},   {"sm_100a", 100, 12, 8, 232448}, {"sm_103a", 103, 12, 9, 232448},
    {"sm_120a", 120, 12, 8, 101376}, {"sm_121a", 121, 12, 9, 101376},
};
const int mj_num_archs = sizeof(mj_archs) / sizeof(mj_archs[0]);

const struct mj_arch *mj_arch_find(const char *name) {
    for (int i = 0; i < mj_num_archs; i++) {
        if (strcmp(mj_archs[i].name, name) == 0) return &mj_archs[i];
    }
    return NULL;
}

const struct mj_arch *mj_arch_of_capability(int capability) {
    const struct mj_arch *best = NULL;
    for (int i = 0; i < mj_num_archs; i++) {
        const struct mj_arch *arch = &mj_archs[i];
        if (arch->capability == capability) return arch;
        // Kernels of an "a" arch run on that one alone; the others run on later ones of the same major version.
        if (strchr(arch->name, 'a') != NULL) continue;
        if (arch->capability / 10 == capability / 10 && arch->capability < capability) best = arch;
    }
    return best;
}

moejit_status mj_arch_unknown(const char *name, struct mj_error *error) {
    struct mj_text names = {0};
    for (int i = 0; i < mj_num_archs; i++) mj_text_append(&names, "%s%s", i > 0 ? ", " : "", mj_archs[i].name);
    mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED, "arch \"%s\" is not one of %s", name,
                 names.data != NULL ? names.data : "those supported");
    mj_text_free(&names);
    return MOEJIT_STATUS_UNSUPPORTED;
}
