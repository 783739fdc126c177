#include "run/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/options.h"

#define DEFAULT_PARTIALS_CAP ((size_t)256 << 20)

void moejit_plan_options_init(moejit_plan_options *options) {
    if (options == NULL) return;
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
}

moejit_status moejit_layer_supported(const moejit_layer *layer, const char *arch, char *reason, size_t reason_bytes) {
    struct mj_error error = {0};
    struct mj_problem problem;
    moejit_status status = mj_problem_create(&problem, layer, &error);
    if (status == MOEJIT_STATUS_OK && arch != NULL && mj_arch_find(arch) == NULL)
        status = mj_arch_unknown(arch, &error);
    mj_error_copy(&error, reason, reason_bytes);
    return status;
}

struct wanted { // a kernel to prepare
    enum mj_kernel_id id;
    int tile_idx;
};

static int list_wanted(const struct moejit_plan *plan, struct wanted *list) {
    int num = 0;
    bool atomic = plan->problem.sum == MJ_SUM_ATOMIC;
    list[num++] = (struct wanted){MJ_KERNEL_PACK, -1};
    list[num++] = (struct wanted){MJ_KERNEL_ROUTE, -1};
    if (plan->problem.layer.activation_format == MOEJIT_FORMAT_NVFP4)
        list[num++] = (struct wanted){MJ_KERNEL_QUANTIZE, -1};
    list[num++] = (struct wanted){atomic ? MJ_KERNEL_ZERO : MJ_KERNEL_COMBINE, -1};
    int last = mj_tile_choose(&plan->problem, plan->family, plan->max_num_tokens);
    for (int tile = 0; tile < MJ_NUM_TILES; tile++) {
        bool chosen = mj_tiles[tile].family == plan->family && tile <= last;
        if (plan->forced_tile >= 0 ? tile != plan->forced_tile : !chosen) continue;
        list[num++] = (struct wanted){mj_kernel_gate_up(&mj_tiles[tile]), tile};
        list[num++] = (struct wanted){mj_kernel_down(&mj_tiles[tile]), tile};
    }
    return num;
}

static moejit_status prepare_kernels(struct moejit_plan *plan, const moejit_plan_options *options) {
    struct moejit_context *context = plan->context;
    struct wanted list[MJ_MAX_PLAN_KERNELS];
    int total = list_wanted(plan, list);
    for (int i = 0; i < total; i++) {
        char symbol[MJ_SYMBOL_BYTES];
        mj_generator_symbol(list[i].id, list[i].tile_idx >= 0 ? &mj_tiles[list[i].tile_idx] : NULL, symbol);
        if (options->progress != NULL && options->progress(options->progress_user, i, total, symbol) != 0) {
            return mj_error_set(&context->error, MOEJIT_STATUS_CANCELLED, "cancelled with %d of %d kernels prepared", i,
                                total);
        }
        moejit_status status =
            mj_loaded_kernel_create(context, &plan->problem, list[i].id, list[i].tile_idx, &plan->kernels[i]);
        if (status != MOEJIT_STATUS_OK) return status;
        plan->num_kernels = i + 1;
    }
    if (options->progress != NULL) options->progress(options->progress_user, total, total, "");
    return MOEJIT_STATUS_OK;
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
    if ((int)options->family < MOEJIT_FAMILY_AUTO || options->family > MOEJIT_FAMILY_HOPPER) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "plan has family = %d, needs 0 (choose), 1 (portable) or 2 (hopper)", (int)options->family);
    }
    return MOEJIT_STATUS_OK;
}

// The forced tile's family, the one asked for, or the best that the arch runs.
static moejit_status choose_family(struct moejit_plan *plan, const moejit_plan_options *options) {
    struct moejit_context *context = plan->context;
    const char *arch = context->arch->name;
    plan->forced_tile = options->tile - 1;
    plan->family = options->family != MOEJIT_FAMILY_AUTO ? options->family : mj_family_best(arch);
    if (plan->forced_tile >= 0) plan->family = mj_tiles[plan->forced_tile].family;
    if (options->family != MOEJIT_FAMILY_AUTO && plan->family != options->family) {
        return mj_error_set(&context->error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "plan has family = %s and tile %s, which belongs to the %s family",
                            mj_family_name(options->family), mj_tiles[plan->forced_tile].name,
                            mj_family_name(plan->family));
    }
    if (!mj_family_runs_on(plan->family, arch)) {
        return mj_error_set(&context->error, MOEJIT_STATUS_UNSUPPORTED,
                            "the %s family does not run on %s, needs sm_90a", mj_family_name(plan->family), arch);
    }
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
    size_t cap = options.partials_cap_bytes > 0 ? options.partials_cap_bytes : DEFAULT_PARTIALS_CAP;
    mj_layout_workspace(&plan->problem, plan->max_num_tokens, cap, &plan->workspace);
    struct mj_entered entered = {false};
    if (context->attached) status = mj_context_enter(context, &entered, &context->error);
    if (status == MOEJIT_STATUS_OK) status = prepare_kernels(plan, &options);
    if (context->attached) mj_context_leave(context, &entered);
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
