#include "run/tuning_options.h"

#include <math.h>
#include <string.h>

#include "base/options.h"

#define MAX_EXPONENT 10.0

void moejit_tune_options_init(moejit_tune_options *options) {
    if (options == NULL) return;
    memset(options, 0, sizeof(*options));
    options->struct_size = sizeof(*options);
}

static moejit_status check_routing(const moejit_layer *layer, const moejit_tune_options *options,
                                   struct mj_error *error) {
    double exponent = (double)options->zipf_exponent;
    struct mj_routing routing;
    if ((int)options->routing < MOEJIT_ROUTING_UNIFORM || options->routing > MOEJIT_ROUTING_HISTOGRAM) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "tuning has routing = %d, needs 0 (uniform), 1 (Zipf) or 2 (histogram)",
                            (int)options->routing);
    }
    if (!isfinite(exponent) || exponent < 0 || exponent > MAX_EXPONENT) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "tuning has zipf_exponent = %g, needs 0 to %g",
                            exponent, MAX_EXPONENT);
    }
    if ((options->routing == MOEJIT_ROUTING_HISTOGRAM) != (options->histogram != NULL)) {
        return mj_error_set(
            error, MOEJIT_STATUS_INVALID_ARGUMENT,
            "tuning has routing = %d and histogram = %p; the routing HISTOGRAM (2), and no other, takes one",
            (int)options->routing, (const void *)options->histogram);
    }
    if (options->histogram != NULL && !mj_routing_histogram(&routing, layer, options->histogram)) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT,
                            "tuning's histogram needs %d finite numbers >= 0 that are not all 0", layer->num_experts);
    }
    return MOEJIT_STATUS_OK;
}

moejit_status mj_tuning_options_read(const moejit_layer *layer, const moejit_tune_options *given,
                                     moejit_tune_options *options, struct mj_error *error) {
    moejit_tune_options_init(options);
    if (given == NULL) return MOEJIT_STATUS_OK;
    moejit_status status = mj_options_read("tune options", options, sizeof(*options), given, error);
    if (status != MOEJIT_STATUS_OK) return status;
    if (options->budget_ms < 0) {
        return mj_error_set(error, MOEJIT_STATUS_INVALID_ARGUMENT, "tuning has budget_ms = %lld, needs at least 0",
                            (long long)options->budget_ms);
    }
    return check_routing(layer, options, error);
}

void mj_tuning_options_routing(const moejit_layer *layer, const moejit_tune_options *options,
                               struct mj_routing *routing) {
    double exponent = options->zipf_exponent > 0 ? (double)options->zipf_exponent : 1;
    switch (options->routing) {
    case MOEJIT_ROUTING_ZIPF: mj_routing_zipf(routing, layer, exponent); break;
    case MOEJIT_ROUTING_HISTOGRAM: mj_routing_histogram(routing, layer, options->histogram); break;
    default: mj_routing_uniform(routing, layer); break;
    }
}
