// PTX that nvcc made of ordinary CUDA C++ (ptx/kernels.cu), for three archs, against plain C.
#include "machine_test.h"

#include <math.h>

#include "arithmetic.h"

static const struct {
    const char *file;
    int arch;
} modules[] = {{"kernels_sm80.ptx", 80}, {"kernels_sm89.ptx", 89}, {"kernels_sm90a.ptx", 90}};

static float *random_floats(uint64_t *state, size_t count) {
    float *values = calloc(count, sizeof(float));
    for (size_t i = 0; i < count; i++) values[i] = test_float(state);
    return values;
}

static void check_saxpy(struct machine *machine) {
    enum { N = 1000 };
    uint64_t state = 0;
    float *x = random_floats(&state, N), *y = random_floats(&state, N);
    struct {
        int n;
        float a;
        uintptr_t x, y;
    } p = {N, 1.25f, machine_buffer(machine, x, N * 4), machine_buffer(machine, y, N * 4)};
    machine_run(machine, "saxpy", (struct shape){{4, 1, 1}, {256, 1, 1}, 0, {0}}, &p);
    for (int i = 0; i < N; i++) assert_true(((float *)p.y)[i] == fmaf(1.25f, x[i], y[i]));
    free(x), free(y);
}

static void check_reduce(struct machine *machine) {
    enum { N = 5000 };
    float x[N];
    double sum = 0, seen = 0;
    for (int i = 0; i < N; i++) x[i] = (float)(i % 17), sum += (double)x[i];
    struct {
        uintptr_t x, sums;
        int n;
    } p = {machine_buffer(machine, x, sizeof(x)), machine_buffer(machine, NULL, 12), N};
    machine_run(machine, "reduce", (struct shape){{3, 1, 1}, {256, 1, 1}, 0, {0}}, &p);
    for (int i = 0; i < 3; i++) seen += (double)((float *)p.sums)[i];
    assert_true(seen == sum);
}

static void check_matmul(struct machine *machine) {
    enum { M = 37, N = 45, K = 50 };
    uint64_t state = 1;
    float *a = random_floats(&state, M * K), *b = random_floats(&state, K * N);
    struct {
        uintptr_t a, b, c;
        int m, n, k;
    } p = {machine_buffer(machine, a, M * K * 4),
           machine_buffer(machine, b, K * N * 4),
           machine_buffer(machine, NULL, M * N * 4),
           M,
           N,
           K};
    machine_run(machine, "matmul", (struct shape){{3, 3, 1}, {16, 16, 1}, 0, {0}}, &p);
    for (int i = 0; i < M; i++) {
        for (int j = 0; j < N; j++) {
            float sum = 0;
            for (int k = 0; k < K; k++) sum = fmaf(a[i * K + k], b[k * N + j], sum);
            assert_true(((float *)p.c)[i * N + j] == sum);
        }
    }
    free(a), free(b);
}

static void check_gemm(struct machine *machine) {
    enum { K = 64 };
    uint16_t a[16 * K], b[8 * K];
    uint64_t state = 2;
    for (int i = 0; i < 16 * K; i++) a[i] = (uint16_t)emu_bf16_round(roundf(test_float(&state)));
    for (int i = 0; i < 8 * K; i++) b[i] = (uint16_t)emu_bf16_round(roundf(test_float(&state)));
    struct {
        uintptr_t a, b, d;
        int k;
    } p = {machine_buffer(machine, a, sizeof(a)), machine_buffer(machine, b, sizeof(b)),
           machine_buffer(machine, NULL, 512), K};
    machine_run(machine, "gemm_bf16", (struct shape){{1, 1, 1}, {32, 1, 1}, 768, {0}}, &p);
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < 8; j++) { // small whole numbers: exact in any order
            float sum = 0;
            for (int k = 0; k < K; k++) sum += emu_bf16_value(a[i * K + k]) * emu_bf16_value(b[j * K + k]);
            assert_true(((float *)p.d)[i * 8 + j] == sum);
        }
    }
}

static void check_histogram(struct machine *machine) {
    enum { N = 3000 };
    uint8_t x[N];
    unsigned counts[256] = {0}, zeros[256] = {0};
    uint64_t state = 3, zero = 0;
    for (int i = 0; i < N; i++) x[i] = (uint8_t)(test_random(&state) % 100), counts[x[i]]++;
    struct {
        uintptr_t x, counts, total, sum;
        int n;
    } p = {machine_buffer(machine, x, N), machine_buffer(machine, zeros, sizeof(zeros)),
           machine_buffer(machine, &zero, 8), machine_buffer(machine, &zero, 4), N};
    machine_run(machine, "histogram", (struct shape){{4, 1, 1}, {128, 1, 1}, 0, {0}}, &p);
    assert_memory_equal((void *)p.counts, counts, sizeof(counts));
    assert_int_equal(*(uint64_t *)p.total, N);
    assert_true(*(float *)p.sum == (float)N);
}

static uint32_t reversed(uint32_t v) {
    uint32_t r = 0;
    for (int i = 0; i < 32; i++) r |= (v >> i & 1) << (31 - i);
    return r;
}

static long long branches_result(int v, int i) {
    static const int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
    long long result = 0;
    switch (v & 7) {
    case 0: result = v / 3; break;
    case 1: result = v % 7; break;
    case 2: result = (long long)v * v; break;
    case 3: result = __builtin_popcount((unsigned)v) + (v == 0 ? 32 : __builtin_clz((unsigned)v)) * 100; break;
    case 4: result = v > i ? v - i : v * 2 + i; break;
    case 5: result = table[i & 7]; break;
    case 6: result = (long long)v * 1000003 / 17; break;
    default: result = (unsigned)reversed((uint32_t)v); break;
    }
    for (int j = 0; j < 100; j++) {
        if (((v + j) & 31) == 0) break;
        result += j;
    }
    return result;
}

