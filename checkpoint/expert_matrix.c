#include "expert_matrix.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAME 512

// How tools name the tensors of a matrix.
struct format {
    const char *name;
    const char *codes, *scales, *global, *input; // what follows the matrix's name
    bool reciprocal;                             // the files hold 1 / global_scale and 1 / input_scale
};

// modelopt 0.47 and compressed-tensors 0.20 as they write (tools/make_checkpoints.py).
static const struct format matrix_formats[] = {
    {"modelopt NVFP4", ".weight", ".weight_scale", ".weight_scale_2", ".input_scale", false},
    {"compressed-tensors nvfp4-pack-quantized", ".weight_packed", ".weight_scale", ".weight_global_scale",
     ".input_global_scale", true},
};
#define NUM_FORMATS (sizeof(matrix_formats) / sizeof(matrix_formats[0]))
// All experts of a layer in one 3-D tensor.
static const struct format fused_format = {
    "modelopt NVFP4, fused experts", "", "_weight_scale", "_weight_scale_2", "_input_scale", false};

static const char *const usual_names[] = {"gate_proj", "up_proj", "down_proj"};

struct search { // of one matrix
    const struct mj_layer_source *source;
    const struct format *format;
    char name[MAX_NAME]; // of the matrix: "model.layers.3.mlp.experts.5.gate_proj"
    struct mj_error *error;
};

static const struct mj_tensor *lookup(const struct search *search, const char *suffix) {
    char name[MAX_NAME + 32];
    snprintf(name, sizeof(name), "%s%s", search->name, suffix);
    return mj_tensor_table_lookup(search->source->table, name);
}

