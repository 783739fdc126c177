#include "run/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "run/autotune.h"
#include "run/kernel_batch.h"
#include "run/tuning_options.h"

#define DEFAULT_PARTIALS_CAP ((size_t)256 << 20)

void moejit_plan_options_init(moejit_plan_options *options) {
    if (options == NULL) return;
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
}

// Whether the family reads weights as they are packed for the layer.
static moejit_status check_layout(const struct mj_problem *problem, moejit_family family, const char *arch,
                                  struct mj_error *error) {
    enum mj_packed_layout needed = mj_family_layout(family), packed = problem->packed_layout;
    if (packed == needed) return MOEJIT_STATUS_OK;
    return mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED,
                        "the %s family reads the %s layout, the layer's weights are packed as %s on %s "
                        "(packed_layout = %d)",
                        mj_family_name(family), mj_packed_layout_name(needed), mj_packed_layout_name(packed), arch,
                        (int)problem->layer.packed_layout);
}

moejit_status moejit_layer_supported(const moejit_layer *layer, const char *arch, char *reason, size_t reason_bytes) {
    struct mj_error error = {0};
    struct mj_problem problem;
    moejit_status status = mj_problem_create(&problem, layer, &error);
    if (status == MOEJIT_STATUS_OK && arch != NULL && mj_arch_find(arch) == NULL)
        status = mj_arch_unknown(arch, &error);
    if (status == MOEJIT_STATUS_OK && arch != NULL) {
        problem.packed_layout = mj_packed_layout_choose(&problem, arch);
        status = check_layout(&problem, mj_family_choose(&problem, arch), arch, &error);
    }
    mj_error_copy(&error, reason, reason_bytes);
    return status;
}

static int first_of_bucket(const struct moejit_plan *plan, int bucket_idx) {
    return bucket_idx > 0 ? plan->buckets[bucket_idx - 1].num_tokens + 1 : 1;
}

// The tiles of both steps, for each token count of a bucket. The rule's tiles widen with the tokens.
static void mark_tiles(const struct moejit_plan *plan, int bucket_idx, bool gate_up[MJ_NUM_TILES],
                       bool down[MJ_NUM_TILES]) {
    const struct mj_plan_bucket *bucket = &plan->buckets[bucket_idx];
    struct mj_decision first = mj_plan_decide(plan, first_of_bucket(plan, bucket_idx));
    struct mj_decision last = mj_plan_decide(plan, bucket->num_tokens);
    for (int tile = first.value[MJ_CHOICE_GATE_UP_TILE]; tile <= last.value[MJ_CHOICE_GATE_UP_TILE]; tile++)
        gate_up[tile] = true;
    for (int tile = first.value[MJ_CHOICE_DOWN_TILE]; tile <= last.value[MJ_CHOICE_DOWN_TILE]; tile++)
        down[tile] = true;
}

int mj_plan_wanted(const struct moejit_plan *plan, struct mj_wanted list[MJ_MAX_PLAN_KERNELS]) {
    int num = 0;
    bool atomic = plan->problem.sum == MJ_SUM_ATOMIC;
    bool gate_up[MJ_NUM_TILES] = {false}, down[MJ_NUM_TILES] = {false};
    list[num++] = (struct mj_wanted){mj_kernel_pack(plan->problem.packed_layout), -1};
    list[num++] = (struct mj_wanted){MJ_KERNEL_ROUTE, -1};
    if (plan->problem.layer.activation_format == MOEJIT_FORMAT_NVFP4)
        list[num++] = (struct mj_wanted){mj_kernel_quantize(plan->family), -1};
    list[num++] = (struct mj_wanted){atomic ? MJ_KERNEL_ZERO : MJ_KERNEL_COMBINE, -1};
    for (int i = 0; i < plan->num_buckets; i++) mark_tiles(plan, i, gate_up, down);
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) {
        if (gate_up[tile]) list[num++] = (struct mj_wanted){mj_kernel_gate_up(&mj_tiles[tile]), tile};
        if (down[tile]) list[num++] = (struct mj_wanted){mj_kernel_down(&mj_tiles[tile]), tile};
    }
    return num;
}

struct mj_decision mj_plan_untuned(const struct moejit_plan *plan, int num_tokens) {
    return mj_decision_untuned(&plan->problem, plan->family, plan->forced_tile, num_tokens);
}

