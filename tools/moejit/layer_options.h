// The options that describe a layer, shared by run, prefill and inspect.
#ifndef MOEJIT_TOOL_LAYER_OPTIONS_H
#define MOEJIT_TOOL_LAYER_OPTIONS_H

#include "command.h"
#include "moe/model_table.h"

struct layer_options {
    const char *model;      // or NULL
    const char *checkpoint; // a folder, or NULL
    const char *config;     // a config.json, or NULL
    int layer_number;       // of the checkpoint; -1: not given
    int hidden, intermediate, num_experts, top_k;
    int first_local, num_local; // num_local 0: all
    int activation, activation_format, input_format, output_dtype, bias, row_order, scale_layout, sum; // -1: not given
    bool split_alpha, per_expert_scale, router_weight_on_input;
};

#define LAYER_OPTIONS_LONG                                                                                             \
    {"model", required_argument, NULL, 'm'}, {"checkpoint", required_argument, NULL, 'C'},                             \
        {"layer", required_argument, NULL, 'N'}, {"config", required_argument, NULL, 'c'},                             \
        {"hidden", required_argument, NULL, 'H'}, {"intermediate", required_argument, NULL, 'I'},                      \
        {"experts", required_argument, NULL, 'E'}, {"top-k", required_argument, NULL, 'K'},                            \
        {"local-experts", required_argument, NULL, 'L'}, {"activation", required_argument, NULL, 'a'},                 \
        {"activation-format", required_argument, NULL, 'f'}, {"input-format", required_argument, NULL, 'i'},           \
        {"output-dtype", required_argument, NULL, 'o'}, {"bias", required_argument, NULL, 'b'},                        \
        {"row-order", required_argument, NULL, 'r'}, {"scale-layout", required_argument, NULL, 'l'},                   \
        {"sum", required_argument, NULL, 's'}, {"split-alpha", no_argument, NULL, 'A'},                                \
        {"per-expert-scale", no_argument, NULL, 'S'}, {                                                                \
        "router-weight-on-input", no_argument, NULL, 'W'                                                               \
    }

extern const char layer_options_help[];

void layer_options_init(struct layer_options *options);
// 1: the option was one of ours and good; 0: not ours; -1: bad, and said so.
int layer_options_take(struct layer_options *options, const char *command, int option, const char *value);
// The layer described; false, with the sentence printed, where that is not enough.
bool layer_options_layer(const struct layer_options *options, const char *command, moejit_layer *layer);
// Output dtype, sum and the other choices that were given.
void layer_options_apply(const struct layer_options *options, moejit_layer *layer);
// Whether no option was given that contradicts --checkpoint, which tells them; false, with the sentence printed.
bool layer_options_suit_checkpoint(const struct layer_options *options, const char *command);
// What to call the layer in a table: the model's name, the checkpoint's or config's folder, or "layer". Valid as long
// as the options.
const char *layer_options_name(const struct layer_options *options);
// The packed layout that a forced family, or a forced tile's, reads; AUTO where neither is forced.
moejit_packed_layout layer_options_layout(moejit_family family, int tile);
// Makes a model small enough for an emulator, keeping its features and odd sizes, and sizes given by options, or NULL.
void layer_options_shrink(const struct layer_options *given, moejit_layer *layer);

#endif