static moejit_status refuse(const struct search *search, const struct mj_tensor *tensor, const char *needs) {
    char met[160];
    mj_tensor_describe(tensor, met, sizeof(met));
    return mj_error_set(search->error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is %s, needs %s", tensor->name, met, needs);
}

static moejit_status refuse_missing(const struct search *search, const char *suffix) {
    return mj_error_set(search->error, MOEJIT_STATUS_INVALID_ARGUMENT, "there is no tensor %s%s, which %s asks for",
                        search->name, suffix, search->format->name);
}

// Tensors beside the matrix that change what it computes, in ways that are not offered.
static moejit_status check_companions(const struct search *search, bool fused) {
    static const char *const names[] = {"bias", "weight_zero_point", "pre_quant_scale", "weight_g_idx"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char suffix[32];
        snprintf(suffix, sizeof(suffix), "%c%s", fused ? '_' : '.', names[i]);
        const struct mj_tensor *tensor = lookup(search, suffix);
        if (tensor == NULL) continue;
        return mj_error_set(search->error, MOEJIT_STATUS_UNSUPPORTED,
                            "there is a tensor %s: %s of experts is not offered, and leaving it out would be wrong",
                            tensor->name, names[i]);
    }
    return MOEJIT_STATUS_OK;
}

// The f32 scalar of that suffix, of expert `expert` where there is one for each; 0 where it is missing.
static moejit_status read_scalar(const struct search *search, const char *suffix, size_t expert, double *value) {
    const struct mj_tensor *tensor = lookup(search, suffix);
    float number;
    *value = 0;
    if (tensor == NULL) return MOEJIT_STATUS_OK;
    size_t count = tensor->bytes / sizeof(number), experts = (size_t)search->source->config->num_experts;
    if (tensor->dtype != MJ_TENSOR_F32 || (count != 1 && !(count == experts && search->format == &fused_format))) {
        return refuse(search, tensor, search->format == &fused_format ? "F32, one or one an expert" : "one F32");
    }
    moejit_status status = mj_mapped_file_check(tensor->file, search->error);
    if (status != MOEJIT_STATUS_OK) return status;
    memcpy(&number, tensor->data + (count > 1 ? expert * sizeof(number) : 0), sizeof(number));
    if (!isfinite(number) || number < 0 || (search->format->reciprocal && number < 1e-38f)) {
        return mj_error_set(search->error, MOEJIT_STATUS_INVALID_ARGUMENT, "%s is %g, needs a finite number %s",
                            tensor->name, (double)number, search->format->reciprocal ? "> 0" : ">= 0");
    }
    *value = search->format->reciprocal ? 1 / (double)number : (double)number;
    return MOEJIT_STATUS_OK;
}

static moejit_status read_scalars(const struct search *search, struct mj_expert_matrix *matrix) {
    if (lookup(search, search->format->global) == NULL) return refuse_missing(search, search->format->global);
    moejit_status status = read_scalar(search, search->format->global, matrix->expert, &matrix->global_scale);
    if (status != MOEJIT_STATUS_OK) return status;
    return read_scalar(search, search->format->input, matrix->expert, &matrix->input_scale);
}

// Whether a tensor is of that type and [a, b], or [E, a, b] where experts are fused.
static bool has_shape(const struct mj_tensor *tensor, enum mj_tensor_dtype dtype, size_t experts, size_t a, size_t b) {
    const size_t *shape = tensor->shape;
    if (tensor->dtype != dtype) return false;
    if (experts == 0) return tensor->num_dimensions == 2 && shape[0] == a && shape[1] == b;
    return tensor->num_dimensions == 3 && shape[0] == experts && shape[1] == a && shape[2] == b;
}

static moejit_status check_shapes(const struct search *search, struct mj_expert_matrix *matrix) {
    bool fused = search->format == &fused_format;
    size_t experts = fused ? (size_t)search->source->config->num_experts : 0;
    size_t rows = matrix->tensor_rows, bytes = matrix->columns / 2, blocks = matrix->columns / 16;
    char needs[128];
    if (matrix->codes->dtype != MJ_TENSOR_U8) return refuse(search, matrix->codes, "U8: NVFP4, two elements to a byte");
    matrix->scales = lookup(search, search->format->scales);
    if (matrix->scales == NULL) return refuse_missing(search, search->format->scales);
    // The scales tell transposed from plain where the codes are square.
    matrix->transposed = fused && has_shape(matrix->scales, MJ_TENSOR_F8_E4M3, experts, blocks, rows);
    size_t a = matrix->transposed ? bytes : rows, b = matrix->transposed ? rows : bytes;
    const char *lead = fused ? "experts, " : "";
    if (!has_shape(matrix->codes, MJ_TENSOR_U8, experts, a, b)) {
        snprintf(needs, sizeof(needs), "U8 [%s%zu, %zu]: e2m1, two to a byte, of the sizes in config.json", lead, a, b);
        return refuse(search, matrix->codes, needs);
    }
    if (matrix->transposed || has_shape(matrix->scales, MJ_TENSOR_F8_E4M3, experts, rows, blocks))
        return MOEJIT_STATUS_OK;
    snprintf(needs, sizeof(needs), "F8_E4M3 [%s%zu, %zu]: one scale for 16 elements", lead, rows, blocks);
    return refuse(search, matrix->scales, needs);
}

static moejit_status complete(struct search *search, struct mj_expert_matrix *matrix) {
    matrix->format = search->format->name;
    moejit_status status = check_companions(search, search->format == &fused_format);
    if (status == MOEJIT_STATUS_OK) status = check_shapes(search, matrix);
    if (status == MOEJIT_STATUS_OK) status = read_scalars(search, matrix);
    return status;
}

static bool find_own(struct search *search, int expert, const char *projection, struct mj_expert_matrix *matrix) {
    const struct mj_layer_source *source = search->source;
    snprintf(search->name, sizeof(search->name), "%slayers.%d.%s.experts.%d.%s", source->prefix, source->layer_number,
             source->config->family->block, expert, projection);
    for (size_t i = 0; i < NUM_FORMATS; i++) {
        search->format = &matrix_formats[i];
        matrix->codes = lookup(search, search->format->codes);
        if (matrix->codes != NULL) return true;
    }
    return false;
}

static bool find_fused(struct search *search, const char *projection, struct mj_expert_matrix *matrix) {
    const struct mj_layer_source *source = search->source;
    snprintf(search->name, sizeof(search->name), "%slayers.%d.%s.experts.%s", source->prefix, source->layer_number,
             source->config->family->block, projection);
    search->format = &fused_format;
    matrix->codes = lookup(search, search->format->codes);
    return matrix->codes != NULL;
}

moejit_status mj_expert_matrix_find(const struct mj_layer_source *source, int expert, enum mj_projection projection,
                                    struct mj_expert_matrix *matrix, struct mj_error *error) {
    const struct mj_model_config *config = source->config;
    const struct mj_family *family = config->family;
    struct search search = {.source = source, .error = error};
    size_t hidden = (size_t)config->hidden, intermediate = (size_t)config->intermediate;
    bool down = projection == MJ_DOWN, gated = config->activation != MOEJIT_ACTIVATION_RELU2;
    const char *const own_names[] = {family->gate, family->up, family->down};
    memset(matrix, 0, sizeof(*matrix));
    matrix->rows = matrix->tensor_rows = down ? hidden : intermediate;
    matrix->columns = down ? intermediate : hidden;
    // Tools that split fused experts give the parts the usual names, whatever the family's are.
    if (find_own(&search, expert, own_names[projection], matrix) ||
        find_own(&search, expert, usual_names[projection], matrix))
        return complete(&search, matrix);
    char own[MAX_NAME];
    snprintf(own, sizeof(own), "%s", search.name);
    if (find_fused(&search, down ? "down_proj" : gated ? "gate_up_proj" : "up_proj", matrix)) {
        matrix->expert = (size_t)expert;
        if (gated && !down) matrix->tensor_rows = 2 * intermediate;
        if (gated && projection == MJ_UP) matrix->first_row = intermediate;
        return complete(&search, matrix);
    }
    return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "there is no tensor %s.weight, %s.weight_packed or %s",
                        own, own, search.name);
}

