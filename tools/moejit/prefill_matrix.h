// Every layer and arch that a prefill is asked for: the product of its comma-separated lists.
#ifndef MOEJIT_TOOL_PREFILL_MATRIX_H
#define MOEJIT_TOOL_PREFILL_MATRIX_H

#include "layer_options.h"

struct prefill_axes { // lists; NULL: one value, that of layer_options
    const char *models, *tensor_parallel, *activation_formats, *output_dtypes, *sums, *archs;
};

struct prefill_job {
    moejit_layer layer;
    char name[128], arch[16];
};

struct prefill_matrix {
    struct prefill_job *jobs;
    int num_jobs;
};

// False, with the sentence printed, where a value is none or memory has run out. The jobs are the caller's to free.
bool prefill_matrix_create(const struct prefill_axes *axes, const struct layer_options *layer,
                           struct prefill_matrix *matrix);

#endif