struct mj_decision mj_plan_decide(const struct moejit_plan *plan, int num_tokens) {
    if (plan->trial != NULL) return *plan->trial;
    int i = 0;
    while (i < plan->num_buckets - 1 && plan->buckets[i].num_tokens < num_tokens) i++;
    if (plan->buckets[i].decided != MOEJIT_DECIDED_BY_RULE) return plan->buckets[i].decision;
    return mj_plan_untuned(plan, num_tokens);
}

// Describes those of the list that the plan does not hold yet, behind those that it holds.
static moejit_status describe(struct moejit_plan *plan, const struct mj_wanted *list, int num) {
    for (int i = 0; i < num; i++) {
        if (mj_plan_find(plan, list[i].id, list[i].tile_idx) != NULL) continue;
        moejit_status status = mj_loaded_kernel_describe(plan->context, &plan->problem, list[i].id, list[i].tile_idx,
                                                         &plan->kernels[plan->num_kernels]);
        if (status != MOEJIT_STATUS_OK) return status;
        plan->num_kernels++;
    }
    return MOEJIT_STATUS_OK;
}

// Of those from `first` on only what could be loaded stays, in its order.
static void drop_unloaded(struct moejit_plan *plan, int first) {
    int end = plan->num_kernels;
    plan->num_kernels = first;
    for (int i = first; i < end; i++) {
        struct mj_loaded_kernel *kernel = &plan->kernels[i];
        if (kernel->module.module != NULL || kernel->image.ptx != NULL) {
            plan->kernels[plan->num_kernels++] = *kernel;
        } else {
            mj_loaded_kernel_destroy(plan->context, kernel);
        }
    }
}

moejit_status mj_plan_prepare(struct moejit_plan *plan, const struct mj_wanted *list, int num,
                              moejit_progress_fn progress, void *user) {
    int first = plan->num_kernels;
    moejit_status status = describe(plan, list, num);
    if (status == MOEJIT_STATUS_OK && plan->num_kernels > first) {
        status =
            mj_kernel_batch_prepare(plan->context, &plan->kernels[first], plan->num_kernels - first, progress, user);
    }
    if (status != MOEJIT_STATUS_OK) drop_unloaded(plan, first);
    return status;
}

moejit_status mj_plan_prepare_decision(struct moejit_plan *plan, const struct mj_decision *decision) {
    int gate_up = decision->value[MJ_CHOICE_GATE_UP_TILE], down = decision->value[MJ_CHOICE_DOWN_TILE];
    const struct mj_wanted list[] = {{mj_kernel_gate_up(&mj_tiles[gate_up]), gate_up},
                                     {mj_kernel_down(&mj_tiles[down]), down}};
    return mj_plan_prepare(plan, list, 2, NULL, NULL);
}

static moejit_status prepare_kernels(struct moejit_plan *plan, const moejit_plan_options *options) {
    struct mj_wanted list[MJ_MAX_PLAN_KERNELS];
    int num = mj_plan_wanted(plan, list);
    if (!plan->describe_only) return mj_plan_prepare(plan, list, num, options->progress, options->progress_user);
    moejit_status status = describe(plan, list, num);
    if (status == MOEJIT_STATUS_OK) mj_kernel_batch_look_up(plan->context, plan->kernels, plan->num_kernels);
    return status;
}

static moejit_status check_options(const moejit_plan_options *options, struct mj_error *error) {
    if (options->max_num_tokens < 1 || options->max_num_tokens > MJ_MAX_TOKENS) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "plan has max_num_tokens = %d, needs 1 to %d",
                            options->max_num_tokens, MJ_MAX_TOKENS);
    }
    if (options->tile < 0 || options->tile > MJ_NUM_TILES) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "plan has tile = %d, needs 0 (choose) or 1 to %d (see moejit_tile_name)", options->tile,
                            MJ_NUM_TILES);
    }
    if ((int)options->family < MOEJIT_FAMILY_AUTO || options->family > MOEJIT_FAMILY_FP4) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "plan has family = %d, needs 0 (choose), 1 (portable), 2 (hopper) or 3 (fp4)",
                            (int)options->family);
    }
    if ((int)options->tune < MOEJIT_TUNE_NEVER || options->tune > MOEJIT_TUNE_MISSING) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "plan has tune = %d, needs 0 (never), 1 (stored) or 2 (missing)", (int)options->tune);
    }
    return MOEJIT_STATUS_OK;
}

