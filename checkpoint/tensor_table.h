// The tensors of all *.safetensors files of a folder, by name.
#ifndef MOEJIT_CHECKPOINT_TENSOR_TABLE_H
#define MOEJIT_CHECKPOINT_TENSOR_TABLE_H

#include "mapped_file.h"
#include "safetensors.h"

struct mj_tensor_table {
    struct mj_mapped_file *files;
    size_t num_files;
    struct mj_tensor *tensors; // sorted by name
    size_t num_tensors;
};

// The files that model.safetensors.index.json lists, else the folder's only *.safetensors.
moejit_status mj_tensor_table_open(const char *folder, struct mj_tensor_table *table, struct mj_error *error);
void mj_tensor_table_close(struct mj_tensor_table *table);

// NULL where there is none of that name.
const struct mj_tensor *mj_tensor_table_lookup(const struct mj_tensor_table *table, const char *name);

#endif
