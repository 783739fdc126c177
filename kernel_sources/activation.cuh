// The activations of the gate_up step (docs/numerics.md), with IEEE operations only: same bits on every arch.
#pragma once
#include "abi.h"

namespace moejit {

// e^x for |x| <= 88: x = n ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts, Cody and Waite), then a Taylor polynomial of
// degree 7, whose truncation is below 2^-27 there. NaN stays NaN.
__device__ __forceinline__ float exponential(float x)
{
    float shifted = __fmaf_rn(x, 1.44269504f, 12582912.0f); // its lowest bits are n
    float n = __fadd_rn(shifted, -12582912.0f);
    float r = __fmaf_rn(n, -0.693359375f, x);
    r = __fmaf_rn(n, 2.12194440e-4f, r);
    float p = 1.98412698e-4f;
    p = __fmaf_rn(p, r, 1.38888889e-3f);
    p = __fmaf_rn(p, r, 8.33333333e-3f);
    p = __fmaf_rn(p, r, 4.16666667e-2f);
    p = __fmaf_rn(p, r, 1.66666667e-1f);
    p = __fmaf_rn(p, r, 0.5f);
    p = __fmaf_rn(p, r, 1.0f);
    p = __fmaf_rn(p, r, 1.0f);
    return __fmul_rn(p, __uint_as_float((__float_as_uint(shifted) + 127) << 23));
}

// 1 / x for 1 <= x < 2^126, correctly rounded but where all bits of the mantissa are ones (1 ulp above; tried for all mantissas).
// Newton's iteration from a first guess by the exponent: a division branches, and eight of them in a thread then wait for each
// other. NaN stays NaN.
__device__ __forceinline__ float reciprocal(float x)
{
    float r = __uint_as_float(0x7ef311c7u - __float_as_uint(x));
#pragma unroll
    for (int i = 0; i < 4; i++) r = __fmaf_rn(r, __fmaf_rn(-x, r, 1.0f), r);
    return r;
}

__device__ __forceinline__ float sigmoid(float x)
{
    float clamped = x > 87.0f ? 87.0f : (x < -87.0f ? -87.0f : x); // comparisons, so that NaN passes
    return reciprocal(__fadd_rn(1.0f, exponential(-clamped)));
}

// The upper or lower limit of a clamp that lets NaN through.
__device__ __forceinline__ float at_most(float x, float limit)
{
    return x > limit ? limit : x;
}

__device__ __forceinline__ float at_least(float x, float limit)
{
    return x < limit ? limit : x;
}

// tanh form of GELU: x / 2 * (1 + tanh(s)) = x * sigmoid(2 s), s = sqrt(2 / pi) * (x + 0.044715 x^3).
__device__ __forceinline__ float gelu(float x)
{
    float cubic = __fmul_rn(__fmul_rn(x, x), __fmul_rn(x, 0.044715f));
    return __fmul_rn(x, sigmoid(__fmul_rn(1.59576912f, __fadd_rn(x, cubic))));
}

// h of a channel; non-gated activations get the one value as `gate`.
template <class Config> __device__ __forceinline__ float activate(float gate, float up, const mj_gate_up_args &args)
{
    if constexpr (Config::activation == MJ_ACTIVATION_SWIGLU) {
        return __fmul_rn(__fmul_rn(gate, sigmoid(gate)), up);
    } else if constexpr (Config::activation == MJ_ACTIVATION_SWIGLU_OAI) {
        float v = at_most(gate, args.activation_limit);
        float u = at_least(at_most(up, args.activation_limit), -args.activation_limit);
        float scaled = __fmul_rn(v, sigmoid(__fmul_rn(args.activation_alpha, v)));
        return __fmul_rn(scaled, __fadd_rn(u, args.activation_beta));
    } else if constexpr (Config::activation == MJ_ACTIVATION_GEGLU) {
        return __fmul_rn(gelu(gate), up);
    } else {
        float positive = at_least(gate, 0.0f);
        return __fmul_rn(positive, positive);
    }
}

} // namespace moejit
