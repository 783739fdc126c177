#include "jit/generator.h"

#include <stdio.h>

const struct mj_kernel mj_kernels[MJ_NUM_KERNELS] = {
#define KERNEL(id, stem, header, entry, args, threads, fields) {#stem, header, entry, #args, threads, fields},
#include "jit/kernels.def"
#undef KERNEL
};

enum mj_kernel_id mj_kernel_gate_up(const struct mj_tile *tile) {
    if (tile->family == MOEJIT_FAMILY_FP4) return MJ_KERNEL_GATE_UP_FP4;
    return tile->family == MOEJIT_FAMILY_HOPPER ? MJ_KERNEL_GATE_UP_HOPPER : MJ_KERNEL_GATE_UP_PORTABLE;
}

enum mj_kernel_id mj_kernel_down(const struct mj_tile *tile) {
    if (tile->family == MOEJIT_FAMILY_FP4) return MJ_KERNEL_DOWN_FP4;
    return tile->family == MOEJIT_FAMILY_HOPPER ? MJ_KERNEL_DOWN_HOPPER : MJ_KERNEL_DOWN_PORTABLE;
}

enum mj_kernel_id mj_kernel_pack(enum mj_packed_layout layout) {
    return layout == MJ_LAYOUT_BLOCK_SCALED ? MJ_KERNEL_PACK_FP4 : MJ_KERNEL_PACK;
}

enum mj_kernel_id mj_kernel_quantize(moejit_family family) {
    return family == MOEJIT_FAMILY_FP4 ? MJ_KERNEL_QUANTIZE_FP4 : MJ_KERNEL_QUANTIZE;
}

void mj_generator_symbol(enum mj_kernel_id id, const struct mj_tile *tile, char symbol[MJ_SYMBOL_BYTES]) {
    snprintf(symbol, MJ_SYMBOL_BYTES, "moejit_%s%s%s", mj_kernels[id].stem, tile != NULL ? "_" : "",
             tile != NULL ? tile->name : "");
}

static const char *const activation_names[] = {"MJ_ACTIVATION_SWIGLU", "MJ_ACTIVATION_SWIGLU_OAI",
                                               "MJ_ACTIVATION_GEGLU", "MJ_ACTIVATION_RELU2"};
static const char *const format_names[] = {"MJ_FORMAT_BF16", "MJ_FORMAT_NVFP4"};
static const char *const dtype_names[] = {"MJ_DTYPE_NONE", "MJ_DTYPE_BF16", "MJ_DTYPE_F16", "MJ_DTYPE_F32"};
static const char *const row_order_names[] = {"MJ_ROWS_GATE_UP", "MJ_ROWS_UP_GATE", "MJ_ROWS_GATE_UP_ALTERNATING",
                                              "MJ_ROWS_INTERLEAVED_64"};
static const char *const layout_names[] = {
    [MJ_LAYOUT_FRAGMENTS] = "MJ_LAYOUT_FRAGMENTS", [MJ_LAYOUT_BLOCK_SCALED] = "MJ_LAYOUT_BLOCK_SCALED"};
static const char *const sum_names[] = {"MJ_SUM_ATOMIC", "MJ_SUM_ORDERED"};

static void write_number(struct mj_text *unit, const char *name, int value) {
    mj_text_append(unit, "    static constexpr int %s = %d;\n", name, value);
}

static void write_word(struct mj_text *unit, const char *name, const char *word) {
    mj_text_append(unit, "    static constexpr int %s = %s;\n", name, word);
}

static void write_flag(struct mj_text *unit, const char *name, bool value) {
    mj_text_append(unit, "    static constexpr bool %s = %s;\n", name, value ? "true" : "false");
}

static void write_problem(struct mj_text *unit, unsigned fields, const struct mj_problem *problem) {
    const moejit_layer *layer = &problem->layer;
    if (fields & MJ_FIELD_HIDDEN) write_number(unit, "hidden", layer->hidden);
    if (fields & MJ_FIELD_INTERMEDIATE) write_number(unit, "intermediate", layer->intermediate);
    if (fields & MJ_FIELD_TOP_K) write_number(unit, "top_k", layer->top_k);
    if (fields & MJ_FIELD_ACTIVATION) write_word(unit, "activation", activation_names[layer->activation]);
    if (fields & MJ_FIELD_GATED) write_flag(unit, "gated", problem->gated);
    if (fields & MJ_FIELD_ROUTER_WEIGHT_ON_INPUT)
        write_flag(unit, "router_weight_on_input", layer->router_weight_on_input != 0);
    if (fields & MJ_FIELD_ACTIVATION_FORMAT)
        write_word(unit, "activation_format", format_names[layer->activation_format]);
    if (fields & MJ_FIELD_INPUT_FORMAT) write_word(unit, "input_format", format_names[layer->input_format]);
    if (fields & MJ_FIELD_OUTPUT_DTYPE) write_word(unit, "output_dtype", dtype_names[layer->output_dtype]);
    if (fields & MJ_FIELD_GATE_UP_BIAS_DTYPE)
        write_word(unit, "gate_up_bias_dtype", dtype_names[layer->gate_up_bias_dtype]);
    if (fields & MJ_FIELD_DOWN_BIAS_DTYPE) write_word(unit, "down_bias_dtype", dtype_names[layer->down_bias_dtype]);
    if (fields & MJ_FIELD_ROW_ORDER) write_word(unit, "row_order", row_order_names[layer->gate_up_row_order]);
    if (fields & MJ_FIELD_SUM) write_word(unit, "sum", sum_names[problem->sum]);
}

static void write_tile(struct mj_text *unit, const struct mj_tile *tile) {
    write_word(unit, "packed_layout", layout_names[mj_family_layout(tile->family)]);
    write_number(unit, "block_rows", tile->block_rows);
    write_number(unit, "block_tokens", tile->block_tokens);
    write_number(unit, "block_k", tile->block_k);
    write_number(unit, "num_stages", tile->num_stages);
    write_number(unit, "blocks_per_sm", tile->blocks_per_sm);
}

void mj_generator_write(enum mj_kernel_id id, const struct mj_problem *problem, const struct mj_tile *tile,
                        const char *arch_name, struct mj_text *unit) {
    const struct mj_kernel *kernel = &mj_kernels[id];
    char symbol[MJ_SYMBOL_BYTES];
    mj_generator_symbol(id, tile, symbol);
    mj_text_append(unit, "// moejit %s for %s, ABI %d (generated)\n", kernel->stem, arch_name, MJ_ABI_VERSION);
    mj_text_append(unit, "#include \"%s\"\n\nstruct Config {\n", kernel->header);
    write_problem(unit, kernel->fields, problem);
    if (tile != NULL) write_tile(unit, tile);
    write_number(unit, "num_threads", tile != NULL ? tile->num_threads : kernel->num_threads);
    mj_text_append(unit, "};\n\n");
    mj_text_append(unit, "extern \"C\" __global__ void __launch_bounds__(Config::num_threads, %d)\n",
                   tile != NULL ? tile->blocks_per_sm : 1);
    mj_text_append(unit, "%s(const __grid_constant__ %s args)\n{\n    moejit::%s(args);\n}\n", symbol, kernel->args,
                   kernel->entry);
}
