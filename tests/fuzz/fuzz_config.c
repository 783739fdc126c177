// Any bytes as a config.json: refused with a sentence, or sizes within a layer's range.
#include <stdlib.h>

#include "model_config.h"

static void require(int good) {
    if (!good) abort();
}

// The symbol that libFuzzer calls.
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *root;
    moejit_layer layer;
    struct mj_model_config config;
    struct mj_error error = {0};
    if (mj_json_parse(data, size, "fuzz", &root, &error) != MOEJIT_STATUS_OK) {
        require(root == NULL && error.message[0] != '\0');
        return 0;
    }
    if (mj_quantization_check(root, "fuzz", &error) != MOEJIT_STATUS_OK) require(error.message[0] != '\0');
    if (mj_model_config_parse(root, "fuzz", &config, &error) == MOEJIT_STATUS_OK) {
        require(config.hidden >= 1 && config.intermediate >= 1 && config.num_experts >= 1 && config.top_k >= 1);
        mj_model_config_layer(&config, &layer);
        require(layer.hidden == config.hidden);
    } else {
        require(error.message[0] != '\0');
    }
    json_decref(root);
    return 0;
}
