// f32 and f64 (PTX ISA, "Floating Point Instructions"). Approximate functions give the nearest float of the exact
// value.
#include <math.h>

#include "arithmetic.h"
#include "exec_types.h"

static inline enum emu_rounding rounding_of(const struct emu_instruction *instruction) {
    switch (instruction->form.words[EMU_GROUP_ROUNDING]) {
    case EMU_W_RZ: return EMU_ROUND_ZERO;
    case EMU_W_RM: return EMU_ROUND_DOWN;
    case EMU_W_RP: return EMU_ROUND_UP;
    default: return EMU_ROUND_NEAREST;
    }
}

static inline float saturate(float value) {
    return value > 0 ? (value < 1 ? value : 1.0f) : 0.0f; // NaN becomes 0
}

static inline float keep(float value) {
    return value;
}

// What is done to sources and results is the same for all: .ftz flushes both, .sat clamps the result.
#define FLOAT_LOOP(in, out, sources, expression)                                                                       \
    EMU_EACH_LANE({                                                                                                    \
        sources(in);                                                                                                   \
        d[lane] = emu_bits_canonical(out(expression));                                                                 \
    })
#define FLOAT_OP(name, sources, expression)                                                                            \
    EMU_EXECUTE(name) {                                                                                                \
        uint32_t *d = EMU_32(0);                                                                                       \
        bool flush = EMU_FLAG(FTZ), clamp = EMU_FLAG(SAT);                                                             \
        if (!flush && !clamp) {                                                                                        \
            FLOAT_LOOP(keep, keep, sources, expression);                                                               \
        } else if (!clamp) {                                                                                           \
            FLOAT_LOOP(emu_flush, emu_flush, sources, expression);                                                     \
        } else if (!flush) {                                                                                           \
            FLOAT_LOOP(keep, saturate, sources, expression);                                                           \
        } else {                                                                                                       \
            FLOAT_LOOP(emu_flush, saturate, sources, emu_flush(expression));                                           \
        }                                                                                                              \
    }
#define ONE(in) float a = in(emu_float(EMU_32(1)[lane]))
#define TWO(in) float a = in(emu_float(EMU_32(1)[lane])), b = in(emu_float(EMU_32(2)[lane]))
#define THREE(in)                                                                                                      \
    float a = in(emu_float(EMU_32(1)[lane])), b = in(emu_float(EMU_32(2)[lane])), c = in(emu_float(EMU_32(3)[lane]))

FLOAT_OP(add_f32, TWO, a + b)
FLOAT_OP(sub_f32, TWO, a - b)
FLOAT_OP(mul_f32, TWO, a *b)
FLOAT_OP(fma_f32, THREE, fmaf(a, b, c))
FLOAT_OP(div_f32, TWO, a / b)
FLOAT_OP(sqrt_f32, ONE, sqrtf(a))
FLOAT_OP(rcp_f32, ONE, 1.0f / a)
#define ROUNDED rounding_of(instruction)
FLOAT_OP(add_directed, TWO, emu_add_f32(a, b, ROUNDED))
FLOAT_OP(sub_directed, TWO, emu_add_f32(a, -b, ROUNDED))
FLOAT_OP(mul_directed, TWO, emu_mul_f32(a, b, ROUNDED))
FLOAT_OP(fma_directed, THREE, emu_fma_f32(a, b, c, ROUNDED))
FLOAT_OP(div_directed, TWO, emu_div_f32(a, b, ROUNDED))
FLOAT_OP(sqrt_directed, ONE, emu_sqrt_f32(a, ROUNDED))
FLOAT_OP(rcp_directed, ONE, emu_div_f32(1.0f, a, ROUNDED))

#define CHOOSE(name)                                                                                                   \
    static emu_execute_fn choose_##name(const struct emu_form *form) {                                                 \
        uint8_t rounding = form->words[EMU_GROUP_ROUNDING];                                                            \
        bool directed = rounding == EMU_W_RZ || rounding == EMU_W_RM || rounding == EMU_W_RP;                          \
        return directed ? name##_directed : name##_f32;                                                                \
    }
CHOOSE(add)
CHOOSE(sub)
CHOOSE(mul)
CHOOSE(fma)
CHOOSE(div)
CHOOSE(sqrt)
CHOOSE(rcp)

FLOAT_OP(rsqrt_approx, ONE, (float)(1.0 / sqrt((double)a)))
FLOAT_OP(ex2_approx, ONE, (float)exp2((double)a))
FLOAT_OP(lg2_approx, ONE, (float)log2((double)a))
FLOAT_OP(sin_approx, ONE, (float)sin((double)a))
FLOAT_OP(cos_approx, ONE, (float)cos((double)a))
FLOAT_OP(tanh_approx, ONE, (float)tanh((double)a))

