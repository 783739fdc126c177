#include <stdio.h>
#include <string.h>

#include "jit/compiler.h"

const char *mj_compiler_options(void) {
    return "--std=c++17\n--fmad=false";
}

// fmad off: what is one rounding and what two stands in the source, so that every toolkit gives the same bits. Those
// below the first two change no code. Stack limit: NVRTC would otherwise raise that of the process while it compiles.
// Minimal: without declarations of textures and of the runtime's functions, which each compile would read first.
static const char *const options[] = {"--std=c++17", "--fmad=false", "--modify-stack-limit=false", "--ptxas-options=-v",
                                      "--minimal"};

void mj_compiler_request(const struct mj_source_set *sources, const char *unit, const char *symbol,
                         const struct mj_arch *arch, bool ptx_only, struct mj_compile_request *request) {
    bool used[MJ_MAX_SOURCES] = {false};
    *request = (struct mj_compile_request){.symbol = symbol,
                                           .unit = unit,
                                           .nvrtc_major = arch->nvrtc_major,
                                           .nvrtc_minor = arch->nvrtc_minor,
                                           .num_options = sizeof(options) / sizeof(options[0])};
    snprintf(request->arch, sizeof(request->arch), "%s%s", ptx_only ? "compute" : "sm", arch->name + strlen("sm"));
    for (int i = 0; i < request->num_options; i++) request->options[i] = options[i];
    mj_source_set_closure(sources, unit, used);
    for (int i = 0; i < sources->num_sources; i++) {
        if (!used[i]) continue;
        request->header_names[request->num_headers] = sources->sources[i].name;
        request->header_texts[request->num_headers++] = sources->sources[i].text;
    }
}
