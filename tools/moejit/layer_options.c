#include "layer_options.h"

#include <stdio.h>
#include <string.h>

#include "checkpoint_layer.h"
#include "moe/tile.h"

const char layer_options_help[] =
    "The layer:\n"
    "  --model NAME             deepseek-r1, kimi-k2, qwen3-235b-a22b, qwen3-30b-a3b, gpt-oss-120b, llama4-scout,\n"
    "                           nemotron3-nano or mixtral-8x7b; the options below change it\n"
    "  --checkpoint DIR         a folder of Hugging Face style with NVFP4 weights: config.json, *.safetensors\n"
    "  --layer N                of the checkpoint (default: the first that has experts)\n"
    "  --config FILE            only the sizes, from a config.json; the options below change them\n"
    "  --hidden N --intermediate N --experts N --top-k N\n"
    "  --local-experts FIRST:COUNT   only these experts are here (expert parallelism)\n"
    "  --activation NAME        swiglu, swiglu-oai, geglu, relu2\n"
    "  --activation-format F    bf16 or nvfp4\n"
    "  --input-format F         bf16 or nvfp4\n"
    "  --output-dtype T         bf16, f16 or f32\n"
    "  --bias T                 none, bf16 or f32, for both projections\n"
    "  --row-order O            gate-up, up-gate, alternating, interleaved-64\n"
    "  --scale-layout L         linear or 128x4\n"
    "  --sum S                  default, atomic, deterministic, batch-invariant\n"
    "  --split-alpha            gate and up have a global scale each\n"
    "  --per-expert-scale       each expert has its own scale for the intermediate\n"
    "  --router-weight-on-input\n";

static const char *const activations[] = {"swiglu", "swiglu-oai", "geglu", "relu2", NULL};
static const char *const formats[] = {"bf16", "nvfp4", NULL};
static const char *const output_dtypes[] = {"bf16", "f16", "f32", NULL};
static const char *const biases[] = {"none", "bf16", "f32", NULL};
static const char *const row_orders[] = {"gate-up", "up-gate", "alternating", "interleaved-64", NULL};
static const char *const scale_layouts[] = {"linear", "128x4", NULL};
static const char *const sums[] = {"default", "atomic", "deterministic", "batch-invariant", NULL};

void layer_options_init(struct layer_options *options) {
    memset(options, 0, sizeof(*options));
    options->activation = options->activation_format = options->input_format = options->output_dtype = -1;
    options->layer_number = -1;
    options->bias = options->row_order = options->scale_layout = options->sum = -1;
}

static int take_number(const char *command, const char *name, const char *text, long long low, long long high,
                       int *number) {
    long long value;
    if (!command_number(command, name, text, low, high, &value)) return -1;
    *number = (int)value;
    return 1;
}

static int take_choice(const char *command, const char *name, const char *text, const char *const *words, int *choice) {
    return command_choice(command, name, text, words, choice) ? 1 : -1;
}

static int take_local(struct layer_options *options, const char *command, const char *text) {
    char end;
    if (sscanf(text, "%d:%d%c", &options->first_local, &options->num_local, &end) == 2 && options->first_local >= 0 &&
        options->num_local > 0) {
        return 1;
    }
    command_usage(command, "--local-experts is \"%s\", needs FIRST:COUNT, such as 0:32", text);
    return -1;
}

int layer_options_take(struct layer_options *options, const char *command, int option, const char *value) {
    switch (option) {
    case 'm':
        options->model = value;
        if (mj_model_find(value) != NULL) return 1;
        command_usage(command, "--model is \"%s\", which is not one of the list in --help", value);
        return -1;
    case 'C': options->checkpoint = value; return 1;
    case 'c': options->config = value; return 1;
    case 'N': return take_number(command, "layer", value, 0, 4095, &options->layer_number);
    case 'H': return take_number(command, "hidden", value, 16, 65536, &options->hidden);
    case 'I': return take_number(command, "intermediate", value, 16, 65536, &options->intermediate);
    case 'E': return take_number(command, "experts", value, 1, 1024, &options->num_experts);
    case 'K': return take_number(command, "top-k", value, 1, 32, &options->top_k);
    case 'L': return take_local(options, command, value);
    case 'a': return take_choice(command, "activation", value, activations, &options->activation);
    case 'f': return take_choice(command, "activation-format", value, formats, &options->activation_format);
    case 'i': return take_choice(command, "input-format", value, formats, &options->input_format);
    case 'o': return take_choice(command, "output-dtype", value, output_dtypes, &options->output_dtype);
    case 'b': return take_choice(command, "bias", value, biases, &options->bias);
    case 'r': return take_choice(command, "row-order", value, row_orders, &options->row_order);
    case 'l': return take_choice(command, "scale-layout", value, scale_layouts, &options->scale_layout);
    case 's': return take_choice(command, "sum", value, sums, &options->sum);
    case 'A': options->split_alpha = true; return 1;
    case 'S': options->per_expert_scale = true; return 1;
    case 'W': options->router_weight_on_input = true; return 1;
    default: return 0;
    }
}

static void apply_sizes(const struct layer_options *options, moejit_layer *layer) {
    if (options->hidden > 0) layer->hidden = options->hidden;
    if (options->intermediate > 0) layer->intermediate = options->intermediate;
    if (options->num_experts > 0) layer->num_experts = layer->num_local_experts = options->num_experts;
    if (options->top_k > 0) layer->top_k = options->top_k;
    if (options->num_local > 0) {
        layer->local_expert_offset = options->first_local;
        layer->num_local_experts = options->num_local;
    }
}

