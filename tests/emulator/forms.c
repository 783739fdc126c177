// The files of forms. A form is a line
//
//     form NAME [X=value,value ...] [in=KIND] [out=KIND] [ulp=N] [sm=90a]
//
// and indented lines of PTX. Each other X=list makes a form of every value, in place of $X in the name and the PTX. The
// PTX finds a thread's twelve input words in %r0 to %r11, the last four in %r24 to %r27 too, the first six as pairs in
// %rd0 to %rd2, the low halves of the first four in %h0 to %h3, two bits of the last one in %p0 and %p1, its input's
// address in %rd20, its output's in %rd21, its number in the block in %r62, its lane in %r60; 16 KB of shared memory
// are "smem"; a PTX that says "maps" has the tensor maps of forms.h there. Its results are what `out` says.
#include "forms.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VARIABLES 5
#define MAX_VALUES 40

struct variable {
    char letter;
    char text[512];
    char *values[MAX_VALUES];
    int num_values;
};

struct pattern {
    struct form form; // with the $ still in
    struct variable variables[MAX_VARIABLES];
    int num_variables;
    bool open;
};

static const char *const inputs[] = {
    [FORM_BITS] = "bits",         [FORM_F32] = "f32",           [FORM_NEAR] = "near",
    [FORM_POSITIVE] = "positive", [FORM_SMALL] = "small",       [FORM_HALF] = "half",
    [FORM_NEARHALF] = "nearhalf", [FORM_WIDEHALF] = "widehalf", [FORM_EVERY16] = "every16"};

static bool set_input(struct form *form, const char *value) {
    for (size_t i = 0; i < sizeof(inputs) / sizeof(inputs[0]); i++) {
        if (strcmp(inputs[i], value) != 0) continue;
        form->input = (enum form_input)i;
        return true;
    }
    return false;
}

static bool set_arch(struct form *form, const char *value) {
    char *end;
    form->arch = (int)strtol(value, &end, 10);
    form->arch_a = strcmp(end, "a") == 0;
    return form->arch >= 80 && (*end == '\0' || form->arch_a);
}

static bool set_ulp(struct form *form, const char *value) {
    char *end;
    form->ulp = (unsigned)strtoul(value, &end, 10);
    return *end == '\0' && form->ulp > 0;
}

static bool add_variable(struct pattern *pattern, char letter, const char *list) {
    if (pattern->num_variables == MAX_VARIABLES || strlen(list) >= sizeof(pattern->variables[0].text)) return false;
    struct variable *variable = &pattern->variables[pattern->num_variables++];
    variable->letter = letter;
    variable->num_values = 0;
    snprintf(variable->text, sizeof(variable->text), "%s", list);
    for (char *at = variable->text; at != NULL;) { // a value may be empty
        if (variable->num_values == MAX_VALUES) return false;
        variable->values[variable->num_values++] = strsep(&at, ",");
    }
    return true;
}

static bool set_option(struct pattern *pattern, const char *option) {
    const char *value = strchr(option, '=');
    if (value++ == NULL) return false;
    if (strncmp(option, "in=", 3) == 0) return set_input(&pattern->form, value);
    if (strncmp(option, "sm=", 3) == 0) return set_arch(&pattern->form, value);
    if (strncmp(option, "ulp=", 4) == 0) return set_ulp(&pattern->form, value);
    if (strncmp(option, "out=", 4) == 0) {
        pattern->form.output = value[0];
        return strchr("rhdp", value[0]) != NULL && value[1] == '\0';
    }
    return option[1] == '=' && add_variable(pattern, option[0], value);
}

static bool open_pattern(struct pattern *pattern, char *line) {
    char *rest = line, *word = strsep(&rest, " ");
    *pattern = (struct pattern){.open = true, .form = {.arch = 80, .output = 'r'}};
    word = strsep(&rest, " ");
    if (word == NULL || strlen(word) >= sizeof(pattern->form.name)) return false;
    snprintf(pattern->form.name, sizeof(pattern->form.name), "%s", word);
    while ((word = strsep(&rest, " ")) != NULL) {
        if (word[0] != '\0' && !set_option(pattern, word)) return false;
    }
    return true;
}

// Copies with $X replaced by what this expansion has for X.
static bool expand_text(const struct pattern *pattern, const int *chosen, const char *from, char *to, size_t bytes) {
    size_t used = 0;
    for (; *from != '\0'; from++) {
        const char *piece = from;
        size_t length = 1;
        for (int i = 0; from[0] == '$' && i < pattern->num_variables; i++) {
            if (pattern->variables[i].letter != from[1]) continue;
            piece = pattern->variables[i].values[chosen[i]];
            length = strlen(piece);
        }
        if (used + length >= bytes) return false;
        memcpy(to + used, piece, length);
        used += length;
        from += piece != from;
    }
    to[used] = '\0';
    return true;
}

