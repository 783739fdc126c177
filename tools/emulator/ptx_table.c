#include "ptx_table.h"

#include <stdio.h>
#include <string.h>

#include "ptx_form.h"

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
    X(atomic)                                                                                                          \
    X(copy) X(control) X(warp) X(matrix) X(mma) X(mma_scaled) X(wgmma) X(mbarrier) X(bulk) X(tensor) X(cluster)
#define DECLARE(name) extern const struct emu_row_group emu_rows_##name;
GROUPS(DECLARE)

#define LIST(name) &emu_rows_##name,
const struct emu_row_group *const emu_row_groups[] = {GROUPS(LIST)};
const size_t emu_num_row_groups = sizeof(emu_row_groups) / sizeof(emu_row_groups[0]);

// The form with T replaced by the types that there are executors for.
static void name_types(const struct emu_row *row, char *form, size_t bytes) {
    const char *at = row->by_type != NULL ? strchr(row->form, 'T') : NULL;
    size_t used = (size_t)snprintf(form, bytes, "%.*s", (int)(at != NULL ? at - row->form : 700), row->form);
    const char *bar = "";
    for (int type = 1; at != NULL && type < EMU_NUM_TYPES; type++) {
        if (row->by_type[type] == NULL || used >= bytes) continue;
        used += (size_t)snprintf(form + used, bytes - used, "%s%s", bar, emu_type_name((enum emu_type)type));
        bar = "|";
    }
    if (at != NULL && used < bytes) snprintf(form + used, bytes - used, "%s", at + 1);
}

void emu_rows_print(void (*line)(void *user, const char *text), void *user) {
    char text[1024];
    for (size_t group = 0; group < emu_num_row_groups; group++) {
        for (size_t i = 0; i < emu_row_groups[group]->count; i++) {
            const struct emu_row *row = &emu_row_groups[group]->rows[i];
            char form[768];
            name_types(row, form, sizeof(form));
            snprintf(text, sizeof(text), "%-14s %-60s %-24s sm_%d%s", row->name, form, row->operands,
                     row->arch > 0 ? row->arch : 80, row->arch_a ? "a" : "");
            line(user, text);
        }
    }
}
