// Approximate functions lie within the bounds that the PTX ISA gives for hardware ("Floating Point Instructions").
#include "machine_test.h"

#include <math.h>

#define THREADS 256
#define BLOCKS 64
#define KERNEL(operation)                                                                                              \
    ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{\n"                             \
    ".reg .f32 %f<4>;\n.reg .b32 %r<8>;\n.reg .b64 %rd<4>;\nld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\n"           \
    "mov.u32 %r2, %ctaid.x;\nmad.lo.u32 %r3, %r2, 256, %r1;\nmul.wide.u32 %rd2, %r3, 12;\nadd.u64 %rd2, %rd1, %rd2;\n" \
    "ld.global.f32 %f1, [%rd2];\nld.global.f32 %f2, [%rd2+4];\n" operation "st.global.f32 [%rd2+8], %f3;\nret;\n}\n"
#define UNARY(name) KERNEL(name " %f3, %f1;\n")
#define BINARY(name) KERNEL(name " %f3, %f1, %f2;\n")

enum bound { RELATIVE, ABSOLUTE, ULP };

struct function {
    const char *ptx, *name;
    double (*exact)(double a, double b);
    enum bound kind;
    double bound;
    int least, most; // exponents of the operands
    bool negative;
};

static double reciprocal(double a, double b) {
    (void)b;
    return 1 / a;
}
static double reciprocal_root(double a, double b) {
    (void)b;
    return 1 / sqrt(a);
}
static double root(double a, double b) {
    (void)b;
    return sqrt(a);
}
static double power(double a, double b) {
    (void)b;
    return exp2(a);
}
static double logarithm(double a, double b) {
    (void)b;
    return log2(a);
}
static double sine(double a, double b) {
    (void)b;
    return sin(a);
}
static double cosine(double a, double b) {
    (void)b;
    return cos(a);
}
static double tangent(double a, double b) {
    (void)b;
    return tanh(a);
}
static double quotient(double a, double b) {
    return a / b;
}

static const struct function functions[] = {
    {UNARY("rcp.approx.ftz.f32"), "rcp", reciprocal, ULP, 1, -120, 120, true},
    {UNARY("rsqrt.approx.ftz.f32"), "rsqrt", reciprocal_root, RELATIVE, 0x1p-22 * 0.54, -120, 120, false}, // 2^-22.9
    {UNARY("sqrt.approx.ftz.f32"), "sqrt", root, RELATIVE, 0x1p-23, -120, 120, false},
    {UNARY("ex2.approx.ftz.f32"), "ex2", power, RELATIVE, 0x1p-22, -20, 5, true},
    {UNARY("lg2.approx.ftz.f32"), "lg2 near 1", logarithm, ABSOLUTE, 0x1p-22, -1, 0, false},
    {UNARY("lg2.approx.ftz.f32"), "lg2", logarithm, RELATIVE, 0x1p-22, 1, 120, false},
    {UNARY("sin.approx.f32"), "sin", sine, ABSOLUTE, 0x1p-20 * 0.70, -10, 1, true}, // 2^-20.5
    {UNARY("cos.approx.f32"), "cos", cosine, ABSOLUTE, 0x1p-20 * 0.70, -10, 1, true},
    {UNARY("tanh.approx.f32"), "tanh", tangent, RELATIVE, 0x1p-11, -10, 3, true},
    {BINARY("div.approx.ftz.f32"), "div.approx", quotient, ULP, 2, -40, 40, true},
    {BINARY("div.full.ftz.f32"), "div.full", quotient, ULP, 2, -40, 40, true},
};

static float operand(uint64_t *state, const struct function *function) {
    uint64_t random = test_random(state);
    int exponent = function->least + (int)(random >> 40) % (function->most - function->least + 1);
    float value = ldexpf(1 + (float)(random & 0x7fffff) * 0x1p-23f, exponent);
    return function->negative && (random >> 39 & 1) != 0 ? -value : value;
}

static double error(const struct function *function, double seen, double exact) {
    int exponent;
    if (function->kind == ABSOLUTE) return fabs(seen - exact);
    if (function->kind == RELATIVE) return fabs(seen - exact) / fabs(exact);
    frexp(exact, &exponent);
    return fabs(seen - exact) / ldexp(1, exponent - 24);
}

static void errors_stay_in_their_bounds(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        const struct function *function = &functions[i];
        struct machine machine = machine_create(90);
        static float words[THREADS * BLOCKS * 3];
        uint64_t random = i;
        for (size_t j = 0; j < THREADS * BLOCKS * 3; j++) words[j] = operand(&random, function);
        uintptr_t p = machine_buffer(&machine, words, sizeof(words));
        machine_load(&machine, function->ptx);
        machine_run(&machine, "k", (struct shape){{BLOCKS, 1, 1}, {THREADS, 1, 1}, 0, {0}}, &p);
        for (size_t j = 0; j < THREADS * BLOCKS; j++) {
            const float *at = (const float *)p + 3 * j;
            double exact = function->exact((double)at[0], (double)at[1]), off = error(function, (double)at[2], exact);
            if (off > function->bound) {
                fail_msg("%s of %a and %a is %a: off by %g, with a bound of %g", function->name, (double)at[0],
                         (double)at[1], (double)at[2], off, function->bound);
            }
        }
        machine_destroy(&machine);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(errors_stay_in_their_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
