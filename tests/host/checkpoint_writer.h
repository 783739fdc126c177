// Writes small checkpoints, good and bad, for tests: a Qwen3-MoE of one layer, H 32, I 16, 2 experts, modelopt's names.
#ifndef MOEJIT_TESTS_CHECKPOINT_WRITER_H
#define MOEJIT_TESTS_CHECKPOINT_WRITER_H

#include <stddef.h>
#include <stdint.h>

#define WRITER_HIDDEN 32
#define WRITER_INTERMEDIATE 16
#define WRITER_EXPERTS 2
#define WRITER_MAX_TENSORS 64
#define WRITER_MAX_BYTES 1024

extern const char writer_config[]; // its config.json

struct written_tensor {
    char name[128];
    const char *dtype;
    int num_dimensions;
    size_t shape[3];
    uint8_t data[WRITER_MAX_BYTES];
    size_t bytes;
};

struct checkpoint_writer {
    char folder[64]; // a fresh one
    struct written_tensor tensors[WRITER_MAX_TENSORS];
    int num_tensors;
};

// A fresh folder, all tensors of a good checkpoint in memory; nothing is written yet.
void writer_start(struct checkpoint_writer *writer);
void writer_end(struct checkpoint_writer *writer); // removes the folder

struct written_tensor *writer_tensor(struct checkpoint_writer *writer,
                                     const char *name); // fails the test where missing
void writer_remove(struct checkpoint_writer *writer, const char *name);
void writer_set_float(struct checkpoint_writer *writer, const char *name, float value);
struct written_tensor *writer_add(struct checkpoint_writer *writer, const char *name, const char *dtype, size_t rows,
                                  size_t columns, size_t element); // rows 0: a scalar

void writer_text(const struct checkpoint_writer *writer, const char *name, const char *text); // a file of the folder
// Tensors [first, first + count) as a file of the folder.
void writer_safetensors(const struct checkpoint_writer *writer, const char *name, int first, int count);
// config.json and model.safetensors with all tensors.
void writer_all(const struct checkpoint_writer *writer);

#endif