static bool close_pattern(struct pattern *pattern, bool (*take)(void *, const struct form *), void *user) {
    int chosen[MAX_VARIABLES] = {0};
    while (pattern->open) {
        struct form form = pattern->form;
        if (!expand_text(pattern, chosen, pattern->form.name, form.name, sizeof(form.name)) ||
            !expand_text(pattern, chosen, pattern->form.body, form.body, sizeof(form.body)) || !take(user, &form)) {
            return false;
        }
        int at = 0;
        while (at < pattern->num_variables && ++chosen[at] == pattern->variables[at].num_values) chosen[at++] = 0;
        pattern->open = at < pattern->num_variables;
    }
    return true;
}

static bool add_line(struct pattern *pattern, const char *line) {
    size_t used = strlen(pattern->form.body);
    int more = snprintf(pattern->form.body + used, sizeof(pattern->form.body) - used, "%s\n", line);
    return pattern->open && (size_t)more < sizeof(pattern->form.body) - used;
}

bool forms_read(const char *path, bool (*take)(void *user, const struct form *form), void *user) {
    FILE *file = fopen(path, "r");
    struct pattern pattern = {.open = false};
    char line[1024];
    int number = 0;
    bool good = file != NULL;
    if (!good) perror(path);
    while (good && fgets(line, sizeof(line), file) != NULL) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0') continue;
        if (line[0] == ' ') {
            good = add_line(&pattern, line);
        } else {
            good = close_pattern(&pattern, take, user) && open_pattern(&pattern, line);
        }
        if (!good) fprintf(stderr, "%s:%d: not understood\n", path, number);
    }
    if (file != NULL) fclose(file);
    return good && close_pattern(&pattern, take, user);
}

// ---- The module

static const char head[] =
    "    .reg .pred %p<8>;\n    .reg .b16 %h<24>;\n    .reg .b32 %r<160>;\n    .reg .b64 %rd<24>;\n"
    "    .shared .align 1024 .b8 smem[16384];\n"
    "    ld.param.u64 %rd20, [in];\n    ld.param.u64 %rd21, [out];\n"
    "    cvta.to.global.u64 %rd20, %rd20;\n    cvta.to.global.u64 %rd21, %rd21;\n"
    "    mov.u32 %r62, %tid.x;\n    mov.u32 %r60, %ctaid.x;\n    mad.lo.u32 %r60, %r60, 128, %r62;\n"
    "    mad.wide.u32 %rd20, %r60, 48, %rd20;\n    mad.wide.u32 %rd21, %r60, 32, %rd21;\n"
    "    ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%rd20];\n    ld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%rd20+16];\n"
    "    ld.global.v4.b32 {%r8, %r9, %r10, %r11}, [%rd20+32];\n    ld.global.v4.b32 {%r24, %r25, %r26, %r27}, "
    "[%rd20+32];\n"
    "    mov.b64 %rd0, {%r0, %r1};\n    mov.b64 %rd1, {%r2, %r3};\n    mov.b64 %rd2, {%r4, %r5};\n"
    "    cvt.u16.u32 %h0, %r0;\n    cvt.u16.u32 %h1, %r1;\n    cvt.u16.u32 %h2, %r2;\n    cvt.u16.u32 %h3, %r3;\n"
    "    and.b32 %r60, %r11, 1;\n    setp.ne.u32 %p0, %r60, 0;\n    and.b32 %r60, %r11, 2;\n"
    "    setp.ne.u32 %p1, %r60, 0;\n    mov.u32 %r60, %laneid;\n    mov.b64 %rd17, 0;\n"
    "    setp.ne.u32 %p2, 0, 0;\n    setp.ne.u32 %p3, 0, 0;\n"
    "    mov.b32 %r16, 0;\n    mov.b32 %r17, 0;\n    mov.b32 %r18, 0;\n    mov.b32 %r19, 0;\n    mov.b32 %r20, 0;\n"
    "    mov.b32 %r21, 0;\n    mov.b32 %r22, 0;\n    mov.b32 %r23, 0;\n";
static const char halves[] = "    cvt.u32.u16 %r16, %h16;\n";
static const char pairs[] = "    mov.b64 {%r16, %r17}, %rd16;\n    mov.b64 {%r18, %r19}, %rd17;\n";
static const char predicates[] = "    selp.u32 %r16, 1, 0, %p2;\n    selp.u32 %r17, 1, 0, %p3;\n";
static const char tail[] = "    st.global.v4.b32 [%rd21], {%r16, %r17, %r18, %r19};\n"
                           "    st.global.v4.b32 [%rd21+16], {%r20, %r21, %r22, %r23};\n    ret;\n}\n";

bool form_has_maps(const struct form *form) {
    return strstr(form->body, "maps") != NULL;
}

bool form_ptx(const struct form *form, const char *target, char *text, size_t bytes) {
    const char *results = form->output == 'h'   ? halves
                          : form->output == 'd' ? pairs
                          : form->output == 'p' ? predicates
                                                : "";
    int length = snprintf(text, bytes,
                          ".version 8.7\n.target %s\n.address_size 64\n"
                          ".visible .entry k(.param .u64 in, .param .u64 out%s)\n.maxntid %d, 1, 1\n{\n%s%s%s%s",
                          target, form_has_maps(form) ? ", .param .align 128 .b8 maps[1024]" : "", FORM_THREADS, head,
                          form->body, results, tail);
    return length > 0 && (size_t)length < bytes;
}
