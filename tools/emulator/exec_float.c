// Floating point (PTX ISA "Floating Point Instructions"). The host rounds to nearest even and keeps subnormals, as PTX
// without .ftz does.
#include "exec.h"

#include <math.h>

#include "arithmetic.h"

#define UNARY(name, expression)                                                                                        \
    EMU_EXECUTE(name) {                                                                                                \
        uint32_t *d = EMU_U32(0);                                                                                      \
        const uint32_t *pa = EMU_U32(1);                                                                               \
        EMU_EACH_LANE({                                                                                                \
            uint32_t a = pa[lane];                                                                                     \
            d[lane] = (expression);                                                                                    \
        });                                                                                                            \
    }
#define BINARY(name, expression)                                                                                       \
    EMU_EXECUTE(name) {                                                                                                \
        uint32_t *d = EMU_U32(0);                                                                                      \
        const uint32_t *pa = EMU_U32(1), *pb = EMU_U32(2);                                                             \
        EMU_EACH_LANE({                                                                                                \
            uint32_t a = pa[lane], b = pb[lane];                                                                       \
            d[lane] = (expression);                                                                                    \
        });                                                                                                            \
    }
#define TERNARY(name, expression)                                                                                      \
    EMU_EXECUTE(name) {                                                                                                \
        uint32_t *d = EMU_U32(0);                                                                                      \
        const uint32_t *pa = EMU_U32(1), *pb = EMU_U32(2), *pc = EMU_U32(3);                                           \
        EMU_EACH_LANE({                                                                                                \
            uint32_t a = pa[lane], b = pb[lane], c = pc[lane];                                                         \
            d[lane] = (expression);                                                                                    \
        });                                                                                                            \
    }

#define F(x) emu_float(x)

// NaN results are the canonical 0x7fffffff on NVIDIA hardware.
static inline uint32_t canonical(float value) {
    return value != value ? 0x7fffffffu : emu_bits(value);
}

BINARY(add_f32, canonical(F(a) + F(b)))
BINARY(sub_f32, canonical(F(a) - F(b)))
BINARY(mul_f32, canonical(F(a) * F(b)))
BINARY(div_f32, canonical(F(a) / F(b)))
TERNARY(fma_f32, canonical(fmaf(F(a), F(b), F(c))))
UNARY(sqrt_f32, canonical(sqrtf(F(a))))
UNARY(rcp_f32, canonical(1.0f / F(a)))
UNARY(abs_f32, a & 0x7fffffffu)
UNARY(neg_f32, a ^ 0x80000000u)
BINARY(copysign_f32, (a & 0x80000000u) | (b & 0x7fffffffu))

// A NaN loses against a number; -0 is less than +0.
static inline uint32_t minimum(uint32_t a, uint32_t b) {
    if (F(a) != F(a)) return F(b) != F(b) ? 0x7fffffffu : b;
    if (F(b) != F(b)) return a;
    if (F(a) == F(b)) return a | b;
    return F(a) < F(b) ? a : b;
}

static inline uint32_t maximum(uint32_t a, uint32_t b) {
    if (F(a) != F(a)) return F(b) != F(b) ? 0x7fffffffu : b;
    if (F(b) != F(b)) return a;
    if (F(a) == F(b)) return a & b;
    return F(a) > F(b) ? a : b;
}

BINARY(min_f32, minimum(a, b))
BINARY(max_f32, maximum(a, b))

TERNARY(fma_bf16x2, emu_bf16_fma(a & 0xffff, b & 0xffff, c & 0xffff) | emu_bf16_fma(a >> 16, b >> 16, c >> 16) << 16)
BINARY(cvt_bf16x2_f32, emu_bf16_round(F(a)) << 16 | emu_bf16_round(F(b)))
BINARY(cvt_f16x2_f32, emu_f16_round(F(a)) << 16 | emu_f16_round(F(b)))
UNARY(cvt_bf16_f32, emu_bf16_round(F(a)))
UNARY(cvt_f32_f16, emu_bits(emu_f16_value(a & 0xffff)))
UNARY(cvt_f32_u32, emu_bits((float)a))
UNARY(cvt_f32_s32, emu_bits((float)(int32_t)a))

// To integers: saturating, NaN to 0 (PTX ISA "cvt").
static inline uint32_t to_s32(float value) {
    if (value != value) return 0;
    if (value >= 2147483648.0f) return 0x7fffffffu;
    if (value < -2147483648.0f) return 0x80000000u;
    return (uint32_t)(int32_t)value;
}

static inline uint32_t to_u32(float value) {
    if (value != value || value <= 0) return 0;
    return value >= 4294967296.0f ? UINT32_MAX : (uint32_t)value;
}

UNARY(cvt_s32_f32, to_s32(truncf(F(a))))
UNARY(cvt_u32_f32, to_u32(truncf(F(a))))
UNARY(cvt_floor_s32_f32, to_s32(floorf(F(a))))
UNARY(cvt_nearest_s32_f32, to_s32(nearbyintf(F(a))))
