// Opens a checkpoint's folder and describes its first layer with experts; needs no GPU.
#include <moejit/checkpoint.h>
#include <stdio.h>

int main(int argc, char **argv) {
    char message[1024];
    moejit_model *model = NULL;
    if (argc != 2) return puts("usage: describe_checkpoint DIR"), 2;
    moejit_status status = moejit_model_open(argv[1], &model, message, sizeof(message));
    if (status != MOEJIT_STATUS_OK) return puts(message), 1;
    moejit_model_layer_options options;
    moejit_model_layer_options_init(&options);
    options.layer_number = moejit_model_moe_layer(model, 0);
    moejit_layer layer;
    status = moejit_model_layer(model, &options, &layer);
    if (status == MOEJIT_STATUS_OK) {
        printf("layer %d: H %d, I %d, %d experts, top %d; an expert in staging: %zu bytes\n", options.layer_number,
               layer.hidden, layer.intermediate, layer.num_local_experts, layer.top_k,
               moejit_model_staging_bytes(&layer));
    } else {
        puts(moejit_model_error(model));
    }
    // With a GPU: moejit_weights_create, moejit_model_pack, and moejit_model_scales_read for forward's alphas.
    moejit_model_close(model);
    return status != MOEJIT_STATUS_OK;
}
