#include "run/tuning_key.h"

#include <stdio.h>
#include <string.h>

#include "key.h"
#include "run/image_source.h"

#define MEMORY_CLOCK_CLASS_KHZ 50000 // clocks nearer than that are one class

static void append_number(struct mj_text *key, const char *name, double value) {
    char text[40];
    int length = snprintf(text, sizeof(text), "%.9g", value);
    mj_key_append(key, name, text, (size_t)length);
}

// Every field but the first local expert, so that ranks share what one has measured.
static void append_layer(struct mj_text *key, const moejit_layer *layer) {
    const struct {
        const char *name;
        double value;
    } fields[] = {
        {"hidden", layer->hidden},
        {"intermediate", layer->intermediate},
        {"num_experts", layer->num_experts},
        {"num_local_experts", layer->num_local_experts},
        {"top_k", layer->top_k},
        {"activation", layer->activation},
        {"activation_alpha", (double)layer->activation_alpha},
        {"activation_beta", (double)layer->activation_beta},
        {"activation_limit", (double)layer->activation_limit},
        {"activation_format", layer->activation_format},
        {"input_format", layer->input_format},
        {"output_dtype", layer->output_dtype},
        {"gate_up_bias_dtype", layer->gate_up_bias_dtype},
        {"down_bias_dtype", layer->down_bias_dtype},
        {"gate_up_row_order", layer->gate_up_row_order},
        {"split_gate_up_alpha", layer->split_gate_up_alpha},
        {"per_expert_intermediate_scale", layer->per_expert_intermediate_scale},
        {"router_weight_on_input", layer->router_weight_on_input},
        {"sum", layer->sum},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) append_number(key, fields[i].name, fields[i].value);
}

static void append_routing(struct mj_text *key, const moejit_layer *layer, const moejit_tune_options *options) {
    static const char *const names[] = {"uniform", "zipf", "histogram"};
    const char *name = names[options->routing];
    mj_key_append(key, "routing", name, strlen(name));
    if (options->routing == MOEJIT_ROUTING_ZIPF) {
        append_number(key, "zipf_exponent", options->zipf_exponent > 0 ? (double)options->zipf_exponent : 1);
    } else if (options->routing == MOEJIT_ROUTING_HISTOGRAM) { // a rank's share hangs on which experts are its own
        mj_key_append_hash(key, "histogram", options->histogram, (size_t)layer->num_experts * sizeof(float));
        append_number(key, "local_expert_offset", layer->local_expert_offset);
    }
}

static moejit_status append_device(struct mj_text *key, const struct moejit_context *context, struct mj_error *error) {
    const struct mj_driver *driver = &context->driver;
    char name[256] = "";
    int clock_khz = 0, bus_bits = 0, version = 0;
    CUresult result = driver->cuDeviceGetName(name, (int)sizeof(name), context->device);
    if (result == CUDA_SUCCESS)
        result = driver->cuDeviceGetAttribute(&clock_khz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, context->device);
    if (result == CUDA_SUCCESS) {
        result = driver->cuDeviceGetAttribute(&bus_bits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, context->device);
    }
    if (result == CUDA_SUCCESS) result = driver->cuDriverGetVersion(&version);
    if (result != CUDA_SUCCESS) return mj_driver_failed(driver, result, "asking for the GPU's name and clocks", error);
    for (char *c = name; *c != '\0'; c++) { // the text is shown and exported
        if (*c < ' ' || *c > '~') *c = '?';
    }
    mj_key_append(key, "gpu", name, strlen(name));
    append_number(key, "num_sms", context->num_sms);
    append_number(key, "memory_clock_class",
                  (clock_khz + MEMORY_CLOCK_CLASS_KHZ / 2) / MEMORY_CLOCK_CLASS_KHZ * MEMORY_CLOCK_CLASS_KHZ);
    append_number(key, "memory_bus_bits", bus_bits);
    append_number(key, "driver_major", version / 1000);
    return MOEJIT_STATUS_OK;
}

static void append_kernel(struct mj_text *all, const struct moejit_plan *plan, enum mj_kernel_id id, int tile_idx) {
    const struct moejit_context *context = plan->context;
    struct mj_text unit = {0};
    mj_generator_write(id, &plan->problem, tile_idx >= 0 ? &mj_tiles[tile_idx] : NULL, context->arch->name, &unit);
    if (unit.failed) {
        all->failed = true;
    } else {
        mj_image_source_key(context->arch->name, mj_compiler_options(), &context->sources, unit.data, all);
    }
    mj_text_free(&unit);
}

// The generator's version, to the byte: an edit of any of these sources asks for new measurements.
static void append_kernels(struct mj_text *key, const struct moejit_plan *plan) {
    static const enum mj_kernel_id plain[] = {MJ_KERNEL_ROUTE, MJ_KERNEL_QUANTIZE, MJ_KERNEL_ZERO, MJ_KERNEL_COMBINE};
    struct mj_text all = {0};
    int tiles[MJ_MAX_VALUES];
    int num = mj_decision_values(&plan->problem, plan->family, plan->forced_tile, MJ_CHOICE_GATE_UP_TILE, tiles);
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) append_kernel(&all, plan, plain[i], -1);
    for (int i = 0; i < num; i++) {
        append_kernel(&all, plan, mj_kernel_gate_up(&mj_tiles[tiles[i]]), tiles[i]);
        append_kernel(&all, plan, mj_kernel_down(&mj_tiles[tiles[i]]), tiles[i]);
    }
    if (all.failed) key->failed = true;
    if (!all.failed) mj_key_append_hash(key, "kernels", all.data, all.bytes);
    mj_text_free(&all);
}

moejit_status mj_tuning_key_write(const struct moejit_plan *plan, const moejit_tune_options *options,
                                  struct mj_text *key, struct mj_error *error) {
    const char *family = mj_family_name(plan->family);
    const char *tile = plan->forced_tile >= 0 ? mj_tiles[plan->forced_tile].name : "any";
    mj_text_append(key, "moejit tuning 1\n");
    append_layer(key, &plan->problem.layer);
    mj_key_append(key, "family", family, strlen(family));
    mj_key_append(key, "tile", tile, strlen(tile));
    append_number(key, "partial_row_blocks", plan->workspace.partial_row_blocks);
    mj_key_append(key, "arch", plan->context->arch->name, strlen(plan->context->arch->name));
    moejit_status status = append_device(key, plan->context, error);
    if (status != MOEJIT_STATUS_OK) return status;
    append_kernels(key, plan);
    append_routing(key, &plan->problem.layer, options);
    if (key->failed) return mj_error_set(error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for the tuning's key");
    return MOEJIT_STATUS_OK;
}

void mj_tuning_key_append_tokens(struct mj_text *key, int num_tokens) {
    append_number(key, "tokens", num_tokens);
}