// min and max: a number wins over NaN, or with .NaN loses; -0 is below +0.
static inline float least(float a, float b) {
    if (a != a) return b;
    if (b != b) return a;
    return a < b || (a == b && (emu_bits(a) >> 31) != 0) ? a : b;
}
static inline float greatest(float a, float b) {
    if (a != a) return b;
    if (b != b) return a;
    return a > b || (a == b && (emu_bits(a) >> 31) == 0) ? a : b;
}
static inline float chosen(const struct emu_instruction *instruction, float a, float b, bool is_max) {
    uint32_t sign = (emu_bits(a) ^ emu_bits(b)) & 0x80000000u;
    if (EMU_FLAG(NAN_FLAG) && (a != a || b != b)) return emu_float(EMU_NAN_F32);
    if (EMU_FLAG(ABS)) a = fabsf(a), b = fabsf(b);
    float result = is_max ? greatest(a, b) : least(a, b);
    return EMU_FLAG(XORSIGN) ? emu_float((emu_bits(result) & 0x7fffffffu) | sign) : result;
}
FLOAT_OP(min_f32, TWO, chosen(instruction, a, b, false))
FLOAT_OP(max_f32, TWO, chosen(instruction, a, b, true))

// Of the sign alone, but NaN becomes the canonical one, whatever its sign was (seen on an H100: docs/emulator.md).
#define SIGN_OP(name, expression)                                                                                      \
    EMU_EXECUTE(name) {                                                                                                \
        uint32_t *d = EMU_32(0);                                                                                       \
        const uint32_t *as = EMU_32(1);                                                                                \
        bool flush = EMU_FLAG(FTZ);                                                                                    \
        EMU_EACH_LANE({                                                                                                \
            uint32_t a = flush ? emu_bits(emu_flush(emu_float(as[lane]))) : as[lane];                                  \
            d[lane] = (a & 0x7fffffffu) > 0x7f800000u ? EMU_NAN_F32 : (expression);                                    \
        });                                                                                                            \
    }
SIGN_OP(abs_f32, a & 0x7fffffffu)
SIGN_OP(neg_f32, a ^ 0x80000000u)
EMU_BINARY(copysign_f32, EMU_T_U32, (a & 0x80000000u) | (b & 0x7fffffffu))
EMU_BINARY(copysign_f64, EMU_T_U64, (a & 0x8000000000000000u) | (b & 0x7fffffffffffffffu))

static inline uint64_t canonical(double value) {
    return value != value ? 0x7fffffffffffffffu : emu_double_bits(value);
}

// NaN of a f64 operation, seen on an H100 (docs/emulator.md): the first source that is NaN, made quiet, its sign kept
// also by sub; else the one with the sign, which sqrt of a negative number gave.
static inline uint64_t handed_on(double value, double first, double second, double third) {
    if (value == value) return emu_double_bits(value);
    double source = first != first ? first : second != second ? second : third;
    return source != source ? emu_double_bits(source) | EMU_QUIET_F64 : EMU_NAN_F64;
}
#define DOUBLE(i) emu_double(EMU_64(i)[lane])
#define DOUBLE_OP(name, expression)                                                                                    \
    EMU_EXECUTE(name) {                                                                                                \
        uint64_t *d = EMU_64(0);                                                                                       \
        EMU_EACH_LANE({ d[lane] = canonical(expression); });                                                           \
    }
// The order in which sources are asked for NaN is each operation's own.
#define NAN_OP(name, expression, first, second, third)                                                                 \
    EMU_EXECUTE(name) {                                                                                                \
        uint64_t *d = EMU_64(0);                                                                                       \
        EMU_EACH_LANE({ d[lane] = handed_on(expression, DOUBLE(first), DOUBLE(second), DOUBLE(third)); });             \
    }
NAN_OP(add_f64, DOUBLE(1) + DOUBLE(2), 2, 1, 1)
NAN_OP(sub_f64, DOUBLE(1) - DOUBLE(2), 2, 1, 1)
NAN_OP(mul_f64, DOUBLE(1) * DOUBLE(2), 2, 1, 1)
NAN_OP(fma_f64, fma(DOUBLE(1), DOUBLE(2), DOUBLE(3)), 2, 3, 1)
NAN_OP(div_f64, DOUBLE(1) / DOUBLE(2), 1, 2, 2)
NAN_OP(sqrt_f64, sqrt(DOUBLE(1)), 1, 1, 1)
NAN_OP(rcp_f64, 1.0 / DOUBLE(1), 1, 1, 1)
NAN_OP(abs_f64, fabs(DOUBLE(1)), 1, 1, 1)
NAN_OP(neg_f64, -DOUBLE(1), 1, 1, 1)
DOUBLE_OP(rsqrt_f64, 1.0 / sqrt(DOUBLE(1)))

static inline double least_f64(double a, double b) {
    if (a != a) return b;
    if (b != b) return a;
    return a < b || (a == b && signbit(a)) ? a : b;
}
static inline double greatest_f64(double a, double b) {
    if (a != a) return b;
    if (b != b) return a;
    return a > b || (a == b && !signbit(a)) ? a : b;
}
NAN_OP(min_f64, least_f64(DOUBLE(1), DOUBLE(2)), 2, 1, 1)
NAN_OP(max_f64, greatest_f64(DOUBLE(1), DOUBLE(2)), 2, 1, 1)

