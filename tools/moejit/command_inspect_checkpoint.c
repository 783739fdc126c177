// moejit inspect checkpoint: what a checkpoint holds, with no GPU.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "moejit/checkpoint.h"

static const char help[] = "Usage: moejit inspect checkpoint DIR [options]\n"
                           "Tells what a folder of Hugging Face style holds: family, format, files, and each layer "
                           "that has experts, after a look\n"
                           "at the types, shapes and scales of all their tensors. Needs no GPU.\n\n"
                           "  --layer N                only this layer\n"
                           "  --json                   one JSON object a layer\n"
                           "Exit status: 0 good, 2 bad command line or file.\n";

enum { OPTION_LAYER = 256, OPTION_JSON, OPTION_HELP };

static const struct option long_options[] = {
    {"layer", required_argument, NULL, OPTION_LAYER},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static const char name[] = "inspect checkpoint";

static int refuse(const moejit_model *model) {
    return command_usage(name, "%s", moejit_model_error(model));
}

struct layer_facts {
    moejit_layer layer;
    bool calibrated; // has input scales
    size_t expert_bytes;
};

static bool has_input_scales(moejit_model *model, int number, const moejit_layer *layer) {
    size_t experts = (size_t)layer->num_local_experts;
    float *numbers = calloc(3 * experts + 1 + experts, sizeof(float));
    if (numbers == NULL) return false;
    moejit_model_scales scales = {sizeof(scales), numbers, numbers + 2 * experts, numbers + 3 * experts,
                                  numbers + 3 * experts + 1};
    bool good = moejit_model_scales_read(model, number, layer, &scales) == MOEJIT_STATUS_OK;
    free(numbers);
    return good;
}

static bool read_facts(moejit_model *model, int number, struct layer_facts *facts) {
    moejit_model_layer_options options;
    moejit_model_layer_options_init(&options);
    options.layer_number = number;
    options.activation_format = MOEJIT_FORMAT_NVFP4;
    if (moejit_model_layer(model, &options, &facts->layer) != MOEJIT_STATUS_OK) return false;
    facts->calibrated = has_input_scales(model, number, &facts->layer);
    const moejit_layer *layer = &facts->layer;
    size_t rows = (size_t)layer->intermediate * (layer->activation == MOEJIT_ACTIVATION_RELU2 ? 2 : 3);
    facts->expert_bytes = rows * (size_t)layer->hidden / 16 * 9;
    return true;
}

static void print_layer(int number, const struct layer_facts *facts, bool json) {
    static const char *const activations[] = {"swiglu", "swiglu-oai", "geglu", "relu2"};
    const moejit_layer *layer = &facts->layer;
    if (json) {
        printf("{\"layer\": %d, \"hidden\": %d, \"intermediate\": %d, \"experts\": %d, \"top_k\": %d, \"activation\": "
               "\"%s\", \"router_weight_on_input\": %s, \"split_alpha\": %s, \"input_scales\": %s, "
               "\"per_expert_intermediate_scale\": %s, \"expert_bytes\": %zu}\n",
               number, layer->hidden, layer->intermediate, layer->num_experts, layer->top_k,
               activations[layer->activation], layer->router_weight_on_input ? "true" : "false",
               layer->split_gate_up_alpha ? "true" : "false", facts->calibrated ? "true" : "false",
               layer->per_expert_intermediate_scale ? "true" : "false", facts->expert_bytes);
        return;
    }
    printf("%5d %7d %6d %12d %5d %-10s %-12s %-15s %13zu\n", number, layer->num_experts, layer->hidden,
           layer->intermediate, layer->top_k, activations[layer->activation],
           layer->activation == MOEJIT_ACTIVATION_RELU2 ? "no gate"
           : layer->split_gate_up_alpha                 ? "alpha each"
                                                        : "one alpha",
           !facts->calibrated                     ? "none"
           : layer->per_expert_intermediate_scale ? "h: each expert"
                                                  : "h: one",
           facts->expert_bytes);
}

static void print_head(const char *folder, const moejit_model *model) {
    moejit_model_info info = {.struct_size = sizeof(info)};
    moejit_model_info_read(model, &info);
    printf("%s: %s (%s), %s\n", folder, info.family, info.model_type,
           info.format[0] != '\0' ? info.format : "no NVFP4 experts");
    printf("%d layers with experts; %llu tensors in %d files, %llu bytes\n", info.num_moe_layers,
           (unsigned long long)info.num_tensors, info.num_files, (unsigned long long)info.file_bytes);
    printf("layer experts hidden intermediate top-k activation gate and up  input scales    bytes/expert\n");
}

static int print_model(const char *folder, moejit_model *model, int only, bool json) {
    bool found = false;
    if (!json) print_head(folder, model);
    for (int i = 0; moejit_model_moe_layer(model, i) >= 0; i++) {
        struct layer_facts facts;
        int number = moejit_model_moe_layer(model, i);
        if (only >= 0 && number != only) continue;
        found = true;
        if (!read_facts(model, number, &facts)) return refuse(model);
        print_layer(number, &facts, json);
    }
    return found ? EXIT_GOOD : command_usage(name, "--layer is %d, which has no experts in %s", only, folder);
}

int command_inspect_checkpoint(int argc, char **argv) {
    char message[2048];
    long long only = -1;
    bool json = false;
    moejit_model *model;
    for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
        switch (option) {
        case OPTION_HELP: fputs(help, stdout); return EXIT_GOOD;
        case OPTION_JSON: json = true; break;
        case OPTION_LAYER:
            if (!command_number(name, "layer", optarg, 0, 4095, &only)) return EXIT_USAGE;
            break;
        default: return EXIT_USAGE; // getopt has told why
        }
    }
    if (argc - optind != 1) return command_usage(name, "needs one folder, met %d", argc - optind);
    const char *folder = argv[optind];
    if (moejit_model_open(folder, &model, message, sizeof(message)) != MOEJIT_STATUS_OK)
        return command_usage(name, "%s", message);
    int code = print_model(folder, model, (int)only, json);
    moejit_model_close(model);
    return code;
}
