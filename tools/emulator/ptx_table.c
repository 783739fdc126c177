#include "ptx_table.h"

#include <stdio.h>

#define GROUPS(X)                                                                                                      \
    X(integer)                                                                                                         \
    X(bits)                                                                                                            \
    X(compare)                                                                                                         \
    X(move)                                                                                                            \
    X(float)                                                                                                           \
    X(half)                                                                                                            \
    X(convert)                                                                                                         \
    X(pack)                                                                                                            \
    X(memory)                                                                                                          \
    X(atomic) X(copy) X(control) X(warp) X(matrix) X(mma) X(mma_scaled) X(wgmma) X(mbarrier) X(bulk) X(cluster)
#define DECLARE(name) extern const struct emu_row_group emu_rows_##name;
GROUPS(DECLARE)

#define LIST(name) &emu_rows_##name,
const struct emu_row_group *const emu_row_groups[] = {GROUPS(LIST)};
const size_t emu_num_row_groups = sizeof(emu_row_groups) / sizeof(emu_row_groups[0]);

void emu_rows_print(void (*line)(void *user, const char *text), void *user) {
    char text[512];
    for (size_t group = 0; group < emu_num_row_groups; group++) {
        for (size_t i = 0; i < emu_row_groups[group]->count; i++) {
            const struct emu_row *row = &emu_row_groups[group]->rows[i];
            snprintf(text, sizeof(text), "%-14s %-60s %-24s sm_%d%s", row->name, row->form, row->operands,
                     row->arch > 0 ? row->arch : 80, row->arch_a ? "a" : "");
            line(user, text);
        }
    }
}