#define TILE 64 // bytes; a tile of the source and of the target lie in the first cache

// to[row][column] = from[column][first_row + row]
static void transpose(uint8_t *to, const uint8_t *from, size_t rows, size_t columns, size_t first_row,
                      size_t from_stride) {
    for (size_t r0 = 0; r0 < rows; r0 += TILE) {
        for (size_t c0 = 0; c0 < columns; c0 += TILE) {
            for (size_t c = c0; c < columns && c < c0 + TILE; c++) {
                for (size_t r = r0; r < rows && r < r0 + TILE; r++)
                    to[r * columns + c] = from[c * from_stride + first_row + r];
            }
        }
    }
}

// `columns` in bytes.
static void read_part(const struct mj_expert_matrix *matrix, const struct mj_tensor *tensor, size_t columns,
                      uint8_t *to) {
    size_t bytes = matrix->tensor_rows * columns;
    const uint8_t *from = tensor->data + matrix->expert * bytes;
    if (matrix->transposed) {
        mj_mapped_file_prefetch(tensor->file, from, bytes);
        transpose(to, from, matrix->rows, columns, matrix->first_row, matrix->tensor_rows);
    } else {
        from += matrix->first_row * columns;
        mj_mapped_file_prefetch(tensor->file, from, matrix->rows * columns);
        memcpy(to, from, matrix->rows * columns);
    }
}

moejit_status mj_expert_matrix_read(const struct mj_expert_matrix *matrix, uint8_t *codes, uint8_t *scales,
                                    struct mj_error *error) {
    moejit_status status = mj_mapped_file_check(matrix->codes->file, error);
    if (status == MOEJIT_STATUS_OK) status = mj_mapped_file_check(matrix->scales->file, error);
    if (status != MOEJIT_STATUS_OK) return status;
    read_part(matrix, matrix->codes, matrix->columns / 2, codes);
    read_part(matrix, matrix->scales, matrix->columns / 16, scales);
    return MOEJIT_STATUS_OK;
}