static void check_branches(struct machine *machine) {
    enum { N = 300 };
    int x[N];
    uint64_t state = 4;
    for (int i = 0; i < N; i++) x[i] = (int)(test_random(&state) % 200000) - 100000;
    struct {
        uintptr_t x, y, z;
        int n;
    } p = {machine_buffer(machine, x, sizeof(x)), machine_buffer(machine, NULL, N * 8),
           machine_buffer(machine, NULL, N * 8), N};
    machine_run(machine, "branches", (struct shape){{3, 1, 1}, {128, 1, 1}, 0, {0}}, &p);
    for (int i = 0; i < N; i++) {
        long long result = branches_result(x[i], i);
        assert_int_equal(((long long *)p.y)[i], result);
        assert_true(((double *)p.z)[i] == (double)x[i] / 3.0 + 0.5 + (double)result);
    }
}

static void check_halves(struct machine *machine) {
    enum { N = 200 };
    uint32_t x[N], y[N];
    uint64_t state = 5;
    for (int i = 0; i < N; i++) {
        x[i] = emu_f16_round(test_float(&state)) | emu_f16_round(test_float(&state)) << 16;
        y[i] = emu_bf16_round(test_float(&state)) | emu_bf16_round(test_float(&state)) << 16;
    }
    struct {
        uintptr_t x, y, f, h, b;
        int n;
    } p = {machine_buffer(machine, x, sizeof(x)),    machine_buffer(machine, y, sizeof(y)),
           machine_buffer(machine, NULL, sizeof(x)), machine_buffer(machine, NULL, sizeof(x)),
           machine_buffer(machine, NULL, sizeof(x)), N};
    machine_run(machine, "halves", (struct shape){{2, 1, 1}, {128, 1, 1}, 0, {0}}, &p);
    for (int i = 0; i < N; i++) {
        uint32_t h = 0, b = 0;
        for (int s = 0; s < 32; s += 16) {
            // Numbers in [-4, 4) with 11 or 8 bits: doubles hold each product and sum exactly.
            double u = (double)emu_f16_value(x[i] >> s & 0xffff),
                   v = (double)emu_f16_value(x[(i + 1) % N] >> s & 0xffff);
            double sum = emu_format_value(&emu_format_f16, emu_f16_from_double(u + v, EMU_ROUND_NEAREST));
            h |= emu_f16_from_double(u * u + sum, EMU_ROUND_NEAREST) << s;
            double q = (double)emu_bf16_value(y[i] >> s & 0xffff),
                   r = (double)emu_bf16_value(y[(i + 1) % N] >> s & 0xffff);
            double t = (double)emu_bf16_value(y[(i + 2) % N] >> s & 0xffff);
            b |= emu_bf16_from_double(q * r + t, EMU_ROUND_NEAREST) << s;
        }
        assert_int_equal(((uint32_t *)p.h)[i], h);
        assert_int_equal(((uint32_t *)p.b)[i], b);
        assert_true(((float *)p.f)[i] == emu_f16_value(x[i] & 0xffff) + emu_bf16_value(y[i] >> 16));
    }
}

static void check_mathematics(struct machine *machine) {
    enum { N = 256 };
    float x[N];
    uint64_t state = 6;
    for (int i = 0; i < N; i++) x[i] = test_float(&state);
    struct {
        uintptr_t x, y;
        int n;
    } p = {machine_buffer(machine, x, sizeof(x)), machine_buffer(machine, NULL, N * 32), N};
    machine_run(machine, "mathematics", (struct shape){{2, 1, 1}, {128, 1, 1}, 0, {0}}, &p);
    for (int i = 0; i < N; i++) {
        const float *y = (float *)p.y + 8 * i;
        float v = x[i], a = fabsf(v) + 1.0f;
        const float wanted[8] = {expf(v),         logf(a),  sinf(v),         tanhf(v),
                                 sqrtf(fabsf(v)), v / 3.0f, 1.0f / sqrtf(a), fminf(fmaxf(v, -1.0f), 1.0f)};
        for (int j = 0; j < 8; j++) assert_true(fabsf(y[j] - wanted[j]) <= 1e-6f * (1.0f + fabsf(wanted[j])));
        assert_true(y[4] == wanted[4] && y[5] == wanted[5] && y[7] == wanted[7]); // IEEE ones exactly
    }
}

static void (*const checks[])(struct machine *) = {check_saxpy,     check_reduce,   check_matmul, check_gemm,
                                                   check_histogram, check_branches, check_halves, check_mathematics};

static void test_kernels(void **unused) {
    (void)unused;
    for (size_t i = 0; i < sizeof(modules) / sizeof(modules[0]); i++) {
        for (uint64_t seed = 0; seed < 3; seed++) {
            struct machine machine = machine_create(modules[i].arch);
            machine.seed = seed;
            machine.settings.schedule = seed == 2 ? EMU_SCHEDULE_ADVERSARIAL : EMU_SCHEDULE_SEEDED;
            machine_load_file(&machine, modules[i].file);
            for (size_t c = 0; c < sizeof(checks) / sizeof(checks[0]); c++) checks[c](&machine);
            machine_destroy(&machine);
        }
    }
}

static void test_host_threads(void **unused) {
    (void)unused;
    struct machine machine = machine_create(90);
    machine.settings.threads = 4;
    machine_load_file(&machine, "kernels_sm90a.ptx");
    for (size_t c = 0; c < sizeof(checks) / sizeof(checks[0]); c++) checks[c](&machine);
    machine_destroy(&machine);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kernels), cmocka_unit_test(test_host_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
