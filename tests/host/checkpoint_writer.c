#include "checkpoint_writer.h"

#include "../cmocka_all.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char writer_config[] = "{\"model_type\": \"qwen3_moe\", \"hidden_size\": 32, \"moe_intermediate_size\": 16, "
                             "\"num_experts\": 2, \"num_experts_per_tok\": 1, \"hidden_act\": \"silu\"}";

struct written_tensor *writer_add(struct checkpoint_writer *writer, const char *name, const char *dtype, size_t rows,
                                  size_t columns, size_t element) {
    assert_true(writer->num_tensors < WRITER_MAX_TENSORS);
    struct written_tensor *tensor = &writer->tensors[writer->num_tensors++];
    memset(tensor, 0, sizeof(*tensor));
    snprintf(tensor->name, sizeof(tensor->name), "%s", name);
    tensor->dtype = dtype;
    tensor->num_dimensions = rows > 0 ? 2 : 0;
    tensor->shape[0] = rows;
    tensor->shape[1] = columns;
    tensor->bytes = (rows > 0 ? rows * columns : 1) * element;
    assert_true(tensor->bytes <= WRITER_MAX_BYTES);
    return tensor;
}

// One matrix: codes and scales that differ from place to place.
static void add_matrix(struct checkpoint_writer *writer, int expert, const char *projection, size_t rows,
                       size_t columns) {
    char base[96], name[128];
    snprintf(base, sizeof(base), "model.layers.0.mlp.experts.%d.%s", expert, projection);
    snprintf(name, sizeof(name), "%s.weight", base);
    struct written_tensor *codes = writer_add(writer, name, "U8", rows, columns / 2, 1);
    for (size_t i = 0; i < codes->bytes; i++) codes->data[i] = (uint8_t)(i * 37 + (size_t)writer->num_tensors * 11);
    snprintf(name, sizeof(name), "%s.weight_scale", base);
    struct written_tensor *scales = writer_add(writer, name, "F8_E4M3", rows, columns / 16, 1);
    for (size_t i = 0; i < scales->bytes; i++) scales->data[i] = (uint8_t)(40 + (i * 7 + (size_t)expert) % 40);
    snprintf(name, sizeof(name), "%s.weight_scale_2", base);
    writer_add(writer, name, "F32", 0, 0, 4);
    writer_set_float(writer, name, 0.375f);
    snprintf(name, sizeof(name), "%s.input_scale", base);
    writer_add(writer, name, "F32", 0, 0, 4);
    writer_set_float(writer, name, 0.0625f);
}

void writer_start(struct checkpoint_writer *writer) {
    memset(writer, 0, sizeof(*writer));
    snprintf(writer->folder, sizeof(writer->folder), "/tmp/moejit-checkpoint-XXXXXX");
    assert_non_null(mkdtemp(writer->folder));
    for (int e = 0; e < WRITER_EXPERTS; e++) {
        add_matrix(writer, e, "gate_proj", WRITER_INTERMEDIATE, WRITER_HIDDEN);
        add_matrix(writer, e, "up_proj", WRITER_INTERMEDIATE, WRITER_HIDDEN);
        add_matrix(writer, e, "down_proj", WRITER_HIDDEN, WRITER_INTERMEDIATE);
    }
}

void writer_end(struct checkpoint_writer *writer) {
    DIR *directory = opendir(writer->folder);
    assert_non_null(directory);
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (entry->d_name[0] == '.') continue;
        assert_int_equal(unlinkat(dirfd(directory), entry->d_name, 0), 0);
    }
    closedir(directory);
    assert_int_equal(rmdir(writer->folder), 0);
}

struct written_tensor *writer_tensor(struct checkpoint_writer *writer, const char *name) {
    for (int i = 0; i < writer->num_tensors; i++) {
        if (strcmp(writer->tensors[i].name, name) == 0) return &writer->tensors[i];
    }
    fail_msg("the writer has no %s", name);
    return NULL;
}

void writer_remove(struct checkpoint_writer *writer, const char *name) {
    *writer_tensor(writer, name) = writer->tensors[--writer->num_tensors];
}

void writer_set_float(struct checkpoint_writer *writer, const char *name, float value) {
    memcpy(writer_tensor(writer, name)->data, &value, sizeof(value));
}

static FILE *create(const struct checkpoint_writer *writer, const char *name) {
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", writer->folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    return file;
}

void writer_text(const struct checkpoint_writer *writer, const char *name, const char *text) {
    FILE *file = create(writer, name);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

void writer_safetensors(const struct checkpoint_writer *writer, const char *name, int first, int count) {
    char header[16384] = "{\"__metadata__\": {\"format\": \"pt\"}";
    size_t length = strlen(header), offset = 0;
    for (int i = first; i < first + count; i++) {
        const struct written_tensor *tensor = &writer->tensors[i];
        char shape[64] = "";
        for (int d = 0; d < tensor->num_dimensions; d++) {
            size_t used = strlen(shape);
            snprintf(shape + used, sizeof(shape) - used, "%s%zu", d > 0 ? ", " : "", tensor->shape[d]);
        }
        length += (size_t)snprintf(header + length, sizeof(header) - length,
                                   ", \"%s\": {\"dtype\": \"%s\", \"shape\": [%s], \"data_offsets\": [%zu, %zu]}",
                                   tensor->name, tensor->dtype, shape, offset, offset + tensor->bytes);
        offset += tensor->bytes;
    }
    length += (size_t)snprintf(header + length, sizeof(header) - length, "}");
    assert_true(length < sizeof(header));
    FILE *file = create(writer, name);
    for (int i = 0; i < 8; i++) fputc((int)(length >> 8 * i & 0xff), file);
    assert_int_equal(fwrite(header, 1, length, file), length);
    for (int i = first; i < first + count; i++)
        assert_int_equal(fwrite(writer->tensors[i].data, 1, writer->tensors[i].bytes, file), writer->tensors[i].bytes);
    assert_int_equal(fclose(file), 0);
}

void writer_all(const struct checkpoint_writer *writer) {
    writer_text(writer, "config.json", writer_config);
    writer_safetensors(writer, "model.safetensors", 0, writer->num_tensors);
}
