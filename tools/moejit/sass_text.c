#include "sass_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LABEL_BYTES 24

struct label {
    char name[LABEL_BYTES];
    int at; // the instruction that follows
};

struct reader {
    struct sass_text *code;
    struct label *labels;
    char (*targets)[LABEL_BYTES]; // of each instruction; "" if none
    int num_labels, capacity;     // one capacity for all three: no list is longer than the text has lines
};

static bool open_reader(struct reader *reader, const char *text, struct sass_text *code) {
    int lines = 1;
    for (const char *c = text; *c != '\0'; c++) lines += *c == '\n';
    *reader = (struct reader){.code = code, .capacity = lines};
    code->count = 0;
    code->list = calloc((size_t)lines, sizeof(*code->list));
    reader->labels = calloc((size_t)lines, sizeof(*reader->labels));
    reader->targets = calloc((size_t)lines, sizeof(*reader->targets));
    return code->list != NULL && reader->labels != NULL && reader->targets != NULL;
}

// ".L_x_12" as far as it goes.
static void copy_label(const char *from, char name[LABEL_BYTES]) {
    size_t length = strspn(from, "._$ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789");
    if (length >= LABEL_BYTES) length = LABEL_BYTES - 1;
    memcpy(name, from, length);
    name[length] = '\0';
}

// "R24, R40, ...": what is no register stays -1.
static void read_registers(const char *at, int registers[2]) {
    registers[0] = registers[1] = -1;
    if (sscanf(at, " R%d", &registers[0]) != 1) registers[0] = -1;
    at += strcspn(at, ",\n");
    if (sscanf(at, ", R%d", &registers[1]) != 1) registers[1] = -1;
}

// "@!P0 BRA `(.L_x_3) ;", of what follows the address.
static void read_instruction(struct reader *reader, const char *at) {
    struct sass_instruction *instruction = &reader->code->list[reader->code->count];
    *instruction = (struct sass_instruction){.target = -1};
    if (*at == '@') {
        instruction->off = strncmp(at, "@!PT ", 5) == 0;
        instruction->guarded = true;
        at += strcspn(at, " ");
        at += strspn(at, " ");
    }
    size_t length = strcspn(at, " ;\n");
    if (length >= sizeof(instruction->opcode)) length = sizeof(instruction->opcode) - 1;
    memcpy(instruction->opcode, at, length);
    read_registers(at + length, instruction->registers);
    const char *end = at + strcspn(at, "\n"), *label = strstr(at, "`(");
    if (label != NULL && label < end) copy_label(label + 2, reader->targets[reader->code->count]);
    reader->code->count++;
}

static void read_line(struct reader *reader, const char *line) {
    line += strspn(line, " \t");
    if (*line == '.' && line[strcspn(line, ":\n")] == ':') {
        struct label *label = &reader->labels[reader->num_labels++];
        copy_label(line, label->name);
        label->at = reader->code->count;
    } else if (strncmp(line, "/*", 2) == 0 && isxdigit((unsigned char)line[2])) {
        const char *end = strstr(line, "*/");
        if (end == NULL) return;
        end += 2;
        end += strspn(end, " \t{");
        if (*end != '\n' && *end != '\0' && *end != '/') read_instruction(reader, end);
    }
}

static void resolve(struct reader *reader) {
    for (int i = 0; i < reader->code->count; i++) {
        if (reader->targets[i][0] == '\0') continue;
        for (int l = 0; l < reader->num_labels; l++) {
            if (strcmp(reader->labels[l].name, reader->targets[i]) != 0) continue;
            if (reader->labels[l].at < reader->code->count) reader->code->list[i].target = reader->labels[l].at;
            break;
        }
    }
}

bool sass_text_read(const char *text, struct sass_text *code) {
    struct reader reader;
    bool good = open_reader(&reader, text, code);
    for (const char *line = text; good && *line != '\0';) {
        read_line(&reader, line);
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    if (good) resolve(&reader);
    free(reader.labels);
    free(reader.targets);
    return good;
}

void sass_text_free(struct sass_text *code) {
    free(code->list);
    *code = (struct sass_text){0};
}