// Whether the family serves this layer, with weights as they are packed for it.
static moejit_status check_family(struct moejit_plan *plan) {
    const char *arch = plan->context->arch->name;
    struct mj_error *error = &plan->context->error;
    if (plan->family == MOEJIT_FAMILY_FP4 && plan->problem.layer.activation_format != MOEJIT_FORMAT_NVFP4) {
        return mj_error_set(error, MOEJIT_STATUS_UNSUPPORTED,
                            "the %s family multiplies NVFP4 activations, the layer has bf16 ones",
                            mj_family_name(plan->family));
    }
    plan->problem.packed_layout = mj_packed_layout_choose(&plan->problem, arch);
    return check_layout(&plan->problem, plan->family, arch, error);
}

// The forced tile's family, the one asked for, or the best that the arch runs.
static moejit_status choose_family(struct moejit_plan *plan, const moejit_plan_options *options) {
    struct moejit_context *context = plan->context;
    const char *arch = context->arch->name;
    plan->forced_tile = options->tile - 1;
    plan->family = options->family != MOEJIT_FAMILY_AUTO ? options->family : mj_family_choose(&plan->problem, arch);
    if (plan->forced_tile >= 0) plan->family = mj_tiles[plan->forced_tile].family;
    if (options->family != MOEJIT_FAMILY_AUTO && plan->family != options->family) {
        return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "plan has family = %s and tile %s, which belongs to the %s family",
                            mj_family_name(options->family), mj_tiles[plan->forced_tile].name,
                            mj_family_name(plan->family));
    }
    if (!mj_family_runs_on(plan->family, arch)) {
        return mj_error_set(&context->error, MOEJIT_STATUS_UNSUPPORTED, "the %s family does not run on %s, needs %s",
                            mj_family_name(plan->family), arch, mj_family_archs(plan->family));
    }
    return check_family(plan);
}

static void list_buckets(struct moejit_plan *plan) {
    int tokens[MJ_MAX_BUCKETS];
    plan->num_buckets = mj_bucket_list(plan->max_num_tokens, tokens);
    for (int i = 0; i < plan->num_buckets; i++) plan->buckets[i].num_tokens = tokens[i];
}

// Only what the caller asked for or got wrong ends the plan: without measurement the rule decides.
static moejit_status tune_missing(struct moejit_plan *plan, const moejit_plan_options *given) {
    struct moejit_context *context = plan->context;
    moejit_tune_options options;
    char text[sizeof(context->error.message) + 64];
    moejit_status status = mj_tuning_options_read(&plan->problem.layer, given->tune_options, &options, &context->error);
    if (status == MOEJIT_STATUS_OK && options.progress == NULL) {
        options.progress = given->progress;
        options.progress_user = given->progress_user;
    }
    if (status == MOEJIT_STATUS_OK) status = moejit_plan_tune(plan, &options);
    if (status == MOEJIT_STATUS_OK || status == MOEJIT_STATUS_CANCELLED || status == MOEJIT_STATUS_INVALID_ARGUMENT)
        return status;
    snprintf(text, sizeof(text), "tuning failed, the plan is not tuned: %s", context->error.message);
    mj_context_log(context, MOEJIT_LOG_WARNING, text);
    mj_error_clear(&context->error);
    return MOEJIT_STATUS_OK;
}

static moejit_status create(struct moejit_plan *plan, const moejit_layer *layer, const moejit_plan_options *given) {
    struct moejit_context *context = plan->context;
    moejit_plan_options options = {0};
    moejit_status status = mj_problem_create(&plan->problem, layer, &context->error);
    if (status == MOEJIT_STATUS_OK) {
        status = mj_options_read("plan options", &options, sizeof(options), given, &context->error);
    }
    if (status == MOEJIT_STATUS_OK) status = check_options(&options, &context->error);
    if (status == MOEJIT_STATUS_OK) status = choose_family(plan, &options);
    if (status != MOEJIT_STATUS_OK) return status;
    plan->max_num_tokens = options.max_num_tokens;
    plan->describe_only = options.describe_only != 0;
    size_t cap = options.partials_cap_bytes > 0 ? options.partials_cap_bytes : DEFAULT_PARTIALS_CAP;
    mj_layout_workspace(&plan->problem, plan->max_num_tokens, cap, &plan->workspace);
    list_buckets(plan);
    // Without a GPU there is none to find decisions for.
    moejit_tune tune = context->attached ? options.tune : MOEJIT_TUNE_NEVER;
    if (tune != MOEJIT_TUNE_NEVER) status = mj_autotune_adopt(plan, options.tune_options);
    struct mj_entered entered = {false};
    if (status == MOEJIT_STATUS_OK && context->attached) status = mj_context_enter(context, &entered, &context->error);
    if (status == MOEJIT_STATUS_OK) status = prepare_kernels(plan, &options);
    if (context->attached) mj_context_leave(context, &entered);
    if (status == MOEJIT_STATUS_OK && tune == MOEJIT_TUNE_MISSING && !plan->describe_only)
        status = tune_missing(plan, &options);
    return status;
}