void layer_options_apply(const struct layer_options *options, moejit_layer *layer) {
    static const moejit_dtype bias_dtypes[] = {MOEJIT_DTYPE_NONE, MOEJIT_DTYPE_BF16, MOEJIT_DTYPE_F32};
    if (options->activation_format >= 0) layer->activation_format = (moejit_format)options->activation_format;
    if (options->input_format >= 0) layer->input_format = (moejit_format)options->input_format;
    if (options->output_dtype >= 0) layer->output_dtype = (moejit_dtype)(options->output_dtype + 1);
    if (options->bias >= 0) layer->gate_up_bias_dtype = layer->down_bias_dtype = bias_dtypes[options->bias];
    if (options->row_order >= 0) layer->gate_up_row_order = (moejit_row_order)options->row_order;
    if (options->scale_layout >= 0) layer->scale_layout = (moejit_scale_layout)options->scale_layout;
    if (options->sum >= 0) layer->sum = (moejit_sum)options->sum;
    if (options->split_alpha) layer->split_gate_up_alpha = 1;
    if (options->per_expert_scale) layer->per_expert_intermediate_scale = 1;
    if (options->router_weight_on_input) layer->router_weight_on_input = 1;
}

bool layer_options_suit_checkpoint(const struct layer_options *options, const char *command) {
    bool sizes = options->hidden > 0 || options->intermediate > 0 || options->num_experts > 0 || options->top_k > 0;
    bool choices = options->activation >= 0 || options->bias >= 0 || options->row_order >= 0 ||
                   options->scale_layout >= 0 || options->split_alpha || options->per_expert_scale ||
                   options->router_weight_on_input;
    if (options->model == NULL && options->config == NULL && !sizes && !choices) return true;
    command_usage(command,
                  "--checkpoint tells the layer; of this list only --layer, --local-experts, --activation-format, "
                  "--input-format, --output-dtype and --sum go with it");
    return false;
}

const char *layer_options_name(const struct layer_options *options) {
    if (options->model != NULL) return options->model;
    const char *path = options->checkpoint != NULL ? options->checkpoint : options->config;
    return path != NULL ? path : "layer";
}

// A known model's layer. Parameters of the activation belong to it: another one brings its own.
static void start_from_model(const struct layer_options *options, const moejit_layer *known, moejit_layer *layer) {
    moejit_layer fresh = *layer;
    *layer = *known;
    if (options->activation < 0) return;
    layer->activation = fresh.activation;
    layer->activation_alpha = fresh.activation_alpha;
    layer->activation_beta = fresh.activation_beta;
    layer->activation_limit = fresh.activation_limit;
}

static bool read_checkpoint(const struct layer_options *options, const char *command, moejit_layer *layer) {
    struct checkpoint_layer opened;
    if (!checkpoint_layer_open(options, command, &opened)) return false;
    *layer = opened.layer;
    checkpoint_layer_close(&opened);
    return true;
}

bool layer_options_layer(const struct layer_options *options, const char *command, moejit_layer *layer) {
    char message[2048];
    moejit_layer known;
    bool sizes = options->hidden > 0 && options->intermediate > 0 && options->num_experts > 0 && options->top_k > 0;
    if (options->checkpoint != NULL) return read_checkpoint(options, command, layer);
    if (options->model == NULL && options->config == NULL && !sizes) {
        command_usage(command,
                      "needs --model, --checkpoint, --config, or all of --hidden, --intermediate, --experts and "
                      "--top-k");
        return false;
    }
    if (options->model != NULL && options->config != NULL) {
        command_usage(command, "--model and --config both tell the sizes; needs one of them");
        return false;
    }
    moejit_layer_init(layer,
                      options->activation >= 0 ? (moejit_activation)options->activation : MOEJIT_ACTIVATION_SWIGLU);
    if (options->model != NULL) {
        mj_model_layer(mj_model_find(options->model), &known);
        start_from_model(options, &known, layer);
    } else if (options->config != NULL) {
        if (moejit_config_layer(options->config, &known, message, sizeof(message)) != MOEJIT_STATUS_OK) {
            command_usage(command, "%s", message);
            return false;
        }
        start_from_model(options, &known, layer);
    }
    apply_sizes(options, layer);
    layer_options_apply(options, layer);
    return true;
}

// The same remainder by 128, so that what is odd stays odd.
static int shrink_size(int size, int most) {
    if (size <= most) return size;
    int rest = size % 128;
    return rest > 0 ? 128 + rest : most;
}

void layer_options_shrink(const struct layer_options *given, moejit_layer *layer) {
    if (given == NULL || given->hidden == 0) layer->hidden = shrink_size(layer->hidden, 256);
    if (given == NULL || given->intermediate == 0) layer->intermediate = shrink_size(layer->intermediate, 128);
    if (given != NULL && given->num_experts > 0) return;
    if (layer->num_experts > 16) layer->num_experts = 16;
    if (layer->top_k > layer->num_experts) layer->top_k = layer->num_experts;
    layer->local_expert_offset = 0;
    layer->num_local_experts = layer->num_experts;
}

moejit_packed_layout layer_options_layout(moejit_family family, int tile) {
    if (tile > 0 && tile <= MJ_NUM_TILES) family = mj_tiles[tile - 1].family;
    if (family == MOEJIT_FAMILY_AUTO) return MOEJIT_PACKED_LAYOUT_AUTO;
    return family == MOEJIT_FAMILY_FP4 ? MOEJIT_PACKED_LAYOUT_BLOCK_SCALED : MOEJIT_PACKED_LAYOUT_FRAGMENTS;
}
