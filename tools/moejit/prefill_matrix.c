#include "prefill_matrix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_layer.h"

#define MAX_ITEMS 32

static const char all_archs[] = "sm_80,sm_86,sm_89,sm_90a,sm_100a,sm_103a,sm_120a,sm_121a";

enum axis {
    AXIS_MODEL,
    AXIS_TENSOR_PARALLEL,
    AXIS_ACTIVATION_FORMAT,
    AXIS_OUTPUT_DTYPE,
    AXIS_SUM,
    AXIS_ARCH,
    NUM_AXES
};
static const struct {
    const char *name;
    int option; // of layer_options_take; 0: ours
} axis_kinds[NUM_AXES] = {{"model", 'm'},        {"tensor-parallel", 0}, {"activation-format", 'f'},
                          {"output-dtype", 'o'}, {"sum", 's'},           {"arch", 0}};

struct items {
    char texts[MAX_ITEMS][40];
    int num; // 0: the axis is not given
};

static bool split(const char *name, const char *list, struct items *items) {
    while (list != NULL) {
        size_t length = strcspn(list, ",");
        if (length == 0 || length >= sizeof(items->texts[0]) || items->num == MAX_ITEMS) {
            command_usage("prefill", "--%s is a list with an empty or too long part, or with more than %d: \"%s\"",
                          name, MAX_ITEMS, list);
            return false;
        }
        snprintf(items->texts[items->num++], sizeof(items->texts[0]), "%.*s", (int)length, list);
        list = list[length] == ',' ? list + length + 1 : NULL;
    }
    return true;
}

static void list_models(struct items *items) {
    if (items->num != 1 || strcmp(items->texts[0], "all") != 0) return;
    items->num = 0;
    for (int i = 0; i < mj_num_models && i < MAX_ITEMS; i++) {
        snprintf(items->texts[items->num++], sizeof(items->texts[0]), "%s", mj_models[i].name);
    }
}

static bool divide(moejit_layer *layer, const char *text) {
    long long ranks;
    if (!command_number("prefill", "tensor-parallel", text, 1, 1024, &ranks)) return false;
    if (layer->intermediate % ranks == 0) {
        layer->intermediate /= (int32_t)ranks;
        return true;
    }
    command_usage("prefill", "--tensor-parallel is %lld, needs to divide intermediate = %d", ranks,
                  layer->intermediate);
    return false;
}

// The combination with that number; arch varies fastest.
static bool make_job(const struct items items[NUM_AXES], const struct layer_options *given, int number,
                     struct prefill_job *job) {
    struct layer_options options = *given;
    const char *chosen[NUM_AXES] = {NULL};
    for (int axis = NUM_AXES - 1; axis >= 0; axis--) {
        if (items[axis].num == 0) continue;
        chosen[axis] = items[axis].texts[number % items[axis].num];
        number /= items[axis].num;
        int option = axis_kinds[axis].option;
        if (option != 0 && layer_options_take(&options, "prefill", option, chosen[axis]) != 1) return false;
    }
    if (!layer_options_layer(&options, "prefill", &job->layer)) return false;
    if (chosen[AXIS_TENSOR_PARALLEL] != NULL && !divide(&job->layer, chosen[AXIS_TENSOR_PARALLEL])) return false;
    snprintf(job->arch, sizeof(job->arch), "%s", chosen[AXIS_ARCH]);
    snprintf(job->name, sizeof(job->name), "%s", chosen[AXIS_MODEL] != NULL ? chosen[AXIS_MODEL] : "layer");
    for (int axis = AXIS_TENSOR_PARALLEL; axis < AXIS_ARCH; axis++) {
        if (items[axis].num < 2) continue; // what all have in common is no name
        size_t used = strlen(job->name);
        snprintf(job->name + used, sizeof(job->name) - used, " %s%s", axis == AXIS_TENSOR_PARALLEL ? "tp" : "",
                 chosen[axis]);
    }
    return true;
}

// The layers of a checkpoint, one of each description, for every arch.
static bool list_checkpoint(const struct items *archs, const struct layer_options *options,
                            struct prefill_matrix *matrix) {
    moejit_layer *layers = NULL;
    int num = 0;
    if (!checkpoint_layers_list(options, "prefill", &layers, &num)) return false;
    matrix->num_jobs = num * archs->num;
    matrix->jobs = calloc((size_t)matrix->num_jobs, sizeof(*matrix->jobs));
    for (int i = 0; matrix->jobs != NULL && i < matrix->num_jobs; i++) {
        struct prefill_job *job = &matrix->jobs[i];
        job->layer = layers[i / archs->num];
        snprintf(job->arch, sizeof(job->arch), "%s", archs->texts[i % archs->num]);
        snprintf(job->name, sizeof(job->name), "%s", options->checkpoint);
    }
    free(layers);
    if (matrix->jobs == NULL) fprintf(stderr, "moejit prefill: no memory for %d layers\n", matrix->num_jobs);
    return matrix->jobs != NULL;
}

bool prefill_matrix_create(const struct prefill_axes *axes, const struct layer_options *layer,
                           struct prefill_matrix *matrix) {
    const char *lists[NUM_AXES] = {
        axes->models, axes->tensor_parallel, axes->activation_formats, axes->output_dtypes, axes->sums, axes->archs};
    struct items items[NUM_AXES] = {0};
    int num = 1;
    if (lists[AXIS_ARCH] == NULL || strcmp(lists[AXIS_ARCH], "all") == 0) {
        lists[AXIS_ARCH] = lists[AXIS_ARCH] == NULL ? "sm_90a" : all_archs;
    }
    for (int axis = 0; axis < NUM_AXES; axis++) {
        if (!split(axis_kinds[axis].name, lists[axis], &items[axis])) return false;
        if (axis == AXIS_MODEL) list_models(&items[axis]);
        if (items[axis].num > 0) num *= items[axis].num;
        if (layer->checkpoint != NULL && axis != AXIS_ARCH && items[axis].num > 0) {
            command_usage("prefill", "--%s does not go with --checkpoint, which says it", axis_kinds[axis].name);
            return false;
        }
    }
    if (layer->checkpoint != NULL) return list_checkpoint(&items[AXIS_ARCH], layer, matrix);
    matrix->jobs = calloc((size_t)num, sizeof(*matrix->jobs));
    if (matrix->jobs == NULL) {
        fprintf(stderr, "moejit prefill: no memory for %d layers\n", num);
        return false;
    }
    for (matrix->num_jobs = 0; matrix->num_jobs < num; matrix->num_jobs++) {
        if (make_job(items, layer, matrix->num_jobs, &matrix->jobs[matrix->num_jobs])) continue;
        free(matrix->jobs);
        matrix->jobs = NULL;
        return false;
    }
    return true;
}