EMU_EXECUTE(testp) {
    bool wide = instruction->form.types[0] == EMU_F64;
    uint32_t result = 0;
    for (uint32_t lane = 0; lane < EMU_LANES; lane++) {
        double a = wide ? emu_double(EMU_64(1)[lane]) : (double)emu_float(EMU_32(1)[lane]);
        double lowest = wide ? 2.2250738585072014e-308 : 1.1754943508222875e-38;
        bool yes = false;
        switch (EMU_WORD_OF(MODE)) {
        case EMU_W_FINITE: yes = isfinite(a); break;
        case EMU_W_INFINITE: yes = isinf(a); break;
        case EMU_W_NUMBER: yes = !isnan(a); break;
        case EMU_W_NOTANUMBER: yes = isnan(a); break;
        case EMU_W_NORMAL: yes = isfinite(a) && (a == 0 || fabs(a) >= lowest); break; // zero too: PTX ISA "testp"
        default: yes = a != 0 && fabs(a) < lowest; break;
        }
        result |= (uint32_t)yes << lane;
    }
    emu_set_predicate(&EMU_PREDICATE(0), mask, result);
}

#define ROW .instruction_class = EMU_CLASS_FLOAT
#define ROUND "rn|rz|rm|rp"
static const struct emu_row rows[] = {
    {"add", "?" ROUND " ?ftz ?sat f32", "d0 s0 s0", .choose = choose_add, ROW},
    {"sub", "?" ROUND " ?ftz ?sat f32", "d0 s0 s0", .choose = choose_sub, ROW},
    {"mul", "?" ROUND " ?ftz ?sat f32", "d0 s0 s0", .choose = choose_mul, ROW},
    {"fma", ROUND " ?ftz ?sat f32", "d0 s0 s0 s0", .choose = choose_fma, ROW},
    {"mad", "?" ROUND " ?ftz ?sat f32", "d0 s0 s0 s0", .choose = choose_fma, ROW},
    {"div", ROUND "|full|approx ?ftz f32", "d0 s0 s0", .choose = choose_div, ROW},
    {"sqrt", ROUND "|approx ?ftz f32", "d0 s0", .choose = choose_sqrt, ROW},
    {"rcp", ROUND "|approx ?ftz f32", "d0 s0", .choose = choose_rcp, ROW},
    {"rsqrt", "approx ?ftz f32", "d0 s0", rsqrt_approx, ROW},
    {"ex2", "approx ?ftz f32", "d0 s0", ex2_approx, ROW},
    {"lg2", "approx ?ftz f32", "d0 s0", lg2_approx, ROW},
    {"sin", "approx ?ftz f32", "d0 s0", sin_approx, ROW},
    {"cos", "approx ?ftz f32", "d0 s0", cos_approx, ROW},
    {"tanh", "approx f32", "d0 s0", tanh_approx, ROW},
    {"min", "?ftz ?NaN ?xorsign ?abs f32", "d0 s0 s0", min_f32, ROW},
    {"max", "?ftz ?NaN ?xorsign ?abs f32", "d0 s0 s0", max_f32, ROW},
    {"abs", "?ftz f32", "d0 s0", abs_f32, ROW},
    {"neg", "?ftz f32", "d0 s0", neg_f32, ROW},
    {"copysign", "f32", "d0 s0 s0", copysign_f32, ROW},
    {"testp", "finite|infinite|number|notanumber|normal|subnormal f32|f64", "dp s0", testp, ROW},
    {"add", "?rn f64", "d0 s0 s0", add_f64, ROW},
    {"sub", "?rn f64", "d0 s0 s0", sub_f64, ROW},
    {"mul", "?rn f64", "d0 s0 s0", mul_f64, ROW},
    {"fma", "rn f64", "d0 s0 s0 s0", fma_f64, ROW},
    {"mad", "rn f64", "d0 s0 s0 s0", fma_f64, ROW},
    {"div", "rn f64", "d0 s0 s0", div_f64, ROW},
    {"sqrt", "rn f64", "d0 s0", sqrt_f64, ROW},
    {"rcp", "rn f64", "d0 s0", rcp_f64, ROW},
    {"rcp", "approx ftz f64", "d0 s0", rcp_f64, ROW},
    {"rsqrt", "approx ?ftz f64", "d0 s0", rsqrt_f64, ROW},
    {"min", "f64", "d0 s0 s0", min_f64, ROW},
    {"max", "f64", "d0 s0 s0", max_f64, ROW},
    {"abs", "f64", "d0 s0", abs_f64, ROW},
    {"neg", "f64", "d0 s0", neg_f64, ROW},
    {"copysign", "f64", "d0 s0 s0", copysign_f64, ROW},
};
EMU_ROWS(emu_rows_float, rows);