moejit_status moejit_plan_create(moejit_context *context, const moejit_layer *layer, const moejit_plan_options *options,
                                 moejit_plan **plan) {
    if (plan != NULL) *plan = NULL;
    if (context == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    if (plan == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT, "plan is NULL");
    struct moejit_plan *made = calloc(1, sizeof(*made));
    if (made == NULL) return mj_error_set(&context->error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the plan");
    made->context = context;
    moejit_status status = create(made, layer, options);
    if (status == MOEJIT_STATUS_OK) {
        *plan = made;
    } else {
        moejit_plan_destroy(made);
    }
    return status;
}

void moejit_plan_destroy(moejit_plan *plan) {
    if (plan == NULL) return;
    struct mj_entered entered = {false};
    struct mj_error ignored;
    if (plan->context->attached) mj_context_enter(plan->context, &entered, &ignored);
    for (int i = 0; i < plan->num_kernels; i++) mj_loaded_kernel_destroy(plan->context, &plan->kernels[i]);
    if (plan->context->attached) mj_context_leave(plan->context, &entered);
    free(plan);
}

size_t moejit_plan_workspace_bytes(const moejit_plan *plan) {
    return plan != NULL ? plan->workspace.total : 0;
}

moejit_sum moejit_plan_sum(const moejit_plan *plan) {
    if (plan == NULL || plan->problem.sum == MJ_SUM_ATOMIC) return MOEJIT_SUM_ATOMIC;
    return plan->problem.layer.sum; // the default is atomic
}

int32_t moejit_plan_num_kernels(const moejit_plan *plan) {
    return plan != NULL ? plan->num_kernels : 0;
}

moejit_status moejit_plan_kernel(const moejit_plan *plan, int32_t kernel_idx, moejit_kernel_info *info) {
    if (plan == NULL) return MOEJIT_STATUS_INVALID_ARGUMENT;
    if (info == NULL || kernel_idx < 0 || kernel_idx >= plan->num_kernels) {
        return mj_error_set(&plan->context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "kernel_idx is %d, needs 0 to %d; info is %p", kernel_idx, plan->num_kernels - 1,
                            (void *)info);
    }
    const struct mj_loaded_kernel *kernel = &plan->kernels[kernel_idx];
    moejit_kernel_info ours = {
        .struct_size = info->struct_size,
        .symbol = kernel->symbol,
        .source = kernel->unit.data,
        .key_text = kernel->key.data,
        .ptx = kernel->image.ptx,
        .registers = kernel->resources.registers,
        .spill_bytes = kernel->resources.spill_bytes,
        .static_shared_bytes = kernel->resources.static_shared_bytes,
        .dynamic_shared_bytes = kernel->shared_bytes,
        .num_threads = kernel->num_threads,
        .cached = kernel->cached,
        .cubin = kernel->image.cubin,
        .cubin_bytes = kernel->image.cubin_bytes,
        .log = kernel->image.log,
    };
    memcpy(info, &ours, info->struct_size < sizeof(ours) ? info->struct_size : sizeof(ours));
    return MOEJIT_STATUS_OK;
}

const struct mj_loaded_kernel *mj_plan_find(const struct moejit_plan *plan, enum mj_kernel_id id, int tile_idx) {
    for (int i = 0; i < plan->num_kernels; i++) {
        if (plan->kernels[i].id == id && plan->kernels[i].tile_idx == tile_idx) return &plan->kernels[i];
    }
    return NULL;
}
