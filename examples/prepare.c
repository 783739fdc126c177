#include <moejit/moejit.h>
#include <stdio.h>

int main(void) {
    char message[1024];
    moejit_layer layer;
    moejit_layer_init(&layer, MOEJIT_ACTIVATION_SWIGLU);
    layer.hidden = 2048, layer.intermediate = 768, layer.top_k = 8;
    layer.num_experts = layer.num_local_experts = 128;
    moejit_context_options options;
    moejit_context_options_init(&options);
    options.attach = MOEJIT_ATTACH_PRIMARY; // device 0; an engine with a current context leaves this out
    moejit_context *context = NULL;
    moejit_status status = moejit_context_create(&options, &context, message, sizeof(message));
    if (status != MOEJIT_STATUS_OK) return puts(message), 1;
    moejit_plan_options plan_options;
    moejit_plan_options_init(&plan_options);
    plan_options.max_num_tokens = 64;
    moejit_plan *plan = NULL; // compiles or looks up, and loads, every kernel that up to 64 tokens need
    status = moejit_plan_create(context, &layer, &plan_options, &plan);
    printf("%s: %d kernels, %zu bytes of workspace\n%s", moejit_context_arch(context), moejit_plan_num_kernels(plan),
           moejit_plan_workspace_bytes(plan), moejit_context_error(context));
    moejit_plan_destroy(plan); // before: moejit_weights_pack once a layer, moejit_forward once a step
    moejit_context_destroy(context);
    return status != MOEJIT_STATUS_OK;
}
