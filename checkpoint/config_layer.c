// A layer's description from config.json alone.
#include <stdlib.h>
#include <string.h>

#include "model_config.h"
#include "moejit/checkpoint.h"

static moejit_status read_layer(const char *folder, const char *name, moejit_layer *layer, struct mj_error *error) {
    json_t *root;
    struct mj_model_config config;
    moejit_status status = mj_json_read(folder, name, &root, error);
    if (status != MOEJIT_STATUS_OK) return status;
    status = mj_model_config_parse(root, name, &config, error);
    if (status == MOEJIT_STATUS_OK) mj_model_config_layer(&config, layer);
    json_decref(root);
    return status;
}

moejit_status moejit_config_layer(const char *config_path, moejit_layer *layer, char *message, size_t message_bytes) {
    struct mj_error error = {0};
    moejit_status status = MOEJIT_STATUS_INVALID_ARGUMENT;
    char *folder = config_path != NULL ? strdup(config_path) : NULL;
    if (config_path == NULL || layer == NULL) {
        mj_error_set(&error, status, "config_layer has %s = NULL", config_path == NULL ? "config_path" : "layer");
    } else if (folder == NULL) {
        status = mj_error_set(&error, MOEJIT_STATUS_OUT_OF_MEMORY, "no memory for a path");
    } else {
        char *slash = strrchr(folder, '/');
        const char *name = slash != NULL ? config_path + (slash - folder) + 1 : config_path;
        if (slash != NULL) slash[slash == folder ? 1 : 0] = '\0';
        status = read_layer(slash != NULL ? folder : ".", name, layer, &error);
    }
    free(folder);
    mj_error_copy(&error, message, message_bytes);
    return status;
}
